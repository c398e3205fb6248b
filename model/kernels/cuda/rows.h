// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The GPU's kernels over rows of float32 numbers: norms, activations, rotary
// positions, keys and values into their blocks, copies. Sizes and meaning are
// those of kernel_set.h; every pointer, also of indices, is on the device.
//
// Thread safety: reentrant. Errors: std::runtime_error from CUDA.

#ifndef STEPD_MODEL_KERNELS_CUDA_ROWS_H_
#define STEPD_MODEL_KERNELS_CUDA_ROWS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/embed_content.h"
#include "model/kinds.h"

namespace stepd::kernels::cuda {

struct NormRows {
  const float* x = nullptr;  // [rows, dim]
  std::int64_t rows = 0;
  std::int64_t dim = 0;
  const float* weight = nullptr;  // [dim]
  const float* bias = nullptr;    // [dim], or nullptr
  float eps = 0.0F;
  float* y = nullptr;  // may be x
};
void LaunchRmsNorm(const NormRows& norm, cudaStream_t stream);
void LaunchLayerNorm(const NormRows& norm, cudaStream_t stream);

// Heads of token rows, as HeadRows.
struct HeadArray {
  float* x = nullptr;
  std::int64_t num_tokens = 0;
  std::int64_t token_stride = 0;
  int num_heads = 0;
  int dim = 0;
};
void LaunchNormHeads(const HeadArray& heads, const float* weight, float eps,
                     cudaStream_t stream);

// cos and sin [num_tokens, dim / 2].
struct RopeAngles {
  const float* cos = nullptr;
  const float* sin = nullptr;
  RopePairing pairing = RopePairing::kHalfSplit;
};
void LaunchRope(const HeadArray& heads, const RopeAngles& angles,
                cudaStream_t stream);

// cos and sin [n, half] of positions[i] * frequencies[j], times `factor`.
struct TurnArgs {
  const std::int32_t* positions = nullptr;  // [n]
  std::int64_t n = 0;
  const float* frequencies = nullptr;  // [half]
  std::int64_t half = 0;
  float factor = 1.0F;
  float* cos = nullptr;
  float* sin = nullptr;
};
void LaunchTurnPositions(const TurnArgs& args, cudaStream_t stream);

// [gate | up] [rows, 2 * dim] -> activation(gate) * up [rows, dim].
struct GateUp {
  const float* x = nullptr;
  std::int64_t rows = 0;
  std::int64_t dim = 0;
  float* y = nullptr;
};
void LaunchActivateGated(Activation activation, const GateUp& gate_up,
                         cudaStream_t stream);
void LaunchActivate(Activation activation, float* x, std::int64_t count,
                    cudaStream_t stream);

// Rows [n, num_heads * dim], `stride` apart, into the blocks of a slot
// [block][num_heads][kTokensPerBlock][dim].
struct AppendArgs {
  KvType type = KvType::kFloat32;
  const float* rows = nullptr;
  std::int64_t stride = 0;
  std::int64_t n = 0;
  int num_heads = 0;
  int dim = 0;
  const std::int32_t* blocks = nullptr;   // [n]; -1: the row is not written
  const std::int32_t* offsets = nullptr;  // [n]
  void* slot = nullptr;
};
void LaunchAppend(const AppendArgs& args, cudaStream_t stream);

// y[i] = x[rows[i]], rows of `dim`.
struct GatherArgs {
  const float* x = nullptr;
  std::int64_t dim = 0;
  const std::int32_t* rows = nullptr;  // [n]
  std::int64_t n = 0;
  float* y = nullptr;
};
void LaunchGatherRows(const GatherArgs& args, cudaStream_t stream);

// A matrix of columns between rows that are strides apart.
struct StridedRows {
  const float* x = nullptr;
  std::int64_t x_stride = 0;
  std::int64_t y_stride = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};
void LaunchCopyColumns(const StridedRows& rows, float* y, cudaStream_t stream);
// In bfloat16, to nearest even.
void LaunchToBFloat16(const StridedRows& rows, void* y, cudaStream_t stream);
// y[i, c] += bias[c]; `rows` without x.
void LaunchAddBias(const float* bias, const StridedRows& rows, float* y,
                   cudaStream_t stream);

// y[rows[i]] += scales[i] * x[i]; no row twice.
struct ScaledRows {
  const float* x = nullptr;
  std::int64_t dim = 0;
  const std::int32_t* rows = nullptr;  // [n]
  const float* scales = nullptr;       // [n]
  std::int64_t n = 0;
  float* y = nullptr;
};
void LaunchAddScaledRows(const ScaledRows& rows, cudaStream_t stream);

// y[i] += gate * x[i], rows of `dim`.
struct GatedRows {
  const float* x = nullptr;  // [rows, dim]
  std::int64_t rows = 0;
  std::int64_t dim = 0;
  const float* gate = nullptr;  // [dim]
  float* y = nullptr;
};
void LaunchAddGated(const GatedRows& rows, cudaStream_t stream);

// As KernelSet::LoopRows.
struct LoopArgs {
  std::int64_t rows = 0;
  std::int64_t dim = 0;
  const float* entry = nullptr;
  float* hidden = nullptr;
};
void LaunchLoopInput(const LoopArgs& loop, const float* embedding,
                     std::int64_t columns, float* c, cudaStream_t stream);
void LaunchLoopUpdate(const LoopArgs& loop, const float* decay,
                      const float* injection, const float* y,
                      cudaStream_t stream);
struct HaltArgs {
  const float* logits = nullptr;  // [rows]
  float threshold = 0.0F;
  float* spent = nullptr;  // [rows]
  float* out = nullptr;    // [rows, dim]
};
void LaunchLoopHalt(const LoopArgs& loop, const HaltArgs& halt,
                    cudaStream_t stream);

// out[offsets[i] ... + width) += table[indices[i]]; the places are disjoint.
struct TableRows {
  const float* table = nullptr;
  std::int64_t width = 0;
  const std::int64_t* indices = nullptr;  // [n]
  const std::int64_t* offsets = nullptr;  // [n] elements
  std::int64_t n = 0;
  float* out = nullptr;
};
void LaunchAddTableRows(const TableRows& rows, cudaStream_t stream);

// out[offsets[i] ...] += sum_c weight[c] * cos(x[i, c] * freqs[c] + phases[c]).
struct FourierRows {
  const float* weight = nullptr;  // [num_inputs, width]
  const float* freqs = nullptr;
  const float* phases = nullptr;
  std::int64_t num_inputs = 0;
  std::int64_t width = 0;
  const float* x = nullptr;               // [n, num_inputs]
  const std::int64_t* offsets = nullptr;  // [n] elements
  std::int64_t n = 0;
  float* out = nullptr;
};
void LaunchAddFourier(const FourierRows& rows, cudaStream_t stream);

// As EmbedRowsParams, all on the device.
struct EmbedArgs {
  const EmbedContent* contents = nullptr;
  const std::int32_t* row_indptr = nullptr;
  const EmbedEntry* entries = nullptr;
  const float* inputs = nullptr;
  std::int64_t rows = 0;
  std::int64_t dim = 0;
  float* x = nullptr;
};
void LaunchEmbedRows(const EmbedArgs& args, cudaStream_t stream);

}  // namespace stepd::kernels::cuda

#endif  // STEPD_MODEL_KERNELS_CUDA_ROWS_H_
