// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Three launch geometries are enough for all of these:
//   elements   one thread per number, in blocks of kThreads
//   rows       one block of threads per row, which strides over its columns
//   heads      one warp per short row

#include <cuda_bf16.h>

#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/rows.h"
#include "model/kernels/rope_pair.h"

namespace stepd::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Blocks of kThreads for `count` numbers.
unsigned Blocks(std::int64_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}

__device__ int64_t ThisElement() {
  return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

// The sum of every thread's x, the same in each: warps first, then the warps'
// sums in order. Every thread of the block must call it.
__device__ float BlockSum(float x) {
  __shared__ float of_warps[kThreads / kWarp];
  x = WarpSum(x);
  __syncthreads();  // before the sums of an earlier call are overwritten
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = x;
  __syncthreads();
  float sum = 0.0F;
#pragma unroll
  for (int w = 0; w < kThreads / kWarp; ++w) sum += of_warps[w];
  return sum;
}

// ---- Norms: a block of threads per row --------------------------------------

__global__ void RmsNormKernel(const NormRows norm) {
  const float* x = norm.x + blockIdx.x * norm.dim;
  float* y = norm.y + blockIdx.x * norm.dim;
  float squares = 0.0F;
  for (int64_t i = threadIdx.x; i < norm.dim; i += kThreads) {
    squares = fmaf(x[i], x[i], squares);
  }
  const float mean = BlockSum(squares) / static_cast<float>(norm.dim);
  const float scale = 1.0F / sqrtf(mean + norm.eps);
  for (int64_t i = threadIdx.x; i < norm.dim; i += kThreads) {
    y[i] = norm.weight[i] * (x[i] * scale);
  }
}

__global__ void LayerNormKernel(const NormRows norm) {
  const float* x = norm.x + blockIdx.x * norm.dim;
  float* y = norm.y + blockIdx.x * norm.dim;
  float sum = 0.0F;
  for (int64_t i = threadIdx.x; i < norm.dim; i += kThreads) sum += x[i];
  const float mean = BlockSum(sum) / static_cast<float>(norm.dim);
  float squares = 0.0F;
  for (int64_t i = threadIdx.x; i < norm.dim; i += kThreads) {
    const float apart = x[i] - mean;
    squares = fmaf(apart, apart, squares);
  }
  const float variance = BlockSum(squares) / static_cast<float>(norm.dim);
  const float scale = 1.0F / sqrtf(variance + norm.eps);
  for (int64_t i = threadIdx.x; i < norm.dim; i += kThreads) {
    const float shift = norm.bias == nullptr ? 0.0F : norm.bias[i];
    y[i] = norm.weight[i] * ((x[i] - mean) * scale) + shift;
  }
}

// A warp per head.
__global__ void NormHeadsKernel(const HeadArray heads, const float* weight,
                                float eps) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) +
                        threadIdx.x / kWarp;
  if (index >= heads.num_tokens * heads.num_heads) return;
  float* x = heads.x + index / heads.num_heads * heads.token_stride +
             index % heads.num_heads * heads.dim;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float squares = 0.0F;
  for (int i = lane; i < heads.dim; i += kWarp) {
    squares = fmaf(x[i], x[i], squares);
  }
  const float mean = WarpSum(squares) / static_cast<float>(heads.dim);
  const float scale = 1.0F / sqrtf(mean + eps);
  for (int i = lane; i < heads.dim; i += kWarp) {
    x[i] = weight[i] * (x[i] * scale);
  }
}

// ---- Positions ----------------------------------------------------------

// A thread per pair of a head.
__global__ void RopeKernel(const HeadArray heads, const RopeAngles angles) {
  const int64_t half = heads.dim / 2;
  const int64_t index = ThisElement();
  if (index >= heads.num_tokens * heads.num_heads * half) return;
  const int64_t pair = index % half;
  const int64_t head = index / half % heads.num_heads;
  const int64_t token = index / half / heads.num_heads;
  float* x = heads.x + token * heads.token_stride + head * heads.dim;
  const RopePair at = FindRopePair(angles.pairing, pair, half);
  Turn(angles.cos[token * half + pair], angles.sin[token * half + pair],
       x + at.first, x + at.second);
}

__global__ void TurnPositionsKernel(const TurnArgs args) {
  const int64_t index = ThisElement();
  if (index >= args.n * args.half) return;
  // The angle is rounded to float32, as the originals do.
  const float angle =
      __fmul_rn(static_cast<float>(args.positions[index / args.half]),
                args.frequencies[index % args.half]);
  args.cos[index] = cosf(angle) * args.factor;
  args.sin[index] = sinf(angle) * args.factor;
}

