// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/kernels/cuda/cuda_kernel_set.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Functions.h"
#include "c10/cuda/CUDAStream.h"
#include "model/kernels/cuda/attention.h"
#include "model/kernels/cuda/cuda_check.h"
#include "model/kernels/cuda/cuda_queue.h"
#include "model/kernels/cuda/linear.h"
#include "model/kernels/cuda/rows.h"

namespace stepd::kernels::cuda {
namespace {

// Rows in bfloat16 begin at multiples of 16 bytes.
constexpr std::int64_t kOperandMultiple = 8;

std::int64_t RoundUp(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

class CudaPackedLinear : public PackedLinear {
 public:
  CudaPackedLinear(at::Tensor weight, at::Tensor bias)
      : PackedLinear(weight.size(1), weight.size(0)),
        weight_(std::move(weight)),
        bias_(std::move(bias)) {}

  const void* weight() const { return weight_.const_data_ptr(); }
  bool is_bfloat16() const { return weight_.scalar_type() == at::kBFloat16; }
  const float* bias() const {
    return bias_.defined() ? bias_.const_data_ptr<float>() : nullptr;
  }

 private:
  at::Tensor weight_;  // [out, in]
  at::Tensor bias_;    // [out] float32, or undefined
};

NormRows ToNormRows(const NormParams& params) {
  return {params.x,    params.rows, params.dim, params.weight,
          params.bias, params.eps,  params.y};
}

HeadArray ToHeadArray(const HeadRows& heads) {
  return {heads.x, heads.num_tokens, heads.token_stride, heads.num_heads,
          heads.dim};
}

cudaStream_t Stream() { return CudaQueue::Current().stream(); }

class CudaKernelSet : public KernelSet {
 public:
  explicit CudaKernelSet(const CudaOptions& options)
      : KernelSet(options.precision),
        options_(options),
        device_(c10::cuda::getDefaultCUDAStream(
                    static_cast<c10::DeviceIndex>(options.device))
                    .device()) {}

  at::Device device() const override { return device_; }
  std::string description() const override {
    return options_.is_deterministic ? "native, CUDA, deterministic"
                                     : "native, CUDA";
  }
  at::ScalarType kv_type() const override {
    return precision() == WeightPrecision::kFloat32 ? at::kFloat
                                                    : at::kBFloat16;
  }
  std::unique_ptr<DeviceQueue> CreateQueue() const override {
    return std::make_unique<CudaQueue>(options_);
  }

  std::unique_ptr<PackedLinear> PackAs(
      absl::Span<const LinearWeights> parts,
      WeightPrecision precision) const override {
    std::vector<at::Tensor> weights;
    std::vector<at::Tensor> biases;
    for (const LinearWeights& part : parts) {
      weights.push_back(part.weight);
      if (part.bias.defined()) biases.push_back(part.bias);
    }
    const at::ScalarType type =
        precision == WeightPrecision::kFloat32 ? at::kFloat : at::kBFloat16;
    at::Tensor bias;
    if (!biases.empty()) {
      bias = at::cat(biases).to(device_, at::kFloat).contiguous();
    }
    auto packed = std::make_unique<CudaPackedLinear>(
        at::cat(weights).to(device_, type).contiguous(), std::move(bias));
    // Queues have streams of their own: the weights must be there.
    c10::cuda::getCurrentCUDAStream(
        static_cast<c10::DeviceIndex>(options_.device))
        .synchronize();
    return packed;
  }

  void BeginForward(const BatchLayout& layout) const override {
    CudaQueue::Current().Begin(layout);
  }
  void EndForward() const override { CudaQueue::Current().End(); }

  bool TurnPositions(const BatchLayout& layout,
                     const RopeFrequencies& frequencies, float* cos,
                     float* sin) const override {
    CudaQueue& queue = CudaQueue::Current();
    LaunchTurnPositions(
        {queue.Find(layout).positions, layout.num_tokens(), frequencies.inverse,
         frequencies.half_dim, frequencies.attention_factor, cos, sin},
        queue.stream());
    return true;
  }

  void Linear(const LinearParams& params) const override {
    if (params.rows == 0) return;
    const auto& packed = static_cast<const CudaPackedLinear&>(*params.weights);
    CudaQueue& queue = CudaQueue::Current();
    LinearArgs args;
    args.weights = packed.weight();
    args.is_bfloat16 = packed.is_bfloat16();
    args.rows = params.rows;
    args.in_dim = packed.in_dim();
    args.out_dim = packed.out_dim();
    args.x = params.x;
    args.x_stride = params.x_stride != 0 ? params.x_stride : args.in_dim;
    args.y = params.y;
    args.y_stride = params.y_stride != 0 ? params.y_stride : args.out_dim;
    args.is_add = params.output == LinearOutput::kAdd;
    if (args.is_bfloat16) {
      const std::int64_t stride = RoundUp(args.in_dim, kOperandMultiple);
      std::byte* rounded =
          queue.Scratch(static_cast<std::size_t>(args.rows * stride) * 2);
      LaunchToBFloat16(
          {params.x, args.x_stride, stride, args.rows, args.in_dim}, rounded,
          queue.stream());
      args.x = rounded;
      args.x_stride = stride;
    }
    queue.linears().Run(args, queue.stream());
    if (packed.bias() != nullptr) {
      LaunchAddBias(packed.bias(),
                    {nullptr, 0, args.y_stride, args.rows, args.out_dim},
                    args.y, queue.stream());
    }
  }

  void RmsNorm(const NormParams& params) const override {
    LaunchRmsNorm(ToNormRows(params), Stream());
  }
  void LayerNorm(const NormParams& params) const override {
    LaunchLayerNorm(ToNormRows(params), Stream());
  }
  void NormHeads(const HeadRows& heads, const float* weight,
                 float eps) const override {
    LaunchNormHeads(ToHeadArray(heads), weight, eps, Stream());
  }

  void ActivateGated(Activation activation, const float* gate_up,
                     std::int64_t rows, std::int64_t dim,
                     float* y) const override {
    LaunchActivateGated(activation, {gate_up, rows, dim, y}, Stream());
  }
  void Activate(Activation activation, float* x,
                std::int64_t count) const override {
    LaunchActivate(activation, x, count, Stream());
  }

  void Rope(const HeadRows& heads, const RopeRows& rope) const override {
    LaunchRope(ToHeadArray(heads), {rope.cos, rope.sin, rope.pairing},
               Stream());
  }

  void AppendKv(const AppendKvParams& params) const override {
    assert(params.shape.tokens_per_block == kTokensPerBlock);
    CudaQueue& queue = CudaQueue::Current();
    const DeviceLayout& layout = queue.Find(*params.layout);
    AppendArgs args;
    args.type = attention_type();
    args.n = params.layout->num_tokens();
    args.num_heads = params.shape.num_kv_heads;
    args.blocks = layout.token_blocks;
    args.offsets = layout.token_offsets;
    args.rows = params.k;
    args.stride = params.k_stride;
    args.dim = params.shape.k_dim;
    args.slot = params.slot.k;
    LaunchAppend(args, queue.stream());
    if (params.slot.v == nullptr) return;
    args.rows = params.v;
    args.stride = params.v_stride;
    args.dim = params.shape.v_dim;
    args.slot = params.slot.v;
    LaunchAppend(args, queue.stream());
  }

  void PagedAttention(const PagedAttentionParams& params) const override {
    CudaQueue& queue = CudaQueue::Current();
    const DeviceLayout& layout = queue.Find(*params.layout);
    AttentionArgs args = ToAttentionArgs(params);
    const std::int64_t rows = params.layout->num_tokens();
    if (params.sources.empty()) {
      args.k = params.slot.k;
      args.v = params.slot.v;
      args.block_indices = layout.block_indices;
      args.tiles = layout.tiles;
      args.num_tiles = layout.num_tiles;
      Attend(&queue, layout.max_keys, rows, &args);
      return;
    }
    for (std::size_t b = 0; b < params.sources.size(); ++b) {
      AttendToSource(&queue, params, b, args);
    }
  }

  void GatherRows(const float* x, std::int64_t dim,
                  absl::Span<const std::int32_t> rows,
                  float* y) const override {
    if (rows.empty()) return;
    CudaQueue& queue = CudaQueue::Current();
    LaunchGatherRows(
        {x, dim, queue.Upload(rows), static_cast<std::int64_t>(rows.size()), y},
        queue.stream());
  }

  void CopyColumns(const CopyColumnsParams& params) const override {
    LaunchCopyColumns({params.x, params.x_stride, params.y_stride, params.rows,
                       params.columns},
                      params.y, Stream());
  }

  void AddScaledRows(const float* x, std::int64_t dim,
                     absl::Span<const std::int32_t> rows,
                     absl::Span<const float> scales, float* y) const override {
    if (rows.empty()) return;
    CudaQueue& queue = CudaQueue::Current();
    LaunchAddScaledRows({x, dim, queue.Upload(rows), queue.Upload(scales),
                         static_cast<std::int64_t>(rows.size()), y},
                        queue.stream());
  }

  void AddGated(const float* x, std::int64_t rows, std::int64_t dim,
                const float* gate, float* y) const override {
    LaunchAddGated({x, rows, dim, gate, y}, Stream());
  }

  void LoopInput(const LoopRows& loop, const float* embedding,
                 std::int64_t columns, float* c) const override {
    LaunchLoopInput({loop.rows, loop.dim, loop.entry, loop.hidden}, embedding,
                    columns, c, Stream());
  }
  void LoopUpdate(const LoopRows& loop, const float* decay,
                  const float* injection, const float* y) const override {
    LaunchLoopUpdate({loop.rows, loop.dim, loop.entry, loop.hidden}, decay,
                     injection, y, Stream());
  }
  void LoopHalt(const LoopRows& loop, const float* logits, float threshold,
                float* spent, float* out) const override {
    LaunchLoopHalt({loop.rows, loop.dim, loop.entry, loop.hidden},
                   {logits, threshold, spent, out}, Stream());
  }

  void Zero(float* x, std::int64_t count) const override {
    Check(cudaMemsetAsync(x, 0, static_cast<std::size_t>(count) * sizeof(float),
                          Stream()),
          "zeros");
  }

  void AddTableRows(const float* table, std::int64_t width,
                    absl::Span<const std::int64_t> indices,
                    const ScatterTarget& target) const override {
    if (indices.empty()) return;
    CudaQueue& queue = CudaQueue::Current();
    LaunchAddTableRows(
        {table, width, queue.Upload(indices), queue.Upload(target.out_offsets),
         static_cast<std::int64_t>(indices.size()), target.out},
        queue.stream());
  }

  void AddFourier(const FourierTables& tables, const float* x,
                  const ScatterTarget& target) const override {
    const auto n = static_cast<std::int64_t>(target.out_offsets.size());
    if (n == 0) return;
    CudaQueue& queue = CudaQueue::Current();
    FourierRows rows;
    rows.weight = tables.weight;
    rows.freqs = tables.freqs;
    rows.phases = tables.phases;
    rows.num_inputs = tables.num_inputs;
    rows.width = tables.width;
    rows.x = queue.Upload(absl::MakeConstSpan(
        x, static_cast<std::size_t>(n * tables.num_inputs)));
    rows.offsets = queue.Upload(target.out_offsets);
    rows.n = n;
    rows.out = target.out;
    LaunchAddFourier(rows, queue.stream());
  }

  bool has_embed_rows() const override { return true; }
  void EmbedRows(const EmbedRowsParams& params) const override {
    CudaQueue& queue = CudaQueue::Current();
    EmbedArgs args;
    args.contents = queue.Upload(params.contents);
    args.row_indptr = queue.Upload(params.row_indptr);
    args.entries = queue.Upload(params.entries);
    args.inputs = queue.Upload(params.inputs);
    args.rows = static_cast<std::int64_t>(params.row_indptr.size()) - 1;
    args.dim = params.dim;
    args.x = params.x;
    LaunchEmbedRows(args, queue.stream());
  }

  void CopyToHost(const float* x, std::int64_t count,
                  float* host) const override {
    if (count > 0) CudaQueue::Current().Download(x, count, host);
  }
  void Synchronize() const override { CudaQueue::Current().Synchronize(); }
  void CopyFromHost(const float* host, std::int64_t count,
                    float* x) const override {
    if (count == 0) return;
    CudaQueue& queue = CudaQueue::Current();
    const auto size = static_cast<std::size_t>(count);
    Check(cudaMemcpyAsync(x, queue.Upload(absl::MakeConstSpan(host, size)),
                          size * sizeof(float), cudaMemcpyDeviceToDevice,
                          queue.stream()),
          "copy from the host");
  }

 private:
  KvType attention_type() const {
    return precision() == WeightPrecision::kFloat32 ? KvType::kFloat32
                                                    : KvType::kBFloat16;
  }

  AttentionArgs ToAttentionArgs(const PagedAttentionParams& params) const {
    AttentionArgs args;
    args.kv_type = attention_type();
    args.query = params.query;
    args.query_stride = params.query_stride;
    args.out = params.out;
    args.num_heads = params.shape.num_heads;
    args.num_kv_heads = params.shape.num_kv_heads;
    args.k_dim = params.shape.k_dim;
    args.v_dim = params.shape.v_dim;
    args.softmax_scale = params.softmax_scale;
    args.window_left = params.window_left;
    return args;
  }

  void Attend(CudaQueue* queue, std::int64_t max_keys, std::int64_t rows,
              AttentionArgs* args) const {
    if (args->num_tiles == 0) return;
    SplitOptions options;
    options.num_multiprocessors = queue->num_multiprocessors();
    options.is_deterministic = options_.is_deterministic;
    args->splits = PlanSplits(
        std::int64_t{args->num_tiles} * args->num_kv_heads, max_keys, options);
    const auto floats = static_cast<std::size_t>(PartialFloats(*args, rows));
    args->partial =
        reinterpret_cast<float*>(queue->Scratch(floats * sizeof(float)));
    LaunchAttention(*args, rows, queue->stream());
  }

  // The rows of slice `b`, whose source has blocks of its own.
  void AttendToSource(CudaQueue* queue, const PagedAttentionParams& params,
                      std::size_t b, AttentionArgs args) const {
    const SourceKv& source = params.sources[b];
    std::vector<AttentionTile> tiles;
    const std::int32_t end = params.layout->query_indptr[b + 1];
    for (std::int32_t row = params.layout->query_indptr[b]; row < end;
         row += kTileRows) {
      AttentionTile tile;
      tile.first_row = row;
      tile.num_rows = std::min(kTileRows, end - row);
      tiles.push_back(tile);
    }
    args.k = source.slot.k;
    args.v = source.slot.v;
    args.source_rows = source.num_rows;
    args.block_indices = queue->Upload(source.blocks);
    args.tiles = queue->Upload(absl::MakeConstSpan(tiles));
    args.num_tiles = static_cast<int>(tiles.size());
    Attend(queue, source.num_rows, params.layout->num_tokens(), &args);
  }

  const CudaOptions options_;
  const at::Device device_;
};

}  // namespace

std::unique_ptr<KernelSet> MakeCudaKernelSet(const CudaOptions& options) {
  return std::make_unique<CudaKernelSet>(options);
}

}  // namespace stepd::kernels::cuda
