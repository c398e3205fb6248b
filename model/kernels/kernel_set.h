// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The operations a policy is made of, behind one interface: raw pointers and
// sizes in, numbers out. Three sets exist: stepd's own kernels for the CPU and
// for CUDA, and LibTorch's operators (the reference, on any device).
//
//   N tokens of a batch, B slices, D width, H query heads, G KV heads, E key
//   head size, V value head size, P tokens per block
//
// Value pointers are on the set's device; index arrays and BatchLayout are on
// the host. Matrices are row-major float32.
//
// Thread safety: a set is immutable after construction; calls may overlap if
// what they write does not. Determinism: every row is reduced in an order that
// depends on that row alone (CPU set: to the bit).

#ifndef STEPD_MODEL_KERNELS_KERNEL_SET_H_
#define STEPD_MODEL_KERNELS_KERNEL_SET_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/types/span.h"
#include "model/kernels/device_queue.h"
#include "model/kernels/embed_content.h"
#include "model/kinds.h"
#include "model/linear_weights.h"

namespace stepd::kernels {

// Weights of one linear in the layout of the set that packed them; immutable.
class PackedLinear {
 public:
  PackedLinear(std::int64_t in_dim, std::int64_t out_dim)
      : in_dim_(in_dim), out_dim_(out_dim) {}
  virtual ~PackedLinear() = default;
  PackedLinear(const PackedLinear&) = delete;
  PackedLinear& operator=(const PackedLinear&) = delete;

  std::int64_t in_dim() const { return in_dim_; }
  std::int64_t out_dim() const { return out_dim_; }

 private:
  std::int64_t in_dim_;
  std::int64_t out_dim_;
};

// What a linear does with its result.
enum class LinearOutput {
  kStore,  // y = W x + b
  kAdd,    // y += W x + b (a residual stream)
};

// The tokens of a batch sorted by the bank of weights they meet, those of one
// bank in the order of the batch. Empty: all meet bank 0.
struct BankOrder {
  std::vector<std::int32_t> indptr;  // [banks + 1] places of each bank
  std::vector<std::int32_t> rows;    // [N] row of the batch at each place
  std::vector<std::int32_t> places;  // [N] place of each row of the batch
  bool is_sorted = true;             // the batch itself is in this order

  // `banks` [N]: the bank of each row, in [0, num_banks).
  void Assign(absl::Span<const std::int32_t> banks, int num_banks);
  void Clear();
};

// Which token is whose, which weights it meets, and where its keys and values
// live. CSR, on the host.
struct BatchLayout {
  std::vector<std::int32_t> query_indptr;   // [B + 1] rows of the batch
  std::vector<std::int32_t> block_indptr;   // [B + 1] into block_indices
  std::vector<std::int32_t> block_indices;  // block tables, one after another
  // [B] tokens, new ones included. 0: the slice is padding (CUDA set only); its
  // rows see nothing and are written nowhere.
  std::vector<std::int32_t> kv_lens;
  std::vector<std::int32_t> positions;  // [N]
  // [N] block that receives the token; -1: none, it is padding.
  std::vector<std::int32_t> token_blocks;
  std::vector<std::int32_t> token_offsets;  // [N] place in it
  // Rows that are read: the last token of every answered step.
  std::vector<std::int32_t> answered_rows;
  BankOrder banks;
  // Contexts are planned for as if one were as long as this (CUDA set).
  std::int64_t context_capacity = 0;
  bool is_final = false;  // no later batch reads these keys and values

  std::int64_t num_tokens() const {
    return static_cast<std::int64_t>(positions.size());
  }
  void Clear();
};

// Keys and values of one layer visit, all blocks, in the set's kv_type(). The
// order inside a block is the set's own.
struct KvSlot {
  void* k = nullptr;
  void* v = nullptr;  // nullptr: values are the first V columns of the keys
};

struct AttentionShape {
  int num_heads = 0;         // H
  int num_kv_heads = 0;      // G, divides H
  int k_dim = 0;             // E
  int v_dim = 0;             // V
  int tokens_per_block = 0;  // P