// ---- Activations --------------------------------------------------------

__device__ float Activated(Activation activation, float x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1.0F + expf(-x));
    case Activation::kGelu:
      return 0.5F * x * (1.0F + erff(x * 0.70710678118654752F));
    case Activation::kRelu:
      return x > 0.0F ? x : 0.0F;
    case Activation::kLeakyRelu:
      return x > 0.0F ? x : 0.01F * x;
    case Activation::kElu:
      return x > 0.0F ? x : expm1f(x);
    case Activation::kSoftplus:
      return x > 20.0F ? x : log1pf(expf(x));
    case Activation::kSigmoid:
      return 1.0F / (1.0F + expf(-x));
    case Activation::kTanh:
      break;
  }
  return tanhf(x);
}

__global__ void ActivateGatedKernel(Activation activation,
                                    const GateUp gate_up) {
  const int64_t index = ThisElement();
  if (index >= gate_up.rows * gate_up.dim) return;
  const float* gate =
      gate_up.x + index / gate_up.dim * 2 * gate_up.dim + index % gate_up.dim;
  gate_up.y[index] = Activated(activation, gate[0]) * gate[gate_up.dim];
}

__global__ void ActivateKernel(Activation activation, float* x, int64_t count) {
  const int64_t index = ThisElement();
  if (index < count) x[index] = Activated(activation, x[index]);
}

// ---- Copies -------------------------------------------------------------

// A block of threads per row.
template <typename T>
__global__ void AppendKernel(const AppendArgs args) {
  const int64_t row = blockIdx.x;
  const int64_t block = args.blocks[row];
  if (block < 0) return;
  const int64_t offset = args.offsets[row];
  const float* from = args.rows + row * args.stride;
  T* slot = static_cast<T*>(args.slot);
  for (int i = static_cast<int>(threadIdx.x); i < args.num_heads * args.dim;
       i += kThreads) {
    const int64_t head = block * args.num_heads + i / args.dim;
    slot[(head * kTokensPerBlock + offset) * args.dim + i % args.dim] =
        FromFloat<T>(from[i]);
  }
}

__global__ void GatherRowsKernel(const GatherArgs args) {
  const float* from = args.x + args.rows[blockIdx.x] * args.dim;
  float* to = args.y + blockIdx.x * args.dim;
  for (int64_t i = threadIdx.x; i < args.dim; i += kThreads) to[i] = from[i];
}

template <typename T>
__global__ void CopyColumnsKernel(const StridedRows rows, T* y) {
  const int64_t index = ThisElement();
  if (index >= rows.rows * rows.columns) return;
  const int64_t row = index / rows.columns;
  const int64_t column = index % rows.columns;
  y[row * rows.y_stride + column] =
      FromFloat<T>(rows.x[row * rows.x_stride + column]);
}

__global__ void AddBiasKernel(const float* bias, const StridedRows rows,
                              float* y) {
  const int64_t index = ThisElement();
  if (index >= rows.rows * rows.columns) return;
  const int64_t column = index % rows.columns;
  y[index / rows.columns * rows.y_stride + column] += bias[column];
}

__global__ void AddScaledRowsKernel(const ScaledRows rows) {
  const float* from = rows.x + blockIdx.x * rows.dim;
  float* to = rows.y + rows.rows[blockIdx.x] * rows.dim;
  const float scale = rows.scales[blockIdx.x];
  for (int64_t i = threadIdx.x; i < rows.dim; i += kThreads) {
    to[i] = fmaf(scale, from[i], to[i]);
  }
}

__global__ void AddGatedKernel(const GatedRows rows) {
  const int64_t index = ThisElement();
  if (index >= rows.rows * rows.dim) return;
  rows.y[index] =
      fmaf(rows.gate[index % rows.dim], rows.x[index], rows.y[index]);
}

// ---- Recurrent loops ----------------------------------------------------

__global__ void LoopInputKernel(const LoopArgs loop, const float* embedding,
                                int64_t columns, float* c) {
  const int64_t index = ThisElement();
  if (index >= loop.rows * loop.dim) return;
  const int64_t column = index % loop.dim;
  float sum = loop.hidden[index];
  if (column < columns) sum += embedding[column];
  c[index] = sum + loop.entry[index];
}

__global__ void LoopUpdateKernel(const LoopArgs loop, const float* decay,
                                 const float* injection, const float* y) {
  const int64_t index = ThisElement();
  if (index >= loop.rows * loop.dim) return;
  const int64_t column = index % loop.dim;
  loop.hidden[index] = decay[column] * loop.hidden[index] +
                       injection[column] * loop.entry[index] + y[index];
}

