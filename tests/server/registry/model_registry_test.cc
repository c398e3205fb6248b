// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The registry over an engine of fake policies: what a version's weights are is
// its folder's name, or what is pushed.

#include "server/registry/model_registry.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/common/error.h"
#include "server/common/mutex.h"
#include "server/engine/engine.h"
#include "tests/fakes/fake_policy.h"
#include "tests/fakes/fake_task.h"
#include "tests/fakes/recording_observer.h"

namespace stepd {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Weights are a number; "bad" cannot be loaded, and "other" is a policy of
// another architecture.
class FakeSource : public VersionSource {
 public:
  explicit FakeSource(std::string weights) : weights_(std::move(weights)) {}

  absl::StatusOr<std::shared_ptr<const Policy>> Load() const override {
    FakePolicyOptions options;
    if (weights_ == "other") options.num_actions = 7;
    if (weights_ == "bad") return absl::InvalidArgumentError("bad weights");
    if (!absl::SimpleAtoi(weights_, &options.weights)) options.weights = 0;
    return std::make_shared<FakePolicy>(options);
  }
  absl::StatusOr<std::shared_ptr<const VersionSource>> WithTensors(
      int fd, const std::string& name, bool is_partial) const override {
    std::array<char, 100> bytes{};
    const auto count = pread(fd, bytes.data(), bytes.size(), 0);
    const std::string text(bytes.data(), static_cast<std::size_t>(count));
    if (text == "malformed")
      return absl::InvalidArgumentError(name + " is bad");
    return std::make_shared<FakeSource>(is_partial ? weights_ + text : text);
  }

 private:
  const std::string weights_;
};

class RecordingRegistryObserver : public RegistryObserver {
 public:
  void OnRollOut(std::uint64_t stable, absl::Duration) override {
    MutexLock lock(&mu_);
    stable_.push_back(stable);
  }
  void OnChangeRefused(absl::string_view reason) override {
    MutexLock lock(&mu_);
    refused_.emplace_back(reason);
    changed_.NotifyAll();
  }
  void OnLoadedVersions(const std::vector<LoadedVersion>&) override {}

  std::vector<std::uint64_t> stable() const {
    MutexLock lock(&mu_);
    return stable_;
  }
  std::vector<std::string> refused() const {
    MutexLock lock(&mu_);
    return refused_;
  }
  void WaitForRefusal() const {
    MutexLock lock(&mu_);
    while (refused_.empty()) changed_.Wait(&mu_);
  }

 private:
  mutable Mutex mu_;
  mutable CondVar changed_;
  std::vector<std::uint64_t> stable_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> refused_ ABSL_GUARDED_BY(mu_);
};

class ModelRegistryTest : public testing::Test {
 protected:
  ModelRegistryTest()
      : folder_(fs::path(testing::TempDir()) /
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    options_.path = "1";
    options_.available_memory = [this] { return available_.load(); };
  }
  ~ModelRegistryTest() override {
    if (registry_ != nullptr) registry_->Stop();
  }

  absl::Status Start() {
    auto registry = ModelRegistry::Create(
        options_,
        [](const std::string& path)
            -> absl::StatusOr<std::shared_ptr<const VersionSource>> {
          std::ifstream file(path + "/weights");
          std::string weights = path;
          if (file) std::getline(file, weights);
          return std::make_shared<FakeSource>(weights);
        },
        &events_);
    if (!registry.ok()) return registry.status();
    registry_ = *std::move(registry);
    EngineOptions engine;
    engine.cache_bytes = 4096;
    engine_ = *Engine::Create(registry_->first(), engine, &observer_);
    registry_->Start(engine_.get());
    return absl::OkStatus();
  }

