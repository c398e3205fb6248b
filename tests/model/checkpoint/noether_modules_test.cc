// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Recorded modules of noether, computed by the layers that serve.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Functions.h"
#include "ATen/TensorOperators.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/noether_blocks.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/kernels/torch_kernel_set.h"
#include "model/layers/banked_mlp.h"
#include "model/layers/gqa_attention.h"
#include "model/modules/pattern_stack.h"
#include "model/modules/token_specs.h"
#include "model/policy_description.h"
#include "model/step.h"
#include "model/transformer_policy.h"
#include "nlohmann/json.hpp"
#include "tests/model/checkpoint/recorded_module.h"

namespace stepd {
namespace {

using checkpoint::UntiedBlockShape;
using nlohmann::json;
using ::testing::HasSubstr;

// "native" or "reference".
class NoetherModulesTest : public testing::TestWithParam<const char*> {
 protected:
  NoetherModulesTest()
      : kernels_(std::string(GetParam()) == "native"
                     ? kernels::CreateCpuKernelSet()
                     : kernels::CreateTorchKernelSet(at::kCPU)) {}

  std::unique_ptr<const kernels::KernelSet> kernels_;
};

INSTANTIATE_TEST_SUITE_P(Kernels, NoetherModulesTest,
                         testing::Values("native", "reference"),
                         [](const auto& info) { return info.param; });

// ---- Linears and MLPs ---------------------------------------------------

// x [B, S, in] through `mlp`, with the banks of `specs`.
at::Tensor Apply(const BankedMlp& mlp, const kernels::KernelSet& kernels,
                 const std::vector<TokenSpec>& specs, const at::Tensor& x) {
  const auto banks =
      BanksOfTokens(specs, x.size(1), static_cast<int>(mlp.num_banks()));
  EXPECT_TRUE(banks.ok()) << banks.status();
  std::vector<std::int32_t> all;
  for (std::int64_t b = 0; b < x.size(0); ++b) {
    all.insert(all.end(), banks->begin(), banks->end());
  }
  kernels::BatchLayout layout;
  layout.positions.resize(all.size());
  layout.banks.Assign(all, static_cast<int>(mlp.num_banks()));
  Scratch scratch(at::kCPU);
  scratch.Reserve(mlp.ScratchSize(layout.num_tokens()));
  at::Tensor y = at::empty({x.size(0), x.size(1), mlp.out_dim()});
  mlp.Apply(kernels, layout, x.const_data_ptr<float>(), &scratch,
            y.data_ptr<float>());
  return y;
}

TEST_P(NoetherModulesTest, UntiedLinear) {
  for (const char* name : {"untied_linear", "untied_linear_square"}) {
    Recorded recorded(name);
    UntiedBlockShape shape;
    shape.num_types = recorded.config()["num_types"];
    BankedMlpConfig config;
    const json& of_linear = recorded.config()["config"];
    config.layers = {checkpoint::ReadUntiedLinear(
        shape, "",
        {of_linear["output_dim"].get<std::int64_t>(),
         of_linear["input_dim"].get<std::int64_t>()},
        recorded.weights())};
    ASSERT_TRUE(recorded.status().ok()) << recorded.status();
    const BankedMlp linear(config, *kernels_);

    for (const json& call : recorded.calls()) {
      const std::string of_call = call["name"];
      const at::Tensor y =
          Apply(linear, *kernels_, ReadSpecs(call["token_specs"]),
                recorded.input(of_call + ".x"));

      ExpectClose(y, recorded.expected(of_call + ".y_linear"), of_call);
      if (call["upstream_equals_linear"] == false) {
        // Upstream's square matrices, turned by equal counts of tokens.
        EXPECT_FALSE(
            at::allclose(y, recorded.expected(of_call + ".y"), 1e-2, 1e-2));
      }
    }
  }
}

TEST_P(NoetherModulesTest, UntiedLinearAsUpstreamTurnsIt) {
  Recorded recorded("untied_linear_square");
  UntiedBlockShape shape;
  shape.num_types = recorded.config()["num_types"];
  shape.transposes_square = true;
  BankedMlpConfig config;
  config.layers = {
      checkpoint::ReadUntiedLinear(shape, "", {6, 6}, recorded.weights())};
  const BankedMlp linear(config, *kernels_);

  for (const char* call : {"equal", "padded"}) {
    const json& of_call =
        recorded.calls()[call == std::string("equal") ? 1 : 2];
    const at::Tensor y =
        Apply(linear, *kernels_, ReadSpecs(of_call["token_specs"]),
              recorded.input(std::string(call) + ".x"));

    ExpectClose(y, recorded.expected(std::string(call) + ".y"), call);
  }
}

TEST_P(NoetherModulesTest, UntiedMlp) {
  for (const char* name : {"untied_mlp_gelu", "untied_mlp_silu"}) {
    Recorded recorded(name);
    const json& of_mlp = recorded.config()["config"];
    UntiedBlockShape shape;
    shape.num_types = recorded.config()["num_types"];
    BankedMlpConfig config;
    config.activation =
        of_mlp["activation"] == "SILU" ? Activation::kSilu : Activation::kGelu;
    const int num_layers = of_mlp["num_layers"].get<int>() + 2;
    for (int i = 0; i < num_layers; ++i) {
      const json& out =
          of_mlp[i + 1 == num_layers ? "output_dim" : "hidden_dim"];
      const json& in = of_mlp[i == 0 ? "input_dim" : "hidden_dim"];
      config.layers.push_back(checkpoint::ReadUntiedLinear(
          shape, "layers." + std::to_string(i) + ".",
          {out.get<std::int64_t>(), in.get<std::int64_t>()},
          recorded.weights()));
    }
    ASSERT_TRUE(recorded.status().ok()) << recorded.status();
    const BankedMlp mlp(config, *kernels_);

    for (const json& call : recorded.calls()) {
      const std::string of_call = call["name"];
      ExpectClose(Apply(mlp, *kernels_, ReadSpecs(call["token_specs"]),
                        recorded.input(of_call + ".x")),
                  recorded.expected(of_call + ".y"), of_call);
    }
  }
}

// ---- Attention and blocks -----------------------------------------------

std::optional<AxialRope> RopeOf(const UntiedBlockShape& shape) {
  if (!shape.has_rope) return std::nullopt;
  return AxialRope{static_cast<int>(shape.rope_axes),
                   static_cast<int>(shape.head_dim()), shape.max_wavelength};
}

PatternStackInputs InputsOf(const Recorded& recorded, const json& call) {
  const std::string name = call["name"];
  PatternStackInputs inputs;
  inputs.x = recorded.input(name + ".x");
  inputs.specs = ReadSpecs(call["token_specs"]);
  if (!call["attention_patterns"].is_null()) {
    inputs.patterns = {ReadPatterns(call["attention_patterns"])};
  }
  inputs.coordinates = recorded.input(name + ".coords");
  inputs.condition = recorded.input(name + ".condition");
  const at::Tensor mask = recorded.input(name + ".key_padding_mask");
  if (mask.defined()) inputs.is_real = mask.to(at::kBool);
  return inputs;
}

// The attention by itself, with the recorded angles.
at::Tensor Attend(const GqaAttention& attention,
                  const kernels::KernelSet& kernels, const Recorded& recorded,
                  const json& call) {
  const PatternStackInputs inputs = InputsOf(recorded, call);
  const std::int64_t tokens = inputs.x.size(1);
  kernels::BatchLayout layout;
  std::vector<std::int32_t> banks;
  std::vector<AttentionPattern> patterns;
  for (std::int64_t b = 0; b < inputs.x.size(0); ++b) {
    const auto of_input = *BanksOfTokens(inputs.specs, tokens, 2);
    banks.insert(banks.end(), of_input.begin(), of_input.end());
    absl::Span<const bool> is_real;
    if (inputs.is_real.defined()) {
      is_real = absl::MakeConstSpan(inputs.is_real[b].const_data_ptr<bool>(),
                                    static_cast<std::size_t>(tokens));
    }
    const auto rows =
        *RowsOfPatterns(inputs.specs, inputs.patterns.front(), is_real,
                        static_cast<std::int32_t>(b * tokens));
    patterns.insert(patterns.end(), rows.begin(), rows.end());
  }
  layout.positions.resize(banks.size());
  layout.banks.Assign(banks, 2);
  Scratch scratch(at::kCPU);
  scratch.Reserve(attention.ScratchSize(layout.num_tokens()));
  AttentionInputs of_layer;
  of_layer.layout = &layout;
  of_layer.scratch = &scratch;
  of_layer.patterns = patterns;
  if (inputs.coordinates.defined()) {
    const std::string name = call["name"];
    of_layer.rope = {
        recorded.expected(name + ".angle_cos").const_data_ptr<float>(),
        recorded.expected(name + ".angle_sin").const_data_ptr<float>(),
        RopePairing::kInterleaved};
  }
  at::Tensor y = at::zeros_like(inputs.x);
  attention.AddTo(kernels, of_layer, inputs.x.const_data_ptr<float>(),
                  y.data_ptr<float>());
  return y;
}

TEST_P(NoetherModulesTest, MixedAttention) {
  for (const char* name : {"mixed_attention", "mixed_attention_rope"}) {
    Recorded recorded(name);
    const UntiedBlockShape shape = recorded.shape();
    const GqaConfig config =
        checkpoint::ReadUntiedAttention(shape, recorded.weights());
    ASSERT_TRUE(recorded.status().ok()) << recorded.status();
    const GqaAttention attention(config, *kernels_, 16);
    for (const json& call : recorded.calls()) {
      const std::string of_call = call["name"];

      ExpectClose(Attend(attention, *kernels_, recorded, call),
                  recorded.expected(of_call + ".y"), of_call);
    }
  }
}

PatternStack MakeStack(Recorded* recorded, const kernels::KernelSet& kernels) {
  const UntiedBlockShape shape = recorded->shape();
  const bool is_stack = recorded->config()["attention"].size() > 1;
  PatternStackConfig config;
  config.num_banks = static_cast<int>(shape.num_types);
  config.rope = RopeOf(shape);
  for (std::size_t i = 0; i < recorded->config()["attention"].size(); ++i) {
    if (is_stack) {
      config.layers.push_back(checkpoint::ReadUntiedBlock(
          shape, "attention_block.mixed_attention",
          recorded->weights().Under("blocks." + std::to_string(i))));
    } else {
      config.layers.push_back(checkpoint::ReadUntiedBlock(
          shape, "attention_block", recorded->weights()));
    }
  }
  EXPECT_TRUE(recorded->status().ok()) << recorded->status();
  return PatternStack(config, kernels);
}

TEST_P(NoetherModulesTest, TransformerBlocks) {
  for (const char* name : {"transformer_block", "transformer_block_cond"}) {
    Recorded recorded(name);
    const PatternStack stack = MakeStack(&recorded, *kernels_);
    for (const json& call : recorded.calls()) {
      const auto rows = stack.Forward(InputsOf(recorded, call));

      ASSERT_TRUE(rows.ok()) << rows.status();
      const std::string of_call = call["name"];
      ExpectClose(rows->back(), recorded.expected(of_call + ".y"), of_call);
    }
  }
}

TEST_P(NoetherModulesTest, AStackOfAnchorAttention) {
  Recorded recorded("stack_self_cross_joint");
  const PatternStack stack = MakeStack(&recorded, *kernels_);
  const auto branches =
      recorded.config()["branches"].get<std::vector<std::string>>();
  for (const json& call : recorded.calls()) {
    PatternStackInputs inputs = InputsOf(recorded, call);
    for (const AnchorAttention kind :
         {AnchorAttention::kSelf, AnchorAttention::kCross,
          AnchorAttention::kJoint}) {
      inputs.patterns.push_back(*AnchorPatterns(inputs.specs, branches, kind));
    }

    const auto rows = stack.Forward(inputs);

    ASSERT_TRUE(rows.ok()) << rows.status();
    const std::string of_call = call["name"];
    for (std::size_t i = 0; i < rows->size(); ++i) {
      const std::string row = of_call + ".h" + std::to_string(i);
      ExpectClose((*rows)[i], recorded.expected(row), row);
    }
  }
}

TEST_P(NoetherModulesTest, PatternsThatAreLeftOutMeanAllToAll) {
  Recorded recorded("transformer_block");
  const PatternStack stack = MakeStack(&recorded, *kernels_);
  PatternStackInputs inputs = InputsOf(recorded, recorded.calls()[0]);
  ASSERT_EQ(recorded.calls()[0]["name"], "all");
  inputs.patterns.clear();

  const auto rows = stack.Forward(inputs);

  ASSERT_TRUE(rows.ok()) << rows.status();
  ExpectClose(rows->back(), recorded.expected("all.y"), "all");
}

// ---- The same layers, served --------------------------------------------

// A policy of the recorded block over typed tokens, with a condition.
PolicyDescription PolicyOf(Recorded* recorded) {
  const UntiedBlockShape shape = recorded->shape();
  PolicyDescription policy;
  policy.fields.resize(2);
  policy.fields[0].name = "tokens";
  policy.fields[0].shape = {-1, shape.dim};
  policy.fields[1].name = "token_types";
  policy.fields[1].dtype = DType::kInt64;
  policy.fields[1].shape = {-1};
  FieldEmbedding tokens;
  tokens.content = GivenEmbedding();
  tokens.bank_field = 1;
  policy.embedder.hidden_dim = shape.dim;
  policy.embedder.num_banks = 2;
  policy.embedder.fields = {tokens};
  policy.session_fields.resize(1);
  policy.session_fields[0].name = "condition";
  policy.session_fields[0].shape = {shape.condition_dim};
  policy.condition.emplace();
  policy.decoder.hidden_dim = shape.dim;
  policy.decoder.stages.resize(1);
  policy.decoder.stages[0].layers = {checkpoint::ReadUntiedBlock(
      shape, "attention_block", recorded->weights())};
  return policy;
}

FieldValue ValueOf(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.numel()};
}

// Token by token, each sees itself and what came before: as a policy that
// serves, and as patterns with one group per token.
TEST_P(NoetherModulesTest, ServedTokensAreThoseOfCausalPatterns) {
  Recorded recorded("transformer_block_cond");
  Recorded again("transformer_block_cond");
  const PatternStack stack = MakeStack(&recorded, *kernels_);
  PatternStackInputs inputs = InputsOf(recorded, recorded.calls()[0]);
  const std::int64_t num_tokens = inputs.x.size(1);
  const std::vector<std::int32_t> banks =
      *BanksOfTokens(inputs.specs, num_tokens, 2);
  inputs.x = inputs.x.narrow(0, 0, 1).contiguous();
  inputs.condition = inputs.condition.narrow(0, 0, 1).contiguous();
  inputs.coordinates =
      at::arange(num_tokens).to(at::kFloat).reshape({1, num_tokens, 1});
  inputs.specs.clear();
  inputs.patterns = {{}};
  std::vector<std::string> past;
  for (std::int32_t bank : banks) {
    past.push_back((bank == 0 ? "a_" : "b_") + std::to_string(past.size()));
    inputs.specs.push_back({past.back(), 1});
    inputs.patterns[0].push_back({{past.back()}, past});
  }
  const auto want = stack.Forward(inputs);
  ASSERT_TRUE(want.ok()) << want.status();

  const PolicyDescription description = PolicyOf(&again);
  auto policy = CreateTransformerPolicy(description, std::move(kernels_));
  ASSERT_TRUE(policy.ok()) << policy.status();
  auto runner = *(*policy)->CreateRunner({4, 64});
  std::string session_inputs;
  StepLayout(description.session_fields)
      .Encode({ValueOf(inputs.condition)}, &session_inputs);
  const auto prepared = *runner->PrepareInputs(session_inputs);
  const std::vector<std::int32_t> blocks = {2};
  for (std::int64_t i = 0; i < num_tokens; ++i) {
    const at::Tensor type = at::full(
        {1}, std::int64_t{banks[static_cast<std::size_t>(i)]}, at::kLong);
    std::string step;
    StepLayout(description.fields)
        .Encode({ValueOf(inputs.x[0][i]), ValueOf(type)}, &step);
    StepBatch batch;
    SessionSlice& slice = batch.slices.emplace_back();
    slice.steps = {step};
    slice.num_cached_tokens = i;
    slice.blocks = blocks;
    slice.num_answered = 1;
    slice.session_inputs = session_inputs;
    slice.prepared_inputs = prepared.get();
    batch.outputs = 1;  // "hidden", the only one
    StepResult result;
    ASSERT_TRUE(runner->Forward(batch, &result).ok());

    const at::Tensor got = at::from_blob(
        result.outputs[0].data(), {description.decoder.hidden_dim}, at::kFloat);
    ExpectClose(got, want->back()[0][i], "token " + std::to_string(i));
    EXPECT_TRUE(result.scores.empty());
  }
}

// ---- What upstream refuses (errors.json) --------------------------------

class PatternStackErrorTest : public testing::Test {
 protected:
  std::string ErrorOf(const PatternStackInputs& inputs) {
    return ErrorOf(stack_, inputs);
  }
  std::string ConditionedErrorOf(const PatternStackInputs& inputs) {
    return ErrorOf(conditioned_stack_, inputs);
  }
  PatternStackInputs Good() { return InputsOf(plain_, plain_.calls()[0]); }