  std::int64_t k_block_elements() const {
    return std::int64_t{tokens_per_block} * num_kv_heads * k_dim;
  }
  std::int64_t v_block_elements() const {
    return std::int64_t{tokens_per_block} * num_kv_heads * v_dim;
  }
};

struct LinearParams {
  const PackedLinear* weights = nullptr;
  const float* x = nullptr;  // [rows, in_dim]
  std::int64_t rows = 0;
  float* y = nullptr;  // [rows, out_dim]
  LinearOutput output = LinearOutput::kStore;
  // Elements between rows; 0: they are dense.
  std::int64_t x_stride = 0;
  std::int64_t y_stride = 0;
};

// A norm of every row of `dim` numbers.
struct NormParams {
  const float* x = nullptr;  // [rows, dim]
  std::int64_t rows = 0;
  std::int64_t dim = 0;
  const float* weight = nullptr;  // [dim]
  const float* bias = nullptr;    // [dim], LayerNorm only; nullptr: none
  float eps = 0.0F;
  float* y = nullptr;  // [rows, dim]; may be x
};

// Columns of every row, between matrices whose rows are `x_stride` and
// `y_stride` elements apart.
struct CopyColumnsParams {
  const float* x = nullptr;
  std::int64_t x_stride = 0;
  float* y = nullptr;
  std::int64_t y_stride = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

// Heads of token rows: head h of token i is at x + i * token_stride + h * dim.
struct HeadRows {
  float* x = nullptr;
  std::int64_t num_tokens = 0;
  std::int64_t token_stride = 0;  // elements
  int num_heads = 0;
  int dim = 0;
};

// What TurnPositions() needs of a RopeConfig.
struct RopeFrequencies {
  const float* inverse = nullptr;  // [dim / 2], on the device
  std::int64_t half_dim = 0;
  float attention_factor = 1.0F;
};

// Cosines and sines of the tokens of a batch.
struct RopeRows {
  const float* cos = nullptr;  // [N, dim / 2]
  const float* sin = nullptr;
  RopePairing pairing = RopePairing::kHalfSplit;
};

struct AppendKvParams {
  const BatchLayout* layout = nullptr;
  AttentionShape shape;
  const float* k = nullptr;   // [N, G, E], rows `k_stride` apart
  std::int64_t k_stride = 0;  // elements
  const float* v = nullptr;   // [N, G, V]; unused if slot.v is nullptr
  std::int64_t v_stride = 0;
  KvSlot slot;
};

// Keys and values of all rows of a session's source, in their own blocks.
struct SourceKv {
  KvSlot slot;
  absl::Span<const std::int32_t> blocks;
  std::int64_t num_rows = 0;
};

struct PagedAttentionParams {
  const BatchLayout* layout = nullptr;
  AttentionShape shape;
  const float* query = nullptr;   // [N, H, E], rows `query_stride` apart
  std::int64_t query_stride = 0;  // elements
  KvSlot slot;
  float softmax_scale = 0.0F;     // multiplies q.k
  std::int64_t window_left = -1;  // tokens visible to the left; -1 = all
  float* out = nullptr;           // [N, H, V]
  // [B] what the tokens of each slice attend to, all of it, instead of their
  // own session; empty: nothing.
  absl::Span<const SourceKv> sources;
};

// Adds into token rows: entry i adds to `out + out_offsets[i]`.
struct ScatterTarget {
  float* out = nullptr;
  absl::Span<const std::int64_t> out_offsets;  // elements; host
};

// x [N, dim] = for every row the sum of its entries, in their order; zeros
// without. Everything but x is on the host.
struct EmbedRowsParams {
  absl::Span<const EmbedContent> contents;
  absl::Span<const std::int32_t> row_indptr;  // [N + 1] into entries
  absl::Span<const EmbedEntry> entries;
  absl::Span<const float> inputs;
  std::int64_t dim = 0;
  float* x = nullptr;
};

class KernelSet {
 public:
  explicit KernelSet(WeightPrecision precision) : precision_(precision) {}
  virtual ~KernelSet() = default;

  // Of the weights that Pack() makes.
  WeightPrecision precision() const { return precision_; }
  // Bytes of weights that were made resident through this set so far.
  std::int64_t resident_bytes() const { return resident_bytes_; }

  // Where values live.
  virtual at::Device device() const = 0;
  // What keys and values are cached as.
  virtual at::ScalarType kv_type() const { return at::kFloat; }
  // For people: which kernels these are, and what is known to be slow.
  virtual std::string description() const = 0;

  // Load time -------------------------------------------------------------

  // One matrix stacked out of several, in the set's precision: the rows of the
  // first part come first. The set must outlive it.
  // REQUIRES: parts have one in_dim; all or none have a bias.
  std::unique_ptr<PackedLinear> Pack(
      absl::Span<const LinearWeights> parts) const;
  // In float32 whatever the set's precision: for what decides, such as readouts
  // and routers.
  std::unique_ptr<PackedLinear> PackFloat32(
      absl::Span<const LinearWeights> parts) const;

  // A queue for one runner, whose calls below go to it (DeviceQueue::Use());
  // nullptr: they have run when they return.
  virtual std::unique_ptr<DeviceQueue> CreateQueue() const { return nullptr; }

  // Step time -------------------------------------------------------------

  // Around the calls of one forward over `layout`, on one thread. The layout
  // must not change before EndForward().
  virtual void BeginForward(const BatchLayout& /*layout*/) const {}
  virtual void EndForward() const {}

  // cos and sin [N, half_dim] of the positions of `layout`. False: the set
  // leaves that to the host.
  virtual bool TurnPositions(const BatchLayout& /*layout*/,
                             const RopeFrequencies& /*frequencies*/,
                             float* /*cos*/, float* /*sin*/) const {
    return false;
  }

  virtual void Linear(const LinearParams& params) const = 0;

