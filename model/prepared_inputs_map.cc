// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/prepared_inputs_map.h"

#include <string>
#include <utility>

namespace stepd {

absl::StatusOr<std::shared_ptr<const PreparedInputs>>
PreparedInputsMap::FindOrMake(absl::string_view session_inputs, Make make) {
  const auto found = by_inputs_.find(session_inputs);
  if (found != by_inputs_.end()) return found->second.lock();
  absl::StatusOr<std::unique_ptr<PreparedInputs>> made = make();
  if (!made.ok()) return made.status();
  const auto key = std::make_shared<const std::string>(session_inputs);
  std::shared_ptr<const PreparedInputs> prepared(
      made->release(), [this, key](const PreparedInputs* dead) {
        by_inputs_.erase(*key);
        delete dead;
      });
  by_inputs_.emplace(*key, prepared);
  return prepared;
}

}  // namespace stepd
