// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What a figure depends on besides the program: processor, load, versions. No
// name of the machine.
//
// Thread safety: reentrant.

#ifndef STEPD_TOOLS_BENCH_CC_MACHINE_H_
#define STEPD_TOOLS_BENCH_CC_MACHINE_H_

#include <nlohmann/json.hpp>
#include <string>

namespace stepd::bench {

// "cpu", "cores", "kernel".
nlohmann::ordered_json DescribeMachine();

// Over 1, 5 and 15 minutes.
nlohmann::ordered_json LoadAverage();

// "grpc", "protobuf", "compiler", of this program.
nlohmann::ordered_json LibraryVersions();

// Now: "2026-01-31 12:00 UTC".
std::string UtcDate();

}  // namespace stepd::bench

#endif  // STEPD_TOOLS_BENCH_CC_MACHINE_H_
