// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/layers/scratch.h"

#include "ATen/Functions.h"
#include "c10/util/Exception.h"

namespace stepd {

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

}  // namespace stepd
