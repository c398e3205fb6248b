// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Parts of a model, each in a policy of its own, one after another: the same
// numbers as the whole.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/safetensors.h"
#include "model/loader.h"
#include "model/policy_spec.h"
#include "model/step.h"

namespace stepd {
namespace {

namespace fs = std::filesystem;
using checkpoint::LayerRange;
using ::testing::HasSubstr;

constexpr int kNumSteps = 9;

fs::path Case(const std::string& name) {
  return fs::path("tests/golden/puzzletron") / name;
}

absl::StatusOr<std::unique_ptr<Policy>> LoadPart(const fs::path& directory,
                                                 LayerRange layers) {
  LoadOptions options;
  options.reading.layers = layers;
  return LoadPolicy(directory, options);
}

// One session of a policy that covers all or a part of the layers.
class Part {
 public:
  explicit Part(std::unique_ptr<Policy> policy)
      : policy_(std::move(policy)), runner_(MakeRunner(*policy_)) {}

  const PolicySpec& spec() const { return policy_->spec(); }

  // The next steps, each one value of field `name`: their output `output`.
  template <typename T>
  std::vector<float> Run(const std::string& name, absl::Span<const T> values,
                         const std::string& output) {
    const StepLayout layout(spec().fields);
    const auto field = static_cast<std::size_t>(FindField(spec().fields, name));
    const std::int64_t width = spec().fields[field].num_elements();
    std::vector<std::string> steps(values.size() /
                                   static_cast<std::size_t>(width));
    StepBatch batch;
    SessionSlice& slice = batch.slices.emplace_back();
    for (std::size_t i = 0; i < steps.size(); ++i) {
      std::vector<FieldValue> fields(spec().fields.size());
      fields[field] = {reinterpret_cast<const char*>(
                           &values[i * static_cast<std::size_t>(width)]),
                       width};
      layout.Encode(fields, &steps[i]);
      slice.steps.push_back(steps[i]);
    }
    slice.num_cached_tokens = num_steps_;
    slice.blocks = blocks_;
    slice.num_answered = static_cast<int>(steps.size());
    const int index = spec().FindOutput(output);
    batch.outputs = OutputMask{1} << index;
    StepResult result;
    const absl::Status status = runner_->Forward(batch, &result);
    EXPECT_TRUE(status.ok()) << status;
    num_steps_ += static_cast<std::int64_t>(steps.size());
    return result.outputs[static_cast<std::size_t>(index)];
  }

 private:
  static std::unique_ptr<PolicyRunner> MakeRunner(const Policy& policy) {
    RunnerOptions options;
    options.num_blocks = 1;
    options.max_batch_tokens = kNumSteps;
    auto runner = policy.CreateRunner(options);
    EXPECT_TRUE(runner.ok()) << runner.status();
    return *std::move(runner);
  }

  std::unique_ptr<Policy> policy_;
  std::unique_ptr<PolicyRunner> runner_;
  std::vector<std::int32_t> blocks_ = {0};
  std::int64_t num_steps_ = 0;
};

// The same session through parts that hand the residual stream on.
class Chain {
 public:
  Chain(const fs::path& checkpoint, const std::vector<LayerRange>& ranges) {
    for (const LayerRange& range : ranges) {
      auto policy = LoadPart(checkpoint, range);
      EXPECT_TRUE(policy.ok()) << policy.status();
      parts_.emplace_back(*std::move(policy));
    }
  }

  // The next tokens: the residual stream behind every part but the last one,
  // whose logits come last.
  std::vector<std::vector<float>> Run(absl::Span<const std::int64_t> tokens) {
    std::vector<std::vector<float>> answers;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const std::string output = i + 1 < parts_.size() ? "hidden" : "logits";
      answers.push_back(
          i == 0 ? parts_[i].Run("tokens", tokens, output)
                 : parts_[i].Run("inputs_embeds",
                                 absl::MakeConstSpan(answers.back()), output));
    }
    return answers;
  }

 private:
  std::vector<Part> parts_;
};

template <typename T>
std::vector<T> ReadTensor(const fs::path& file, const std::string& name) {
  auto tensors = checkpoint::ReadSafetensors(file);
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  for (const checkpoint::StoredTensor& tensor : *tensors) {
    if (tensor.name != name) continue;
    std::vector<T> values(tensor.bytes.size() / sizeof(T));
    tensor.bytes.copy(reinterpret_cast<char*>(values.data()),
                      tensor.bytes.size());
    return values;
  }
  ADD_FAILURE() << file << " has no " << name;
  return {};
}

void ExpectClose(const std::vector<float>& got, absl::Span<const float> want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], 1e-4) << "at " << i;
  }
}

TEST(PartialPolicy, TheShardsOfTheRecordedPipelineGiveWhatItRecorded) {
  const fs::path folder = Case("llama_hetero");
  const auto tokens =
      ReadTensor<std::int64_t>(folder / "inputs.safetensors", "ids0/tokens");
  const auto recorded = [&](const std::string& name) {
    return ReadTensor<float>(folder / "upstream_expected.safetensors", name);
  };
  // The recorded pipeline: layers 0 and 1, layer 2, layer 3.
  Chain chain(folder / "checkpoint", {{0, 2}, {2, 3}, {3, 4}});

  const auto answers = chain.Run(tokens);

  // The first of the two recorded sequences.
  const auto first = [](const std::vector<float>& both) {
    return absl::MakeConstSpan(both).first(both.size() / 2);
  };
  ExpectClose(answers[0], first(recorded("shard0.hidden")));
  ExpectClose(answers[1], first(recorded("shard1.hidden")));
  ExpectClose(answers[2], first(recorded("shard2.logits")));
}

