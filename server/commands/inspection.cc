// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/commands/inspection.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/commands/spec_text.h"
#include "server/config/config_value.h"

namespace stepd {
namespace {

using nlohmann::json;

// ---- The table ----------------------------------------------------------

constexpr std::size_t kNumColumns = 12;
using Row = std::array<std::string, kNumColumns>;

struct Column {
  const char* title;
  bool is_text;  // words begin at the left, numbers end at the right
};

constexpr std::array<Column, kNumColumns> kColumns = {{{"layer", false},
                                                       {"stage", false},
                                                       {"visits", false},
                                                       {"attention", true},
                                                       {"heads", false},
                                                       {"kv heads", false},
                                                       {"head size", false},
                                                       {"window", false},
                                                       {"feed-forward", true},
                                                       {"width", false},
                                                       {"parameters", false},
                                                       {"cache/token", false}}};

// Zero stands for "has none".
std::string NumberText(std::int64_t number) {
  return number == 0 ? "" : absl::StrCat(number);
}

std::string BanksText(const LayerSpec& layer) {
  if (layer.num_banks == 1) return "";
  return absl::StrCat(" x ", layer.num_banks, " banks");
}

std::string FfnText(const LayerSpec& layer) {
  if (layer.num_experts == 0) return absl::StrCat(layer.ffn, BanksText(layer));
  std::string text = absl::StrCat(layer.ffn, " ", layer.experts_per_token,
                                  " of ", layer.num_experts);
  if (layer.num_shared_experts > 0) {
    absl::StrAppend(&text, " + ", layer.num_shared_experts);
  }
  return text;
}

Row LayerRow(std::size_t number, const LayerSpec& layer) {
  return {absl::StrCat(number),
          absl::StrCat(layer.stage),
          absl::StrCat(layer.num_visits),
          absl::StrCat(layer.attention, BanksText(layer)),
          NumberText(layer.num_heads),
          NumberText(layer.num_kv_heads),
          NumberText(layer.head_dim),
          layer.window < 0 ? "all" : absl::StrCat(layer.window),
          FfnText(layer),
          NumberText(layer.ffn_dim),
          absl::StrCat(layer.num_parameters),
          FormatSize(layer.kv_bytes_per_token)};
}

// Embeddings, output heads and whatever else is in no layer.
std::int64_t NumOtherParameters(const PolicySpec& spec) {
  std::int64_t others = spec.num_parameters;
  for (const LayerSpec& layer : spec.layers) others -= layer.num_parameters;
  return others;
}

std::string TableText(const std::vector<Row>& rows) {
  std::array<std::size_t, kNumColumns> widths = {};
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    for (const Row& row : rows) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < kNumColumns; ++c) {
      const std::string padding(widths[c] - row[c].size(), ' ');
      const bool is_text = kColumns[c].is_text;
      absl::StrAppend(&line, c == 0 ? "" : "  ", is_text ? "" : padding, row[c],
                      is_text ? padding : "");
    }
    absl::StrAppend(&text, line.substr(0, line.find_last_not_of(' ') + 1),
                    "\n");
  }
  return text;
}

std::string LayersText(const PolicySpec& spec) {
  if (spec.layers.empty()) return "no layers\n";
  std::vector<Row> rows(1);
  for (std::size_t c = 0; c < kNumColumns; ++c) {
    rows[0][c] = kColumns[c].title;
  }
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    rows.push_back(LayerRow(i, spec.layers[i]));
  }
  return TableText(rows);
}

// ---- For programs -------------------------------------------------------

json LayerJson(const LayerSpec& layer) {
  return {{"stage", layer.stage},
          {"visits", layer.num_visits},
          {"attention", layer.attention},
          {"heads", layer.num_heads},
          {"kv_heads", layer.num_kv_heads},
          {"head_size", layer.head_dim},
          {"window", layer.window},
          {"ffn", layer.ffn},
          {"ffn_width", layer.ffn_dim},
          {"experts", layer.num_experts},
          {"experts_per_token", layer.experts_per_token},
          {"shared_experts", layer.num_shared_experts},
          {"banks", layer.num_banks},
          {"parameters", layer.num_parameters},
          {"kv_bytes_per_token", layer.kv_bytes_per_token}};
}

