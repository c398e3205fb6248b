// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/model/checkpoint/recorded_module.h"

#include <cstdint>
#include <fstream>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "gtest/gtest.h"
#include "model/checkpoint/config_reader.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/stored_tensor_source.h"

namespace stepd {

using nlohmann::json;

namespace {

constexpr double kTolerance = 1e-4;

}  // namespace

std::vector<TokenSpec> ReadSpecs(const json& value) {
  std::vector<TokenSpec> specs;
  for (const json& spec : value) {
    TokenSpec& read = specs.emplace_back();
    read.name = spec["name"];
    if (!spec["size"].is_null()) read.size = spec["size"].get<std::int64_t>();
  }
  return specs;
}

std::vector<NamedPattern> ReadPatterns(const json& value) {
  std::vector<NamedPattern> patterns;
  for (const json& pattern : value) {
    patterns.push_back(
        {pattern["query_tokens"].get<std::vector<std::string>>(),
         pattern["key_value_tokens"].get<std::vector<std::string>>()});
  }
  return patterns;
}

void ExpectClose(const at::Tensor& got, const at::Tensor& want,
                 const std::string& what) {
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  const at::Tensor error = (got - want).abs() / want.abs().clamp_min(1.0);
  EXPECT_LE(error.max().item<double>(), kTolerance) << what;
}

Recorded::Recorded(const std::string& name)
    : folder_(std::filesystem::path("tests/golden/noether_modules") / name),
      config_(json::parse(std::ifstream(folder_ / "config.json"))),
      inputs_(ReadTensors(folder_ / "inputs.safetensors")),
      expected_(ReadTensors(folder_ / "expected.safetensors")),
      source_(*checkpoint::StoredTensorSource::Create(
          "weights",
          *checkpoint::ReadSafetensors(folder_ / "model.safetensors"))) {}

at::Tensor Recorded::input(const std::string& name) const {
  const auto found = inputs_.find(name);
  return found == inputs_.end() ? at::Tensor() : found->second;
}

Recorded::Tensors Recorded::ReadTensors(const std::filesystem::path& file) {
  Tensors tensors;
  const auto all = *checkpoint::ReadSafetensors(file);
  for (const checkpoint::StoredTensor& stored : all) {
    const auto dtype = stored.dtype == DType::kUInt8 ? at::kByte : at::kFloat;
    tensors[stored.name] = at::from_blob(const_cast<char*>(stored.bytes.data()),
                                         stored.shape, dtype)
                               .clone();
  }
  return tensors;
}

checkpoint::UntiedBlockShape Recorded::shape() {
  json config = {{"num_types", config_["num_types"]},
                 {"config", config_["config"]},
                 {"rope", config_["rope"]}};
  config["config"].erase("kv_dim");
  if (!config["config"].contains("mlp_hidden_dim")) {
    config["config"]["mlp_expansion_factor"] = 2;
  }
  checkpoint::ConfigReader reader(config, "config.json", &error_);
  return checkpoint::ReadUntiedBlockShape(&reader);
}

}  // namespace stepd