  std::unique_ptr<const kernels::KernelSet> kernels_ =
      kernels::CreateCpuKernelSet();
  Recorded plain_{"transformer_block"};
  Recorded conditioned_{"transformer_block_cond"};
  PatternStack stack_ = MakeStack(&plain_, *kernels_);
  PatternStack conditioned_stack_ = MakeStack(&conditioned_, *kernels_);

 private:
  static std::string ErrorOf(const PatternStack& stack,
                             const PatternStackInputs& inputs) {
    const auto rows = stack.Forward(inputs);
    EXPECT_EQ(rows.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(rows.status().message());
  }
};

TEST_F(PatternStackErrorTest, NamesTokenGroupsThatDoNotFit) {
  PatternStackInputs inputs = Good();
  inputs.specs = {{"surface_a", 3}, {"volume_a", 3}, {"surface_b", 3}};
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("domain 'surface' of token group "
                                         "'surface_b' is not consecutive"));
  inputs.specs = {{"surface_a", 3}, {"volume_a", 3}};
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("have 6 tokens, the input has 9"));
  inputs.specs = {{"surface_a", 9}};
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("have 1 domains, not 2"));
  inputs.specs = {{"surface_a", 5}, {"surface_a", 2}, {"volume_a", 2}};
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("'surface_a' is there twice"));
  inputs.specs = {};
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("have 0 domains, not 2"));
  EXPECT_THAT(std::string(BanksOfTokens({{"a", 1}, {"b", 1}, {"c", 1}}, 3, 2)
                              .status()
                              .message()),
              HasSubstr("'c' is one more than there are banks, 2"));
}

