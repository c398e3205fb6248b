// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Parts of a policy's spec as text for people.
//
// Thread safety: pure functions.

#ifndef STEPD_SERVER_COMMANDS_SPEC_TEXT_H_
#define STEPD_SERVER_COMMANDS_SPEC_TEXT_H_

#include <string>
#include <vector>

#include "model/policy_spec.h"

namespace stepd {

// "action int64, obs? float32[any, 4]": a ? marks what may be left out. The
// names of a field's values follow: "type int64[any] (obs | reward)".
std::string FieldsText(const std::vector<FieldSpec>& fields);

// "logits[53], hidden[32]".
std::string OutputsText(const PolicySpec& spec);

// "6 actions by q", or that there are none.
std::string ActionsText(const PolicySpec& spec);

// "3", or "1 to 3", or "1 or more".
std::string TokensText(const PolicySpec& spec);

}  // namespace stepd

#endif  // STEPD_SERVER_COMMANDS_SPEC_TEXT_H_
