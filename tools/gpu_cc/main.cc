// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// gpu-bench: what the CUDA kernels reach on this machine (docs/benchmarks.md).
// Random weights; every figure is the median of some repetitions. Free of gRPC.
//
//   gpu-bench [attention] [large] [graphs] [ragged] [deterministic] [peer]

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/kernels/cuda_backend.h"
#include "model/transformer_policy.h"
#include "tests/model/support/random_policy.h"

namespace stepd {
namespace {

using kernels::CudaOptions;
using kernels::KernelSet;

constexpr double kHbmBytesPerSecond = 4.8e12;  // of an H200, as sold
constexpr int kRepetitions = 5;
constexpr int kTokensPerBlock = 16;

// Seconds of one run, the device having finished: the median of repetitions of
// `runs` runs each.
double MeasureSeconds(int runs, const std::function<void()>& run,
                      const std::function<void()>& wait) {
  run();
  wait();
  std::vector<double> seconds;
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    const absl::Time begin = absl::Now();
    for (int i = 0; i < runs; ++i) run();
    wait();
    seconds.push_back(absl::ToDoubleSeconds(absl::Now() - begin) / runs);
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

// ---- Policies ---------------------------------------------------------------

RandomPolicyShape LargeShape() {
  RandomPolicyShape shape;
  shape.name = "0.6B";
  shape.hidden_dim = 1024;
  shape.num_layers = 28;
  shape.num_heads = 16;
  shape.num_kv_heads = 8;
  shape.head_dim = 128;
  shape.ffn_dim = 3072;
  shape.has_qk_norm = true;
  shape.tokens_per_field = 4;
  shape.precision = WeightPrecision::kBFloat16;
  return shape;
}

RandomPolicyShape ReferenceShape() {
  RandomPolicyShape shape;
  shape.name = "reference";
  shape.hidden_dim = 256;
  shape.num_layers = 4;
  shape.num_heads = 4;
  shape.num_kv_heads = 2;
  shape.head_dim = 64;
  shape.ffn_dim = 1024;
  return shape;
}

// One decode step of sessions whose contexts stay as they are. What their
// blocks hold was never computed, which changes no time.
class DecodeStep {
 public:
  DecodeStep(const RandomPolicyShape& shape, const CudaOptions& options,
             const std::vector<std::int64_t>& cached_tokens)
      : policy_(
            *CreateTransformerPolicy(MakeRandomPolicy(shape, 1),
                                     kernels::CreateCudaKernelSet(options))) {
    const PolicySpec& spec = policy_->spec();
    steps_ =
        MakeRandomSteps(spec.fields, static_cast<int>(cached_tokens.size()), 3);
    std::int32_t next_block = 0;
    for (const std::int64_t cached : cached_tokens) {
      blocks_.emplace_back();
      for (std::int64_t at = 0; at < cached + spec.max_tokens_per_step;
           at += kTokensPerBlock) {
        blocks_.back().push_back(next_block++);
      }
      num_cached_ += cached;
    }
    batch_.slices.resize(cached_tokens.size());
    for (std::size_t i = 0; i < cached_tokens.size(); ++i) {
      SessionSlice& slice = batch_.slices[i];
      slice.steps = {steps_[i]};
      slice.num_cached_tokens = cached_tokens[i];
      slice.blocks = blocks_[i];
      slice.num_answered = 1;
    }
    RunnerOptions runner;
    runner.num_blocks = next_block;
    runner.max_batch_tokens = static_cast<std::int64_t>(cached_tokens.size()) *
                              spec.max_tokens_per_step;
    runner_ = *policy_->CreateRunner(runner);
  }

  double MeasureSeconds(int runs) {
    return ::stepd::MeasureSeconds(
        runs,
        [&] {
          const absl::Status status = runner_->Forward(batch_, &result_);
          if (!status.ok()) throw std::runtime_error(status.ToString());
        },
        [] {});
  }

  // Weights, and keys and values of all contexts.
  double bytes_needed() const {
    return static_cast<double>(policy_->spec().weight_bytes) +
           static_cast<double>(policy_->spec().kv_bytes_per_token) *
               static_cast<double>(num_cached_);
  }

 private:
  std::unique_ptr<Policy> policy_;
  std::unique_ptr<PolicyRunner> runner_;
  std::vector<std::string> steps_;
  std::vector<std::vector<std::int32_t>> blocks_;
  StepBatch batch_;
  StepResult result_;
  std::int64_t num_cached_ = 0;
};

CudaOptions Options(const RandomPolicyShape& shape) {
  CudaOptions options;
  options.precision = shape.precision;
  return options;
}

// ---- Figures ----------------------------------------------------------------

void BenchLarge() {
  const RandomPolicyShape shape = LargeShape();
  DecodeStep step(shape, Options(shape),
                  std::vector<std::int64_t>(256, 384 * 4));
  const double seconds = step.MeasureSeconds(20);
  std::printf(
      "0.6B, bfloat16, 256 sessions at 384 steps x 4 tokens: %.3f ms, "
      "%.1f GB needed, %.2f of 4.8 TB/s (must reach 0.70)\n",
      1e3 * seconds, step.bytes_needed() / 1e9,
      step.bytes_needed() / kHbmBytesPerSecond / seconds);
}

void BenchGraphs() {
  const RandomPolicyShape shape = ReferenceShape();
  double rates[2] = {};
  for (const bool uses_graphs : {false, true}) {
    CudaOptions options = Options(shape);
    options.uses_graphs = uses_graphs;
    DecodeStep step(shape, options, std::vector<std::int64_t>(1024, 128));
    rates[uses_graphs ? 1 : 0] = 1024 / step.MeasureSeconds(100);
  }
  std::printf(
      "reference, 1,024 sessions: %.0f steps/s with graphs, %.0f without: "
      "%.2f (must reach 5)\n",
      rates[1], rates[0], rates[1] / rates[0]);
}

void BenchRagged() {
  const RandomPolicyShape shape = LargeShape();
  std::vector<std::int64_t> mixed;
  for (int i = 0; i < 256; ++i) mixed.push_back(64 + (i * 37 % 256) * 8);
  std::int64_t sum = 0;
  for (const std::int64_t length : mixed) sum += length;
  const std::vector<std::int64_t> equal(256, sum / 256);
  DecodeStep ragged(shape, Options(shape), mixed);
  const double of_mixed = ragged.MeasureSeconds(20);
  DecodeStep even(shape, Options(shape), equal);
  const double of_equal = even.MeasureSeconds(20);
  std::printf(
      "0.6B, 256 sessions of 64 to 2,104 tokens: %.3f ms; all of the mean: "
      "%.3f ms: %.2f (at most 1.10)\n",
      1e3 * of_mixed, 1e3 * of_equal, of_mixed / of_equal);
}

void BenchDeterministic() {
  const RandomPolicyShape shape = LargeShape();
  for (const int sessions : {1, 64, 256}) {
    double seconds[2] = {};
    for (const bool is_deterministic : {false, true}) {
      CudaOptions options = Options(shape);
      options.is_deterministic = is_deterministic;
      DecodeStep step(shape, options,
                      std::vector<std::int64_t>(
                          static_cast<std::size_t>(sessions), 384 * 4));
      seconds[is_deterministic ? 1 : 0] = step.MeasureSeconds(20);
    }
    std::printf(
        "0.6B, %d sessions, deterministic: %.3f ms, default: %.3f ms: %.2f (at "
        "most 1.15)\n",
        sessions, 1e3 * seconds[1], 1e3 * seconds[0], seconds[1] / seconds[0]);
  }
}

// What static_cache.py is compared with.
void BenchPeer() {
  const RandomPolicyShape shape = LargeShape();
  for (const int sessions : {1, 64, 256, 1024}) {
    const std::int64_t cached = sessions <= 256 ? 384 * 4 : 96 * 4;
    DecodeStep step(
        shape, Options(shape),
        std::vector<std::int64_t>(static_cast<std::size_t>(sessions), cached));
    std::printf("0.6B, %d sessions of %lld tokens: %.3f ms a step\n", sessions,
                static_cast<long long>(cached), 1e3 * step.MeasureSeconds(20));
  }
}

// Bytes per second of a copy on the device, read and written.
double MeasureCopyBandwidth(const KernelSet& set) {
  const std::int64_t count = std::int64_t{1} << 30;
  const auto options = at::TensorOptions(at::kFloat).device(set.device());
  const at::Tensor from = at::zeros({count}, options);
  at::Tensor to = at::zeros({count}, options);
  const double seconds = MeasureSeconds(
      10, [&] { to.copy_(from); }, [&] { set.Synchronize(); });
  return 2.0 * 4.0 * static_cast<double>(count) / seconds;
}

void BenchAttention() {
  constexpr std::int32_t kSessions = 256;
  constexpr std::int32_t kContext = 384 * 4;
  constexpr std::int32_t kNewTokens = 4;
  const kernels::AttentionShape shape = {16, 8, 128, 128, kTokensPerBlock};
  CudaOptions options;
  options.precision = WeightPrecision::kBFloat16;
  const std::unique_ptr<KernelSet> set = kernels::CreateCudaKernelSet(options);
  const auto queue = set->CreateQueue();
  queue->Use();
  kernels::BatchLayout layout;
  layout.query_indptr = {0};
  layout.block_indptr = {0};
  std::int32_t next_block = 0;
  for (std::int32_t b = 0; b < kSessions; ++b) {
    for (std::int32_t i = 0; i < kContext / kTokensPerBlock; ++i) {
      layout.block_indices.push_back(next_block++);
    }
    for (std::int32_t t = 0; t < kNewTokens; ++t) {
      layout.positions.push_back(kContext - kNewTokens + t);
    }
    layout.block_indptr.push_back(next_block);
    layout.query_indptr.push_back((b + 1) * kNewTokens);
    layout.kv_lens.push_back(kContext);
  }
  const auto numbers = at::TensorOptions(set->kv_type()).device(set->device());
  const auto floats = at::TensorOptions(at::kFloat).device(set->device());
  const at::Tensor k =
      at::randn({next_block * shape.k_block_elements()}, numbers);
  const at::Tensor v =
      at::randn({next_block * shape.v_block_elements()}, numbers);
  const std::int64_t n = layout.num_tokens();
  const at::Tensor query = at::randn({n, 16 * 128}, floats);
  const at::Tensor out = at::zeros({n, 16 * 128}, floats);
  kernels::PagedAttentionParams params;
  params.layout = &layout;
  params.shape = shape;
  params.query = query.const_data_ptr<float>();
  params.query_stride = 16 * 128;
  params.slot = {k.data_ptr(), v.data_ptr()};
  params.softmax_scale = 0.1F;
  params.out = out.data_ptr<float>();
  set->BeginForward(layout);
  const double seconds = MeasureSeconds(
      50, [&] { set->PagedAttention(params); }, [&] { set->Synchronize(); });
  set->EndForward();
  const double rate = static_cast<double>(k.nbytes() + v.nbytes()) / seconds;
  const double copy = MeasureCopyBandwidth(*set);
  std::printf(
      "attention, 256 sessions of 1,536 tokens, bfloat16: %.3f ms, %.2f TB/s; "
      "a copy: %.2f TB/s: %.2f (must reach 0.80)\n",
      1e3 * seconds, rate / 1e12, copy / 1e12, rate / copy);
}

int Main(const std::vector<std::string>& wanted) {
  const absl::Status gpu = kernels::OpenCudaBackend(0);
  if (!gpu.ok()) {
    std::printf("SKIPPED: %s\n", std::string(gpu.message()).c_str());
    return 0;
  }
  const std::vector<std::pair<std::string, std::function<void()>>> figures = {
      {"attention", BenchAttention},
      {"large", BenchLarge},
      {"graphs", BenchGraphs},
      {"ragged", BenchRagged},
      {"deterministic", BenchDeterministic},
      {"peer", BenchPeer},
  };
  int failures = 0;
  for (const auto& [name, bench] : figures) {
    const bool is_wanted =
        wanted.empty() ||
        std::find(wanted.begin(), wanted.end(), name) != wanted.end();
    if (!is_wanted) continue;
    try {
      bench();
    } catch (const std::exception& error) {
      std::printf("%s FAILED: %s\n", name.c_str(), error.what());
      ++failures;
    }
    std::fflush(stdout);
  }
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace stepd

int main(int argc, char** argv) {
  return stepd::Main(std::vector<std::string>(argv + 1, argv + argc));
}
