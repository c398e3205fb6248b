// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The properties that everything above the model relies on, for random
// weights of many shapes: cached = full, batched = alone, rebuilt = never
// evicted, to the bit; and stepd's kernels = LibTorch's operators.

#include "model/transformer_policy.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/cpu_kernel_set.h"
#include "model/kernels/torch_kernel_set.h"
#include "tests/model/support/random_policy.h"

namespace stepd {
namespace {

constexpr int kNumBlocks = 256;

// A session's place in the cache, as an executor keeps it.
struct Session {
  std::string inputs;  // encoded
  std::vector<std::string> steps;
  std::vector<std::int64_t> ends;  // tokens, prefix and all, after each step
  std::vector<std::int32_t> blocks;
  std::size_t num_cached = 0;  // steps

  std::int64_t num_cached_tokens() const {
    return num_cached == 0 ? 0 : ends[num_cached - 1];
  }
};

class TransformerPolicyTest : public testing::TestWithParam<RandomPolicyShape> {
 protected:
  void SetUp() override {
    policy_ = Create(kernels::CreateCpuKernelSet(GetParam().precision));
    runner_ = Runner(*policy_);
  }

  std::unique_ptr<Policy> Create(
      std::unique_ptr<const kernels::KernelSet> kernels) {
    auto policy = CreateTransformerPolicy(MakeRandomPolicy(GetParam(), 1),
                                          std::move(kernels));
    EXPECT_TRUE(policy.ok()) << policy.status();
    return *std::move(policy);
  }

  static std::unique_ptr<PolicyRunner> Runner(const Policy& policy) {
    auto runner = policy.CreateRunner({kNumBlocks, 64});
    EXPECT_TRUE(runner.ok()) << runner.status();
    return *std::move(runner);
  }

  // A session of `num_steps` steps in blocks of its own, last ones first.
  Session Open(int num_steps, int seed) {
    Session session;
    session.steps = MakeRandomSteps(policy_->spec().fields, num_steps, seed);
    session.inputs =
        MakeRandomSteps(policy_->spec().session_fields, 1, seed).front();
    std::int64_t tokens = policy_->spec().num_prefix_tokens;
    for (const std::string& step : session.steps) {
      session.ends.push_back(tokens += *policy_->CountTokens(step));
    }
    TakeBlocks(&session);
    return session;
  }

  void TakeBlocks(Session* session) {
    const std::int64_t count = (session->ends.back() + 15) / 16;
    session->blocks.clear();
    for (std::int64_t i = 0; i < count; ++i) {
      session->blocks.push_back(--next_block_);
    }
    session->num_cached = 0;
    ASSERT_GE(next_block_, 0);
  }

  // The next `count` steps of the session; all are answered.
  SessionSlice Slice(PolicyRunner* runner, const Session& session,
                     std::size_t count) {
    SessionSlice slice;
    slice.session_inputs = session.inputs;
    auto prepared = runner->PrepareInputs(session.inputs);
    EXPECT_TRUE(prepared.ok()) << prepared.status();
    slice.prepared_inputs = prepared->get();
    prepared_.push_back(*std::move(prepared));
    for (std::size_t i = 0; i < count; ++i) {
      slice.steps.emplace_back(session.steps[session.num_cached + i]);
    }
    slice.num_cached_tokens = session.num_cached_tokens();
    slice.blocks = session.blocks;
    slice.num_answered = static_cast<int>(count);
    return slice;
  }

  // Runs the next `count` steps in one call: q values of every step.
  std::vector<float> Advance(PolicyRunner* runner, Session* session,
                             std::size_t count) {
    StepBatch batch;
    batch.slices.push_back(Slice(runner, *session, count));
    StepResult result;
    const absl::Status status = runner->Forward(batch, &result);
    EXPECT_TRUE(status.ok()) << status;
    session->num_cached += count;
    prepared_.clear();
    return result.scores;
  }

