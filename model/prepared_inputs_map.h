// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What a runner prepared of its sessions' inputs, by the inputs themselves:
// sessions of equal inputs share one.
//
// Thread safety: none; one runner owns it, and it must outlive what it gives.

#ifndef STEPD_MODEL_PREPARED_INPUTS_MAP_H_
#define STEPD_MODEL_PREPARED_INPUTS_MAP_H_

#include <memory>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/step.h"

namespace stepd {

class PreparedInputsMap {
 public:
  using Make =
      absl::FunctionRef<absl::StatusOr<std::unique_ptr<PreparedInputs>>()>;

  PreparedInputsMap() = default;
  ~PreparedInputsMap() = default;
  PreparedInputsMap(const PreparedInputsMap&) = delete;
  PreparedInputsMap& operator=(const PreparedInputsMap&) = delete;

  // What is alive of these inputs, or what `make` makes.
  // Errors: those of `make`
  absl::StatusOr<std::shared_ptr<const PreparedInputs>> FindOrMake(
      absl::string_view session_inputs, Make make);

 private:
  // Keys are kept by the values' deleters.
  absl::flat_hash_map<absl::string_view, std::weak_ptr<const PreparedInputs>>
      by_inputs_;
};

}  // namespace stepd

#endif  // STEPD_MODEL_PREPARED_INPUTS_MAP_H_
