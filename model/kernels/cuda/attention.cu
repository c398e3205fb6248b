// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include <cuda_pipeline.h>

#include <stdexcept>
#include <string>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/online_softmax.h"

namespace stepd::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kRowsPerWarp = 4;
// Query rows of a block of threads: heads of one KV head, of all tile rows.
constexpr int kQueryRows = kWarps * kRowsPerWarp;
static_assert(kChunkKeys == kWarp, "every lane has one key");

__host__ __device__ constexpr int RoundUp(int value, int multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Elements between rows of a chunk in shared memory: whole vectors, and one
// more so that lanes that read their own rows use different banks.
template <typename T>
__host__ __device__ constexpr int ChunkStride(int dim) {
  return RoundUp(dim, Vector<T>::kSize) + Vector<T>::kSize;
}

// A kernel's own view of AttentionArgs.
template <typename T>
struct Args {
  const T* k;
  const T* v;
  const int32_t* block_indices;
  const AttentionTile* tiles;
  const float* query;
  int64_t query_stride;
  float* out;
  int num_heads;
  int num_kv_heads;
  int group;  // query heads per KV head
  int k_dim;
  int v_dim;
  float softmax_scale;
  int64_t window_left;
  int64_t source_rows;
  int split_tokens;
  int num_splits;
  float* partial_sums;             // [N, H, splits, V], not normalised
  OnlineSoftmax* partial_softmax;  // [N, H, splits]
};

// Keys [begin, end) that a row at `place` sees.
template <typename T>
__device__ int FirstKey(const Args<T>& args, int place) {
  if (args.source_rows > 0 || args.window_left < 0) return 0;
  const int64_t first = place - args.window_left;
  return first > 0 ? static_cast<int>(first) : 0;
}
template <typename T>
__device__ int EndKey(const Args<T>& args, int place) {
  return args.source_rows > 0 ? static_cast<int>(args.source_rows) : place + 1;
}

// The keys or values of one KV head of a session.
template <typename T>
struct ChunkSource {
  const T* slot;
  int dim;
  const int32_t* blocks;  // of the session
  int num_kv_heads;
  int kv_head;
  int end;  // keys from here on are zeros

  __device__ const T* row(int key) const {
    const int64_t block = blocks[key / kTokensPerBlock];
    return slot + ((block * num_kv_heads + kv_head) * kTokensPerBlock +
                   key % kTokensPerBlock) *
                      dim;
  }
};

// Copies vector `i` of a row, zeros behind its end; nullptr: all zeros.
template <typename T>
__device__ void CopyVector(const T* row, int dim, int i, T* to) {
  constexpr int kSize = Vector<T>::kSize;
  if (row != nullptr && dim % kSize == 0) {
    __pipeline_memcpy_async(to, row + i * kSize, 16);
    return;
  }
  for (int e = 0; e < kSize; ++e) {
    const int column = i * kSize + e;
    to[e] = row != nullptr && column < dim ? row[column] : FromFloat<T>(0.0F);
  }
}

// Copies the rows of keys [begin, begin + kChunkKeys) into `to`,
// ChunkStride(dim) apart. The copies are asynchronous: the caller commits and
// waits.
template <typename T>
__device__ void CopyChunk(const ChunkSource<T>& source, int begin, T* to) {
  constexpr int kSize = Vector<T>::kSize;
  const int stride = ChunkStride<T>(source.dim);
  const int vectors = RoundUp(source.dim, kSize) / kSize;
  // A power of two of threads copies one row.
  int shift = 0;
  while (shift < 5 && (1 << shift) < vectors) ++shift;
  const int first = static_cast<int>(threadIdx.x) & ((1 << shift) - 1);
  for (int key = static_cast<int>(threadIdx.x) >> shift; key < kChunkKeys;
       key += kThreads >> shift) {
    const T* row = begin + key < source.end ? source.row(begin + key) : nullptr;
    for (int i = first; i < vectors; i += 1 << shift) {
      CopyVector(row, source.dim, i, to + key * stride + i * kSize);
    }
  }
}

// What one block of threads does: the rows of a tile times some query heads of
// one KV head, over the keys [begin, end) of one split.
struct Work {
  AttentionTile tile;
  int kv_head;
  int first_head;
  int num_heads;
  int num_query;  // tile.num_rows * num_heads
  int split;
  int begin;  // a multiple of kChunkKeys
  int end;    // not above begin: nothing is visible

  // Of query row `row`, in [0, num_query).
  __device__ int64_t token(int row) const {
    return tile.first_row + row / num_heads;
  }
  __device__ int place(int row) const {
    return tile.first_place + row / num_heads;
  }
  __device__ int head(int row) const { return first_head + row % num_heads; }
};

// The query rows of this thread's warp: `warp`, `warp` + kWarps, ...
__device__ inline int Warp() { return static_cast<int>(threadIdx.x) / kWarp; }
__device__ inline int Lane() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ inline int QueryRow(int r) { return Warp() + r * kWarps; }

// False: this block of threads has no heads or rows.
template <typename T>
__device__ bool FindWork(const Args<T>& args, Work* work) {
  work->tile = args.tiles[blockIdx.x];
  if (work->tile.num_rows == 0) return false;
  // Fewer rows leave room for more heads; the last chunks are then empty.
  const int chunk_heads = kQueryRows / work->tile.num_rows;
  const int head_chunks = static_cast<int>(gridDim.y) / args.num_kv_heads;
  const int chunk = static_cast<int>(blockIdx.y) % head_chunks;
  if (chunk * chunk_heads >= args.group) return false;
  work->kv_head = static_cast<int>(blockIdx.y) / head_chunks;
  work->first_head = work->kv_head * args.group + chunk * chunk_heads;
  work->num_heads = min(chunk_heads, args.group - chunk * chunk_heads);
  work->num_query = work->tile.num_rows * work->num_heads;
  work->split = static_cast<int>(blockIdx.z);
  const int first_key = FirstKey(args, work->tile.first_place);
  const int last_place = work->tile.first_place + work->tile.num_rows - 1;
  work->begin =
      max(work->split * args.split_tokens, first_key / kChunkKeys * kChunkKeys);
  work->end =
      min((work->split + 1) * args.split_tokens, EndKey(args, last_place));
  return true;
}

// Scaled queries of this warp's rows, zeros behind k_dim.
template <typename T>
__device__ void LoadQueries(const Args<T>& args, const Work& work, int stride,
                            float* query) {
  for (int row = Warp(); row < work.num_query; row += kWarps) {
    const float* from = args.query + work.token(row) * args.query_stride +
                        static_cast<int64_t>(work.head(row)) * args.k_dim;
    for (int e = Lane(); e < stride; e += kWarp) {
      query[row * stride + e] =
          e < args.k_dim ? from[e] * args.softmax_scale : 0.0F;
    }
  }
}

// Products of this lane's key with this warp's queries.
template <typename T>
__device__ __forceinline__ void MultiplyKey(const T* key, const float* query,
                                            int stride, int num_query,
                                            float (&logits)[kRowsPerWarp]) {
  constexpr int kSize = Vector<T>::kSize;
  for (int e = 0; e < stride; e += kSize) {
    const auto vector = *reinterpret_cast<const Vector<T>*>(key + e);
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
      if (QueryRow(r) >= num_query) break;
      const float* q = query + QueryRow(r) * stride + e;
#pragma unroll
      for (int i = 0; i < kSize; ++i) {
        logits[r] = fmaf(q[i], ToFloat(vector.element(i)), logits[r]);
      }
    }
  }
}

