// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/random_checkpoint.h"

#include <cmath>
#include <cstddef>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace stepd::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kNumDoneValues = 3;
constexpr std::int64_t kNumTokenTypes = 8;
constexpr double kTwoPi = 6.283185307179586;

// The tensors of a safetensors file, one after another.
class WeightsWriter {
 public:
  explicit WeightsWriter(std::uint64_t seed) : random_(seed) {}

  // Uniform in [low, high).
  void AddUniform(const std::string& name,
                  const std::vector<std::int64_t>& shape, double low,
                  double high) {
    std::uniform_real_distribution<float> draw(static_cast<float>(low),
                                               static_cast<float>(high));
    for (std::int64_t i = Declare(name, shape); i > 0; --i) {
      values_.push_back(draw(random_));
    }
  }
  // [out, in], of a size that keeps the variance of what it is applied to.
  void AddLinear(const std::string& name, std::int64_t out, std::int64_t in) {
    const double bound = std::sqrt(3.0 / static_cast<double>(in));
    AddUniform(name, {out, in}, -bound, bound);
  }
  void AddOnes(const std::string& name, std::int64_t size) {
    Declare(name, {size});
    values_.insert(values_.end(), static_cast<std::size_t>(size), 1.0F);
  }

  absl::Status Write(const std::string& path) const;

 private:
  // Enters the next tensor into the header and returns its size.
  std::int64_t Declare(const std::string& name,
                       const std::vector<std::int64_t>& shape) {
    std::int64_t size = 1;
    for (const std::int64_t dimension : shape) size *= dimension;
    const std::size_t begin = values_.size() * sizeof(float);
    const std::size_t bytes = static_cast<std::size_t>(size) * sizeof(float);
    header_[name] = {{"dtype", "F32"},
                     {"shape", shape},
                     {"data_offsets", {begin, begin + bytes}}};
    return size;
  }

  std::mt19937_64 random_;
  Json header_ = Json::object();
  std::vector<float> values_;
};

absl::Status WeightsWriter::Write(const std::string& path) const {
  std::string header = header_.dump();
  header.resize((header.size() + 7) / 8 * 8, ' ');  // aligns the data
  const std::uint64_t header_bytes = header.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&header_bytes),
             sizeof(header_bytes));
  file << header;
  file.write(reinterpret_cast<const char*>(values_.data()),
             static_cast<std::streamsize>(values_.size() * sizeof(float)));
  file.close();
  if (file) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", path));
}

Json ConfigOf(const PolicyShape& shape) {
  const Json no_head = {{"num_layers", 0}};
  Json config = {{"hidden_dim", shape.hidden_dim}, {"action_head", "dqn"}};
  config["backbone_kwargs"] = {{"num_layers", shape.num_layers},
                               {"num_heads", shape.num_heads},
                               {"num_key_value_heads", shape.num_kv_heads},
                               {"expand", shape.expand}};
  config["embedding_kwargs"] = {
      {"max_num_actions", shape.num_actions},
      {"max_num_obs_continuous", shape.num_observations},
      {"max_num_obs_discrete", 0},
      {"max_num_obs_image", 0},
      {"max_num_time_steps", 0},
      {"include_action_token", true},
      {"include_done_token", true},
      {"include_reward_token", true},
      {"include_obs_continuous", true},
      {"include_obs_discrete", false},
      {"include_obs_image", false},
      {"include_time_token", false},
      {"include_type_token", true},
      {"token_data_len", 1},
      {"fourier_in_min", 0.1},
      {"fourier_in_max", 10.0},
  };
  config["dqn_head_kwargs"] = {{"hidden_dim", shape.head_hidden_dim},
                               {"num_layers", shape.num_head_layers}};
  for (const char* name : {"sp_head", "sv_head", "vec_dqn_head"}) {
    config[absl::StrCat(name, "_kwargs")] = no_head;
  }
  return config;
}

void AddFourier(const std::string& name, std::int64_t rows, std::int64_t dim,
                WeightsWriter* weights) {
  weights->AddUniform(absl::StrCat(name, ".rff.weight"), {rows, dim}, -0.5,
                      0.5);
  weights->AddUniform(absl::StrCat(name, ".rff.freqs"), {rows, dim}, 0.1, 10.0);
  weights->AddUniform(absl::StrCat(name, ".rff.phases"), {rows, dim}, 0.0,
                      kTwoPi);
}

