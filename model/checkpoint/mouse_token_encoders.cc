// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/mouse_token_encoders.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace stepd::checkpoint {

// --- numeric encoder ---------------------------------------------------------

namespace {

constexpr char kImageRefused[] =
    "'image' is refused: a checkpoint lacks the tokenizer of images";

void ReadNumericModality(ConfigReader config,
                         std::vector<Modality>* modalities) {
  Modality modality;
  if (config.Has("type") && config.RequireString("type") == "image") {
    config.Fail("type", kImageRefused);
  }
  modality.kind = ReadModalityKind({{"discrete", ModalityKind::kDiscrete},
                                    {"rff", ModalityKind::kRff},
                                    {"continuous", ModalityKind::kContinuous},
                                    {"learnable", ModalityKind::kLearnable}},
                                   &config);
  if (modality.kind == ModalityKind::kDiscrete) {
    modality.size = config.RequireInt("vocab_size");
  } else if (modality.kind == ModalityKind::kContinuous) {
    modality.size = config.RequireInt("dim");
  } else if (modality.kind == ModalityKind::kLearnable) {
    modality.tokens = config.OptionalInt("tokens", 1);
  }
  // An array equals no number.
  if (modality.kind != ModalityKind::kLearnable &&
      (modality.kind != ModalityKind::kContinuous || modality.size == 1)) {
    ReadAbsentValue("skip", &modality, &config);
  }
  modality.is_required = config.OptionalBool("required", true);
  ReadInitialisationKeys(&config);
  IgnoreNulls({"field", "vocab_size", "dim", "tokens", "skip"}, &config);
  AddModalities(modality, &config, modalities);
  config.RefuseOtherKeys();
}

// One bank of features per element, shared by all fields.
struct FourierBanks {
  at::Tensor scale;   // [1, D]
  at::Tensor freqs;   // [banks, D]
  at::Tensor phases;  // [banks, D]
};

FourierBanks ReadFourierBanks(const std::vector<Modality>& modalities,
                              std::int64_t hidden_dim, WeightReader weights) {
  std::int64_t num_banks = 1;
  for (const Modality& modality : modalities) {
    if (modality.kind == ModalityKind::kContinuous) {
      num_banks = std::max(num_banks, modality.size);
    }
  }
  FourierBanks banks;
  banks.freqs = weights.Take("freqs", {num_banks, hidden_dim});
  banks.phases = weights.Take("phases", {num_banks, hidden_dim});
  banks.scale = weights.Take("output_scale", {});
  if (weights.ok()) {
    banks.scale =
        banks.scale.to(at::kFloat).reshape({1, 1}).repeat({1, hidden_dim});
  }
  return banks;
}

// Element i is a token of its own, from bank i.
std::vector<FieldEmbedding> FourierTokens(const Modality& modality,
                                          const FourierBanks& banks) {
  std::vector<FieldEmbedding> embeddings;
  for (std::int64_t i = 0; i < modality.size; ++i) {
    FieldEmbedding& embedding = embeddings.emplace_back();
    embedding.first_element = static_cast<int>(i);
    embedding.content = FourierEmbedding{
        banks.scale, banks.freqs.narrow(0, i, 1), banks.phases.narrow(0, i, 1)};
  }
  return embeddings;
}

std::vector<FieldEmbedding> ReadNumericContent(const Modality& modality,
                                               std::int64_t hidden_dim,
                                               const FourierBanks& banks,
                                               WeightReader weights) {
  if (modality.kind == ModalityKind::kRff ||
      modality.kind == ModalityKind::kContinuous) {
    return FourierTokens(modality, banks);
  }
  const bool is_learnable = modality.kind == ModalityKind::kLearnable;
  const at::Tensor rows = weights.Take(
      "weight", {is_learnable ? modality.tokens : modality.size, hidden_dim});
  if (!weights.ok()) return {};
  if (is_learnable) return {LearnableEmbedding(rows)};
  FieldEmbedding embedding;
  embedding.content = TableEmbedding{rows};
  return {embedding};
}

// A field that is absent or skipped has no tokens.
void DescribeSkip(const Modality& modality, FieldEmbedding* embedding) {
  embedding->when_absent = WhenAbsent::kNoTokens;
  if (modality.absent.has_value()) {
    embedding->absent_value = {*modality.absent, WhenAbsent::kNoTokens};
  }
}

// The original takes a number, and no array, where the size is one.
FieldSpec ToNumericFieldSpec(const Modality& modality) {
  FieldSpec spec = ModalityField(modality);
  if (modality.size == 1) spec.shape.clear();
  return spec;
}

// Learnable tokens are of no field.
void AddNumericTokens(const Modality& modality,
                      std::vector<FieldEmbedding> embeddings,
                      MouseEncoder* encoder) {
  const bool is_learnable = modality.kind == ModalityKind::kLearnable;
  for (FieldEmbedding& embedding : embeddings) {
    if (!is_learnable) {
      embedding.field = static_cast<int>(encoder->fields.size());
      DescribeSkip(modality, &embedding);
    }
    encoder->embedder.fields.push_back(std::move(embedding));
  }
  if (!is_learnable) encoder->fields.push_back(ToNumericFieldSpec(modality));
}

}  // namespace

