// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The daemon's log on stderr, as text or as JSON lines. A line is a message
// that never varies and the fields that do. Observations, actions and whole
// requests are never fields.
//
// Thread safety: thread-safe, but SetUpLog() comes first and once.

#ifndef STEPD_SERVER_OBSERVE_LOG_H_
#define STEPD_SERVER_OBSERVE_LOG_H_

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace stepd {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// Before this, lines of kInfo and above go out as text.
void SetUpLog(LogLevel level, LogFormat format);

using LogField = std::pair<absl::string_view, std::string>;
using LogFields = absl::Span<const LogField>;

// Whether Log() would write a line of this level.
bool IsLogged(LogLevel level);

void Log(LogLevel level, absl::string_view message, LogFields fields = {});

// The line that Log() would write after its time and level.
std::string FormatLogLine(LogFormat format, absl::string_view message,
                          LogFields fields);

// An id that tells failures apart: in a log line and in the error that the
// client got. Unique in this process, and very likely among processes.
std::string NewErrorId();

}  // namespace stepd

#endif  // STEPD_SERVER_OBSERVE_LOG_H_
