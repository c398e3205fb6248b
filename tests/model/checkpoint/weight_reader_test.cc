// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/weight_reader.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ATen/ops/zeros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stepd::checkpoint {
namespace {

using ::testing::ElementsAre;

// Has every tensor, in every shape, but those named "gone".
class FakeSource final : public TensorSource {
 public:
  absl::StatusOr<at::Tensor> Take(absl::string_view name,
                                  at::IntArrayRef shape) override {
    asked.push_back(std::string(name));
    if (name == "gone") return absl::InvalidArgumentError("gone is missing");
    return at::zeros(shape);
  }
  bool Has(absl::string_view /*name*/) const override { return true; }
  std::optional<std::vector<std::int64_t>> FindShape(
      absl::string_view name) const override {
    if (name == "gone") return std::nullopt;
    return std::vector<std::int64_t>{7, 9};
  }
  void Ignore(absl::string_view /*name*/) override {}
  void IgnoreAll(absl::string_view /*prefix*/) override {}
  std::int64_t num_elements_taken() const override { return 0; }
  absl::Status CheckAllTaken() const override { return absl::OkStatus(); }

  std::vector<std::string> asked;
};

TEST(WeightReader, TakesSizesFromTensors) {
  FakeSource source;
  absl::Status error;
  const WeightReader reader(&source, &error);

  EXPECT_EQ(reader.FirstSize("up"), 7);
  EXPECT_EQ(reader.SecondSize("up"), 9);
  EXPECT_EQ(reader.FirstSize("gone"), 1);
}

TEST(WeightReader, NamesTheWeightsOfModules) {
  FakeSource source;
  absl::Status error;
  const WeightReader reader(&source, &error);

  WeightReader layer = reader.Under("layers.0");
  const LinearWeights plain = layer.Linear("q", 2, 3, Bias::kAbsent);
  const LinearWeights biased =
      layer.Under("mlp").Linear("up", 2, 3, Bias::kPresent);
  const NormConfig norm = layer.Norm("norm", 4, 0.5);

  EXPECT_TRUE(error.ok()) << error;
  EXPECT_THAT(source.asked,
              ElementsAre("layers.0.q.weight", "layers.0.mlp.up.weight",
                          "layers.0.mlp.up.bias", "layers.0.norm.weight"));
  EXPECT_EQ(plain.weight.sizes(), at::IntArrayRef({2, 3}));
  EXPECT_FALSE(plain.bias.defined());
  EXPECT_EQ(biased.bias.sizes(), at::IntArrayRef({2}));
  EXPECT_EQ(norm.weight.sizes(), at::IntArrayRef({4}));
  EXPECT_EQ(norm.eps, 0.5F);
}

TEST(WeightReader, StopsAtTheFirstError) {
  FakeSource source;
  absl::Status error;
  WeightReader reader(&source, &error);

  EXPECT_FALSE(reader.Take("gone", {1}).defined());
  EXPECT_FALSE(reader.Under("x").Take("y", {1}).defined());

  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(error.message(), "gone is missing");
  EXPECT_THAT(source.asked, ElementsAre("gone"));
}

}  // namespace
}  // namespace stepd::checkpoint