  std::vector<float> AdvanceOneByOne(PolicyRunner* runner, Session* session) {
    std::vector<float> all;
    while (session->num_cached < session->steps.size()) {
      const std::vector<float> one = Advance(runner, session, 1);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }

  std::unique_ptr<Policy> policy_;
  std::unique_ptr<PolicyRunner> runner_;
  // They end before their runner.
  std::vector<std::shared_ptr<const PreparedInputs>> prepared_;
  std::int32_t next_block_ = kNumBlocks;
};

std::vector<RandomPolicyShape> Shapes() {
  std::vector<RandomPolicyShape> shapes(22);
  shapes[0].name = "gqa";
  shapes[1].name = "mha_concat_compute_tokens";
  shapes[1].num_kv_heads = 4;
  shapes[1].layout = FieldLayout::kConcat;
  shapes[1].num_compute_tokens = 2;
  shapes[2].name = "mqa_qk_norm_bias";
  shapes[2].num_kv_heads = 1;
  shapes[2].has_qk_norm = true;
  shapes[2].has_bias = true;
  shapes[3].name = "window";
  shapes[3].window_left = 6;
  shapes[3].tokens_per_field = 2;
  shapes[4].name = "odd_sizes";
  shapes[4].hidden_dim = 21;
  shapes[4].num_heads = 3;
  shapes[4].num_kv_heads = 3;
  shapes[4].head_dim = 10;
  shapes[4].ffn_dim = 37;
  shapes[5].name = "wide_heads";
  shapes[5].hidden_dim = 64;
  shapes[5].num_heads = 6;
  shapes[5].head_dim = 64;
  shapes[6].name = "no_layers";
  shapes[6].num_layers = 0;
  shapes[7].name = "banks";
  shapes[7].num_banks = 3;
  shapes[7].has_bias = true;
  shapes[7].has_qk_norm = true;
  shapes[8].name = "banks_odd_heads_no_rope";
  shapes[8].num_banks = 2;
  shapes[8].head_dim = 5;
  shapes[8].has_rope = false;
  shapes[9].name = "mla";
  shapes[9].attention = {AttentionKind::kMla};
  shapes[10].name = "moe";
  shapes[10].ffn = {FfnKind::kMoe};
  shapes[11].name = "no_ops_and_linears";
  shapes[11].num_layers = 5;
  shapes[11].attention = {AttentionKind::kNoOp, AttentionKind::kGqa,
                          AttentionKind::kLinear, AttentionKind::kNoOp};
  shapes[11].ffn = {FfnKind::kDense, FfnKind::kNoOp, FfnKind::kLinear,
                    FfnKind::kNoOp};
  shapes[12].name = "looped_mla_moe";
  shapes[12].attention = {AttentionKind::kMla, AttentionKind::kGqa};
  shapes[12].ffn = {FfnKind::kMoe, FfnKind::kDense};
  shapes[12].num_loops = 4;
  shapes[13].name = "prefix";
  shapes[13].has_prefix = true;
  shapes[14].name = "prefix_of_its_own_bank_and_positions";
  shapes[14].has_prefix = true;
  shapes[14].has_own_positions = true;
  shapes[14].num_banks = 2;
  shapes[14].has_banked_norms = true;
  shapes[14].ffn = {FfnKind::kDense, FfnKind::kMoe};
  shapes[15].name = "cross_attention";
  shapes[15].num_layers = 4;
  shapes[15].attention = {AttentionKind::kGqa, AttentionKind::kCross};
  shapes[16].name = "cross_attention_alone";
  shapes[16].attention = {AttentionKind::kCross};
  shapes[17].name = "prefix_and_cross_attention";
  shapes[17].has_prefix = true;
  shapes[17].attention = {AttentionKind::kCross, AttentionKind::kMla};
  shapes[18].name = "condition_and_banks";
  shapes[18].num_banks = 3;
  shapes[18].condition_dim = 4;
  shapes[19].name = "condition_and_cross_attention";
  shapes[19].num_layers = 3;
  shapes[19].attention = {AttentionKind::kGqa, AttentionKind::kCross};
  shapes[19].ffn = {FfnKind::kMoe, FfnKind::kDense, FfnKind::kNoOp};
  shapes[19].condition_dim = 3;
  shapes[20].name = "perceiver_and_banks";
  shapes[20].attention = {AttentionKind::kCross, AttentionKind::kGqa};
  shapes[20].num_banks = 2;
  shapes[20].has_source_norm = true;
  shapes[21].name = "perceiver_and_condition";
  shapes[21].attention = {AttentionKind::kCross, AttentionKind::kGqa};
  shapes[21].num_banks = 2;
  shapes[21].has_source_norm = true;
  shapes[21].condition_dim = 3;
  for (int seed = 0; seed < 16; ++seed) {
    shapes.push_back(MakeRandomShape(seed));
  }
  for (const std::size_t i : {0U, 4U, 7U, 10U, 12U}) {
    shapes.push_back(shapes[i]);
    shapes.back().name += "_bfloat16";
    shapes.back().precision = WeightPrecision::kBFloat16;
  }
  return shapes;
}

INSTANTIATE_TEST_SUITE_P(Shapes, TransformerPolicyTest,
                         testing::ValuesIn(Shapes()),
                         [](const auto& info) { return info.param.name; });

TEST_P(TransformerPolicyTest, OneCallOfManyStepsHasTheBitsOfOneStepEach) {
  Session at_once = Open(23, 5);
  Session in_two = Open(23, 5);
  Session one_by_one = Open(23, 5);

  const std::vector<float> all = Advance(runner_.get(), &at_once, 23);
  std::vector<float> halves = Advance(runner_.get(), &in_two, 9);
  const std::vector<float> rest = Advance(runner_.get(), &in_two, 14);
  halves.insert(halves.end(), rest.begin(), rest.end());

  EXPECT_EQ(all, AdvanceOneByOne(runner_.get(), &one_by_one));
  EXPECT_EQ(all, halves);
}

TEST_P(TransformerPolicyTest, ARaggedBatchHasTheBitsOfEachSessionAlone) {
  std::vector<Session> sessions;
  std::vector<std::vector<float>> alone;
  StepBatch batch;
  for (int i = 0; i < 24; ++i) {
    Session solo = Open(1 + i % 11, 100 + i);
    alone.push_back(AdvanceOneByOne(runner_.get(), &solo));
    // The same session again, its last one to three steps still to come.
    sessions.push_back(std::move(solo));
  }
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    const std::size_t count =
        std::min<std::size_t>(1 + i % 3, sessions[i].steps.size());
    sessions[i].num_cached = sessions[i].steps.size() - count;
    batch.slices.push_back(Slice(runner_.get(), sessions[i], count));
  }
  StepResult together;