// A block of threads per row.
__global__ void LoopHaltKernel(const LoopArgs loop, const HaltArgs halt) {
  const int64_t row = blockIdx.x;
  const float spent = halt.spent[row];
  const float p = 1.0F / (1.0F + expf(-halt.logits[row]));
  __syncthreads();  // every thread has read what the first one changes
  if (spent >= halt.threshold) return;
  const float weight =
      spent + p >= halt.threshold ? fmaxf(1.0F - spent, 0.0F) : p;
  for (int64_t i = threadIdx.x; i < loop.dim; i += kThreads) {
    const int64_t at = row * loop.dim + i;
    halt.out[at] = fmaf(weight, loop.hidden[at], halt.out[at]);
  }
  if (threadIdx.x == 0) halt.spent[row] = spent + p;
}

// ---- Embeddings: a block of threads per content -------------------------

__global__ void AddTableRowsKernel(const TableRows rows) {
  const float* from = rows.table + rows.indices[blockIdx.x] * rows.width;
  float* to = rows.out + rows.offsets[blockIdx.x];
  for (int64_t i = threadIdx.x; i < rows.width; i += kThreads) to[i] += from[i];
}

__global__ void AddFourierKernel(const FourierRows rows) {
  const float* x = rows.x + blockIdx.x * rows.num_inputs;
  float* to = rows.out + rows.offsets[blockIdx.x];
  for (int64_t i = threadIdx.x; i < rows.width; i += kThreads) {
    float sum = 0.0F;
    for (int64_t c = 0; c < rows.num_inputs; ++c) {
      const int64_t at = c * rows.width + i;
      sum = fmaf(rows.weight[at],
                 cosf(fmaf(x[c], rows.freqs[at], rows.phases[at])), sum);
    }
    to[i] += sum;
  }
}

__device__ float ContentAt(const EmbedContent& content, const EmbedEntry& part,
                           const float* inputs, int64_t column) {
  if (content.kind == EmbedContent::Kind::kTable) {
    return content.weight[part.argument * content.width + column];
  }
  const float* x = inputs + part.argument;
  float sum = 0.0F;
  for (int c = 0; c < content.num_inputs; ++c) {
    const int64_t at = c * content.width + column;
    const float factor =
        content.kind == EmbedContent::Kind::kFourier
            ? cosf(fmaf(x[c], content.freqs[at], content.phases[at]))
            : x[c];
    sum = fmaf(content.weight[at], factor, sum);
  }
  return content.kind == EmbedContent::Kind::kProjection
             ? sum + content.bias[column]
             : sum;
}

// A block of threads per token row.
__global__ void EmbedRowsKernel(const EmbedArgs args) {
  const int begin = args.row_indptr[blockIdx.x];
  const int end = args.row_indptr[blockIdx.x + 1];
  float* x = args.x + blockIdx.x * args.dim;
  for (int64_t i = threadIdx.x; i < args.dim; i += kThreads) {
    float sum = 0.0F;
    for (int entry = begin; entry < end; ++entry) {
      const EmbedEntry part = args.entries[entry];
      sum += ContentAt(args.contents[part.content], part, args.inputs,
                       part.column + i);
    }
    x[i] = sum;
  }
}

}  // namespace

void LaunchEmbedRows(const EmbedArgs& args, cudaStream_t stream) {
  if (args.rows == 0) return;
  Launch({"embedding of a batch", static_cast<unsigned>(args.rows), kThreads,
          stream},
         EmbedRowsKernel, args);
}

void LaunchRmsNorm(const NormRows& norm, cudaStream_t stream) {
  if (norm.rows == 0) return;
  Launch({"rms norm", static_cast<unsigned>(norm.rows), kThreads, stream},
         RmsNormKernel, norm);
}

void LaunchLayerNorm(const NormRows& norm, cudaStream_t stream) {
  if (norm.rows == 0) return;
  Launch({"layer norm", static_cast<unsigned>(norm.rows), kThreads, stream},
         LayerNormKernel, norm);
}

void LaunchNormHeads(const HeadArray& heads, const float* weight, float eps,
                     cudaStream_t stream) {
  const std::int64_t threads = heads.num_tokens * heads.num_heads * kWarp;
  if (threads == 0) return;
  Launch({"norm of heads", Blocks(threads), kThreads, stream}, NormHeadsKernel,
         heads, weight, eps);
}

void LaunchRope(const HeadArray& heads, const RopeAngles& angles,
                cudaStream_t stream) {
  const std::int64_t count = heads.num_tokens * heads.num_heads *
                             static_cast<std::int64_t>(heads.dim / 2);
  if (count == 0) return;
  Launch({"rope", Blocks(count), kThreads, stream}, RopeKernel, heads, angles);
}