// What a warp has added up for its query rows.
template <int kPairs>
struct Sums {
  OnlineSoftmax softmax[kRowsPerWarp];
  float2 values[kRowsPerWarp][kPairs] = {};
};

// Logits of the chunk from `first` on become weights; what was added up before
// is scaled to them.
template <typename T, int kPairs>
__device__ __forceinline__ void Weigh(const Args<T>& args, const Work& work,
                                      int first, float (&weights)[kRowsPerWarp],
                                      Sums<kPairs>* sums) {
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) {
    const int row = QueryRow(r);
    if (row >= work.num_query) break;
    const int place = work.place(row);
    const int key = first + Lane();
    const bool is_visible = key >= FirstKey(args, place) &&
                            key < min(EndKey(args, place), work.end);
    const float logit = is_visible ? weights[r] : -INFINITY;
    const float scale = sums->softmax[r].Raise(WarpMax(logit));
    weights[r] = sums->softmax[r].Weight(logit);
    sums->softmax[r].sum += WarpSum(weights[r]);
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      sums->values[r][p].x *= scale;
      sums->values[r][p].y *= scale;
    }
  }
}

// Adds the chunk's values, weighted by what the lanes of their keys hold. A
// lane has the columns 2 * (lane + p * kWarp) and the next.
template <typename T, int kPairs>
__device__ __forceinline__ void AddValues(const T* rows, int stride, int v_dim,
                                          const float (&weights)[kRowsPerWarp],
                                          Sums<kPairs>* sums) {
  for (int key = 0; key < kChunkKeys; ++key) {
    float weight[kRowsPerWarp];
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
      weight[r] = __shfl_sync(kAllLanes, weights[r], key);
    }
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      const int column = 2 * (Lane() + p * kWarp);
      if (column >= v_dim) break;
      const float2 value = LoadPair(rows + key * stride + column);
#pragma unroll
      for (int r = 0; r < kRowsPerWarp; ++r) {
        sums->values[r][p].x = fmaf(weight[r], value.x, sums->values[r][p].x);
        sums->values[r][p].y = fmaf(weight[r], value.y, sums->values[r][p].y);
      }
    }
  }
}

