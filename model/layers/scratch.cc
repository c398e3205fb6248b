// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/scratch.h"

#include <algorithm>
#include <utility>

#include "ATen/Functions.h"
#include "c10/util/Exception.h"

namespace stepd {
namespace {

constexpr std::size_t kMinHostChunk = 4096;

}  // namespace

void Scratch::Reserve(std::int64_t capacity) {
  TORCH_CHECK(used_ == 0, "scratch memory is in use");
  if (memory_.defined() && memory_.numel() >= capacity) return;
  memory_ = at::Tensor();  // free first: both may not fit
  memory_ =
      at::empty({capacity}, at::TensorOptions(at::kFloat).device(device_));
}

float* Scratch::Take(std::int64_t count) {
  TORCH_CHECK(used_ + Rounded(count) <= memory_.numel(),
              "scratch memory was reserved too small");
  float* piece = memory_.data_ptr<float>() + used_;
  used_ += Rounded(count);
  return piece;
}

std::byte* Scratch::TakeHostBytes(std::size_t bytes) {
  constexpr std::size_t kAlignment = alignof(std::max_align_t);
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  while (host_used_.chunk < host_chunks_.size() &&
         host_chunks_[host_used_.chunk].size - host_used_.offset < bytes) {
    host_used_ = {host_used_.chunk + 1, 0};
  }
  if (host_used_.chunk == host_chunks_.size()) {
    const std::size_t last =
        host_chunks_.empty() ? kMinHostChunk : host_chunks_.back().size;
    HostChunk chunk;
    chunk.size = std::max(2 * last, bytes);
    chunk.memory = std::make_unique<std::byte[]>(chunk.size);
    host_chunks_.push_back(std::move(chunk));
  }
  std::byte* memory =
      host_chunks_[host_used_.chunk].memory.get() + host_used_.offset;
  host_used_.offset += bytes;
  return memory;
}

}  // namespace stepd
