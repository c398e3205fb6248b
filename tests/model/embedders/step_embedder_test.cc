// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/embedders/step_embedder.h"

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/kernels/cpu_kernel_set.h"

namespace stepd {
namespace {

using ::testing::ElementsAre;

// Rows 10, 11, 12 of width 1.
TableEmbedding Table() {
  const at::Tensor table = at::full({3, 1}, 10.0F);
  for (int i = 0; i < 3; ++i) table[i] += i;
  return {table};
}

FieldSpec Index() {
  FieldSpec field;
  field.name = "index";
  field.dtype = DType::kInt64;
  field.required = false;
  return field;
}

FieldSpec Number() {
  FieldSpec field;
  field.name = "number";
  field.required = false;
  return field;
}

// One field of tokens of width 1.
class OneField {
 public:
  OneField(const FieldSpec& spec, std::vector<FieldEmbedding> embeddings)
      : kernels_(kernels::CreateCpuKernelSet()), layout_({spec}) {
    EmbedderConfig config;
    config.hidden_dim = 1;
    config.fields = std::move(embeddings);
    embedder_ = std::make_unique<StepEmbedder>(
        config, std::vector<FieldSpec>{spec}, *kernels_);
  }

  template <typename T>
  std::vector<float> Embed(std::vector<T> elements) const {
    return Embed(FieldValue{reinterpret_cast<const char*>(elements.data()),
                            static_cast<std::int64_t>(elements.size())});
  }
  std::vector<float> EmbedNothing() const { return Embed(FieldValue{}); }

 private:
  // Empty: the step has no tokens.
  std::vector<float> Embed(const FieldValue& value) const {
    std::string step;
    layout_.Encode({value}, &step);
    if (!embedder_->CountTokens(step).ok()) return {};
    EmbedPlan plan;
    embedder_->Plan({step}, {}, &plan);
    std::vector<float> rows(static_cast<std::size_t>(plan.num_rows));
    Scratch scratch(at::kCPU);
    scratch.Reserve(embedder_->ScratchSize());
    EmbedColumn column;
    embedder_->Embed(plan, &scratch, &column, rows.data());
    return rows;
  }

  std::unique_ptr<const kernels::KernelSet> kernels_;
  StepLayout layout_;
  std::unique_ptr<StepEmbedder> embedder_;
};

FieldEmbedding TableWithTypeRow() {
  FieldEmbedding embedding;
  embedding.content = Table();
  embedding.type_row = at::full({1}, 0.5F);
  return embedding;
}

TEST(StepEmbedder, AMissingFieldHasNoTokensOrZerosOrTheValueZero) {
  FieldEmbedding embedding = TableWithTypeRow();
  embedding.when_absent = WhenAbsent::kNoTokens;
  const OneField vanishes(Index(), {embedding});
  embedding.when_absent = WhenAbsent::kZeros;
  const OneField is_blank(Index(), {embedding});
  embedding.when_absent = WhenAbsent::kZeroValue;
  const OneField is_zero(Index(), {embedding});

  EXPECT_THAT(vanishes.EmbedNothing(), ElementsAre());
  EXPECT_THAT(is_blank.EmbedNothing(), ElementsAre(0.5F));
  EXPECT_THAT(is_zero.EmbedNothing(), ElementsAre(10.5F));
  EXPECT_THAT(is_zero.Embed<std::int64_t>({2}), ElementsAre(12.5F));
}

TEST(StepEmbedder, AnAbsentIndexIsNotLookedUp) {
  FieldEmbedding embedding = TableWithTypeRow();
  embedding.when_absent = WhenAbsent::kZeroValue;
  embedding.absent_value = {-1.0, WhenAbsent::kZeros};
  const OneField field(Index(), {embedding});

  EXPECT_THAT(field.Embed<std::int64_t>({-1}), ElementsAre(0.5F));
  EXPECT_THAT(field.Embed<std::int64_t>({1}), ElementsAre(11.5F));
  EXPECT_THAT(field.EmbedNothing(), ElementsAre(10.5F));
}

TEST(StepEmbedder, AnAbsentNumberIsComparedAsANumber) {
  FieldEmbedding embedding;
  embedding.content = FourierEmbedding{at::full({1, 1}, 2.0F), at::ones({1, 1}),
                                       at::zeros({1, 1})};
  embedding.absent_value = {0.1, WhenAbsent::kNoTokens};
  const OneField field(Number(), {embedding});

  EXPECT_THAT(field.Embed<float>({0.1F}), ElementsAre());
  EXPECT_THAT(field.Embed<float>({0.0F}), ElementsAre(2.0F));
}

TEST(StepEmbedder, AMissingNumberMayCountAsZero) {
  FieldEmbedding embedding;
  embedding.content = FourierEmbedding{at::full({1, 1}, 2.0F), at::ones({1, 1}),
                                       at::zeros({1, 1})};
  embedding.when_absent = WhenAbsent::kZeroValue;
  const OneField field(Number(), {embedding});

  EXPECT_THAT(field.EmbedNothing(), ElementsAre(2.0F));
}

TEST(StepEmbedder, ContentsOfASumMayBeginAtALaterToken) {
  std::vector<FieldEmbedding> embeddings(2);
  for (int i = 0; i < 2; ++i) {
    ProjectionEmbedding projection{at::ones({1, 1}), at::zeros({1})};
    projection.scale = 2.0F;
    projection.truncates = true;
    embeddings[static_cast<std::size_t>(i)].content = projection;
    embeddings[static_cast<std::size_t>(i)].first_element = i;
    embeddings[static_cast<std::size_t>(i)].first_token = i;
  }
  FieldSpec spec = Number();
  spec.shape = {2};
  const OneField field(spec, embeddings);

  EXPECT_THAT(field.Embed<float>({3.9F, -1.5F}), ElementsAre(6.0F, -2.0F));
}

// ---- Banks --------------------------------------------------------------

// Tokens of width 1 and the bank of each, of two banks.
class TypedTokens {
 public:
  TypedTokens() : kernels_(kernels::CreateCpuKernelSet()) {
    std::vector<FieldSpec> fields(2);
    fields[0].shape = {-1, 1};
    fields[1].dtype = DType::kInt64;
    fields[1].shape = {-1};
    layout_ = std::make_unique<StepLayout>(fields);
    FieldEmbedding tokens;
    tokens.content = GivenEmbedding();
    tokens.bank_field = 1;
    EmbedderConfig config;
    config.hidden_dim = 1;
    config.num_banks = 2;
    config.fields = {tokens};
    embedder_ = std::make_unique<StepEmbedder>(config, fields, *kernels_);
  }

