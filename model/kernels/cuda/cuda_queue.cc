// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/cuda/cuda_queue.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "c10/cuda/CUDAStream.h"
#include "model/kernels/cuda/cuda_check.h"

namespace stepd::kernels::cuda {
namespace {

constexpr std::size_t kSmallestBuffer = std::size_t{1} << 16;
constexpr std::size_t kAlignment = 256;

thread_local CudaQueue* current_queue = nullptr;

std::size_t RoundUp(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// What cannot be recorded says so by this.
class NotRecordable : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

}  // namespace

// ---- Buffer -----------------------------------------------------------------

Buffer::~Buffer() {
  outgrown_.push_back(data_);
  for (std::byte* memory : outgrown_) {
    if (place_ == Place::kDevice) {
      cudaFree(memory);
    } else {
      cudaFreeHost(memory);
    }
  }
}

bool Buffer::Reserve(std::size_t bytes) {
  if (bytes <= size_) return false;
  const std::size_t size = std::max({bytes, 2 * size_, kSmallestBuffer});
  void* memory = nullptr;
  if (place_ == Place::kDevice) {
    Check(cudaMalloc(&memory, size), "memory of a queue");
  } else {
    Check(cudaMallocHost(&memory, size), "pinned memory of a queue");
  }
  if (data_ != nullptr) outgrown_.push_back(data_);
  data_ = static_cast<std::byte*>(memory);
  size_ = size;
  return true;
}

// ---- CudaQueue --------------------------------------------------------------

class CudaQueue::CudaGraph : public DeviceQueue::Graph {
 public:
  CudaGraph(cudaGraphExec_t graph, std::vector<PendingCopy> copies)
      : graph_(graph), copies_(std::move(copies)) {}
  ~CudaGraph() override { cudaGraphExecDestroy(graph_); }
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  cudaGraphExec_t graph() const { return graph_; }
  const std::vector<PendingCopy>& copies() const { return copies_; }

 private:
  cudaGraphExec_t graph_;
  std::vector<PendingCopy> copies_;
};

CudaQueue::CudaQueue(const CudaOptions& options)
    : device_(options.device), uses_graphs_(options.uses_graphs) {
  Check(cudaSetDevice(device_), "cudaSetDevice");
  Check(cudaDeviceGetAttribute(&num_multiprocessors_,
                               cudaDevAttrMultiProcessorCount, device_),
        "number of multiprocessors");
  // LibTorch's own pool, so that its operators can be sent to the same stream.
  stream_ = c10::cuda::getStreamFromPool(
                /*isHighPriority=*/true, static_cast<c10::DeviceIndex>(device_))
                .stream();
  Check(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming), "event");
  linears_ = std::make_unique<LinearPlans>(options.is_deterministic);
}

CudaQueue::~CudaQueue() {
  if (current_queue == this) current_queue = nullptr;
  cudaStreamSynchronize(stream_);
  cudaEventDestroy(done_);
}

CudaQueue& CudaQueue::Current() {
  if (current_queue == nullptr) {
    throw std::logic_error("no queue is in use on this thread");
  }
  return *current_queue;
}

void CudaQueue::Use() {
  current_queue = this;
  Check(cudaSetDevice(device_), "cudaSetDevice");
  c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromExternal(
      stream_, static_cast<c10::DeviceIndex>(device_)));
}

void CudaQueue::RefuseWhileRecording(const char* what) const {
  if (is_recording_) throw NotRecordable(what);
}

// ---- Layouts and uploads ----------------------------------------------------

void CudaQueue::Reserve(std::int64_t rows, std::int64_t num_blocks) {
  const std::size_t capacity = packing_.capacity();
  packing_.Reserve(static_cast<std::size_t>(rows),
                   static_cast<std::size_t>(num_blocks));
  ReserveLayout(capacity);
}

void CudaQueue::ReserveLayout(std::size_t capacity) {
  layout_host_.Reserve(packing_.capacity());
  const bool has_moved = layout_device_.Reserve(packing_.capacity());
  if (has_moved || packing_.capacity() != capacity) ++generation_;
}

void CudaQueue::Begin(const BatchLayout& layout) {
  RefuseWhileRecording("a layout is uploaded");
  if (!pending_.empty()) {  // of a forward that failed
    pending_.clear();
    Synchronize();
  }
  const std::size_t capacity = packing_.capacity();
  packing_.Assign(layout);
  ReserveLayout(capacity);
  packing_.Write(layout, layout_host_.data());
  Check(cudaMemcpyAsync(layout_device_.data(), layout_host_.data(),
                        packing_.used(), cudaMemcpyHostToDevice, stream_),
        "upload of a layout");
  on_device_ = packing_.At(layout_device_.data());
  layout_ = &layout;
}

const DeviceLayout& CudaQueue::Find(const BatchLayout& layout) {
  if (layout_ == &layout) return on_device_;
  // The memory that the last one was uploaded from is still being read, maybe.
  Synchronize();
  Begin(layout);
  layout_ = nullptr;  // outside of a forward it may change at any time
  return on_device_;
}