TEST_F(PatternStackErrorTest, NamesPatternsThatDoNotFit) {
  PatternStackInputs inputs = Good();
  NamedPattern& pattern = inputs.patterns[0][0];
  pattern.queries.push_back("surface_anchors");
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("'surface_anchors' is a query twice"));
  pattern.queries.assign({"surface_anchors", "surface_queries"});
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("'volume_anchors' is no query"));
  pattern.queries.assign({"z"});
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("query 'z' is no token group"));
  inputs = Good();
  inputs.patterns[0][0].keys = {"z"};
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("key 'z' is no token group"));
}

TEST_F(PatternStackErrorTest, NamesMasksThatDoNotFit) {
  PatternStackInputs inputs = Good();
  inputs.is_real = at::ones({2, 9});
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("the mask is not of bool"));
  inputs.is_real = at::ones({2, 8}, at::kBool);
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("the mask has another shape"));
  inputs.is_real = at::zeros({2, 9}, at::kBool);
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("has no key that is not masked"));
}

TEST_F(PatternStackErrorTest, NamesWhatIsMissingOrSuperfluous) {
  PatternStackInputs inputs = Good();
  inputs.coordinates = at::zeros({2, 9, 1});
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("coordinates is not read"));
  inputs = Good();
  inputs.condition = at::zeros({2, 5});
  EXPECT_THAT(ErrorOf(inputs), HasSubstr("the condition is not read"));
  inputs = InputsOf(conditioned_, conditioned_.calls()[0]);
  inputs.condition = at::Tensor();
  EXPECT_THAT(ConditionedErrorOf(inputs),
              HasSubstr("the condition is missing"));
  inputs.condition = at::zeros({2, 4});
  EXPECT_THAT(ConditionedErrorOf(inputs),
              HasSubstr("the condition has another shape than [2, 5]"));
  inputs.condition = at::zeros({2, 5});
  inputs.coordinates = at::Tensor();
  EXPECT_THAT(ConditionedErrorOf(inputs), HasSubstr("coordinates is missing"));
}

TEST(AnchorPatternsTest, NamesBranchesThatDoNotFit) {
  const std::vector<TokenSpec> specs = {{"a_anchors", 1}, {"b_queries", 1}};
  const auto error_of = [&](const std::vector<std::string>& branches,
                            AnchorAttention attention) {
    return std::string(
        AnchorPatterns(specs, branches, attention).status().message());
  };

  EXPECT_THAT(error_of({"a"}, AnchorAttention::kSelf),
              HasSubstr("'b_queries' belongs to no branch"));
  EXPECT_THAT(error_of({"a", "b"}, AnchorAttention::kJoint),
              HasSubstr("branch 'b' lacks its token group 'b_anchors'"));
  EXPECT_THAT(error_of({"a"}, AnchorAttention::kCross),
              HasSubstr("at least two"));
}

}  // namespace
}  // namespace stepd
