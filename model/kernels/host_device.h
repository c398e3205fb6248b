// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// For arithmetic that the processor and the GPU share, so that tests without a
// GPU hold it: `STEPD_HOST_DEVICE inline ...` in a header that both include.

#ifndef STEPD_MODEL_KERNELS_HOST_DEVICE_H_
#define STEPD_MODEL_KERNELS_HOST_DEVICE_H_

#ifdef __CUDACC__
#define STEPD_HOST_DEVICE __host__ __device__
#else
#define STEPD_HOST_DEVICE
#endif

#endif  // STEPD_MODEL_KERNELS_HOST_DEVICE_H_
