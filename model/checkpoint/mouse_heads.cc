// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/mouse_heads.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace stepd::checkpoint {
namespace {

constexpr double kNormEps = 1e-5;

}  // namespace

OutputHeadConfig ReadMouseHead(std::string name, const MouseHeadShape& shape,
                               WeightReader weights) {
  OutputHeadConfig head;
  head.name = std::move(name);
  head.shape = shape.output;
  if (shape.has_norm) {
    head.norm = weights.Norm("norm", shape.in_dim, kNormEps);
  }
  const std::int64_t last = shape.num_layers - 1;
  std::int64_t in_dim = shape.in_dim;
  for (std::int64_t i = 0; i < last && weights.ok(); ++i) {
    head.layers.push_back(weights.Linear(absl::StrCat("layers.", i, ".linear"),
                                         2 * shape.hidden_dim, in_dim,
                                         Bias::kPresent));
    in_dim = shape.hidden_dim;
  }
  std::int64_t out_dim = 1;
  for (std::int64_t size : shape.output) out_dim *= size;
  head.layers.push_back(weights.Linear(absl::StrCat("layers.", last), out_dim,
                                       in_dim, Bias::kPresent));
  return head;
}

std::vector<OutputHeadConfig> ReadMouseTwinHeads(const std::string& name,
                                                 const MouseHeadShape& shape,
                                                 const WeightReader& weights) {
  return {ReadMouseHead(name, shape, weights.Under("online")),
          ReadMouseHead(absl::StrCat(name, "_target"), shape,
                        weights.Under("target"))};
}

}  // namespace stepd::checkpoint
