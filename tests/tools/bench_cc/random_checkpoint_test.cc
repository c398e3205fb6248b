// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/random_checkpoint.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "model/loader.h"

namespace stepd::bench {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

PolicySpec SpecOf(const PolicyShape& shape) {
  const std::string directory = testing::TempDir();
  const absl::Status status = WriteRandomCheckpoint(shape, 1, directory);
  EXPECT_TRUE(status.ok()) << status;
  const auto policy = LoadPolicy(directory, {});
  EXPECT_TRUE(policy.ok()) << policy.status();
  return policy.ok() ? (*policy)->spec() : PolicySpec{};
}

TEST(RandomCheckpointTest, EveryShapeLoads) {
  for (const PolicyShape& shape : PolicyShapes()) {
    SCOPED_TRACE(shape.name);
    const PolicySpec spec = SpecOf(shape);
    EXPECT_EQ(spec.num_actions, shape.num_actions);
    EXPECT_EQ(spec.max_tokens_per_step, 1);
    EXPECT_EQ(spec.fields.size(), 4U);
    for (const char* name : {"action", "obs_continuous", "reward", "done"}) {
      EXPECT_GE(FindField(spec.fields, name), 0) << name;
    }
    // Keys and values of all layers, float32.
    EXPECT_EQ(spec.kv_bytes_per_token, 2 * shape.num_layers * shape.hidden_dim /
                                           shape.num_heads *
                                           shape.num_kv_heads * 4);
  }
}

TEST(RandomCheckpointTest, ReferenceHasItsSize) {
  const auto shape = FindPolicyShape("reference");
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_NEAR(static_cast<double>(SpecOf(*shape).num_parameters), 4.2e6, 0.1e6);
}

TEST(RandomCheckpointTest, SeedsDecide) {
  const std::string directory = testing::TempDir();
  const std::string path = directory + "/model.safetensors";
  const PolicyShape& tiny = PolicyShapes().back();
  ASSERT_TRUE(WriteRandomCheckpoint(tiny, 1, directory).ok());
  const std::string first = ReadFile(path);
  ASSERT_TRUE(WriteRandomCheckpoint(tiny, 1, directory).ok());
  EXPECT_EQ(ReadFile(path), first);
  ASSERT_TRUE(WriteRandomCheckpoint(tiny, 2, directory).ok());
  EXPECT_NE(ReadFile(path), first);
}

TEST(RandomCheckpointTest, UnknownShapesAreNamed) {
  const auto shape = FindPolicyShape("huge");
  EXPECT_EQ(shape.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(shape.status().message().find("reference, small, tiny"),
            absl::string_view::npos);
}

TEST(RandomCheckpointTest, AFolderThatIsNotThere) {
  EXPECT_EQ(WriteRandomCheckpoint(PolicyShapes().back(), 1,
                                  testing::TempDir() + "/nowhere")
                .code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace stepd::bench