  ASSERT_TRUE(runner_->Forward(batch, &together).ok());

  std::size_t row = 0;
  const auto actions = static_cast<std::size_t>(policy_->spec().num_actions);
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    const std::size_t count = batch.slices[i].steps.size();
    const std::vector<float> want(
        alone[i].end() - static_cast<std::ptrdiff_t>(count * actions),
        alone[i].end());
    const std::vector<float> got(
        together.scores.begin() + static_cast<std::ptrdiff_t>(row * actions),
        together.scores.begin() +
            static_cast<std::ptrdiff_t>((row + count) * actions));
    EXPECT_EQ(got, want) << "session " << i;
    row += count;
  }
  EXPECT_EQ(together.num_rows, static_cast<std::int64_t>(row));
}

TEST_P(TransformerPolicyTest, ARebuiltSessionHasTheBitsOfOneNeverEvicted) {
  Session session = Open(20, 9);
  const std::vector<float> want = AdvanceOneByOne(runner_.get(), &session);
  TakeBlocks(&session);  // other blocks, nothing cached

  StepBatch prefill;
  prefill.slices.push_back(Slice(runner_.get(), session, 12));
  prefill.slices.back().num_answered = 0;
  StepResult nothing;
  ASSERT_TRUE(runner_->Forward(prefill, &nothing).ok());
  session.num_cached = 12;
  const std::vector<float> rest = Advance(runner_.get(), &session, 8);

  EXPECT_EQ(nothing.num_rows, 0);
  EXPECT_TRUE(nothing.scores.empty());
  EXPECT_EQ(rest, std::vector<float>(
                      want.end() - static_cast<std::ptrdiff_t>(rest.size()),
                      want.end()));
}

TEST_P(TransformerPolicyTest, ABatchWhoseCacheNobodyReadsHasTheSameBits) {
  Session kept = Open(12, 4);
  Session dropped = kept;
  const std::vector<float> want = Advance(runner_.get(), &kept, 12);
  TakeBlocks(&dropped);
  StepBatch batch;
  batch.slices.push_back(Slice(runner_.get(), dropped, 12));
  batch.slices.back().is_final = true;
  StepResult result;

  ASSERT_TRUE(runner_->Forward(batch, &result).ok());

  EXPECT_EQ(result.scores, want);
}

TEST_P(TransformerPolicyTest, StepdsKernelsAgreeWithLibTorch) {
  // One bit more or less in a float32 may round to another bfloat16.
  if (GetParam().precision == WeightPrecision::kBFloat16) return;
  const std::unique_ptr<Policy> reference =
      Create(kernels::CreateTorchKernelSet(at::kCPU));
  const std::unique_ptr<PolicyRunner> reference_runner = Runner(*reference);
  Session a = Open(19, 3);
  Session b = a;

  const std::vector<float> got = Advance(runner_.get(), &a, 19);
  const std::vector<float> want = Advance(reference_runner.get(), &b, 19);

  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], 1e-4F * std::max(1.0F, std::abs(want[i])));
  }
}

