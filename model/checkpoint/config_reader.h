// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Typed reads of one object of a config file. The first problem is kept and
// names the file and the key; after it reads go on and return harmless values,
// so that a format can be read straight down and checked once at the end.
//
// Thread safety: none.

#ifndef STEPD_MODEL_CHECKPOINT_CONFIG_READER_H_
#define STEPD_MODEL_CHECKPOINT_CONFIG_READER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace stepd::checkpoint {

// Sizes in a config have this bound, so that the product of any two of them
// fits 64 bits.
constexpr std::int64_t kMaxSize = std::int64_t{1} << 30;

// Inclusive.
struct IntRange {
  std::int64_t min = 1;
  std::int64_t max = kMaxSize;
};

// Numbers have this bound, so that they fit a float.
constexpr double kMaxNumber = 1e30;

// Exclusive below, inclusive above.
struct NumberRange {
  double above = -kMaxNumber;
  double max = kMaxNumber;
};

// Numbers greater than zero.
constexpr NumberRange kPositive = {0.0, kMaxNumber};

class ConfigReader {
 public:
  // `object` and `error` must outlive the reader and its children, which share
  // `error`. Errors start with `file`.
  ConfigReader(const nlohmann::json& object, const std::string& file,
               absl::Status* error);

  bool ok() const { return error_->ok(); }
  bool empty() const { return object_->empty(); }

  // Whether the key is there with a value other than null.
  bool Has(absl::string_view key) const;
  // Whether the key is there, null or not.
  bool Contains(absl::string_view key) const;

  // A required key must not be null; an optional one that is null counts as
  // absent. After an error: the lowest value of the range, or an empty one.
  std::int64_t RequireInt(absl::string_view key, IntRange range = {});
  std::int64_t OptionalInt(absl::string_view key, std::int64_t otherwise,
                           IntRange range = {});
  double RequireNumber(absl::string_view key, NumberRange range = {});
  double OptionalNumber(absl::string_view key, double otherwise,
                        NumberRange range = {});
  bool RequireBool(absl::string_view key);
  bool OptionalBool(absl::string_view key, bool otherwise);
  std::string RequireString(absl::string_view key);
  std::string OptionalString(absl::string_view key,
                             absl::string_view otherwise);
  ConfigReader RequireObject(absl::string_view key);
  std::optional<ConfigReader> OptionalObject(absl::string_view key);
  // An array of objects; "<key>.<index>" in errors.
  std::vector<ConfigReader> RequireObjects(absl::string_view key);
  // A string, or an array of strings; at least one, none empty.
  std::vector<std::string> RequireStrings(absl::string_view key);

  // Marks a key as known.
  void Ignore(absl::string_view key);
  // Fails if the object has a key that was neither read nor ignored.
  void RefuseOtherKeys();
  // Keeps "<file>: <path of the key>: <problem>" if it is the first one.
  void Fail(absl::string_view key, absl::string_view problem);

 private:
  // The value, or nullptr if it is absent or null.
  const nlohmann::json* Find(absl::string_view key);
  // As Find; absence is an error.
  const nlohmann::json* Require(absl::string_view key);
  std::int64_t ToInt(absl::string_view key, const nlohmann::json& value,
                     IntRange range);
  double ToNumber(absl::string_view key, const nlohmann::json& value,
                  NumberRange range);
  bool ToBool(absl::string_view key, const nlohmann::json& value);
  std::string ToString(absl::string_view key, const nlohmann::json& value);
  ConfigReader ToObject(absl::string_view key, const nlohmann::json& value);

  const nlohmann::json* object_;
  std::string prefix_;  // of error messages: "<file>: outer."
  absl::Status* error_;
  std::set<std::string, std::less<>> known_keys_;
};

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_CONFIG_READER_H_
