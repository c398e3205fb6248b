// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Memory for the intermediate rows of one batch: one allocation on the device,
// handed out piece by piece and taken back in reverse.
//
// Thread safety: none; one runner owns it.

#ifndef STEPD_MODEL_LAYERS_SCRATCH_H_
#define STEPD_MODEL_LAYERS_SCRATCH_H_

#include <cstdint>

#include "ATen/core/Tensor.h"

namespace stepd {

class Scratch {
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
        : scratch_(*scratch), start_(scratch->used_) {}
    ~Scope() { scratch_.used_ = start_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Scratch& scratch_;
    std::int64_t start_;
  };

  // `count` uninitialised floats, aligned to 64 bytes.
  // REQUIRES: they were reserved.
  float* Take(std::int64_t count);

 private:
  at::Device device_;
  at::Tensor memory_;
  std::int64_t used_ = 0;
};

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_SCRATCH_H_