void AddEmbedder(const PolicyShape& shape, WeightsWriter* weights) {
  const std::int64_t dim = shape.hidden_dim;
  const auto add_table = [&](const char* name, std::int64_t rows) {
    weights->AddUniform(
        absl::StrCat("embedder.", name, "_embedder.embed.weight"), {rows, dim},
        -0.5, 0.5);
  };
  add_table("type", kNumTokenTypes);
  add_table("action", shape.num_actions);
  add_table("done", kNumDoneValues);
  AddFourier("embedder.reward_embedder", 1, dim, weights);
  AddFourier("embedder.obs_continuous_embedder", shape.num_observations, dim,
             weights);
}

void AddLayer(const PolicyShape& shape, std::int64_t layer,
              WeightsWriter* weights) {
  const std::string prefix = absl::StrCat("backbone.layers.", layer, ".");
  const std::int64_t dim = shape.hidden_dim;
  const std::int64_t kv_dim = dim / shape.num_heads * shape.num_kv_heads;
  const std::int64_t ffn_dim = dim * shape.expand;
  const auto add = [&](const char* name, std::int64_t out, std::int64_t in) {
    weights->AddLinear(absl::StrCat(prefix, name, ".weight"), out, in);
  };
  weights->AddOnes(absl::StrCat(prefix, "input_layernorm.weight"), dim);
  add("self_attn.q_proj", dim, dim);
  add("self_attn.k_proj", kv_dim, dim);
  add("self_attn.v_proj", kv_dim, dim);
  add("self_attn.o_proj", dim, dim);
  weights->AddOnes(absl::StrCat(prefix, "post_attention_layernorm.weight"),
                   dim);
  add("mlp.gate_proj", ffn_dim, dim);
  add("mlp.up_proj", ffn_dim, dim);
  add("mlp.down_proj", dim, ffn_dim);
}

void AddHead(const PolicyShape& shape, const std::string& prefix,
             WeightsWriter* weights) {
  weights->AddOnes(absl::StrCat(prefix, "norm.weight"), shape.hidden_dim);
  std::int64_t in = shape.hidden_dim;
  const std::int64_t last = shape.num_head_layers - 1;
  for (std::int64_t i = 0; i < last; ++i) {
    const std::int64_t out = 2 * shape.head_hidden_dim;  // gate and value
    const std::string name = absl::StrCat(prefix, "layers.", i, ".linear.");
    weights->AddLinear(absl::StrCat(name, "weight"), out, in);
    weights->AddUniform(absl::StrCat(name, "bias"), {out}, -0.1, 0.1);
    in = shape.head_hidden_dim;
  }
  const std::string name = absl::StrCat(prefix, "layers.", last, ".");
  weights->AddLinear(absl::StrCat(name, "weight"), shape.num_actions, in);
  weights->AddUniform(absl::StrCat(name, "bias"), {shape.num_actions}, -0.1,
                      0.1);
}

}  // namespace

const std::vector<PolicyShape>& PolicyShapes() {
  static const auto* const shapes = new std::vector<PolicyShape>{
      {"reference", 256, 4, 4, 2, 4, 256},
      {"small", 64, 2, 4, 2, 4, 64},
      {"tiny", 16, 1, 2, 1, 4, 16},
  };
  return *shapes;
}

absl::StatusOr<PolicyShape> FindPolicyShape(absl::string_view name) {
  std::vector<std::string> names;
  for (const PolicyShape& shape : PolicyShapes()) {
    if (shape.name == name) return shape;
    names.push_back(shape.name);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "shape: got \"", name, "\", want one of ", absl::StrJoin(names, ", ")));
}

absl::Status WriteRandomCheckpoint(const PolicyShape& shape, std::uint64_t seed,
                                   const std::string& directory) {
  WeightsWriter weights(seed);
  AddEmbedder(shape, &weights);
  weights.AddUniform("backbone.embed_tokens.weight", {1, shape.hidden_dim},
                     -0.5, 0.5);
  for (std::int64_t layer = 0; layer < shape.num_layers; ++layer) {
    AddLayer(shape, layer, &weights);
  }
  AddHead(shape, "dqn_head.online.", &weights);
  AddHead(shape, "dqn_head.target.", &weights);
  const std::string path = absl::StrCat(directory, "/config.json");
  std::ofstream config(path);
  config << ConfigOf(shape).dump(2) << "\n";
  config.close();
  if (!config)
    return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return weights.Write(absl::StrCat(directory, "/model.safetensors"));
}

}  // namespace stepd::bench
