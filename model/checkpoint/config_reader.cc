// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/config_reader.h"

#include <cstddef>
#include <limits>

#include "absl/strings/str_cat.h"

namespace stepd::checkpoint {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxTextInError = 40;

const json& EmptyObject() {
  static const json* const kEmpty = new json(json::object());
  return *kEmpty;
}

// The value as the file has it, shortened.
std::string Text(const json& value) {
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true,
                                json::error_handler_t::replace);
  if (text.size() > kMaxTextInError) {
    text.resize(kMaxTextInError);
    text += "...";
  }
  return text;
}

std::string Describe(IntRange range) {
  return range.max == kMaxSize
             ? absl::StrCat("an integer of at least ", range.min)
             : absl::StrCat("an integer from ", range.min, " to ", range.max);
}

std::string Describe(NumberRange range) {
  std::string text = "a number";
  if (range.above > -kMaxNumber) {
    absl::StrAppend(&text, " above ", range.above);
  }
  if (range.max < kMaxNumber) {
    absl::StrAppend(&text, " of at most ", range.max);
  }
  return text;
}

}  // namespace

ConfigReader::ConfigReader(const json& object, const std::string& file,
                           absl::Status* error)
    : object_(&object), prefix_(absl::StrCat(file, ": ")), error_(error) {}

bool ConfigReader::Contains(absl::string_view key) const {
  return object_->contains(std::string(key));
}

bool ConfigReader::Has(absl::string_view key) const {
  const auto found = object_->find(std::string(key));
  return found != object_->end() && !found->is_null();
}

const json* ConfigReader::Find(absl::string_view key) {
  Ignore(key);
  const auto found = object_->find(std::string(key));
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

const json* ConfigReader::Require(absl::string_view key) {
  const json* value = Find(key);
  if (value == nullptr) Fail(key, Contains(key) ? "is null" : "is missing");
  return value;
}

std::int64_t ConfigReader::ToInt(absl::string_view key, const json& value,
                                 IntRange range) {
  // What does not fit an int64 is a float or an unsigned number to the parser.
  const bool fits =
      value.is_number_integer() &&
      !(value.is_number_unsigned() &&
        value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max());
  const std::int64_t number = fits ? value.get<std::int64_t>() : 0;
  if (!fits || number < range.min || number > range.max) {
    Fail(key, absl::StrCat("must be ", Describe(range), ", not ", Text(value)));
    return range.min;
  }
  return number;
}

double ConfigReader::ToNumber(absl::string_view key, const json& value,
                              NumberRange range) {
  const double number = value.is_number() ? value.get<double>() : 0;
  if (!value.is_number() || !(number > range.above && number <= range.max)) {
    Fail(key, absl::StrCat("must be ", Describe(range), ", not ", Text(value)));
    return 1.0;
  }
  return number;
}

bool ConfigReader::ToBool(absl::string_view key, const json& value) {
  if (!value.is_boolean()) {
    Fail(key, absl::StrCat("must be true or false, not ", Text(value)));
    return false;
  }
  return value.get<bool>();
}

std::string ConfigReader::ToString(absl::string_view key, const json& value) {
  if (!value.is_string()) {
    Fail(key, absl::StrCat("must be a string, not ", Text(value)));
    return "";
  }
  return value.get<std::string>();
}

ConfigReader ConfigReader::ToObject(absl::string_view key, const json& value) {
  ConfigReader child(EmptyObject(), "", error_);
  child.prefix_ = absl::StrCat(prefix_, key, ".");
  if (value.is_object()) {
    child.object_ = &value;
  } else {
    Fail(key, absl::StrCat("must be an object, not ", Text(value)));
  }
  return child;
}

std::int64_t ConfigReader::RequireInt(absl::string_view key, IntRange range) {
  const json* value = Require(key);
  return value == nullptr ? range.min : ToInt(key, *value, range);
}

std::int64_t ConfigReader::OptionalInt(absl::string_view key,
                                       std::int64_t otherwise, IntRange range) {
  const json* value = Find(key);
  return value == nullptr ? otherwise : ToInt(key, *value, range);
}

double ConfigReader::RequireNumber(absl::string_view key, NumberRange range) {
  const json* value = Require(key);
  return value == nullptr ? 1.0 : ToNumber(key, *value, range);
}

double ConfigReader::OptionalNumber(absl::string_view key, double otherwise,
                                    NumberRange range) {
  const json* value = Find(key);
  return value == nullptr ? otherwise : ToNumber(key, *value, range);
}

bool ConfigReader::RequireBool(absl::string_view key) {
  const json* value = Require(key);
  return value != nullptr && ToBool(key, *value);
}

bool ConfigReader::OptionalBool(absl::string_view key, bool otherwise) {
  const json* value = Find(key);
  return value == nullptr ? otherwise : ToBool(key, *value);
}

std::string ConfigReader::RequireString(absl::string_view key) {
  const json* value = Require(key);
  return value == nullptr ? "" : ToString(key, *value);
}

std::string ConfigReader::OptionalString(absl::string_view key,
                                         absl::string_view otherwise) {
  const json* value = Find(key);
  return value == nullptr ? std::string(otherwise) : ToString(key, *value);
}

ConfigReader ConfigReader::RequireObject(absl::string_view key) {
  const json* value = Require(key);
  return ToObject(key, value == nullptr ? EmptyObject() : *value);
}

std::optional<ConfigReader> ConfigReader::OptionalObject(
    absl::string_view key) {
  const json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  return ToObject(key, *value);
}

std::vector<ConfigReader> ConfigReader::RequireObjects(absl::string_view key) {
  const json* value = Require(key);
  std::vector<ConfigReader> objects;
  if (value == nullptr) return objects;
  if (!value->is_array()) {
    Fail(key, absl::StrCat("must be an array, not ", Text(*value)));
    return objects;
  }
  for (const json& item : *value) {
    objects.push_back(ToObject(absl::StrCat(key, ".", objects.size()), item));
  }
  return objects;
}

std::vector<std::string> ConfigReader::RequireStrings(absl::string_view key) {
  const json* value = Require(key);
  std::vector<std::string> strings;
  if (value == nullptr) return strings;
  const json items = value->is_array() ? *value : json::array({*value});
  for (const json& item : items) {
    if (item.is_string()) strings.push_back(item.get<std::string>());
    if (item.is_string() && !strings.back().empty()) continue;
    Fail(key, absl::StrCat("must be a name or an array of names, not ",
                           Text(*value)));
    return {};
  }
  if (strings.empty()) Fail(key, "must not be empty");
  return strings;
}

void ConfigReader::Ignore(absl::string_view key) { known_keys_.emplace(key); }

void ConfigReader::RefuseOtherKeys() {
  for (const auto& [key, value] : object_->items()) {
    if (known_keys_.count(key) == 0) Fail(key, "is not a key that stepd knows");
  }
}

void ConfigReader::Fail(absl::string_view key, absl::string_view problem) {
  error_->Update(
      absl::InvalidArgumentError(absl::StrCat(prefix_, key, ": ", problem)));
}

}  // namespace stepd::checkpoint
