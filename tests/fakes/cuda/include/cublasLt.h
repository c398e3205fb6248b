// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// model/kernels/cuda/linear.h names the handle; tests/fakes/cuda/linear.cc
// needs none.

#ifndef STEPD_TESTS_FAKES_CUDA_INCLUDE_CUBLASLT_H_
#define STEPD_TESTS_FAKES_CUDA_INCLUDE_CUBLASLT_H_

using cublasLtHandle_t = void*;

#endif  // STEPD_TESTS_FAKES_CUDA_INCLUDE_CUBLASLT_H_
