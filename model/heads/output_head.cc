// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/heads/output_head.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace stepd {

using kernels::KernelSet;

namespace {

// To length 1; a vector of zeros stays as it is.
void Normalize(absl::Span<float> v) {
  float squares = 0.0F;
  for (float x : v) squares += x * x;
  const float norm = std::max(std::sqrt(squares), 1e-12F);
  for (float& x : v) x /= norm;
}

// Of n to m: both of `width` numbers and length 1.
float SignedAngle(const float* m, const float* n, std::size_t width) {
  float cosine = 0.0F;
  float sine = 0.0F;  // m turned by 90 degrees in each pair, times n
  for (std::size_t i = 0; i < width; i += 2) {
    cosine += m[i] * n[i] + m[i + 1] * n[i + 1];
    sine += m[i] * n[i + 1] - m[i + 1] * n[i];
  }
  return std::atan2(sine, cosine);
}

}  // namespace

OutputHead::OutputHead(const OutputHeadConfig& config,
                       const KernelSet& kernels) {
  if (config.norm.has_value()) norm_.emplace(*config.norm, kernels);
  for (const LinearWeights& layer : config.layers) {
    layers_.push_back(kernels.PackFloat32({layer}));
  }
}

std::int64_t OutputHead::ScratchSize(std::int64_t rows) const {
  std::int64_t size = Scratch::Rounded(rows * layers_.front()->in_dim());
  for (const auto& layer : layers_) {
    size += Scratch::Rounded(rows * layer->in_dim()) +
            Scratch::Rounded(rows * layer->out_dim());
  }
  return size;
}

void OutputHead::Forward(const KernelSet& kernels, const float* x,
                         std::int64_t rows, Scratch* scratch,
                         float* host) const {
  const Scratch::Scope scope(scratch);
  if (norm_.has_value()) {
    float* normed = scratch->Take(rows * layers_.front()->in_dim());
    norm_->Apply(kernels, x, rows, normed);
    x = normed;
  }
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    float* y = scratch->Take(rows * layers_[i]->out_dim());
    kernels.Linear({layers_[i].get(), x, rows, y});
    x = y;
    if (i + 1 == layers_.size()) break;
    const std::int64_t width = layers_[i]->out_dim() / 2;
    float* gated = scratch->Take(rows * width);
    kernels.ActivateGated(Activation::kSilu, y, rows, width, gated);
    x = gated;
  }
  kernels.CopyToHost(x, rows * out_dim(), host);
}

void ScoreVectorAngles(absl::Span<const float> vectors, std::int64_t dim,
                       Scratch* scratch, absl::Span<float> scores) {
  const auto width = static_cast<std::size_t>(dim);
  const Scratch::Scope scope(scratch);
  const auto unit = scratch->TakeHost<float>(vectors.size());
  std::copy(vectors.begin(), vectors.end(), unit.begin());
  for (std::size_t a = 0; a < scores.size(); ++a) {
    Normalize(unit.subspan(a * width, width));
  }
  for (std::size_t a = 0; a < scores.size(); ++a) {
    scores[a] = 0.0F;
    for (std::size_t other = 0; other < scores.size(); ++other) {
      scores[a] += SignedAngle(&unit[other * width], &unit[a * width], width);
    }
  }
}

}  // namespace stepd