  const StepEmbedder& embedder() const { return *embedder_; }

  std::string Step(const std::vector<float>& tokens,
                   const std::vector<std::int64_t>& banks) const {
    std::string step;
    layout_->Encode({{reinterpret_cast<const char*>(tokens.data()),
                      static_cast<std::int64_t>(tokens.size())},
                     {reinterpret_cast<const char*>(banks.data()),
                      static_cast<std::int64_t>(banks.size())}},
                    &step);
    return step;
  }

 private:
  std::unique_ptr<const kernels::KernelSet> kernels_;
  std::unique_ptr<StepLayout> layout_;
  std::unique_ptr<StepEmbedder> embedder_;
};

TEST(StepEmbedder, EveryTokenOfABatchHasItsBank) {
  const TypedTokens typed;
  const std::string first = typed.Step({5, 6, 7}, {1, 0, 1});
  const std::string second = typed.Step({8}, {0});
  EmbedPlan plan;

  typed.embedder().Plan({first, second}, {}, &plan);

  EXPECT_EQ(*typed.embedder().CountTokens(first), 3);
  EXPECT_EQ(typed.embedder().max_tokens_per_step(), -1);
  EXPECT_THAT(plan.token_banks, ElementsAre(1, 0, 1, 0));
}

TEST(StepEmbedder, LeavesRowsFreeBeforeSteps) {
  const TypedTokens typed;
  const std::string first = typed.Step({5, 6}, {1, 0});
  const std::string second = typed.Step({8}, {0});
  EmbedPlan plan;

  typed.embedder().Plan({first, second}, {RowGap{0, 1, 0}, RowGap{1, 2, 1}},
                        &plan);

  EXPECT_THAT(plan.first_rows, ElementsAre(1, 5));
  EXPECT_EQ(plan.num_rows, 6);
  EXPECT_THAT(plan.token_banks, ElementsAre(0, 1, 0, 1, 1, 0));
}

TEST(StepEmbedder, AStepMustNameABankThatExistsForEveryToken) {
  const TypedTokens typed;
  const auto error_of = [&](const std::string& step) {
    return std::string(typed.embedder().CountTokens(step).status().message());
  };

  EXPECT_EQ(error_of(typed.Step({5, 6}, {1})),
            "the step has 2 tokens and the banks of 1");
  EXPECT_EQ(error_of(typed.Step({5, 6}, {1, 2})), "token 1 is of bank 2 of 2");
  EXPECT_EQ(error_of(typed.Step({5}, {-1})), "token 0 is of bank -1 of 2");
  EXPECT_EQ(error_of(typed.Step({}, {})), "the step becomes no token at all");
}

}  // namespace
}  // namespace stepd