  static std::string Sha256(const std::string& bytes) {
    std::string digest(32, '\0');
    EVP_Digest(bytes.data(), bytes.size(),
               reinterpret_cast<unsigned char*>(&digest[0]), nullptr,
               EVP_sha256(), nullptr);
    return digest;
  }
  absl::StatusOr<std::uint64_t> PushFile(const std::string& bytes,
                                         PushHeader header = {}) {
    header.num_bytes = static_cast<std::int64_t>(bytes.size());
    header.sha256 = Sha256(bytes);
    auto push = registry_->BeginPush(header);
    if (!push.ok()) return push.status();
    if (absl::Status status = (*push)->Append(bytes); !status.ok()) {
      return status;
    }
    return Wait([&](VersionDone done) { (*push)->Commit(std::move(done)); });
  }
  absl::StatusOr<std::uint64_t> Label(const std::string& label,
                                      std::uint64_t version) {
    LabelChange change;
    change.label = label;
    change.version = version;
    return Wait([&](VersionDone done) {
      registry_->SetLabel(change, std::move(done));
    });
  }
  absl::StatusOr<std::uint64_t> Rollback() {
    return Wait(
        [&](VersionDone done) { registry_->Rollback(std::move(done)); });
  }
  template <typename Call>
  static absl::StatusOr<std::uint64_t> Wait(const Call& call) {
    std::promise<absl::StatusOr<std::uint64_t>> answer;
    call([&](absl::StatusOr<std::uint64_t> version) {
      answer.set_value(std::move(version));
    });
    return answer.get_future().get();
  }

  std::vector<std::uint64_t> Known() {
    std::vector<std::uint64_t> numbers;
    for (const VersionInfo& version : registry_->List()) {
      numbers.push_back(version.version);
    }
    return numbers;
  }
  void WriteVersion(const std::string& number, const std::string& weights) {
    fs::create_directories(folder_ / number);
    std::ofstream(folder_ / number / "weights") << weights;
  }
  std::uint64_t StepVersion(const std::string& actor) {
    Answer answer;
    EXPECT_TRUE(
        engine_->Submit(MakeFakeTask(actor, {1}, FakePolicyOptions(), &answer))
            .ok());
    return answer.Wait()->model_version;
  }

