// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Copies are made as late as CUDA may make them: when they are waited for.

#ifndef STEPD_TESTS_FAKES_CUDA_INCLUDE_CUDA_PIPELINE_H_
#define STEPD_TESTS_FAKES_CUDA_INCLUDE_CUDA_PIPELINE_H_

#include <cuda_runtime.h>

inline void __pipeline_memcpy_async(void* to, const void* from,
                                    std::size_t bytes) {
  stepd::simt::CopyLater(to, from, bytes);
}
inline void __pipeline_commit() { stepd::simt::CommitCopies(); }
inline void __pipeline_wait_prior(std::size_t count) {
  stepd::simt::WaitForCopies(count);
}

#endif  // STEPD_TESTS_FAKES_CUDA_INCLUDE_CUDA_PIPELINE_H_
