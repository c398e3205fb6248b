// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The block that the daemon logs once it serves: what, how large, where.

#ifndef STEPD_SERVER_COMMANDS_START_REPORT_H_
#define STEPD_SERVER_COMMANDS_START_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/policy_spec.h"
#include "server/engine/engine.h"
#include "server/observe/log.h"

namespace stepd {

struct StartReport {
  std::string name;
  std::int64_t version = 0;
  std::string path;
  const PolicySpec* spec = nullptr;  // never null
  EngineOptions engine;
  std::string journal;  // in a few words
  std::string grpc_address;
  int grpc_port = 0;
  bool has_tls = false;
  std::string http_address;  // empty: none
  int http_port = 0;
};

// What is to be told, in the order to tell it.
std::vector<LogField> StartReportFields(const StartReport& report);

// The same as a block for people.
std::string FormatStartReport(const StartReport& report);

// How many sessions of `max_steps` steps the cache budget holds; -1 when the
// policy caches nothing, or has no longest step.
std::int64_t NumFullSessions(const PolicySpec& spec,
                             const EngineOptions& engine);

}  // namespace stepd

#endif  // STEPD_SERVER_COMMANDS_START_REPORT_H_