MouseEncoder ReadMouseNumericEncoder(std::int64_t hidden_dim,
                                     ConfigReader kwargs,
                                     const WeightReader& weights) {
  RequireModelWidth(hidden_dim, &kwargs);
  std::vector<Modality> modalities;
  for (const ConfigReader& config : kwargs.RequireObjects("modalities")) {
    ReadNumericModality(config, &modalities);
  }
  if (modalities.empty()) kwargs.Fail("modalities", "must not be empty");
  ReadInitialisationKeys(&kwargs);
  kwargs.RefuseOtherKeys();
  const FourierBanks banks =
      ReadFourierBanks(modalities, hidden_dim, weights.Under("fourier"));
  MouseEncoder encoder;
  encoder.embedder.hidden_dim = hidden_dim;
  encoder.embedder.layout = FieldLayout::kConcat;
  for (std::size_t i = 0; i < modalities.size() && weights.ok(); ++i) {
    AddNumericTokens(
        modalities[i],
        ReadNumericContent(modalities[i], hidden_dim, banks,
                           weights.Under(absl::StrCat("_tables.", i))),
        &encoder);
  }
  return encoder;
}

// --- text encoder ------------------------------------------------------------

namespace {

// Why text is refused. The libraries that read a tokenizer.json are written in
// Rust; Debian has none for C++, and no Python wheel brings one.
std::string NeedsTokenizer(bool has_tokenizer) {
  return has_tokenizer
             ? "needs a tokenizer; the checkpoint has a tokenizer.json, but "
               "this build of stepd has no library that reads it"
             : "needs a tokenizer, and the checkpoint has no tokenizer.json";
}

// The names in "{a}{b}"; anything else is text, and needs a tokenizer.
std::vector<std::string> ReadFormat(bool has_tokenizer, ConfigReader* kwargs) {
  const std::string format = kwargs->RequireString("format");
  std::vector<std::string> names;
  for (absl::string_view rest = format; !rest.empty();) {
    const std::size_t end = rest.find('}');
    const absl::string_view name =
        rest.front() == '{' && end != rest.npos ? rest.substr(1, end - 1) : "";
    if (name.empty() || name.find_first_of("{!:.[ ") != name.npos) {
      kwargs->Fail("format",
                   absl::StrCat("must be a row of plain {field}s, not '",
                                rest.substr(0, 20), "': text ",
                                NeedsTokenizer(has_tokenizer)));
      return {};
    }
    names.emplace_back(name);
    rest.remove_prefix(end + 1);
  }
  if (names.empty()) kwargs->Fail("format", "must not be empty");
  return names;
}

void ReadTextModality(std::int64_t vocabulary, bool has_tokenizer,
                      ConfigReader config, std::vector<Modality>* modalities) {
  Modality modality;
  const std::string type = config.RequireString("type");
  if (type == "text") {
    config.Fail("type", absl::StrCat("'text' is refused: it ",
                                     NeedsTokenizer(has_tokenizer)));
  } else if (type == "image") {
    config.Fail("type", kImageRefused);
  }
  modality.kind = ReadModalityKind({{"token", ModalityKind::kToken}}, &config);
  modality.size = vocabulary;
  ReadAbsentValue("skip", &modality, &config);
  modality.is_required = config.OptionalBool("required", true);
  IgnoreNulls({"format", "vocab_size"}, &config);
  AddModalities(modality, &config, modalities);
  config.RefuseOtherKeys();
}

}  // namespace

MouseEncoder ReadMouseTextEncoder(std::int64_t hidden_dim, bool has_tokenizer,
                                  ConfigReader kwargs, WeightReader weights) {
  RequireModelWidth(hidden_dim, &kwargs);
  constexpr char kTable[] = "embed_tokens.weight";
  const std::int64_t vocabulary = weights.FirstSize(kTable);
  std::vector<Modality> modalities;
  for (const ConfigReader& config : kwargs.RequireObjects("modalities")) {
    ReadTextModality(vocabulary, has_tokenizer, config, &modalities);
  }
  const std::vector<std::string> names = ReadFormat(has_tokenizer, &kwargs);
  kwargs.OptionalString("pretrained", "");  // where the tokenizer came from
  kwargs.RefuseOtherKeys();
  const at::Tensor table = weights.Take(kTable, {vocabulary, hidden_dim});
  MouseEncoder encoder;
  encoder.embedder.hidden_dim = hidden_dim;
  encoder.embedder.layout = FieldLayout::kConcat;
  for (const Modality& modality : modalities) {
    encoder.fields.push_back(ModalityField(modality));
    if (std::find(names.begin(), names.end(), modality.field) == names.end()) {
      kwargs.Fail("format", absl::StrCat("does not have the field '",
                                         modality.field, "'"));
    }
  }
  for (const std::string& name : names) {
    const auto found = std::find_if(
        modalities.begin(), modalities.end(),
        [&name](const Modality& modality) { return modality.field == name; });
    if (found == modalities.end()) {
      kwargs.Fail("format", absl::StrCat("'", name, "' is no modality"));
      break;
    }
    FieldEmbedding embedding;
    embedding.field = static_cast<int>(found - modalities.begin());
    embedding.content = TableEmbedding{table};
    DescribeSkip(*found, &embedding);
    encoder.embedder.fields.push_back(std::move(embedding));
  }
  return encoder;
}

}  // namespace stepd::checkpoint
