// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/policy_spec.h"

#include <cstddef>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace stepd {
namespace {

// A ragged leading dimension counts as one entry.
std::int64_t Product(const std::vector<std::int64_t>& shape) {
  std::int64_t product = 1;
  for (std::int64_t size : shape) product *= size < 0 ? 1 : size;
  return product;
}

template <typename T>
int FindByName(const std::vector<T>& items, absl::string_view name) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

// What is said of one part of a spec: (part, text).
using Facts = std::vector<std::pair<std::string, std::string>>;

template <typename T>
std::string TextOf(const std::optional<T>& value) {
  return value.has_value() ? absl::StrCat(*value) : "none";
}

std::string TextOf(const std::vector<std::int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::string TextOf(const FieldSpec& field) {
  return absl::StrCat(
      Name(field.dtype), " ", TextOf(field.shape), " from ", TextOf(field.min),
      " to ", TextOf(field.max), field.required ? "" : " optional",
      field.value_names.empty() ? "" : " named ",
      absl::StrJoin(field.value_names, ", "),
      field.same_length_as.empty() ? "" : " as long as ", field.same_length_as);
}

std::string TextOf(const LayerSpec& layer) {
  return absl::StrJoin(
      {absl::StrCat("stage ", layer.stage, " x", layer.num_visits),
       absl::StrCat(layer.attention, " of ", layer.num_heads, " heads over ",
                    layer.num_kv_heads, " of ", layer.head_dim),
       absl::StrCat("window ", layer.window),
       absl::StrCat(layer.ffn, " of ", layer.ffn_dim),
       absl::StrCat(layer.experts_per_token, " of ", layer.num_experts,
                    " experts and ", layer.num_shared_experts),
       absl::StrCat(layer.num_banks, " banks"),
       absl::StrCat(layer.num_parameters, " parameters"),
       absl::StrCat(layer.kv_bytes_per_token, " bytes cached")},
      ", ");
}

void AddFields(absl::string_view kind, const std::vector<FieldSpec>& fields,
               Facts* facts) {
  facts->emplace_back(absl::StrCat(kind, "s"), absl::StrCat(fields.size()));
  for (const FieldSpec& field : fields) {
    facts->emplace_back(kind,
                        absl::StrCat("\"", field.name, "\" ", TextOf(field)));
  }
}

// In one order, so that two specs differ where their facts do.
Facts FactsOf(const PolicySpec& spec) {
  Facts facts = {{"format", spec.format},
                 {"device", spec.device},
                 {"dtype", spec.dtype},
                 {"layers", absl::StrCat(spec.layers.size())}};
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    facts.emplace_back(absl::StrCat("layer ", i), TextOf(spec.layers[i]));
  }
  AddFields("field", spec.fields, &facts);
  AddFields("session input", spec.session_fields, &facts);
  facts.emplace_back("outputs", absl::StrCat(spec.outputs.size()));
  for (const OutputSpec& output : spec.outputs) {
    facts.emplace_back(
        "output", absl::StrCat("\"", output.name, "\" ", TextOf(output.shape)));
  }
  const std::pair<const char*, std::int64_t> numbers[] = {
      {"actions", spec.num_actions},
      {"least tokens of a step", spec.min_tokens_per_step},
      {"most tokens of a step", spec.max_tokens_per_step},
      {"prefix tokens", spec.num_prefix_tokens},
      {"recomputes", spec.recomputes ? 1 : 0},
      {"most tokens of a session", spec.max_tokens},
      {"parameters", spec.num_parameters},
      {"tokens of a block", spec.tokens_per_block},
      {"cached bytes of a token", spec.kv_bytes_per_token},
  };
  facts.emplace_back("action head", spec.action_head);
  for (const auto& [what, number] : numbers) {
    facts.emplace_back(what, absl::StrCat(number));
  }
  return facts;
}

}  // namespace

std::int64_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kBool:
    case DType::kUInt8:
      return 1;
    case DType::kFloat16:
    case DType::kBFloat16:
      return 2;
    case DType::kInt32:
    case DType::kFloat32:
      return 4;
    case DType::kInt64:
    case DType::kFloat64:
      return 8;
  }
  std::abort();
}

absl::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return "bool";
    case DType::kUInt8:
      return "uint8";
    case DType::kInt32:
      return "int32";
    case DType::kInt64:
      return "int64";
    case DType::kFloat16:
      return "float16";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kFloat32:
      return "float32";
    case DType::kFloat64:
      return "float64";
  }
  std::abort();
}

std::int64_t FieldSpec::num_elements() const { return Product(shape); }
std::int64_t OutputSpec::num_elements() const { return Product(shape); }

int FindField(const std::vector<FieldSpec>& fields, absl::string_view name) {
  return FindByName(fields, name);
}

std::int64_t PolicySpec::reach() const {
  if (recomputes || num_prefix_tokens > 0) return -1;
  std::int64_t reach = 0;
  for (const LayerSpec& layer : layers) {
    if (layer.window < 0) return -1;
    reach += layer.num_visits * layer.window;
  }
  return reach;
}

int PolicySpec::FindOutput(absl::string_view name) const {
  return FindByName(outputs, name);
}

std::string FindDifference(const PolicySpec& a, const PolicySpec& b) {
  const Facts of_a = FactsOf(a);
  const Facts of_b = FactsOf(b);
  // Lists of other lengths differ in their counts, which come first.
  for (std::size_t i = 0; i < of_a.size() && i < of_b.size(); ++i) {
    if (of_a[i] == of_b[i]) continue;
    return absl::StrCat(of_a[i].first, ": ", of_a[i].second, ", not ",
                        of_b[i].second);
  }
  return "";
}

}  // namespace stepd
