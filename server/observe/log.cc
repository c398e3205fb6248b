// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/observe/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_cat.h"

namespace stepd {
namespace {

// Times are UTC, to the millisecond.
constexpr char kTextPattern[] = "%Y-%m-%dT%H:%M:%S.%eZ %-7l %v";
constexpr char kJsonPattern[] =
    R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})";

std::atomic<LogFormat> g_format{LogFormat::kText};

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::shared_ptr<spdlog::logger> NewLogger(LogFormat format) {
  auto logger = std::make_shared<spdlog::logger>(
      "stepd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern(format == LogFormat::kJson ? kJsonPattern : kTextPattern,
                      spdlog::pattern_time_type::utc);
  logger->flush_on(spdlog::level::debug);
  return logger;
}

spdlog::logger& Logger() {
  static const bool is_set_up = [] {
    spdlog::set_default_logger(NewLogger(LogFormat::kText));
    return true;
  }();
  static_cast<void>(is_set_up);
  return *spdlog::default_logger_raw();
}

// Strings of the wire may hold anything: invalid UTF-8 is replaced.
std::string JsonText(absl::string_view text) {
  return nlohmann::json(std::string(text))
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool NeedsQuotes(absl::string_view value) {
  if (value.empty()) return true;
  for (const char c : value) {
    if (c <= ' ' || c == '"' || c == '=' || c == 0x7F) return true;
  }
  return false;
}

}  // namespace

void SetUpLog(LogLevel level, LogFormat format) {
  Logger();
  g_format.store(format, std::memory_order_relaxed);
  std::shared_ptr<spdlog::logger> logger = NewLogger(format);
  logger->set_level(ToSpdlog(level));
  spdlog::set_default_logger(std::move(logger));
}

bool IsLogged(LogLevel level) { return Logger().should_log(ToSpdlog(level)); }

void Log(LogLevel level, absl::string_view message, LogFields fields) {
  if (!IsLogged(level)) return;
  Logger().log(
      ToSpdlog(level),
      FormatLogLine(g_format.load(std::memory_order_relaxed), message, fields));
}

std::string FormatLogLine(LogFormat format, absl::string_view message,
                          LogFields fields) {
  std::string line;
  if (format == LogFormat::kJson) {
    absl::StrAppend(&line, "\"message\":", JsonText(message));
    for (const auto& [key, value] : fields) {
      absl::StrAppend(&line, ",", JsonText(key), ":", JsonText(value));
    }
    return line;
  }
  absl::StrAppend(&line, message);
  for (const auto& [key, value] : fields) {
    absl::StrAppend(&line, " ", key, "=",
                    NeedsQuotes(value) ? JsonText(value) : value);
  }
  return line;
}

std::string NewErrorId() {
  static const std::uint32_t process = std::random_device{}();
  static std::atomic<std::uint32_t> next{1};
  return absl::StrCat(absl::Hex(process, absl::kZeroPad8), "-",
                      next.fetch_add(1, std::memory_order_relaxed));
}

}  // namespace stepd
