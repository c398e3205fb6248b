// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The AVX-512 kernels with products of bfloat16 numbers on matrix tiles: a tile
// is 16 rows of 64 bytes, here 16 rows of x or 16 words of 16 columns.

#define STEPD_PANEL_VECTORS 2
#define STEPD_TILE_ROWS 12
#include "model/kernels/cpu_kernels.inc"

namespace stepd::kernels {
namespace {

constexpr int kTileRows = kLinearRowsReadable;
constexpr int kTileWords = 16;
constexpr int kTileBytes = 64;

// As the instruction reads it: every tile is whole.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

constexpr TileConfig WholeTiles() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = kTileBytes;
    config.rows[i] = kTileRows;
  }
  return config;
}

// Where a tile of sums goes: rows and columns that exist.
struct TileOutput {
  int64_t row;
  int64_t column;
};

void StoreTile(const CpuLinearArgs& a, const float* sums, TileOutput to) {
  const int64_t left = a.out_dim - to.column;
  if (left <= 0) return;
  const Vector bias = a.bias == nullptr ? Vector{} : Load(a.bias + to.column);
  for (int64_t i = 0; i < kTileRows && to.row + i < a.rows; ++i) {
    float* y = a.y + (to.row + i) * a.y_stride + to.column;
    const Vector sum = Load(sums + i * kLanes) + bias;
    if (left >= kLanes) {
      Store(y, a.is_add ? Load(y) + sum : sum);
    } else {
      const Vector old = a.is_add ? LoadSome(y, left) : Vector{};
      StoreSome(y, old + sum, left);
    }
  }
}

// Tiles 0 .. 3: sums of 32 rows and 32 columns; 4, 5: x; 6, 7: weights.
template <bool kHasSecondRows>
void TileBlock(const CpuLinearArgs& a, int64_t column, int64_t row,
               int64_t bytes_ahead) {
  constexpr int64_t kPanelBytes = kPanel * sizeof(float);
  const float* panel = a.panels + column * a.in_words;
  const float* x = a.x + row * a.x_stride;
  const int64_t x_bytes = a.x_stride * static_cast<int64_t>(sizeof(float));
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kHasSecondRows) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < a.in_words; k += kTileWords) {
    const float* words = panel + k * kPanel;
    const char* ahead = reinterpret_cast<const char*>(words) + bytes_ahead;
    for (int i = 0; i < kTileWords; ++i) {
      __builtin_prefetch(ahead + i * kPanelBytes, 0, 2);
      __builtin_prefetch(ahead + i * kPanelBytes + kCacheLine, 0, 2);
    }
    _tile_loadd(6, words, kPanelBytes);
    _tile_loadd(7, words + kLanes, kPanelBytes);
    _tile_loadd(4, x + k, x_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kHasSecondRows) {
      _tile_loadd(5, x + kTileRows * a.x_stride + k, x_bytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  alignas(64) float sums[kTileRows * kLanes];
  _tile_stored(0, sums, kTileBytes);
  StoreTile(a, sums, {row, column});
  _tile_stored(1, sums, kTileBytes);
  StoreTile(a, sums, {row, column + kLanes});
  if constexpr (kHasSecondRows) {
    _tile_stored(2, sums, kTileBytes);
    StoreTile(a, sums, {row + kTileRows, column});
    _tile_stored(3, sums, kTileBytes);
    StoreTile(a, sums, {row + kTileRows, column + kLanes});
  }
}

// Panel by panel, so that weights stream through the cache once; the first
// rows of a panel fetch what comes after it.
void TileLinear(const CpuLinearArgs& a) {
  if (a.in_words % kTileWords != 0) return Linear<BFloat16Math>(a);
  static constexpr TileConfig kConfig = WholeTiles();
  _tile_loadconfig(&kConfig);
  const int64_t panel_bytes =
      a.in_words * kPanel * static_cast<int64_t>(sizeof(float));
  for (int64_t column = 0; column < a.out_dim; column += kPanel) {
    for (int64_t row = 0; row < a.rows; row += 2 * kTileRows) {
      const int64_t ahead = row == 0 ? panel_bytes : 0;
      if (a.rows - row > kTileRows) {
        TileBlock<true>(a, column, row, ahead);
      } else {
        TileBlock<false>(a, column, row, ahead);
      }
    }
  }
  _tile_release();
}

constexpr CpuKernels MakeTileKernels() {
  CpuKernels kernels = MakeKernels("avx512_amx");
  kernels.linear_bfloat16 = TileLinear;
  return kernels;
}

}  // namespace

const CpuKernels& AmxCpuKernels() {
  static constexpr CpuKernels kKernels = MakeTileKernels();
  return kKernels;
}

}  // namespace stepd::kernels
