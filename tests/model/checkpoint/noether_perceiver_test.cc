// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Recorded perceivers of noether, computed by the layers that serve.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "gtest/gtest.h"
#include "model/checkpoint/noether_blocks.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/kernels/torch_kernel_set.h"
#include "model/kv_cache/source_cache.h"
#include "model/layers/cross_attention.h"
#include "model/layers/layer.h"
#include "model/modules/token_specs.h"
#include "tests/model/checkpoint/recorded_module.h"

namespace stepd {
namespace {

using checkpoint::UntiedBlockShape;

// "native" or "reference".
class NoetherPerceiverTest : public testing::TestWithParam<const char*> {
 protected:
  NoetherPerceiverTest()
      : kernels_(std::string(GetParam()) == "native"
                     ? kernels::CreateCpuKernelSet()
                     : kernels::CreateTorchKernelSet(at::kCPU)) {}

  std::unique_ptr<const kernels::KernelSet> kernels_;
};

INSTANTIATE_TEST_SUITE_P(Kernels, NoetherPerceiverTest,
                         testing::Values("native", "reference"),
                         [](const auto& info) { return info.param; });

// Cosines and sines of the angles of coordinates [rows, 1].
struct Angles {
  Angles(const UntiedBlockShape& shape, const at::Tensor& coordinates)
      : cos(at::empty({coordinates.size(0), shape.head_dim() / 2})),
        sin(at::empty_like(cos)) {
    for (std::int64_t i = 0; i < cos.size(1); ++i) {
      const double frequency = std::pow(
          shape.max_wavelength, -2.0 * static_cast<double>(i) /
                                    static_cast<double>(shape.head_dim()));
      const at::Tensor angle = coordinates.select(1, 0) * frequency;
      cos.select(1, i).copy_(angle.cos());
      sin.select(1, i).copy_(angle.sin());
    }
  }
  kernels::RopeRows rows() const {
    return {cos.const_data_ptr<float>(), sin.const_data_ptr<float>(),
            RopePairing::kInterleaved};
  }

  at::Tensor cos;
  at::Tensor sin;
};

// The block, or its attention by itself on rows of zeros.
class Perceiver {
 public:
  virtual ~Perceiver() = default;
  virtual KvCacheSpec spec() const = 0;
  virtual std::int64_t ScratchSize(std::int64_t rows) const = 0;
  virtual at::Tensor Modulation(const at::Tensor& condition) const = 0;
  virtual void ReadSource(const SourceRows& rows,
                          const kernels::KvSlot& slot) const = 0;
  virtual at::Tensor Run(const AttentionInputs& inputs,
                         const at::Tensor& x) const = 0;
};

class PerceiverAttention : public Perceiver {
 public:
  PerceiverAttention(const CrossAttentionConfig& config,
                     const kernels::KernelSet& kernels)
      : kernels_(kernels), layer_(config, kernels, 16) {}
  KvCacheSpec spec() const override { return layer_.source_spec(); }
  std::int64_t ScratchSize(std::int64_t rows) const override {
    return layer_.ScratchSize(rows);
  }
  at::Tensor Modulation(const at::Tensor& /*condition*/) const override {
    return {};
  }
  void ReadSource(const SourceRows& rows,
                  const kernels::KvSlot& slot) const override {
    layer_.ReadSource(kernels_, rows, slot);
  }
  at::Tensor Run(const AttentionInputs& inputs,
                 const at::Tensor& x) const override {
    at::Tensor y = at::zeros_like(x);
    layer_.AddTo(kernels_, inputs, x.const_data_ptr<float>(),
                 y.data_ptr<float>());
    return y;
  }

 private:
  const kernels::KernelSet& kernels_;
  CrossAttention layer_;
};

class PerceiverBlock : public Perceiver {
 public:
  PerceiverBlock(const LayerConfig& config, const kernels::KernelSet& kernels)
      : kernels_(kernels), layer_(config, kernels, 16) {}
  KvCacheSpec spec() const override { return *layer_.source_spec(); }
  std::int64_t ScratchSize(std::int64_t rows) const override {
    return layer_.ScratchSize(rows);
  }
  at::Tensor Modulation(const at::Tensor& condition) const override {
    at::Tensor modulation = at::empty({layer_.modulation_size()});
    layer_.PrepareModulation(kernels_, condition.const_data_ptr<float>(),
                             modulation.data_ptr<float>());
    return modulation;
  }
  void ReadSource(const SourceRows& rows,
                  const kernels::KvSlot& slot) const override {
    layer_.ReadSource(kernels_, rows, slot);
  }
  at::Tensor Run(const AttentionInputs& inputs,
                 const at::Tensor& x) const override {
    at::Tensor y = x.clone();
    layer_.Forward(kernels_, inputs, y.data_ptr<float>());
    return y;
  }

