// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// LibTorch's streams, for memory of the CPU.

#ifndef STEPD_TESTS_FAKES_CUDA_INCLUDE_C10_CUDA_CUDASTREAM_H_
#define STEPD_TESTS_FAKES_CUDA_INCLUDE_C10_CUDA_CUDASTREAM_H_

#include <cuda_runtime_api.h>

#include "c10/core/Device.h"

namespace c10::cuda {

class CUDAStream {
 public:
  explicit CUDAStream(cudaStream_t stream) : stream_(stream) {}

  cudaStream_t stream() const { return stream_; }
  c10::Device device() const { return c10::Device(c10::DeviceType::CPU); }
  void synchronize() const {}

 private:
  cudaStream_t stream_;
};

// They live until the program ends, as those of a pool do.
inline CUDAStream getStreamFromPool(bool /*is_high_priority*/,
                                    c10::DeviceIndex /*device*/) {
  return CUDAStream(new FakeStream());
}
inline CUDAStream getStreamFromExternal(cudaStream_t stream,
                                        c10::DeviceIndex /*device*/) {
  return CUDAStream(stream);
}
inline CUDAStream getDefaultCUDAStream(c10::DeviceIndex /*device*/) {
  return CUDAStream(nullptr);
}
inline CUDAStream getCurrentCUDAStream(c10::DeviceIndex /*device*/) {
  return CUDAStream(nullptr);
}
inline void setCurrentCUDAStream(CUDAStream /*stream*/) {}

}  // namespace c10::cuda

#endif  // STEPD_TESTS_FAKES_CUDA_INCLUDE_C10_CUDA_CUDASTREAM_H_