// The answer if there is one split; else this split's part of it.
template <typename T, int kPairs>
__device__ __forceinline__ void Store(const Args<T>& args, const Work& work,
                                      const Sums<kPairs>& sums) {
  const bool is_whole = args.num_splits == 1;
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) {
    const int row = QueryRow(r);
    if (row >= work.num_query) break;
    const int64_t head_row = work.token(row) * args.num_heads + work.head(row);
    const int64_t slot = head_row * args.num_splits + work.split;
    float* to = is_whole ? args.out + head_row * args.v_dim
                         : args.partial_sums + slot * args.v_dim;
    const float divisor = is_whole ? sums.softmax[r].sum : 1.0F;
    if (!is_whole && Lane() == 0) args.partial_softmax[slot] = sums.softmax[r];
    if (!is_whole && sums.softmax[r].is_empty()) continue;
#pragma unroll
    for (int p = 0; p < kPairs; ++p) {
      const int column = 2 * (Lane() + p * kWarp);
      if (column < args.v_dim) to[column] = sums.values[r][p].x / divisor;
      if (column + 1 < args.v_dim)
        to[column + 1] = sums.values[r][p].y / divisor;
    }
  }
}

// A block of threads is one tile, one KV head with some of its query heads, and
// one split:
//   grid (tiles, G * head chunks, splits), kThreads threads.
// Every warp has up to kRowsPerWarp query rows; a lane has one key of a chunk
// while logits are computed, and 2 * kPairs columns of values afterwards. The
// next chunk is copied while one is computed.
template <typename T, int kPairs>
__global__ void __launch_bounds__(kThreads) AttendKernel(const Args<T> args) {
  Work work;
  if (!FindWork(args, &work)) return;
  const int query_stride = RoundUp(args.k_dim, Vector<T>::kSize);
  const int k_stride = ChunkStride<T>(args.k_dim);
  const bool has_values = args.v != nullptr;
  const int v_stride = has_values ? ChunkStride<T>(args.v_dim) : k_stride;
  float* query = reinterpret_cast<float*>(SharedMemory());
  T* keys = reinterpret_cast<T*>(query + kQueryRows * query_stride);
  T* values = has_values ? keys + 2 * kChunkKeys * k_stride : keys;
  const int32_t* blocks = args.block_indices + work.tile.first_block;
  const ChunkSource<T> key_source = {
      args.k, args.k_dim, blocks, args.num_kv_heads, work.kv_head, work.end};
  const ChunkSource<T> value_source = {
      args.v, args.v_dim, blocks, args.num_kv_heads, work.kv_head, work.end};
  const auto copy = [&](int first, int stage) {
    CopyChunk(key_source, first, keys + stage * kChunkKeys * k_stride);
    if (has_values) {
      CopyChunk(value_source, first, values + stage * kChunkKeys * v_stride);
    }
    __pipeline_commit();
  };

  Sums<kPairs> sums;
  if (work.begin < work.end) {
    copy(work.begin, 0);
    LoadQueries(args, work, query_stride, query);
  }
  int stage = 0;
  for (int first = work.begin; first < work.end;
       first += kChunkKeys, stage ^= 1) {
    if (first + kChunkKeys < work.end) {
      copy(first + kChunkKeys, stage ^ 1);
      __pipeline_wait_prior(1);
    } else {
      __pipeline_wait_prior(0);
    }
    __syncthreads();  // every thread's part of the chunk is there
    float weights[kRowsPerWarp] = {};
    MultiplyKey(keys + (stage * kChunkKeys + Lane()) * k_stride, query,
                query_stride, work.num_query, weights);
    Weigh(args, work, first, weights, &sums);
    AddValues(values + stage * kChunkKeys * v_stride, v_stride, args.v_dim,
              weights, &sums);
    __syncthreads();  // before the chunk is overwritten
  }
  Store(args, work, sums);
}