void LaunchTurnPositions(const TurnArgs& args, cudaStream_t stream) {
  if (args.n * args.half == 0) return;
  Launch({"cosines of positions", Blocks(args.n * args.half), kThreads, stream},
         TurnPositionsKernel, args);
}

void LaunchActivateGated(Activation activation, const GateUp& gate_up,
                         cudaStream_t stream) {
  const std::int64_t count = gate_up.rows * gate_up.dim;
  if (count == 0) return;
  Launch({"gated activation", Blocks(count), kThreads, stream},
         ActivateGatedKernel, activation, gate_up);
}

void LaunchActivate(Activation activation, float* x, std::int64_t count,
                    cudaStream_t stream) {
  if (count == 0) return;
  Launch({"activation", Blocks(count), kThreads, stream}, ActivateKernel,
         activation, x, count);
}

void LaunchAppend(const AppendArgs& args, cudaStream_t stream) {
  if (args.n == 0) return;
  const auto rows = static_cast<unsigned>(args.n);
  Launch({"keys and values into blocks", rows, kThreads, stream},
         args.type == KvType::kFloat32 ? AppendKernel<float>
                                       : AppendKernel<__nv_bfloat16>,
         args);
}

void LaunchGatherRows(const GatherArgs& args, cudaStream_t stream) {
  if (args.n == 0) return;
  Launch({"rows gathered", static_cast<unsigned>(args.n), kThreads, stream},
         GatherRowsKernel, args);
}

void LaunchCopyColumns(const StridedRows& rows, float* y, cudaStream_t stream) {
  const std::int64_t count = rows.rows * rows.columns;
  if (count == 0) return;
  Launch({"columns copied", Blocks(count), kThreads, stream},
         CopyColumnsKernel<float>, rows, y);
}

void LaunchToBFloat16(const StridedRows& rows, void* y, cudaStream_t stream) {
  const std::int64_t count = rows.rows * rows.columns;
  if (count == 0) return;
  Launch({"rows to bfloat16", Blocks(count), kThreads, stream},
         CopyColumnsKernel<__nv_bfloat16>, rows,
         static_cast<__nv_bfloat16*>(y));
}

void LaunchAddBias(const float* bias, const StridedRows& rows, float* y,
                   cudaStream_t stream) {
  const std::int64_t count = rows.rows * rows.columns;
  if (count == 0) return;
  Launch({"bias", Blocks(count), kThreads, stream}, AddBiasKernel, bias, rows,
         y);
}

void LaunchAddScaledRows(const ScaledRows& rows, cudaStream_t stream) {
  if (rows.n == 0) return;
  Launch({"scaled rows added", static_cast<unsigned>(rows.n), kThreads, stream},
         AddScaledRowsKernel, rows);
}

void LaunchAddGated(const GatedRows& rows, cudaStream_t stream) {
  const std::int64_t count = rows.rows * rows.dim;
  if (count == 0) return;
  Launch({"gated rows added", Blocks(count), kThreads, stream}, AddGatedKernel,
         rows);
}

void LaunchLoopInput(const LoopArgs& loop, const float* embedding,
                     std::int64_t columns, float* c, cudaStream_t stream) {
  if (loop.rows * loop.dim == 0) return;
  Launch({"input of a loop", Blocks(loop.rows * loop.dim), kThreads, stream},
         LoopInputKernel, loop, embedding, columns, c);
}

void LaunchLoopUpdate(const LoopArgs& loop, const float* decay,
                      const float* injection, const float* y,
                      cudaStream_t stream) {
  if (loop.rows * loop.dim == 0) return;
  Launch({"update of a loop", Blocks(loop.rows * loop.dim), kThreads, stream},
         LoopUpdateKernel, loop, decay, injection, y);
}

void LaunchLoopHalt(const LoopArgs& loop, const HaltArgs& halt,
                    cudaStream_t stream) {
  if (loop.rows == 0) return;
  Launch({"halting", static_cast<unsigned>(loop.rows), kThreads, stream},
         LoopHaltKernel, loop, halt);
}

void LaunchAddTableRows(const TableRows& rows, cudaStream_t stream) {
  if (rows.n == 0) return;
  Launch({"rows of a table", static_cast<unsigned>(rows.n), kThreads, stream},
         AddTableRowsKernel, rows);
}

void LaunchAddFourier(const FourierRows& rows, cudaStream_t stream) {
  if (rows.n == 0) return;
  Launch({"Fourier features", static_cast<unsigned>(rows.n), kThreads, stream},
         AddFourierKernel, rows);
}

}  // namespace stepd::kernels::cuda
