// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// As much of CUDA's runtime as model/kernels/cuda uses, on the CPU: memory is
// the host's, streams run what they are given at once, graphs are lists of it.
// Names, types and values are CUDA's.

#ifndef STEPD_TESTS_FAKES_CUDA_INCLUDE_CUDA_RUNTIME_API_H_
#define STEPD_TESTS_FAKES_CUDA_INCLUDE_CUDA_RUNTIME_API_H_

#include <cstddef>
#include <functional>
#include <vector>

struct FakeGraph {
  std::vector<std::function<void()>> work;
};
struct FakeStream {
  FakeGraph* recording = nullptr;  // not owned

  void Run(std::function<void()> work) {
    if (recording == nullptr) {
      work();
    } else {
      recording->work.push_back(std::move(work));
    }
  }
};

using cudaStream_t = FakeStream*;
using cudaEvent_t = int*;
using cudaGraph_t = FakeGraph*;
using cudaGraphExec_t = FakeGraph*;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaMemcpyKind {
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
};
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
constexpr unsigned cudaEventDisableTiming = 2;

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute,
                                   int device);
cudaError_t cudaFuncSetAttribute(const void* kernel,
                                 cudaFuncAttribute attribute, int value);
// Memory is filled with NaN: kernels must not read what nobody wrote.
cudaError_t cudaMalloc(void** memory, std::size_t bytes);
cudaError_t cudaMallocHost(void** memory, std::size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes,
                            cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes,
                            cudaStream_t stream);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream,
                                   cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

#endif  // STEPD_TESTS_FAKES_CUDA_INCLUDE_CUDA_RUNTIME_API_H_
