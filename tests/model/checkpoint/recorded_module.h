// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Recorded modules of tests/golden/noether_modules, for tests that compute them
// with stepd's layers.
//
// Thread safety: none.

#ifndef STEPD_TESTS_MODEL_CHECKPOINT_RECORDED_MODULE_H_
#define STEPD_TESTS_MODEL_CHECKPOINT_RECORDED_MODULE_H_

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "model/checkpoint/noether_blocks.h"
#include "model/checkpoint/tensor_source.h"
#include "model/checkpoint/weight_reader.h"
#include "model/modules/token_specs.h"
#include "nlohmann/json.hpp"

namespace stepd {

// Within the tolerance of recorded cases.
void ExpectClose(const at::Tensor& got, const at::Tensor& want,
                 const std::string& what);

// Of a call's `token_specs` and `attention_patterns`.
std::vector<TokenSpec> ReadSpecs(const nlohmann::json& value);
std::vector<NamedPattern> ReadPatterns(const nlohmann::json& value);

// One folder: config.json and its tensors.
class Recorded {
 public:
  explicit Recorded(const std::string& name);

  const nlohmann::json& config() const { return config_; }
  const nlohmann::json& calls() const { return config_["calls"]; }
  // Undefined if there is none of this name.
  at::Tensor input(const std::string& name) const;
  const at::Tensor& expected(const std::string& name) const {
    return expected_.at(name);
  }

  // Errors go to status().
  checkpoint::WeightReader weights() { return {source_.get(), &error_}; }
  // The first error, or that weights were left.
  absl::Status status() const {
    return error_.ok() ? source_->CheckAllTaken() : error_;
  }

  // Of a block, or of an attention by itself, which has no MLP.
  checkpoint::UntiedBlockShape shape();

 private:
  using Tensors = std::map<std::string, at::Tensor>;

  static Tensors ReadTensors(const std::filesystem::path& file);

  std::filesystem::path folder_;
  nlohmann::json config_;
  Tensors inputs_;
  Tensors expected_;
  std::unique_ptr<checkpoint::TensorSource> source_;
  absl::Status error_;
};

}  // namespace stepd

#endif  // STEPD_TESTS_MODEL_CHECKPOINT_RECORDED_MODULE_H_