const std::byte* CudaQueue::FindInLayout(const void* host) const {
  if (layout_ == nullptr || host == nullptr) return nullptr;
  const auto found = [](const std::int32_t* at) {
    return reinterpret_cast<const std::byte*>(at);
  };
  if (host == layout_->answered_rows.data()) {
    return found(on_device_.answered_rows);
  }
  if (host == layout_->banks.rows.data()) return found(on_device_.bank_rows);
  if (host == layout_->banks.places.data()) {
    return found(on_device_.bank_places);
  }
  return nullptr;
}

const std::byte* CudaQueue::UploadBytes(const void* host, std::size_t bytes) {
  if (const std::byte* there = FindInLayout(host); there != nullptr) {
    return there;
  }
  RefuseWhileRecording("indices are uploaded on the way");
  if (bytes == 0) return uploads_device_.data();
  const std::size_t begin = uploads_used_;
  uploads_used_ += RoundUp(bytes);
  if (uploads_used_ > uploads_host_.size()) {
    // New memory: earlier pieces stay where their kernels read them.
    uploads_host_.Reserve(2 * uploads_used_);
    uploads_device_.Reserve(2 * uploads_used_);
  }
  std::memcpy(uploads_host_.data() + begin, host, bytes);
  std::byte* device = uploads_device_.data() + begin;
  Check(cudaMemcpyAsync(device, uploads_host_.data() + begin, bytes,
                        cudaMemcpyHostToDevice, stream_),
        "upload");
  return device;
}

void CudaQueue::Download(const float* x, std::int64_t count, float* host) {
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(float);
  const std::size_t begin = downloads_used_;
  downloads_used_ += RoundUp(bytes);
  if (downloads_used_ > downloads_.size()) {
    RefuseWhileRecording("memory for answers grows");
    // What was copied before must not be left behind.
    downloads_used_ = begin;
    Synchronize();
    downloads_.Reserve(2 * RoundUp(begin + bytes));
    ++generation_;
    Download(x, count, host);
    return;
  }
  Check(cudaMemcpyAsync(downloads_.data() + begin, x, bytes,
                        cudaMemcpyDeviceToHost, stream_),
        "download");
  pending_.push_back({begin, bytes, host});
}

void CudaQueue::Synchronize() {
  RefuseWhileRecording("the host waits for the device");
  Check(cudaEventRecord(done_, stream_), "event");
  Check(cudaEventSynchronize(done_), "a batch");
  for (const PendingCopy& copy : pending_) {
    std::memcpy(copy.host, downloads_.data() + copy.offset, copy.bytes);
  }
  pending_.clear();
  downloads_used_ = 0;
  uploads_used_ = 0;
}

std::byte* CudaQueue::Scratch(std::size_t bytes) {
  if (bytes > scratch_.size()) {
    RefuseWhileRecording("scratch memory grows");
    scratch_.Reserve(bytes);
    ++generation_;
  }
  return scratch_.data();
}

// ---- Graphs -------------------------------------------------------------

std::unique_ptr<DeviceQueue::Graph> CudaQueue::Record(
    absl::FunctionRef<void()> work) {
  if (!uses_graphs_) return nullptr;
  Synchronize();
  Check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal),
        "begin of a recording");
  is_recording_ = true;
  bool is_recordable = true;
  std::exception_ptr failure;
  try {
    work();
  } catch (const NotRecordable&) {
    is_recordable = false;
  } catch (...) {
    failure = std::current_exception();
  }
  is_recording_ = false;
  cudaGraph_t recorded = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream_, &recorded);
  std::vector<PendingCopy> copies = std::exchange(pending_, {});
  downloads_used_ = 0;
  if (failure == nullptr && is_recordable) {
    Check(ended, "end of a recording");
    cudaGraphExec_t graph = nullptr;
    const cudaError_t made = cudaGraphInstantiate(&graph, recorded, 0);
    cudaGraphDestroy(recorded);
    Check(made, "graph");
    return std::make_unique<CudaGraph>(graph, std::move(copies));
  }
  if (recorded != nullptr) cudaGraphDestroy(recorded);
  cudaGetLastError();  // of the capture that was given up
  if (failure != nullptr) std::rethrow_exception(failure);
  return nullptr;
}

void CudaQueue::Launch(const Graph& graph, absl::Span<float* const> hosts) {
  const auto& recorded = static_cast<const CudaGraph&>(graph);
  assert(hosts.size() == recorded.copies().size());
  if (!pending_.empty()) Synchronize();  // they lie where the graph copies to
  Check(cudaGraphLaunch(recorded.graph(), stream_), "launch of a graph");
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    PendingCopy copy = recorded.copies()[i];
    copy.host = hosts[i];
    downloads_used_ = std::max(downloads_used_, copy.offset + copy.bytes);
    pending_.push_back(copy);
  }
}

}  // namespace stepd::kernels::cuda