 private:
  const kernels::KernelSet& kernels_;
  Layer layer_;
};

// The sources of slices of input `b`: of one slice with all rows, or, with a
// mask [S, L], of one slice per query with the rows that it sees.
struct Sources {
  Sources(const Perceiver& perceiver, Recorded* recorded, std::int64_t b,
          const at::Tensor& mask) {
    const UntiedBlockShape shape = recorded->shape();
    if (shape.condition_dim > 0) {
      modulation =
          perceiver.Modulation(recorded->input("c0.condition")[b].contiguous());
    }
    const std::int64_t num_slices = mask.defined() ? mask.size(0) : 1;
    for (std::int64_t i = 0; i < num_slices; ++i) {
      at::Tensor x = recorded->input("c0.kv")[b];
      at::Tensor coordinates = recorded->input("c0.k_coords")[b];
      if (mask.defined()) {
        const at::Tensor seen = at::nonzero(mask[i].to(at::kLong)).select(1, 0);
        x = x.index_select(0, seen);
        coordinates = coordinates.index_select(0, seen);
      }
      Read(perceiver, x.contiguous(), Angles(shape, coordinates));
    }
    for (const SourceCache& cache : caches) views.push_back(cache.slot(0));
  }

  void Read(const Perceiver& perceiver, const at::Tensor& x,
            const Angles& angles) {
    caches.push_back(
        *SourceCache::Create({perceiver.spec()}, x.size(0), 16, at::kCPU));
    SourceRows rows;
    rows.x = x.const_data_ptr<float>();
    rows.layout = &caches.back().layout();
    rows.rope = angles.rows();
    if (modulation.defined()) {
      rows.modulation = modulation.const_data_ptr<float>();
      modulations.push_back(rows.modulation);
    }
    perceiver.ReadSource(rows, caches.back().slot(0).slot);
  }

  at::Tensor modulation;
  std::vector<const float*> modulations;  // of each slice
  std::vector<SourceCache> caches;
  std::vector<kernels::SourceKv> views;
};

at::Tensor RunPerceiver(const Perceiver& perceiver, Recorded* recorded,
                        const std::string& queries, std::int64_t b,
                        const at::Tensor& mask) {
  const at::Tensor x = recorded->input(queries + ".q")[b].contiguous();
  const Angles turned(recorded->shape(), recorded->input("c0.q_coords")[b]);
  const Sources sources(perceiver, recorded, b, mask);
  const auto num_queries = static_cast<std::int32_t>(x.size(0));
  const std::int32_t per_slice = mask.defined() ? 1 : num_queries;
  kernels::BatchLayout layout;
  layout.positions.resize(static_cast<std::size_t>(num_queries));
  layout.block_indptr.resize(sources.views.size() + 1);
  layout.kv_lens.resize(sources.views.size());
  for (std::int32_t row = 0; row <= num_queries; row += per_slice) {
    layout.query_indptr.push_back(row);
  }
  const std::vector<std::int32_t> banks = *BanksOfTokens(
      ReadSpecs(recorded->config()["token_specs"]), num_queries, 3);
  layout.banks.Assign(banks, 3);
  Scratch scratch(at::kCPU);
  scratch.Reserve(perceiver.ScratchSize(num_queries));
  AttentionInputs inputs;
  inputs.layout = &layout;
  inputs.scratch = &scratch;
  inputs.rope = turned.rows();
  inputs.sources = sources.views;
  inputs.modulations = sources.modulations;
  return perceiver.Run(inputs, x);
}

void ExpectPerceiver(const Perceiver& perceiver, Recorded* recorded) {
  ASSERT_TRUE(recorded->status().ok()) << recorded->status();
  const at::Tensor mask = recorded->input("c0.attn_mask");
  for (std::int64_t b = 0; b < 2; ++b) {
    ExpectClose(RunPerceiver(perceiver, recorded, "c0", b, {}),
                recorded->expected("c0.y")[b], "c0.y");
    ExpectClose(RunPerceiver(perceiver, recorded, "c1", b, {}),
                recorded->expected("c1.y")[b], "c1.y");
    ExpectClose(RunPerceiver(perceiver, recorded, "c0", b, mask),
                recorded->expected("c0.y_masked")[b], "c0.y_masked");
  }
}

TEST_P(NoetherPerceiverTest, PerceiverAttention) {
  Recorded recorded("perceiver_attention");
  const UntiedBlockShape shape = recorded.shape();
  const PerceiverAttention attention(
      checkpoint::ReadPerceiverAttention(
          shape, recorded.config()["config"]["kv_dim"], recorded.weights()),
      *kernels_);

  ExpectPerceiver(attention, &recorded);
}

TEST_P(NoetherPerceiverTest, PerceiverBlock) {
  Recorded recorded("perceiver_block");
  const UntiedBlockShape shape = recorded.shape();
  const PerceiverBlock block(
      checkpoint::ReadPerceiverBlock(
          shape, recorded.config()["config"]["kv_dim"], recorded.weights()),
      *kernels_);

  ExpectPerceiver(block, &recorded);
}

}  // namespace
}  // namespace stepd
