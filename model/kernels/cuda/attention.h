// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Attention over paged keys and values on the GPU: decode steps, prefill chunks
// and attention to a session's source are one kernel. A context is cut into
// splits at fixed places that are computed side by side and merged in order, so
// that few long sessions fill the GPU too (as in "Flash-Decoding", Dao et al.,
// 2023); inside a split the softmax is online (arXiv:2205.14135).
//
// Blocks hold keys [G][kTokensPerBlock][E] and values [G][kTokensPerBlock][V].
//
// Thread safety: reentrant. Errors: std::runtime_error from CUDA.

#ifndef STEPD_MODEL_KERNELS_CUDA_ATTENTION_H_
#define STEPD_MODEL_KERNELS_CUDA_ATTENTION_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/kernels/cuda/attention_tiles.h"

namespace stepd::kernels::cuda {

// Of keys and values in memory.
enum class KvType { kFloat32, kBFloat16 };

// All pointers are on the device.
struct AttentionArgs {
  KvType kv_type = KvType::kFloat32;
  const void* k = nullptr;
  const void* v = nullptr;  // nullptr: values are the first V columns of keys
  const std::int32_t* block_indices = nullptr;
  const AttentionTile* tiles = nullptr;
  int num_tiles = 0;
  const float* query = nullptr;   // [N, H, E], rows `query_stride` apart
  std::int64_t query_stride = 0;  // elements
  float* out = nullptr;           // [N, H, V]
  int num_heads = 0;              // H
  int num_kv_heads = 0;           // G
  int k_dim = 0;                  // E
  int v_dim = 0;                  // V, at most kMaxValueDim
  float softmax_scale = 0.0F;
  std::int64_t window_left = -1;
  // More than 0: every row sees the keys [0, source_rows), whatever its place.
  std::int64_t source_rows = 0;
  SplitPlan splits;
  // PartialFloats() of them; unused when there is one split.
  float* partial = nullptr;
};

constexpr int kMaxValueDim = 512;

// Scratch floats for `rows` token rows.
std::int64_t PartialFloats(const AttentionArgs& args, std::int64_t rows);

// REQUIRES: every tile's keys are appended already, and no context is longer
// than the splits reach.
void LaunchAttention(const AttentionArgs& args, std::int64_t rows,
                     cudaStream_t stream);

}  // namespace stepd::kernels::cuda

#endif  // STEPD_MODEL_KERNELS_CUDA_ATTENTION_H_
