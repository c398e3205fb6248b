// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/commands/start_report.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "server/commands/spec_text.h"
#include "server/config/config_value.h"
#include "server/observe/version.h"

namespace stepd {
namespace {

// "0.0.0.0:0" with the port that it became.
std::string WithPort(const std::string& address, int port) {
  if (absl::StartsWith(address, "unix")) return address;
  return absl::StrCat(address.substr(0, address.rfind(':')), ":", port);
}

std::string CacheText(const PolicySpec& spec, const EngineOptions& engine) {
  if (spec.kv_bytes_per_token == 0) {
    return "none: the policy keeps no keys and values";
  }
  const std::int64_t full = NumFullSessions(spec, engine);
  if (full < 0) {
    return absl::StrCat(FormatSize(engine.cache_bytes), " = ",
                        engine.cache_bytes / spec.kv_bytes_per_token,
                        " tokens, steps are of any length");
  }
  return absl::StrCat(FormatSize(engine.cache_bytes), " = ", full,
                      " full sessions of ", engine.context.max_steps, " steps");
}

std::string ContextText(const ContextLimits& context) {
  return context.rebuilds()
             ? absl::StrCat(context.max_steps,
                            " steps, then rebuilt from the last ",
                            context.keep_steps)
             : absl::StrCat(context.max_steps, " steps, then CONTEXT_FULL");
}

}  // namespace

std::int64_t NumFullSessions(const PolicySpec& spec,
                             const EngineOptions& engine) {
  const std::int64_t block_bytes = spec.kv_bytes_per_block();
  const bool is_unbounded = spec.max_tokens_per_step < 0;
  if (block_bytes == 0 || (is_unbounded && spec.max_tokens == 0)) return -1;
  std::int64_t tokens = spec.max_tokens;
  if (!is_unbounded) {
    if (__builtin_mul_overflow(engine.context.max_steps,
                               std::int64_t{spec.max_tokens_per_step},
                               &tokens)) {
      return 0;
    }
    if (spec.max_tokens > 0) tokens = std::min(tokens, spec.max_tokens);
  }
  if (__builtin_add_overflow(tokens, std::int64_t{spec.num_prefix_tokens},
                             &tokens)) {
    return 0;
  }
  if (spec.max_tokens > 0) tokens = std::min(tokens, spec.max_tokens);
  const std::int64_t blocks = tokens / spec.tokens_per_block +
                              (tokens % spec.tokens_per_block != 0 ? 1 : 0);
  return engine.cache_bytes / block_bytes / blocks;
}

std::vector<LogField> StartReportFields(const StartReport& report) {
  const PolicySpec& spec = *report.spec;
  std::vector<LogField> fields = {
      {"version", kVersion},
      {"model", absl::StrCat(report.name, " version ", report.version, ": ",
                             spec.summary)},
      {"checkpoint", report.path},
      {"parameters", absl::StrCat(spec.num_parameters, " (",
                                  FormatSize(spec.weight_bytes), ")")},
      {"device", absl::StrCat(spec.device, ", ", spec.dtype, ", ",
                              report.engine.num_executors, " executor(s)")},
      {"kernels", spec.kernels},
      {"step",
       absl::StrCat(FieldsText(spec.fields), " -> ", ActionsText(spec))},
      {"kv_cache",
       absl::StrCat(FormatSize(spec.kv_bytes_per_token), " per token, ",
                    TokensText(spec), " token(s) per step")},
      {"budget", CacheText(spec, report.engine)},
      {"context", ContextText(report.engine.context)},
      {"journal", report.journal},
      {"grpc", absl::StrCat(WithPort(report.grpc_address, report.grpc_port),
                            report.has_tls ? " (TLS)" : " (no TLS)")},
  };
  if (!spec.session_fields.empty()) {
    fields.emplace_back("session", FieldsText(spec.session_fields));
  }
  if (spec.recomputes) {
    fields.emplace_back("slow",
                        "every answer is computed from the whole session");
  }
  if (!report.http_address.empty()) {
    fields.emplace_back(
        "http", absl::StrCat(WithPort(report.http_address, report.http_port),
                             " /metrics /healthz /readyz"));
  }
  return fields;
}

std::string FormatStartReport(const StartReport& report) {
  std::string block = "stepd is serving";
  for (const auto& [key, value] : StartReportFields(report)) {
    absl::StrAppendFormat(&block, "\n  %-11s %s", key, value);
  }
  return block;
}

}  // namespace stepd