  // y = weight * x / sqrt(mean(x^2) + eps), per row.
  virtual void RmsNorm(const NormParams& params) const = 0;

  // y = weight * (x - mean) / sqrt(var + eps) + bias, per row.
  virtual void LayerNorm(const NormParams& params) const = 0;

  // RmsNorm of every head, in place.
  virtual void NormHeads(const HeadRows& heads, const float* weight,
                         float eps) const = 0;

  // [gate | up] of width 2 * dim -> activation(gate) * up of width dim.
  virtual void ActivateGated(Activation activation, const float* gate_up,
                             std::int64_t rows, std::int64_t dim,
                             float* y) const = 0;
  // x = activation(x).
  virtual void Activate(Activation activation, float* x,
                        std::int64_t count) const = 0;

  // Turns every head by its token's position, in place.
  virtual void Rope(const HeadRows& heads, const RopeRows& rope) const = 0;

  // Writes the new tokens' keys and values into their blocks.
  virtual void AppendKv(const AppendKvParams& params) const = 0;

  // Causal attention of every new token over its own session, read through
  // the block tables; or attention over its source. REQUIRES: the new tokens
  // are appended already.
  virtual void PagedAttention(const PagedAttentionParams& params) const = 0;

  // y[i] = x[rows[i]].
  virtual void GatherRows(const float* x, std::int64_t dim,
                          absl::Span<const std::int32_t> rows,
                          float* y) const = 0;

  virtual void CopyColumns(const CopyColumnsParams& params) const = 0;

  // y[rows[i]] += scales[i] * x[i]; rows and scales on the host.
  virtual void AddScaledRows(const float* x, std::int64_t dim,
                             absl::Span<const std::int32_t> rows,
                             absl::Span<const float> scales,
                             float* y) const = 0;

  // y += gate * x, rows of `dim`; gate [dim].
  virtual void AddGated(const float* x, std::int64_t rows, std::int64_t dim,
                        const float* gate, float* y) const = 0;

  // One loop of a recurrent stage (decoder_config.h), rows of `dim`.
  struct LoopRows {
    std::int64_t rows = 0;
    std::int64_t dim = 0;
    const float* entry = nullptr;  // e [rows, dim]
    float* hidden = nullptr;       // h [rows, dim]
  };
  // c = h + e, the first `columns` of h with the loop's embedding added.
  virtual void LoopInput(const LoopRows& loop, const float* embedding,
                         std::int64_t columns, float* c) const = 0;
  // h = decay * h + injection * e + y.
  virtual void LoopUpdate(const LoopRows& loop, const float* decay,
                          const float* injection, const float* y) const = 0;
  // out += w h by each token's halting logit [rows]; `spent` [rows] is the sum
  // of its probabilities so far: at the threshold the token has halted.
  virtual void LoopHalt(const LoopRows& loop, const float* logits,
                        float threshold, float* spent, float* out) const = 0;

  virtual void Zero(float* x, std::int64_t count) const = 0;

  // Adds table[indices[i]] (each `width` numbers).
  virtual void AddTableRows(const float* table, std::int64_t width,
                            absl::Span<const std::int64_t> indices,
                            const ScatterTarget& target) const = 0;

  // Adds sum_c weight[c] * cos(x[i, c] * freqs[c] + phases[c]), each of
  // `width` numbers. `x` [n, num_inputs] is on the host.
  struct FourierTables {
    const float* weight = nullptr;  // [C, width]
    const float* freqs = nullptr;   // [C, width]
    const float* phases = nullptr;  // [C, width]
    std::int64_t num_inputs = 0;    // C
    std::int64_t width = 0;
  };
  virtual void AddFourier(const FourierTables& tables, const float* x,
                          const ScatterTarget& target) const = 0;

  // Whether EmbedRows() is there; else contents are added one by one.
  virtual bool has_embed_rows() const { return false; }
  virtual void EmbedRows(const EmbedRowsParams& /*params*/) const {}

  // The numbers are in `host` once Synchronize() has returned.
  virtual void CopyToHost(const float* x, std::int64_t count,
                          float* host) const = 0;
  // Returns when everything before it has been computed and copied.
  virtual void Synchronize() const {}
  // `host` is free when it returns.
  virtual void CopyFromHost(const float* host, std::int64_t count,
                            float* x) const = 0;

 private:
  friend at::Tensor ToDevice(const KernelSet& kernels,
                             const at::Tensor& tensor);

  virtual std::unique_ptr<PackedLinear> PackAs(
      absl::Span<const LinearWeights> parts,
      WeightPrecision precision) const = 0;
  std::unique_ptr<PackedLinear> PackCounted(
      absl::Span<const LinearWeights> parts, WeightPrecision precision) const;

  const WeightPrecision precision_;
  mutable std::atomic<std::int64_t> resident_bytes_{0};
};

// A float32 copy on the set's device; undefined stays undefined.
at::Tensor ToDevice(const KernelSet& kernels, const at::Tensor& tensor);

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_KERNEL_SET_H_