json InputJson(const FieldSpec& field) {
  json input = {{"name", field.name},
                {"dtype", Name(field.dtype)},
                {"shape", field.shape},
                {"required", field.required}};
  if (field.min.has_value()) input["min"] = *field.min;
  if (field.max.has_value()) input["max"] = *field.max;
  if (!field.value_names.empty()) input["value_names"] = field.value_names;
  if (!field.same_length_as.empty()) {
    input["same_length_as"] = field.same_length_as;
  }
  return input;
}

}  // namespace

std::string FormatInspection(const PolicySpec& spec) {
  const auto line = [](absl::string_view what, const auto&... parts) {
    return absl::StrCat(what, std::string(13 - what.size(), ' '), parts...,
                        "\n");
  };
  return absl::StrCat(
      spec.summary, "\n\n", LayersText(spec), "\n", line("format", spec.format),
      line("inputs", FieldsText(spec.fields)),
      spec.session_fields.empty()
          ? ""
          : line("session", FieldsText(spec.session_fields)),
      line("outputs", OutputsText(spec)),
      line("actions",
           spec.num_actions == 0
               ? "none"
               : absl::StrCat(spec.num_actions, " by ", spec.action_head)),
      line("step", TokensText(spec), " token(s)",
           spec.num_prefix_tokens == 0
               ? ""
               : absl::StrCat(" after ", spec.num_prefix_tokens,
                              " of the session"),
           spec.recomputes ? ", computed with all before it (slow)" : "",
           spec.max_tokens == 0
               ? ""
               : absl::StrCat(", a session has at most ", spec.max_tokens)),
      line("parameters", spec.num_parameters, ", of which ",
           NumOtherParameters(spec), " in no layer"),
      line("weights", FormatSize(spec.weight_bytes), " as ", spec.dtype),
      line("KV cache", FormatSize(spec.kv_bytes_per_token), " per token, ",
           FormatSize(spec.kv_bytes_per_block()), " per block of ",
           spec.tokens_per_block, " tokens"));
}

json InspectionJson(const PolicySpec& spec) {
  json layers = json::array();
  for (const LayerSpec& layer : spec.layers) layers.push_back(LayerJson(layer));
  json inputs = json::array();
  for (const FieldSpec& field : spec.fields) inputs.push_back(InputJson(field));
  json session_inputs = json::array();
  for (const FieldSpec& field : spec.session_fields) {
    session_inputs.push_back(InputJson(field));
  }
  json outputs = json::array();
  for (const OutputSpec& output : spec.outputs) {
    outputs.push_back({{"name", output.name}, {"shape", output.shape}});
  }
  return {{"format", spec.format},
          {"summary", spec.summary},
          {"layers", std::move(layers)},
          {"inputs", std::move(inputs)},
          {"session_inputs", std::move(session_inputs)},
          {"outputs", std::move(outputs)},
          {"action_head", spec.action_head},
          {"actions", spec.num_actions},
          {"min_tokens_per_step", spec.min_tokens_per_step},
          {"max_tokens_per_step", spec.max_tokens_per_step},
          {"prefix_tokens", spec.num_prefix_tokens},
          {"recomputes", spec.recomputes},
          {"max_tokens", spec.max_tokens},
          {"parameters", spec.num_parameters},
          {"parameters_in_no_layer", NumOtherParameters(spec)},
          {"weight_bytes", spec.weight_bytes},
          {"dtype", spec.dtype},
          {"kv_bytes_per_token", spec.kv_bytes_per_token},
          {"tokens_per_block", spec.tokens_per_block}};
}

}  // namespace stepd
