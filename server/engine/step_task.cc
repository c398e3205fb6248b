// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/step_task.h"

#include "absl/base/casts.h"
#include "absl/strings/str_cat.h"

namespace stepd {

void AppendContent(const SamplingParams& params, std::string* text) {
  absl::StrAppend(
      text, " ", absl::bit_cast<std::uint32_t>(params.temperature), " ",
      params.num_actions.value_or(-1), " ", params.top_k.value_or(-1), " ",
      absl::bit_cast<std::uint32_t>(params.epsilon), " ", params.seed);
}

}  // namespace stepd
