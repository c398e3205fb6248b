// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A stack of decoder layers over whole inputs: typed tokens that attend by
// patterns instead of to their past. For offline use; the layers are the ones
// that serve.
//
// Thread safety: thread-safe once built.

#ifndef STEPD_MODEL_MODULES_PATTERN_STACK_H_
#define STEPD_MODEL_MODULES_PATTERN_STACK_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "model/decoder/decoder_config.h"
#include "model/kernels/kernel_set.h"
#include "model/layers/layer.h"
#include "model/modules/token_specs.h"

namespace stepd {

// Rotation by real coordinates: each axis turns its own pairs of a head.
struct AxialRope {
  int num_axes = 1;
  int head_dim = 0;
  double max_wavelength = 10000.0;

  // Elements of a head that one axis turns: even, 0 if the head is too small.
  int turned_dim() const;
};

struct PatternStackConfig {
  std::vector<LayerConfig> layers;  // of one width, GQA with one KV head each
  int num_banks = 1;
  std::optional<AxialRope> rope;  // if the layers have one
};

struct PatternStackInputs {
  at::Tensor x;  // [B, S, D]
  std::vector<TokenSpec> specs;
  // Of each layer, or of all of them; empty: everybody attends to everybody.
  std::vector<std::vector<NamedPattern>> patterns;
  at::Tensor is_real;      // [B, S] bool; undefined: no token is masked
  at::Tensor coordinates;  // [B, S, axes], if there is a rope
  at::Tensor condition;    // [B, C], if the layers have a modulation
};

class PatternStack {
 public:
  // `kernels` must outlive the stack.
  PatternStack(const PatternStackConfig& config,
               const kernels::KernelSet& kernels);

  // The rows after every layer, each [B, S, D].
  // Errors: kInvalidArgument  what BanksOfTokens and RowsOfPatterns say; other
  //                           than one domain per bank; coordinates, mask or
  //                           condition that are missing, superfluous or
  //                           misshapen
  absl::StatusOr<std::vector<at::Tensor>> Forward(
      const PatternStackInputs& inputs) const;

 private:
  // The rows of a batch, and what every layer is given.
  struct Batch;

  absl::Status Check(const PatternStackInputs& inputs) const;
  absl::Status LayOut(const PatternStackInputs& inputs, Batch* batch) const;
  absl::Status PlanPatterns(const PatternStackInputs& inputs,
                            Batch* batch) const;
  void Turn(const at::Tensor& coordinates, Batch* batch) const;

  const kernels::KernelSet& kernels_;
  int num_banks_;
  std::int64_t dim_ = 0;
  std::int64_t condition_dim_ = 0;  // 0: no modulation
  std::optional<AxialRope> rope_;
  RopePairing pairing_ = RopePairing::kInterleaved;
  std::vector<Layer> layers_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_MODULES_PATTERN_STACK_H_
