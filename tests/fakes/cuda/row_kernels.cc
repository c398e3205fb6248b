// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// As kernels.cc.

#include "model/kernels/cuda/rows.cu"