struct RecordedModel {
  const char* name;
  int num_layers;
};

class PartialPolicyTest : public testing::TestWithParam<RecordedModel> {};

INSTANTIATE_TEST_SUITE_P(
    Recorded, PartialPolicyTest,
    testing::Values(RecordedModel{"llama3_rope", 3},
                    RecordedModel{"llama_attn_noop_first", 4},
                    RecordedModel{"llama_hetero", 4},
                    RecordedModel{"llama_linear", 4},
                    RecordedModel{"llama_noop_mix", 5},
                    RecordedModel{"qwen3_hetero_tied", 4}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_P(PartialPolicyTest, LayerByLayerHasTheBitsOfTheWhole) {
  const fs::path folder = Case(GetParam().name);
  const auto tokens =
      ReadTensor<std::int64_t>(folder / "inputs.safetensors", "ids0/tokens");
  ASSERT_EQ(tokens.size(), std::size_t{kNumSteps});
  std::vector<LayerRange> layers;
  for (int i = 0; i < GetParam().num_layers; ++i) layers.push_back({i, i + 1});
  auto whole = LoadPolicy(folder / "checkpoint", {});
  ASSERT_TRUE(whole.ok()) << whole.status();
  Part all(*std::move(whole));
  Chain chain(folder / "checkpoint", layers);

  // Two calls: the parts keep their keys and values between them.
  for (const auto& call : {absl::MakeConstSpan(tokens).first(4),
                           absl::MakeConstSpan(tokens).subspan(4)}) {
    EXPECT_EQ(chain.Run(call).back(), all.Run("tokens", call, "logits"));
  }
}

TEST(PartialPolicy, SaysWhatAPartTakesAndGives) {
  const auto part = LoadPart(Case("llama_hetero") / "checkpoint", {1, 3});

  ASSERT_TRUE(part.ok()) << part.status();
  const PolicySpec& spec = (*part)->spec();
  EXPECT_EQ(spec.summary, "llama, 1:3 of 4 layers, width 32");
  ASSERT_EQ(spec.fields.size(), 1U);
  EXPECT_EQ(spec.fields[0].name, "inputs_embeds");
  EXPECT_TRUE(spec.fields[0].required);
  EXPECT_EQ(spec.FindOutput("logits"), -1);
  EXPECT_EQ(spec.num_actions, 0);
  ASSERT_EQ(spec.layers.size(), 2U);
  EXPECT_EQ(spec.num_parameters,
            spec.layers[0].num_parameters + spec.layers[1].num_parameters);
}

TEST(PartialPolicy, ReadsNothingOfOtherLayers) {
  const fs::path directory = fs::path(testing::TempDir()) / "part";
  fs::copy(Case("llama_noop_mix") / "checkpoint", directory,
           fs::copy_options::recursive);
  for (const char* other : {"embeddings", "lm_head", "block_0_attention",
                            "block_0_ffn", "block_4_attention"}) {
    ASSERT_TRUE(fs::remove(directory / "subblocks_safetensors" /
                           absl::StrCat(other, ".safetensors")));
  }

  const auto part = LoadPart(directory, {1, 4});
  const auto too_long = LoadPart(directory, {1, 5});

  EXPECT_TRUE(part.ok()) << part.status();
  EXPECT_THAT(std::string(too_long.status().message()),
              HasSubstr("the index names this file, but it is missing"));
}

TEST(PartialPolicy, OfATiedModelEndsWithTheEmbedding) {
  const auto last = LoadPart(Case("qwen3_hetero_tied") / "checkpoint", {3, 4});

  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ((*last)->spec().num_actions, 53);
  EXPECT_EQ(FindField((*last)->spec().fields, "tokens"), -1);
}

TEST(PartialPolicy, RefusesLayersThatAreNotThere) {
  const std::vector<LayerRange> ranges = {{2, 2}, {3, 1}, {-1, 2}, {1, 5}};
  for (const LayerRange& range : ranges) {
    const auto part = LoadPart(Case("llama_hetero") / "checkpoint", range);

    EXPECT_EQ(part.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(part.status().message()),
                HasSubstr(absl::StrCat("config.json: num_hidden_layers: is 4; ",
                                       range.begin, ":", range.end,
                                       " is no range of these layers")));
  }
}

TEST(PartialPolicy, RefusesWhatTheFormatDoesNotHave) {
  const fs::path looped = "tests/golden/open_mythos/gqa_basic/checkpoint";
  LoadOptions with_loops;
  with_loops.reading.num_loops = 3;

  const auto part = LoadPart(looped, {0, 1});
  const auto loops =
      LoadPolicy(Case("llama_hetero") / "checkpoint", with_loops);

  EXPECT_THAT(std::string(part.status().message()),
              HasSubstr("a range of layers is given, but a checkpoint of "
                        "OpenMythos is read whole or not at all"));
  EXPECT_THAT(std::string(loops.status().message()),
              HasSubstr("n_loops is given, but a checkpoint of Hugging Face "
                        "and Puzzletron has no loops"));
}

TEST(NumLoops, WinOverTheCheckpoints) {
  const fs::path looped = "tests/golden/open_mythos/gqa_basic/checkpoint";
  LoadOptions options;
  options.reading.num_loops = 9;

  const auto policy = LoadPolicy(looped, options);
  options.reading.num_loops = 5000;
  const auto too_many = LoadPolicy(looped, options);

  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ((*policy)->spec().layers[1].num_visits, 9);
  EXPECT_THAT(std::string(too_many.status().message()),
              HasSubstr("n_loops: of 5000 was asked for; must be from 1 to "
                        "4096"));
}

}  // namespace
}  // namespace stepd
