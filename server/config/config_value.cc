// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/config/config_value.h"

#include <array>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace stepd {
namespace {

absl::Status Wanted(absl::string_view want, absl::string_view got) {
  return absl::InvalidArgumentError(
      absl::StrCat("want ", want, ", got \"", got, "\""));
}

// A century: longer is "none", and this still adds to any clock's time.
constexpr absl::Duration kLongest = absl::Hours(24 * 365 * 100);

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

absl::StatusOr<bool> ParseBool(absl::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return Wanted("true or false", text);
}

absl::StatusOr<std::int64_t> ParseInteger(absl::string_view text,
                                          std::int64_t min) {
  std::int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < min) {
    return Wanted(absl::StrCat("an integer of at least ", min), text);
  }
  return value;
}

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text) {
  if (text == "none") return absl::InfiniteDuration();
  absl::Duration duration;
  // absl also reads "inf", signs and a bare point.
  if (text.empty() || !IsDigit(text.front()) ||
      !absl::ParseDuration(text, &duration) || duration > kLongest) {
    return Wanted("a duration like 500us, 2ms, 30s, 10m or none", text);
  }
  return duration;
}

absl::StatusOr<std::int64_t> ParseSize(absl::string_view text) {
  constexpr std::array<std::pair<absl::string_view, int>, 4> kUnits = {
      {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}};
  absl::string_view digits = text;
  int shift = 0;
  for (const auto& [unit, bits] : kUnits) {
    if (absl::ConsumeSuffix(&digits, unit)) shift = bits;
  }
  std::int64_t value = 0;
  std::int64_t bytes = 0;
  if (digits.empty() || !IsDigit(digits.front()) || !IsDigit(digits.back()) ||
      !absl::SimpleAtoi(digits, &value) || value < 1 ||
      __builtin_mul_overflow(value, std::int64_t{1} << shift, &bytes)) {
    return Wanted("a size like 4096, 512KiB, 16MiB or 2GiB", text);
  }
  return bytes;
}

std::string FormatSize(std::int64_t bytes) {
  constexpr std::array<const char*, 4> kUnits = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

}  // namespace stepd
