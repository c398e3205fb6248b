// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// How a batch that is embedded at once is described, on the host and on a GPU.
//
// Thread safety: plain values.

#ifndef STEPD_MODEL_KERNELS_EMBED_CONTENT_H_
#define STEPD_MODEL_KERNELS_EMBED_CONTENT_H_

#include <stdint.h>

namespace stepd::kernels {

// What a field's values become: `width` numbers that are added to token rows.
// Tables are on the device.
struct EmbedContent {
  enum class Kind : int32_t {
    kTable,       // row `argument` of the table
    kFourier,     // sum_c weight[c] * cos(x_c * freqs[c] + phases[c])
    kProjection,  // sum_c weight[c] * x_c + bias
  };
  Kind kind = Kind::kTable;
  int32_t num_inputs = 0;         // C; x begins at input `argument`
  const float* weight = nullptr;  // the table, or [C, width]
  const float* freqs = nullptr;   // [C, width], kFourier
  const float* phases = nullptr;  // [C, width], kFourier
  const float* bias = nullptr;    // [width], kProjection
  int64_t width = 0;
};

// A row's part of one content: columns [column, column + dim).
struct EmbedEntry {
  int32_t content = 0;
  int32_t column = 0;
  int64_t argument = 0;
};

}  // namespace stepd::kernels

#endif  // STEPD_MODEL_KERNELS_EMBED_CONTENT_H_
