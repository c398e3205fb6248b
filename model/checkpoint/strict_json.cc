// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/strict_json.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace stepd::checkpoint {
namespace {

using nlohmann::json;

// Far deeper than any config; far shallower than any stack.
constexpr std::size_t kMaxDepth = 64;

// Builds the document from the parser's events, refusing what the library's
// own builder would let pass. Every event returns false to stop the parser.
class StrictBuilder final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  bool number_float(number_float_t value, const string_t& /*text*/) override {
    return Add(value);
  }
  bool string(string_t& value) override { return Add(std::move(value)); }
  bool binary(binary_t& /*value*/) override { return Fail("binary data"); }

  bool start_object(std::size_t /*size*/) override {
    return Open(json::object());
  }
  bool start_array(std::size_t /*size*/) override {
    return Open(json::array());
  }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& name) override {
    if (open_.back()->contains(name)) {
      return Fail(absl::StrCat("key '", name, "' is there twice"));
    }
    key_ = std::move(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const json::exception& /*error*/) override {
    return Fail(absl::StrCat("is not JSON at byte ", position));
  }

  absl::StatusOr<json> Take() {
    if (!error_.ok()) return error_;
    if (!root_.is_object()) {
      return absl::InvalidArgumentError("is not a JSON object");
    }
    return std::move(root_);
  }

 private:
  bool Fail(absl::string_view problem) {
    error_.Update(absl::InvalidArgumentError(problem));
    return false;
  }

  json* Place(json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    json& parent = *open_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  bool Add(json value) {
    Place(std::move(value));
    return true;
  }

  bool Open(json value) {
    if (open_.size() == kMaxDepth) return Fail("is nested too deeply");
    open_.push_back(Place(std::move(value)));
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  json root_;
  // The objects and arrays around the place being read. A parent is not
  // appended to while its child is open, so the pointers stay valid.
  std::vector<json*> open_;
  std::string key_;
  absl::Status error_;
};

}  // namespace

absl::StatusOr<json> ParseStrictJson(absl::string_view text) {
  StrictBuilder builder;
  json::sax_parse(text.begin(), text.end(), &builder);
  return builder.Take();
}

}  // namespace stepd::checkpoint
