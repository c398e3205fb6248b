// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What `stepd inspect` says of a policy.
//
// Thread safety: pure functions.

#ifndef STEPD_SERVER_COMMANDS_INSPECTION_H_
#define STEPD_SERVER_COMMANDS_INSPECTION_H_

#include <string>

#include "model/policy_spec.h"
#include "nlohmann/json.hpp"

namespace stepd {

// The format, a table of the layers, inputs and outputs, parameters, memory.
std::string FormatInspection(const PolicySpec& spec);

// The same for programs; sizes in bytes.
nlohmann::json InspectionJson(const PolicySpec& spec);

}  // namespace stepd

#endif  // STEPD_SERVER_COMMANDS_INSPECTION_H_
