// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A CUDA stream with what a batch needs besides the policy's own memory: pinned
// memory to upload indices from and to download answers into, device memory
// for indices, operands in bfloat16, the products of cuBLAS.
//
// Memory grows when a batch is larger than any before; then generation() grows
// too. What has been outgrown is kept until the end, because copies may still
// be on their way.
//
// Thread safety: none; used by one thread at a time. Errors: std::runtime_error
// from CUDA.

#ifndef STEPD_MODEL_KERNELS_CUDA_CUDA_QUEUE_H_
#define STEPD_MODEL_KERNELS_CUDA_CUDA_QUEUE_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "model/kernels/cuda/linear.h"
#include "model/kernels/cuda/packed_layout.h"
#include "model/kernels/cuda_backend.h"
#include "model/kernels/device_queue.h"
#include "model/kernels/kernel_set.h"

namespace stepd::kernels::cuda {

// Memory of one kind that only grows.
class Buffer {
 public:
  enum class Place { kDevice, kPinned };
  explicit Buffer(Place place) : place_(place) {}
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  // Makes room for `bytes`; whether the memory has moved.
  bool Reserve(std::size_t bytes);

 private:
  Place place_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::vector<std::byte*> outgrown_;
};

class CudaQueue : public DeviceQueue {
 public:
  explicit CudaQueue(const CudaOptions& options);
  ~CudaQueue() override;
  CudaQueue(const CudaQueue&) = delete;
  CudaQueue& operator=(const CudaQueue&) = delete;

  // The queue that the calling thread uses.
  // REQUIRES: Use() was called on this thread, and the queue still is.
  static CudaQueue& Current();

  void Reserve(std::int64_t rows, std::int64_t num_blocks) override;
  void Use() override;
  std::unique_ptr<Graph> Record(absl::FunctionRef<void()> work) override;
  void Launch(const Graph& graph, absl::Span<float* const> hosts) override;
  std::int64_t generation() const override { return generation_; }

  cudaStream_t stream() const { return stream_; }
  int num_multiprocessors() const { return num_multiprocessors_; }
  LinearPlans& linears() { return *linears_; }

  // Uploads the arrays of `layout`, in one copy, to where those of earlier
  // layouts lay. They are there until the next call.
  void Begin(const BatchLayout& layout);
  // No layout is there any more.
  void End() { layout_ = nullptr; }
  // The arrays of `layout` on the device, uploaded now if they are not there.
  const DeviceLayout& Find(const BatchLayout& layout);

  // A copy of host memory on the device, valid for the next calls on this
  // queue; an array of the layout that is there is not copied again.
  template <typename T>
  const T* Upload(absl::Span<const T> host) {
    return reinterpret_cast<const T*>(
        UploadBytes(host.data(), host.size() * sizeof(T)));
  }
  // Copies device memory into `host`, which is complete after Synchronize().
  void Download(const float* x, std::int64_t count, float* host);
  void Synchronize();

  // Device memory for one kernel's intermediate numbers; the next call may give
  // the same.
  std::byte* Scratch(std::size_t bytes);

 private:
  struct PendingCopy {
    std::size_t offset = 0;  // in downloads_
    std::size_t bytes = 0;
    float* host = nullptr;
  };
  class CudaGraph;

  // Makes room for the layout that packing_ holds, which took `capacity` bytes
  // before.
  void ReserveLayout(std::size_t capacity);
  const std::byte* UploadBytes(const void* host, std::size_t bytes);
  const std::byte* FindInLayout(const void* host) const;
  void RefuseWhileRecording(const char* what) const;

  const int device_;
  const bool uses_graphs_;
  int num_multiprocessors_ = 0;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t done_ = nullptr;
  std::unique_ptr<LinearPlans> linears_;
  std::int64_t generation_ = 0;
  bool is_recording_ = false;

  // The layout that is on the device.
  const BatchLayout* layout_ = nullptr;
  LayoutPacking packing_;
  DeviceLayout on_device_;
  Buffer layout_host_{Buffer::Place::kPinned};
  Buffer layout_device_{Buffer::Place::kDevice};

  // Everything else that is uploaded, one piece after another until
  // Synchronize().
  Buffer uploads_host_{Buffer::Place::kPinned};
  Buffer uploads_device_{Buffer::Place::kDevice};
  std::size_t uploads_used_ = 0;

  Buffer downloads_{Buffer::Place::kPinned};
  std::size_t downloads_used_ = 0;
  std::vector<PendingCopy> pending_;
  Buffer scratch_{Buffer::Place::kDevice};
};

}  // namespace stepd::kernels::cuda

#endif  // STEPD_MODEL_KERNELS_CUDA_CUDA_QUEUE_H_