// Adds up the splits of every row of a tile in their order:
//   grid (tiles, H), kThreads threads, one column each.
template <typename T>
__global__ void __launch_bounds__(kThreads) MergeKernel(const Args<T> args) {
  const AttentionTile tile = args.tiles[blockIdx.x];
  for (int r = 0; r < tile.num_rows; ++r) {
    const int64_t head_row =
        static_cast<int64_t>(tile.first_row + r) * args.num_heads + blockIdx.y;
    const OnlineSoftmax* splits =
        args.partial_softmax + head_row * args.num_splits;
    OnlineSoftmax whole;
    for (int s = 0; s < args.num_splits; ++s) whole.Raise(splits[s].highest);
    for (int s = 0; s < args.num_splits; ++s) {
      whole.sum += whole.Weight(splits[s].highest) * splits[s].sum;
    }
    for (int column = static_cast<int>(threadIdx.x); column < args.v_dim;
         column += kThreads) {
      float sum = 0.0F;
      for (int s = 0; s < args.num_splits; ++s) {
        if (splits[s].is_empty()) continue;
        const int64_t slot = head_row * args.num_splits + s;
        sum = fmaf(whole.Weight(splits[s].highest),
                   args.partial_sums[slot * args.v_dim + column], sum);
      }
      args.out[head_row * args.v_dim + column] = sum / whole.sum;
    }
  }
}

template <typename T>
std::size_t SharedBytes(const AttentionArgs& args) {
  const int query = kQueryRows * RoundUp(args.k_dim, Vector<T>::kSize);
  int rows = ChunkStride<T>(args.k_dim);
  if (args.v != nullptr) rows += ChunkStride<T>(args.v_dim);
  return query * sizeof(float) + std::size_t{2} * kChunkKeys * rows * sizeof(T);
}

template <typename T, int kPairs>
void LaunchBoth(const AttentionArgs& args, const Args<T>& on_device,
                cudaStream_t stream) {
  // Full tiles have the fewest heads beside each other.
  const int chunk_heads = kQueryRows / kTileRows;
  const int head_chunks = (on_device.group + chunk_heads - 1) / chunk_heads;
  LaunchShape attend = {
      "attention",
      dim3(args.num_tiles, args.num_kv_heads * head_chunks, args.splits.count),
      kThreads, stream};
  attend.shared_bytes = SharedBytes<T>(args);
  Launch(attend, AttendKernel<T, kPairs>, on_device);
  if (args.splits.count == 1) return;
  Launch({"attention: merge", dim3(args.num_tiles, args.num_heads), kThreads,
          stream},
         MergeKernel<T>, on_device);
}

template <typename T>
void LaunchOf(const AttentionArgs& args, std::int64_t rows,
              cudaStream_t stream) {
  Args<T> on_device;
  on_device.k = static_cast<const T*>(args.k);
  on_device.v = static_cast<const T*>(args.v);
  on_device.block_indices = args.block_indices;
  on_device.tiles = args.tiles;
  on_device.query = args.query;
  on_device.query_stride = args.query_stride;
  on_device.out = args.out;
  on_device.num_heads = args.num_heads;
  on_device.num_kv_heads = args.num_kv_heads;
  on_device.group = args.num_heads / args.num_kv_heads;
  on_device.k_dim = args.k_dim;
  on_device.v_dim = args.v_dim;
  on_device.softmax_scale = args.softmax_scale;
  on_device.window_left = args.window_left;
  on_device.source_rows = args.source_rows;
  on_device.split_tokens = args.splits.tokens;
  on_device.num_splits = args.splits.count;
  const std::int64_t slots = rows * args.num_heads * args.splits.count;
  on_device.partial_softmax = reinterpret_cast<OnlineSoftmax*>(args.partial);
  on_device.partial_sums =
      args.partial == nullptr ? nullptr : args.partial + 2 * slots;
  if (args.v_dim <= 64) {
    LaunchBoth<T, 1>(args, on_device, stream);
  } else if (args.v_dim <= 128) {
    LaunchBoth<T, 2>(args, on_device, stream);
  } else if (args.v_dim <= 256) {
    LaunchBoth<T, 4>(args, on_device, stream);
  } else if (args.v_dim <= kMaxValueDim) {
    LaunchBoth<T, 8>(args, on_device, stream);
  } else {
    throw std::runtime_error("attention: values of " +
                             std::to_string(args.v_dim) + " numbers, of " +
                             std::to_string(kMaxValueDim) + " at most");
  }
}

static_assert(sizeof(OnlineSoftmax) == 2 * sizeof(float),
              "partial results are two floats and V sums");

}  // namespace

std::int64_t PartialFloats(const AttentionArgs& args, std::int64_t rows) {
  if (args.splits.count == 1) return 0;
  return rows * args.num_heads * args.splits.count * (2 + args.v_dim);
}

void LaunchAttention(const AttentionArgs& args, std::int64_t rows,
                     cudaStream_t stream) {
  if (args.num_tiles == 0) return;
  if (args.kv_type == KvType::kFloat32) {
    LaunchOf<float>(args, rows, stream);
  } else {
    LaunchOf<__nv_bfloat16>(args, rows, stream);
  }
}

}  // namespace stepd::kernels::cuda
