// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/call_log.h"

#include <grpcpp/server_context.h>

#include <cstddef>
#include <vector>

#include "server/common/error.h"
#include "server/observe/log.h"

namespace stepd {
namespace {

constexpr char kRequestIdKey[] = "x-request-id";
constexpr std::size_t kMaxRequestIdBytes = 64;

LogLevel LevelOf(const absl::Status& status) {
  return absl::IsInternal(status) ? LogLevel::kError : LogLevel::kDebug;
}

}  // namespace

std::string RequestIdOf(const grpc::ServerContextBase& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(kRequestIdKey);
  if (found == metadata.end() || found->second.empty()) return NewErrorId();
  const grpc::string_ref id = found->second.substr(0, kMaxRequestIdBytes);
  return std::string(id.data(), id.size());
}

bool IsFailureLogged(const absl::Status& status) {
  return IsLogged(LevelOf(status));
}

void LogFailedCall(absl::string_view method, absl::string_view request_id,
                   const absl::Status& status) {
  std::vector<LogField> fields = {
      {"method", std::string(method)},
      {"request_id", std::string(request_id)},
      {"code", absl::StatusCodeToString(status.code())},
      {"reason", ReasonOf(status)},
  };
  for (const auto& [key, value] : MetadataOf(status)) {
    if (key == "field") fields.emplace_back("field", value);
    if (key == "error_id") fields.emplace_back("error_id", value);
  }
  Log(LevelOf(status), "call failed", fields);
}

}  // namespace stepd
