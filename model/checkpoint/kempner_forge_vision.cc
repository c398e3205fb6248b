// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/kempner_forge_vision.h"

#include <utility>

#include "ATen/Functions.h"
#include "ATen/core/Tensor.h"
#include "absl/strings/str_cat.h"

namespace stepd::checkpoint::kempner_forge {
namespace {

constexpr char kJointDecoder[] = "joint_decoder";
constexpr char kCrossAttention[] = "cross_attention";
constexpr char kMixtureOfTransformers[] = "mot";
constexpr char kMixtureOfModalities[] = "moma";

// Norms inside cross-attention blocks have it whatever norm_eps says.
constexpr double kCrossNormEps = 1e-5;

// Banks of weights.
constexpr int kText = 0;
constexpr int kImage = 1;
constexpr int kNumBanks = 2;

// ---- The config ---------------------------------------------------------

AdapterConfig ReadAdapterConfig(const Shape& shape, ConfigReader adapter) {
  AdapterConfig config;
  config.type = adapter.RequireString("type");
  if (config.type != "linear" && config.type != "mlp_2layer") {
    adapter.Fail("type", "is neither \"linear\" nor \"mlp_2layer\"");
  }
  config.in_dim = adapter.RequireInt("in_dim");
  config.hidden_dim = adapter.OptionalInt("hidden_dim", 0, {0, kMaxSize});
  if (config.hidden_dim == 0) config.hidden_dim = shape.dim;
  const std::string activation = adapter.OptionalString("activation", "gelu");
  if (activation == "silu") {
    config.activation = Activation::kSilu;
  } else if (activation == "relu") {
    config.activation = Activation::kRelu;
  } else if (activation != "gelu") {
    adapter.Fail("activation", "is none of gelu, silu, relu");
  }
  adapter.RefuseOtherKeys();
  return config;
}

// The image must come first: otherwise its tokens would see the text, which
// comes later.
void CheckModalities(absl::string_view key, ConfigReader* vlm) {
  if (!vlm->Has(key)) {
    vlm->Ignore(key);
    return;
  }
  const std::vector<std::string> names = vlm->RequireStrings(key);
  if (names != std::vector<std::string>{"image", "text"}) {
    vlm->Fail(key, "must be [\"image\", \"text\"]");
  }
}

void ReadCrossAttentionConfig(const Shape& shape, ConfigReader* vlm,
                              VisionConfig* config) {
  config->every_n_layers =
      vlm->OptionalInt("cross_attention_every_n_layers", 4);
  const std::int64_t heads =
      vlm->OptionalInt("cross_attention_n_heads", 0, {0, kMaxSize});
  config->num_heads = heads > 0 ? heads : shape.num_heads;
  const std::int64_t kv_heads =
      vlm->OptionalInt("cross_attention_n_kv_heads", 0, {0, kMaxSize});
  config->num_kv_heads = kv_heads > 0 ? kv_heads : config->num_heads;
  if (shape.dim % config->num_heads != 0) {
    vlm->Fail("cross_attention_n_heads",
              absl::StrCat("must divide dim, ", shape.dim));
  } else if (config->num_heads % config->num_kv_heads != 0) {
    vlm->Fail("cross_attention_n_kv_heads",
              absl::StrCat("must divide the heads, ", config->num_heads));
  }
}

void ReadMixtureConfig(const Shape& shape, ConfigReader* vlm) {
  CheckModalities("mot_modalities", vlm);
  const auto check = [&](absl::string_view key, std::int64_t heads) {
    const std::int64_t given = vlm->OptionalInt(key, 0, {0, kMaxSize});
    if (given != 0 && given != heads) {
      vlm->Fail(key, absl::StrCat("must be 0 or the model's ", heads));
    }
  };
  check("mot_image_n_heads", shape.num_heads);
  check("mot_image_n_kv_heads", shape.num_kv_heads);
  for (const char* training :
       {"mot_warm_start_from_text", "mot_warm_start_path"}) {
    vlm->Ignore(training);
  }
}

void ReadExpertChoiceConfig(ConfigReader* vlm, VisionConfig* config) {
  CheckModalities("moma_modalities", vlm);
  ConfigReader experts = vlm->RequireObject("moma_experts_per_modality");
  config->num_image_experts = experts.RequireInt("image", {1, 1 << 16});
  config->num_text_experts = experts.RequireInt("text", {1, 1 << 16});
  experts.RefuseOtherKeys();
  const double factor = vlm->OptionalNumber("moma_capacity_factor", 0.0);
  if (factor < 0) vlm->Fail("moma_capacity_factor", "is negative");
  const auto factor_of = [factor](std::int64_t num_experts) {
    return factor > 0 ? factor : 1.0 / static_cast<double>(num_experts);
  };
  config->image_capacity_factor = factor_of(config->num_image_experts);
  config->text_capacity_factor = factor_of(config->num_text_experts);
  vlm->Ignore("moma_gumbel_noise");  // of training
}

}  // namespace

std::optional<VisionConfig> ReadVisionConfig(const Shape& shape,
                                             ConfigReader* config) {
  VisionConfig vision;
  vision.num_image_tokens =
      config->OptionalInt("num_image_tokens", 0, {0, kMaxSize});
  if (!config->Has("vlm")) {
    if (config->Has("adapter")) {
      config->Fail("adapter", "must be absent in a model without vlm");
    }
    config->Ignore("vlm");
    config->Ignore("adapter");
    return std::nullopt;
  }
  ConfigReader vlm = config->RequireObject("vlm");
  vision.arch = vlm.RequireString("arch");
  if (vision.arch == kCrossAttention) {
    ReadCrossAttentionConfig(shape, &vlm, &vision);
  } else if (vision.arch == kMixtureOfTransformers) {
    ReadMixtureConfig(shape, &vlm);
  } else if (vision.arch == kMixtureOfModalities) {
    ReadExpertChoiceConfig(&vlm, &vision);
  } else if (vision.arch != kJointDecoder) {
    vlm.Fail("arch", absl::StrCat("\"", vision.arch, "\" is not supported"));
  }
  for (const char* training :
       {"max_text_len", "freeze", "freeze_schedule", "module_patterns"}) {
    vlm.Ignore(training);
  }
  vlm.RefuseOtherKeys();
  if (vision.num_image_tokens == 0) {
    config->Fail("num_image_tokens", "must be above 0");
  }
  if (vision.arch != kCrossAttention &&
      vision.num_image_tokens >= shape.max_tokens) {
    config->Fail("num_image_tokens",
                 absl::StrCat("leaves no room for text in max_seq_len, ",
                              shape.max_tokens));
  }
  if (std::optional<ConfigReader> adapter = config->OptionalObject("adapter")) {
    vision.adapter = ReadAdapterConfig(shape, *std::move(adapter));
  }
  return vision;
}

// ---- The weights --------------------------------------------------------

namespace {

// The image's vectors, as field 0 of the session's.
SessionRowsConfig ReadImageRows(const Shape& shape, const VisionConfig& vision,
                                WeightReader all, PolicyDescription* policy) {
  FieldSpec image;
  image.name = "image_embeds";
  image.shape = {vision.num_image_tokens, shape.dim};
  SessionRowsConfig rows;
  if (vision.adapter.has_value()) {
    const AdapterConfig& adapter = *vision.adapter;
    image.name = "image_features";
    image.shape = {vision.num_image_tokens, adapter.in_dim};
    rows.activation = adapter.activation;
    WeightReader weights = all.Under("adapter");
    if (adapter.type == "linear") {
      rows.layers = {
          weights.Linear("proj", shape.dim, adapter.in_dim, Bias::kPresent)};
    } else {
      rows.layers = {weights.Linear("proj1", adapter.hidden_dim, adapter.in_dim,
                                    Bias::kPresent),
                     weights.Linear("proj2", shape.dim, adapter.hidden_dim,
                                    Bias::kPresent)};
    }
  }
  policy->session_fields.push_back(std::move(image));
  return rows;
}

void AddPrefix(SessionRowsConfig rows, PrefixTokens tokens,
               PolicyDescription* policy) {
  PrefixConfig& prefix = policy->prefix.emplace();
  prefix.rows = std::move(rows);
  prefix.tokens = tokens;
}

void AddMask(const VisionConfig& vision, SessionRowsConfig* rows,
             PolicyDescription* policy) {
  FieldSpec mask;
  mask.name = "image_mask";
  mask.dtype = DType::kBool;
  mask.shape = {vision.num_image_tokens};
  mask.required = false;
  rows->mask_field = static_cast<int>(policy->session_fields.size());
  policy->session_fields.push_back(std::move(mask));
}

LayerConfig ReadCrossBlock(const Shape& shape, const VisionConfig& vision,
                           WeightReader weights) {
  const std::int64_t head_dim = shape.dim / vision.num_heads;
  const std::int64_t kv_dim = vision.num_kv_heads * head_dim;
  WeightReader of_attention = weights.Under("attn");
  CrossAttentionConfig cross;
  cross.num_heads = static_cast<int>(vision.num_heads);
  cross.num_kv_heads = static_cast<int>(vision.num_kv_heads);
  cross.head_dim = static_cast<int>(head_dim);
  cross.q = {
      of_attention.Linear("q_proj", shape.dim, shape.dim, Bias::kAbsent)};
  cross.k = of_attention.Linear("k_proj", kv_dim, shape.dim, Bias::kAbsent);
  cross.v = of_attention.Linear("v_proj", kv_dim, shape.dim, Bias::kAbsent);
  cross.o = {
      of_attention.Linear("o_proj", shape.dim, shape.dim, Bias::kAbsent)};
  Shape norms = shape;
  norms.norm_eps = kCrossNormEps;
  LayerConfig block;
  block.attention_norm = ReadNorm(norms, "attn_norm", weights);
  block.attention = std::move(cross);
  block.ffn_norm = ReadNorm(norms, "mlp_norm", weights);
  block.ffn = ReadDense(shape, weights.Under("mlp"));
  return block;
}

// Plain layers; for cross-attention with a block after every few of them.
StageConfig ReadLayers(const Shape& shape, const VisionConfig& vision,
                       WeightReader weights) {
  StageConfig stage;
  for (std::int64_t i = 0; i < shape.num_layers && weights.ok(); ++i) {
    stage.layers.push_back(
        ReadLayer(shape, i, weights.Under(absl::StrCat("layers.", i))));
    if (vision.arch != kCrossAttention ||
        (i + 1) % vision.every_n_layers != 0) {
      continue;
    }
    const std::int64_t block = (i + 1) / vision.every_n_layers - 1;
    stage.layers.push_back(ReadCrossBlock(
        shape, vision,
        weights.Under(absl::StrCat("cross_attention_layers.", block))));
  }
  return stage;
}

// A row per bank.
NormConfig ReadBankedNorm(const Shape& shape, absl::string_view name,
                          WeightReader weights) {
  NormConfig text = ReadNorm(shape, absl::StrCat(name, ".text"), weights);
  const NormConfig image =
      ReadNorm(shape, absl::StrCat(name, ".image"), weights);
  if (!weights.ok()) return text;
  text.weight = at::stack({text.weight, image.weight});
  if (text.bias.defined()) text.bias = at::stack({text.bias, image.bias});
  return text;
}

BankedFfnConfig::Bank ReadFfnBank(const Shape& shape, std::int64_t layer,
                                  WeightReader weights) {
  FfnConfig ffn = ReadFfn(shape, layer, weights);
  if (auto* moe = std::get_if<MoeConfig>(&ffn)) return std::move(*moe);
  return std::get<DenseFfnConfig>(std::move(ffn));
}

// All parameters of a layer per modality.
StageConfig ReadMixtureLayers(const Shape& shape, WeightReader weights) {
  StageConfig stage;
  for (std::int64_t i = 0; i < shape.num_layers && weights.ok(); ++i) {
    const WeightReader of_layer = weights.Under(absl::StrCat("layers.", i));
    LayerConfig layer;
    layer.attention_norm = ReadBankedNorm(shape, "attn_norm", of_layer);
    GqaConfig attention = ReadAttention(shape, ".text", of_layer.Under("attn"));
    attention.banks.push_back(
        ReadAttentionBank(shape, ".image", of_layer.Under("attn")));
    layer.attention = std::move(attention);
    layer.ffn_norm = ReadBankedNorm(shape, "mlp_norm", of_layer);
    BankedFfnConfig ffn;
    for (const char* bank : {"mlp.text", "mlp.image"}) {
      ffn.banks.push_back(ReadFfnBank(shape, i, of_layer.Under(bank)));
    }
    layer.ffn = std::move(ffn);
    stage.layers.push_back(std::move(layer));
  }
  return stage;
}

MoeConfig ReadExpertChoice(const Shape& shape, std::int64_t num_experts,
                           double capacity_factor, WeightReader weights) {
  MoeConfig moe;
  moe.choice = MoeChoice::kByExpert;
  moe.scores = RouterScores::kSigmoid;
  moe.capacity_factor = capacity_factor;
  moe.router =
      weights.Linear("router.gate", num_experts, shape.dim, Bias::kAbsent);
  for (std::int64_t e = 0; e < num_experts && weights.ok(); ++e) {
    moe.experts.push_back(
        ReadDense(shape, weights.Under(absl::StrCat("experts.", e))));
  }
  return moe;
}

// Plain attention over everything, experts per modality.
StageConfig ReadExpertChoiceLayers(const Shape& shape,
                                   const VisionConfig& vision,
                                   WeightReader weights) {
  StageConfig stage;
  for (std::int64_t i = 0; i < shape.num_layers && weights.ok(); ++i) {
    const WeightReader of_layer = weights.Under(absl::StrCat("layers.", i));
    const WeightReader of_experts = of_layer.Under("mlp.experts");
    LayerConfig layer;
    layer.attention_norm = ReadNorm(shape, "attention_norm", of_layer);
    layer.attention = ReadAttention(shape, "", of_layer.Under("attention"));
    layer.ffn_norm = ReadNorm(shape, "mlp_norm", of_layer);
    BankedFfnConfig ffn;
    ffn.banks.push_back(ReadExpertChoice(shape, vision.num_text_experts,
                                         vision.text_capacity_factor,
                                         of_experts.Under("text")));
    ffn.banks.push_back(ReadExpertChoice(shape, vision.num_image_experts,
                                         vision.image_capacity_factor,
                                         of_experts.Under("image")));
    layer.ffn = std::move(ffn);
    stage.layers.push_back(std::move(layer));
  }
  return stage;
}

}  // namespace

void ReadVision(const Shape& shape, const VisionConfig& vision,
                WeightReader all, WeightReader weights,
                PolicyDescription* policy) {
  all.IgnoreUnder("vision_encoder");  // its features are given
  SessionRowsConfig rows = ReadImageRows(shape, vision, all, policy);
  DecoderConfig& decoder = policy->decoder;
  if (vision.arch == kMixtureOfTransformers) {
    // In the file and not used: nobody reads the image's rows.
    ReadNorm(shape, "norm", weights);
    ReadNorm(shape, "mot_norms.image", weights);
    decoder.stages = {ReadMixtureLayers(shape, weights)};
    decoder.final_norm = ReadNorm(shape, "mot_norms.text", weights);
    policy->embedder.num_banks = kNumBanks;
    policy->max_tokens = shape.max_tokens + vision.num_image_tokens;
    AddPrefix(std::move(rows), {kImage, /*has_own_positions=*/true}, policy);
    return;
  }
  decoder.final_norm = ReadNorm(shape, "norm", weights);
  if (vision.arch == kMixtureOfModalities) {
    decoder.stages = {ReadExpertChoiceLayers(shape, vision, weights)};
    policy->embedder.num_banks = kNumBanks;
    policy->recomputes = true;
    AddPrefix(std::move(rows), {kImage}, policy);
    return;
  }
  decoder.stages = {ReadLayers(shape, vision, weights)};
  if (vision.arch == kCrossAttention) {
    AddMask(vision, &rows, policy);
    policy->source = std::move(rows);
    // Without a block it is a text model.
    if (shape.num_layers < vision.every_n_layers) {
      policy->session_fields.clear();
      policy->source.reset();
    }
  } else {
    AddPrefix(std::move(rows), {kText}, policy);
  }
}

}  // namespace stepd::checkpoint::kempner_forge
