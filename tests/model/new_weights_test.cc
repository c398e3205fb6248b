// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Policies that differ in their weights alone: loaded from a checkpoint with
// other tensors laid over it, and run on one KV memory.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/mapped_file.h"
#include "model/checkpoint/safetensors.h"
#include "model/loader.h"
#include "model/policy.h"
#include "model/step.h"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd {
namespace {

namespace fs = std::filesystem;
using checkpoint::Checkpoint;
using checkpoint::MappedFile;
using checkpoint::TensorSet;

const fs::path kCheckpoint = "tests/golden/puzzletron/llama_hetero/checkpoint";

// The checkpoint's file with the sign of every 7th weight of each tensor
// turned: floats are 4 bytes, and the sign is the highest bit.
std::string ChangedWeights() {
  const std::string path = kCheckpoint / "model.safetensors";
  std::string file = checkpoint::ReadTestFile(path);
  const auto mapped = MappedFile::Open(path);
  const auto tensors = checkpoint::ReadSafetensors(*mapped);
  for (const checkpoint::StoredTensor& tensor : *tensors) {
    EXPECT_EQ(tensor.dtype, DType::kFloat32);
    const auto begin = static_cast<std::size_t>(tensor.bytes.data() -
                                                (*mapped)->bytes().data());
    for (std::size_t i = 0; i < tensor.bytes.size(); i += 28) {
      file[begin + i + 3] = static_cast<char>(file[begin + i + 3] ^ 0x80);
    }
  }
  return file;
}

// A folder with the checkpoint's config and these weights.
fs::path WriteCheckpoint(const std::string& weights) {
  const fs::path folder = checkpoint::MakeTestDirectory();
  fs::copy_file(kCheckpoint / "config.json", folder / "config.json",
                fs::copy_options::overwrite_existing);
  checkpoint::WriteTestFile("model.safetensors", weights);
  return folder;
}

std::unique_ptr<PolicyRunner> RunnerOf(
    const Policy& policy, std::shared_ptr<KvMemory> memory = nullptr) {
  RunnerOptions options;
  options.num_blocks = 2;
  options.max_batch_tokens = 16;
  options.kv_memory = std::move(memory);
  auto runner = policy.CreateRunner(options);
  EXPECT_TRUE(runner.ok()) << runner.status();
  return *std::move(runner);
}

// Logits of one session's next tokens.
std::vector<float> RunTokens(const Policy& policy, PolicyRunner* runner,
                             std::int64_t num_cached,
                             const std::vector<std::int64_t>& tokens) {
  const std::vector<std::int32_t> blocks = {1, 0};
  const std::vector<FieldSpec>& fields = policy.spec().fields;
  const auto field = static_cast<std::size_t>(FindField(fields, "tokens"));
  std::vector<std::string> steps(tokens.size());
  StepBatch batch;
  SessionSlice& slice = batch.slices.emplace_back();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::vector<FieldValue> values(fields.size());
    values[field] = {reinterpret_cast<const char*>(&tokens[i]), 1};
    StepLayout(fields).Encode(values, &steps[i]);
    slice.steps.push_back(steps[i]);
  }
  slice.num_cached_tokens = num_cached;
  slice.blocks = blocks;
  slice.num_answered = static_cast<int>(tokens.size());
  const int output = policy.spec().FindOutput("logits");
  batch.outputs = OutputMask{1} << output;
  StepResult result;
  const absl::Status status = runner->Forward(batch, &result);
  EXPECT_TRUE(status.ok()) << status;
  return result.outputs[static_cast<std::size_t>(output)];
}

TEST(NewWeightsTest, LaidOverACheckpointAreThoseOfACheckpointOfTheirOwn) {
  const fs::path folder = WriteCheckpoint(ChangedWeights());
  const auto changed = LoadPolicy(folder, {});
  ASSERT_TRUE(changed.ok()) << changed.status();
  const auto base = Checkpoint::Open(kCheckpoint);
  const auto over = (*base)->WithTensors(
      *MappedFile::Open(folder / "model.safetensors"), TensorSet::kAll);
  ASSERT_TRUE(over.ok()) << over.status();

  const auto policy = LoadPolicy(**over, {});
  ASSERT_TRUE(policy.ok()) << policy.status();

  const std::vector<std::int64_t> tokens = {3, 1, 4, 1, 5};
  EXPECT_EQ(FindDifference((*policy)->spec(), (*changed)->spec()), "");
  const std::vector<float> logits =
      RunTokens(**policy, RunnerOf(**policy).get(), 0, tokens);
  EXPECT_EQ(logits, RunTokens(**changed, RunnerOf(**changed).get(), 0, tokens));
  const auto old = LoadPolicy(**base, {});
  EXPECT_NE(logits, RunTokens(**old, RunnerOf(**old).get(), 0, tokens));
}

TEST(NewWeightsTest, RunnersOfSeveralPoliciesShareOneKvMemory) {
  const auto first = LoadPolicy(kCheckpoint, {});
  const auto second = LoadPolicy(kCheckpoint, {});
  const auto runner = RunnerOf(**first);
  const auto sharing = RunnerOf(**second, runner->kv_memory());
  const std::vector<float> whole =
      RunTokens(**first, RunnerOf(**first).get(), 0, {3, 1, 4, 1, 5});

  std::vector<float> logits = RunTokens(**first, runner.get(), 0, {3, 1, 4});
  const std::vector<float> rest = RunTokens(**second, sharing.get(), 3, {1, 5});
  logits.insert(logits.end(), rest.begin(), rest.end());

  EXPECT_EQ(logits, whole);
}

TEST(NewWeightsTest, TheKvMemoryOutlivesTheRunnerThatMadeIt) {
  const auto policy = LoadPolicy(kCheckpoint, {});
  auto runner = RunnerOf(**policy);
  const std::vector<float> whole =
      RunTokens(**policy, runner.get(), 0, {3, 1, 4});
  const auto sharing = RunnerOf(**policy, runner->kv_memory());
  RunTokens(**policy, runner.get(), 0, {3, 1});
  runner.reset();

  const std::vector<float> last = RunTokens(**policy, sharing.get(), 2, {4});

  EXPECT_TRUE(std::equal(last.begin(), last.end(), whole.end() - last.size()));
}

TEST(NewWeightsTest, KvMemoryOfAnotherShapeIsRefused) {
  const auto policy = LoadPolicy(kCheckpoint, {});
  const auto runner = RunnerOf(**policy);
  RunnerOptions more_blocks;
  more_blocks.num_blocks = 3;
  more_blocks.max_batch_tokens = 16;
  more_blocks.kv_memory = runner->kv_memory();

  const auto refused = (*policy)->CreateRunner(more_blocks);

  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace stepd
