// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The CPU kernels as a table of functions, compiled once per instruction set
// from cpu_kernels.inc. Plain pointers only: these files are compiled with
// wider instructions than the rest, so nothing inline may be shared with them.
//
// Determinism: each output is accumulated in one fixed order that depends on
// its own row alone, so a row's bits are the same in every batch.

#ifndef STEPD_MODEL_KERNELS_CPU_KERNELS_H_
#define STEPD_MODEL_KERNELS_CPU_KERNELS_H_

#include <stdint.h>

#include "model/kinds.h"

namespace stepd::kernels {

// Tokens per KV block that the attention kernel is written for: one block's
// keys are one vector.
constexpr int kCpuTokensPerBlock = 16;

// x of linear_bfloat16 must be readable to a multiple of so many rows.
constexpr int kLinearRowsReadable = 16;

// In float32 a word of x and of the panels is one element; in bfloat16 it is
// the elements 2k (low half) and 2k + 1, the last one zero-padded.
struct CpuLinearArgs {
  const float* panels;  // [ceil(out / panel)][in][panel] words, zero-padded
  const float* bias;    // [ceil(out / panel) * panel], or nullptr
  int64_t in_words;
  int64_t out_dim;
  const float* x;    // [rows, in_words]
  int64_t x_stride;  // words between rows
  int64_t rows;
  float* y;          // [rows, out_dim]
  int64_t y_stride;  // elements between rows
  bool is_add;       // y += instead of y =
};

// One slice of a batch and one KV head of it.
struct CpuAttentionArgs {
  const float* query;    // first new token, first head of the group
  int64_t query_stride;  // elements between tokens
  float* out;            // likewise
  int64_t out_stride;    // elements between tokens
  const float* k;        // this KV head in block 0: [k_dim][16]
  // This KV head in block 0: [16][v_dim]. 15 floats behind the last block must
  // be readable. nullptr: values are the first v_dim columns of the keys.
  const float* v;
  int64_t k_block_elements;  // between blocks
  int64_t v_block_elements;
  const int32_t* blocks;  // block table
  int64_t num_new;        // new tokens of the slice
  int64_t kv_len;         // tokens, new ones included
  int group;              // query heads per KV head
  int k_dim;
  int v_dim;
  float scale;
  int64_t window_left;  // -1 = all
  float* scratch;       // [group * round_up(kv_len, 16)]
  const float* next;    // keys that the next call begins with, for the cache
};

struct CpuNormArgs {
  const float* x;  // [rows, dim]
  int64_t rows;
  int64_t dim;
  const float* weight;  // [dim]
  const float* bias;    // [dim], or nullptr
  float eps;
  float* y;  // [rows, dim]; may be x
};

struct CpuFourierArgs {
  const float* weight;  // [inputs][width]
  const float* freqs;
  const float* phases;
  const float* x;  // [inputs]
  int64_t num_inputs;
  int64_t width;
  float* out;  // += [width]
};

struct CpuKernels {
  const char* name;
  int panel;  // columns per panel of packed weights
  void (*linear)(const CpuLinearArgs& args);
  // Products of bfloat16 numbers, added up in float32.
  void (*linear_bfloat16)(const CpuLinearArgs& args);
  // `count` numbers to (count + 1) / 2 words of bfloat16, to nearest even.
  void (*to_bfloat16)(const float* x, int64_t count, float* words);
  void (*rms_norm)(const CpuNormArgs& args);
  void (*layer_norm)(const CpuNormArgs& args);
  void (*activate_gated)(Activation activation, const float* gate_up,
                         int64_t rows, int64_t dim, float* y);
  void (*activate)(Activation activation, float* x, int64_t count);
  // Turns one head.
  void (*rope)(float* head, int64_t half_dim, const float* cos,
               const float* sin, RopePairing pairing);
  void (*attention)(const CpuAttentionArgs& args);
  void (*add_scaled)(const float* x, int64_t count, float scale, float* y);
  void (*add_fourier)(const CpuFourierArgs& args);
};

const CpuKernels& PortableCpuKernels();
const CpuKernels& Avx2CpuKernels();        // REQUIRES: AVX2 and FMA
const CpuKernels& Avx512CpuKernels();      // REQUIRES: AVX-512 F, BW, DQ, VL
const CpuKernels& Avx512Bf16CpuKernels();  // REQUIRES: these and BF16
const CpuKernels& AmxCpuKernels();         // REQUIRES: these and EnableAmx()

// Whether this processor has AMX for bfloat16 and the system lets this process
// use it, for which this asks.
bool EnableAmx();

// The widest set this processor runs.
const CpuKernels& BestCpuKernels();

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_CPU_KERNELS_H_