  const fs::path folder_;
  ModelRegistryOptions options_;
  std::atomic<std::int64_t> available_{
      std::numeric_limits<std::int64_t>::max()};
  RecordingObserver observer_;
  RecordingRegistryObserver events_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<ModelRegistry> registry_;
};

TEST_F(ModelRegistryTest, StartsWithTheVersionOfThePath) {
  options_.version = 5;
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(StepVersion("a"), 5U);
  EXPECT_THAT(Known(), ElementsAre(5));
  EXPECT_EQ(registry_->first(), nullptr);
}

TEST_F(ModelRegistryTest, StartsWithTheNewestVersionThatCanBeLoaded) {
  WriteVersion("2", "2");
  WriteVersion("9", "9");
  WriteVersion("10", "bad");
  options_.path = "";
  options_.repository = folder_;
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(StepVersion("a"), 9U);
  EXPECT_TRUE(registry_->follows_repository());
}

TEST_F(ModelRegistryTest, DoesNotStartWithoutAVersion) {
  options_.path = "";
  options_.repository = folder_;
  EXPECT_EQ(Start().code(), absl::StatusCode::kNotFound);
  options_.path = "bad";
  EXPECT_EQ(Start().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ModelRegistryTest, PutsAPushIntoService) {
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(PushFile("22").value(), 2U);
  EXPECT_EQ(StepVersion("a"), 2U);
  EXPECT_EQ(engine_->stable_version(), 2U);
  EXPECT_THAT(events_.stable(), ElementsAre(2));
}

TEST_F(ModelRegistryTest, LaysAPartialPushOverTheVersionThatTheLabelNames) {
  ASSERT_TRUE(Start().ok());
  PushHeader header;
  header.is_partial = true;
  EXPECT_EQ(PushFile("2", header).value(), 2U);  // weights 12
  EXPECT_EQ(PushFile("3", header).value(), 3U);  // weights 123
  FakePolicyOptions options;
  options.weights = 123;
  FakeHistory history(options);
  history.Append(EncodeFakeStep(1));
  Answer answer;
  StepTask task = MakeFakeTask("a", {1}, options, &answer);
  task.outputs = 1;
  ASSERT_TRUE(engine_->Submit(std::move(task)).ok());
  EXPECT_THAT(answer.Wait()->outputs[0], ElementsAre(history.Value()));
}

TEST_F(ModelRegistryTest, WhatIsRefusedLeavesNothing) {
  ASSERT_TRUE(Start().ok());
  for (const char* bytes : {"malformed", "bad", "other"}) {
    EXPECT_EQ(ReasonOf(PushFile(bytes).status()), reason::kWeights) << bytes;
    EXPECT_THAT(Known(), ElementsAre(1));
    EXPECT_EQ(StepVersion("a"), 1U);
  }
  EXPECT_EQ(PushFile("2").value(), 2U);
  EXPECT_EQ(events_.refused().size(), 3U);
}

TEST_F(ModelRegistryTest, APushThatIsNotCommittedMakesPlaceForTheNext) {
  ASSERT_TRUE(Start().ok());
  PushHeader header;
  header.num_bytes = 3;
  header.sha256 = Sha256("abc");
  auto push = registry_->BeginPush(header);
  ASSERT_TRUE(push.ok());
  EXPECT_EQ(ReasonOf(registry_->BeginPush(header).status()),
            reason::kWeightsBusy);
  push->reset();
  EXPECT_TRUE(registry_->BeginPush(header).ok());
}

TEST_F(ModelRegistryTest, ChecksMemoryBeforeAByteIsTaken) {
  ASSERT_TRUE(Start().ok());
  available_ = 3;
  EXPECT_EQ(ReasonOf(PushFile("1234").status()), reason::kWeightsMemory);
  EXPECT_EQ(PushFile("2").value(), 2U);
}

TEST_F(ModelRegistryTest, RollsBackToWhatWasStableBefore) {
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(ReasonOf(Rollback().status()), reason::kModelVersion);
  ASSERT_TRUE(PushFile("2").ok());
  ASSERT_TRUE(PushFile("3").ok());
  EXPECT_EQ(Rollback().value(), 2U);
  EXPECT_EQ(StepVersion("a"), 2U);
  EXPECT_EQ(Rollback().value(), 3U);
  EXPECT_EQ(PushFile("4").value(), 4U);
}

TEST_F(ModelRegistryTest, KeepsPushedWeightsOnlyAsLongAsTheyAreOfUse) {
  ASSERT_TRUE(Start().ok());
  for (const char* bytes : {"2", "3", "4", "5"}) {
    ASSERT_TRUE(PushFile(bytes).ok());
  }
  ASSERT_TRUE(Label("mine", 4).ok());
  // What it started with can be read again, 4 is one back and has a label.
  EXPECT_THAT(Known(), ElementsAre(5, 4, 1));
  EXPECT_EQ(ReasonOf(Label("mine", 3).status()), reason::kModelVersion);
}

TEST_F(ModelRegistryTest, ALabelThatIsTakenAwayNamesNothing) {
  ASSERT_TRUE(Start().ok());
  PushHeader header;
  header.label = "mine";
  ASSERT_TRUE(PushFile("2", header).ok());
  EXPECT_EQ(StepVersion("a"), 1U);
  EXPECT_EQ(Label("mine", 0).value(), 0U);
  for (const VersionInfo& version : registry_->List()) {
    EXPECT_THAT(
        version.labels,
        version.version == 1
            ? testing::Matcher<std::vector<std::string>>(ElementsAre(kStable))
            : IsEmpty());
  }
}

TEST_F(ModelRegistryTest, ServesNewVersionsOfTheRepositoryByThemselves) {
  WriteVersion("1", "1");
  options_.path = "";
  options_.repository = folder_;
  options_.poll_interval = absl::Milliseconds(5);
  ASSERT_TRUE(Start().ok());
  WriteVersion("2", "bad");
  events_.WaitForRefusal();
  EXPECT_EQ(StepVersion("a"), 1U);
  WriteVersion("2", "22");
  WriteVersion("3", "33");
  while (engine_->stable_version() != 3) {
  }
  EXPECT_EQ(StepVersion("b"), 3U);
}

TEST_F(ModelRegistryTest, LoadsAVersionOfTheRepositoryWhenItIsTold) {
  WriteVersion("1", "1");
  options_.path = "";
  options_.repository = folder_;
  ASSERT_TRUE(Start().ok());
  WriteVersion("2", "22");
  EXPECT_EQ(Label(kStable, 2).value(), 2U);
  EXPECT_EQ(StepVersion("a"), 2U);
  EXPECT_FALSE(registry_->follows_repository());
  EXPECT_EQ(Label(kStable, 0).value(), 2U);
  EXPECT_TRUE(registry_->follows_repository());
}

TEST_F(ModelRegistryTest, RefusesChangesWhenItHasStopped) {
  ASSERT_TRUE(Start().ok());
  registry_->Stop();
  EXPECT_EQ(ReasonOf(Rollback().status()), reason::kDraining);
}

}  // namespace
}  // namespace stepd