TEST_P(TransformerPolicyTest, SessionsOfEqualInputsShareWhatIsPrepared) {
  const Session session = Open(1, 1);
  const Session other = Open(1, 2);

  const auto first = *runner_->PrepareInputs(session.inputs);
  const auto again = *runner_->PrepareInputs(session.inputs);
  const auto of_other = *runner_->PrepareInputs(other.inputs);

  EXPECT_EQ(first, again);
  if (first != nullptr) EXPECT_NE(first, of_other);
}

TEST_P(TransformerPolicyTest, OutputsAreGivenOnlyWhenAskedFor) {
  Session session = Open(2, 3);
  const PolicySpec& spec = policy_->spec();
  StepBatch batch;
  batch.slices.push_back(Slice(runner_.get(), session, 2));
  batch.outputs = OutputMask{1} << spec.FindOutput("value") |
                  OutputMask{1} << spec.FindOutput("hidden");
  StepResult result;

  ASSERT_TRUE(runner_->Forward(batch, &result).ok());

  const auto size_of = [&](const char* name) {
    return result.outputs[static_cast<std::size_t>(spec.FindOutput(name))]
        .size();
  };
  EXPECT_EQ(size_of("value"), 2U);
  EXPECT_EQ(size_of("hidden"),
            2U * static_cast<std::size_t>(GetParam().hidden_dim));
  EXPECT_EQ(size_of("q"), 0U);
  EXPECT_EQ(size_of("scores"), 0U);
  EXPECT_EQ(result.scores.size(), 10U);
}

TEST_P(TransformerPolicyTest, TheSpecSaysHowManyTokensAStepBecomes) {
  const PolicySpec& spec = policy_->spec();
  for (const std::string& step : MakeRandomSteps(spec.fields, 3, 1)) {
    const absl::StatusOr<int> tokens = policy_->CountTokens(step);
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    if (spec.max_tokens_per_step < 0) {
      EXPECT_GE(*tokens, spec.min_tokens_per_step);
      continue;
    }
    EXPECT_EQ(*tokens, spec.min_tokens_per_step);
    EXPECT_EQ(*tokens, spec.max_tokens_per_step);
  }
}

TEST_P(TransformerPolicyTest, BytesThatAreNoStepAreRefused) {
  const std::string step =
      MakeRandomSteps(policy_->spec().fields, 1, 1).front();

  EXPECT_TRUE(policy_->CountTokens(step).ok());
  EXPECT_EQ(policy_->CountTokens(step + "x").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(policy_->CountTokens(step.substr(1)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CheckSessionInputs, RefusesAMaskThatLeavesNothingAndWhatIsNoEncoding) {
  RandomPolicyShape shape;
  shape.attention = {AttentionKind::kCross};
  const auto policy = CreateTransformerPolicy(MakeRandomPolicy(shape, 1),
                                              kernels::CreateCpuKernelSet());
  ASSERT_TRUE(policy.ok()) << policy.status();
  std::string inputs =
      MakeRandomSteps((*policy)->spec().session_fields, 1, 1).front();

  EXPECT_TRUE((*policy)->CheckSessionInputs(inputs).ok());
  EXPECT_EQ((*policy)->CheckSessionInputs(inputs.substr(1)).code(),
            absl::StatusCode::kInvalidArgument);
  inputs.replace(inputs.size() - 5, 5, 5, '\0');
  EXPECT_EQ((*policy)->CheckSessionInputs(inputs).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CreateTransformerPolicy, RefusesAnActionHeadThatIsNotThere) {
  PolicyDescription description = MakeRandomPolicy(RandomPolicyShape(), 1);
  description.action.head = "nothing";

  const auto policy =
      CreateTransformerPolicy(description, kernels::CreateCpuKernelSet());

  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(policy.status().message().find("nothing"), std::string::npos);
}

}  // namespace
}  // namespace stepd
