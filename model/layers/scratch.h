// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Memory for the intermediate rows of one batch: one allocation on the device,
// handed out piece by piece and taken back in reverse; and some on the host,
// for what is decided there.
//
// Thread safety: none; one runner owns it.

#ifndef STEPD_MODEL_LAYERS_SCRATCH_H_
#define STEPD_MODEL_LAYERS_SCRATCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/types/span.h"

namespace stepd {

class Scratch {
  // The first byte that is free.
  struct HostPlace {
    std::size_t chunk = 0;
    std::size_t offset = 0;
  };

 public:
  explicit Scratch(at::Device device) : device_(device) {}

  // What Take() of `count` floats uses up.
  static std::int64_t Rounded(std::int64_t count) {
    return (count + 15) / 16 * 16;
  }

  // Makes room for `capacity` floats. Allocates only when it must grow.
  // REQUIRES: nothing is taken.
  void Reserve(std::int64_t capacity);

  // Gives back, when destroyed, all that was taken since its construction.
  class Scope {
   public:
    explicit Scope(Scratch* scratch)
        : scratch_(*scratch),
          start_(scratch->used_),
          host_start_(scratch->host_used_) {}
    ~Scope() {
      scratch_.used_ = start_;
      scratch_.host_used_ = host_start_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Scratch& scratch_;
    const std::int64_t start_;
    const HostPlace host_start_;
  };

  // `count` uninitialised floats, aligned to 64 bytes.
  // REQUIRES: they were reserved.
  float* Take(std::int64_t count);

  // `count` values on the host, numbers uninitialised. Allocates where no batch
  // before has taken as much.
  template <typename T>
  absl::Span<T> TakeHost(std::size_t count) {
    static_assert(std::is_trivially_destructible_v<T>, "nobody destroys them");
    auto* values = reinterpret_cast<T*>(TakeHostBytes(count * sizeof(T)));
    std::uninitialized_default_construct_n(values, count);
    return {values, count};
  }

 private:
  struct HostChunk {
    std::unique_ptr<std::byte[]> memory;
    std::size_t size = 0;
  };

  std::byte* TakeHostBytes(std::size_t bytes);

  at::Device device_;
  at::Tensor memory_;
  std::int64_t used_ = 0;
  std::vector<HostChunk> host_chunks_;
  HostPlace host_used_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_SCRATCH_H_
