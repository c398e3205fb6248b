// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/registry/model_registry.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/common/error.h"
#include "server/common/mutex.h"
#include "server/observe/log.h"
#include "server/registry/memory.h"
#include "server/registry/repository.h"
#include "server/registry/version_table.h"
#include "server/registry/weights_spool.h"

namespace stepd {
namespace {

// How often versions are looked at that sessions leave sometime.
constexpr absl::Duration kCollectInterval = absl::Seconds(1);
// Of the thread: loading takes what executors leave.
constexpr int kNice = 15;
constexpr std::size_t kMaxLabelBytes = 64;

absl::Status NoVersion(absl::string_view what) {
  return Error(absl::StatusCode::kFailedPrecondition, reason::kModelVersion,
               what);
}

absl::Status OutOfRange(const std::string& field, const std::string& got,
                        const std::string& want) {
  return Error(absl::StatusCode::kInvalidArgument, reason::kFieldRange,
               absl::StrCat(field, ": got ", got, ", want ", want),
               {{"field", field}, {"got", got}, {"want", want}});
}

// A label that may be set to a version, with this share.
absl::Status CheckLabel(const std::string& label, double canary_share) {
  if (label.empty() || label.size() > kMaxLabelBytes || label == kLatest) {
    return OutOfRange("label",
                      absl::StrCat("\"", label.substr(0, kMaxLabelBytes), "\""),
                      absl::StrCat("1 to ", kMaxLabelBytes,
                                   " bytes, and not \"", kLatest, "\""));
  }
  const bool has_share = canary_share > 0.0 && canary_share <= 1.0;
  if (label == kCanary ? has_share : canary_share == 0.0) {
    return absl::OkStatus();
  }
  return OutOfRange(
      "canary_share", absl::StrCat(canary_share),
      label == kCanary ? "above 0, at most 1" : "none: the label is no canary");
}

// What a loader says, with a reason.
absl::Status WithReason(const absl::Status& status) {
  if (!ReasonOf(status).empty()) return status;
  const bool is_full = absl::IsResourceExhausted(status);
  return Error(is_full ? absl::StatusCode::kResourceExhausted
                       : absl::StatusCode::kInvalidArgument,
               is_full ? reason::kWeightsMemory : reason::kWeights,
               status.message());
}

class ThreadedRegistry final : public ModelRegistry {
 public:
  ThreadedRegistry(const ModelRegistryOptions& options, SourceOpener open,
                   RegistryObserver* observer)
      : options_(options),
        open_(std::move(open)),
        observer_(observer),
        repository_(options.repository) {}
  ~ThreadedRegistry() override { Stop(); }
  ThreadedRegistry(const ThreadedRegistry&) = delete;
  ThreadedRegistry& operator=(const ThreadedRegistry&) = delete;

  absl::Status LoadFirst();

  std::shared_ptr<ServedVersion> first() const override { return first_; }
  void Start(Engine* engine) override;
  void Stop() override ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<std::unique_ptr<Push>> BeginPush(
      const PushHeader& header) override;
  void SetLabel(const LabelChange& change, VersionDone done) override;
  void Rollback(VersionDone done) override;
  std::vector<VersionInfo> List() const override { return versions_.List(); }
  bool follows_repository() const override { return follows_; }

  // For the push that BeginPush() gave.
  void CommitPush(const PushHeader& header, std::unique_ptr<WeightsSpool> spool,
                  VersionDone done);
  void EndPush() { has_push_.store(false, std::memory_order_release); }

 private:
  using Job = absl::AnyInvocable<absl::StatusOr<std::uint64_t>()>;
  struct Queued {
    Job job;
    VersionDone done;
  };

  // Has the thread run `job`, and tells `done`.
  void Enqueue(Job job, VersionDone done) ABSL_LOCKS_EXCLUDED(mu_);
  void Run();
  bool TakeJob(Queued* queued) ABSL_LOCKS_EXCLUDED(mu_);
  void Finish(Queued* queued);

  // Jobs; by the thread only.
  absl::StatusOr<std::uint64_t> Add(const PushHeader& header,
                                    const WeightsSpool& spool);
  absl::StatusOr<std::uint64_t> Change(const LabelChange& change);
  absl::StatusOr<std::uint64_t> GoBack();
  void Poll();

  // Their parts.
  absl::Status Apply(const Labels& labels);
  absl::StatusOr<std::shared_ptr<ServedVersion>> Load(std::uint64_t number);
  absl::Status CheckRoom(std::uint64_t number) const;
  absl::StatusOr<std::shared_ptr<const VersionSource>> SourceOf(
      std::uint64_t number);
  std::uint64_t BaseOf(const PushHeader& header) const;
  bool Exists(std::uint64_t number);
  void AddOfRepository(std::uint64_t number);
  void Collect();
  absl::Duration Pause() const;

  const ModelRegistryOptions options_;
  const SourceOpener open_;
  RegistryObserver* const observer_;
  std::shared_ptr<ServedVersion> first_;
  Engine* engine_ = nullptr;
  std::atomic<bool> has_push_{false};

  VersionTable versions_;  // changed by the thread
  std::atomic<bool> follows_{false};

  // The thread's own.
  Repository repository_;
  absl::Time next_poll_ = absl::InfiniteFuture();

  Mutex mu_;
  CondVar changed_;
  std::deque<Queued> jobs_ ABSL_GUARDED_BY(mu_);
  bool is_stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses all of the above
};

// ---- The first version ------------------------------------------------------

absl::Status ThreadedRegistry::LoadFirst() {
  std::vector<std::uint64_t> candidates = repository_.List();
  for (const std::uint64_t number : candidates) AddOfRepository(number);
  if (!options_.path.empty()) {
    auto source = open_(options_.path);
    if (!source.ok()) return source.status();
    Version version;
    version.since = absl::Now();
    version.source = *std::move(source);
    versions_.Add(options_.version, std::move(version));
    candidates = {options_.version};
  }
  absl::Status status = absl::NotFoundError(
      absl::StrCat(options_.repository, ": has no version"));
  for (auto number = candidates.rbegin(); number != candidates.rend();
       ++number) {
    auto served = Load(*number);
    status = served.status();
    if (!status.ok()) {
      versions_.Forget(*number);
      continue;
    }
    first_ = *std::move(served);
    Labels labels;
    labels.versions[kStable] = *number;
    versions_.SetLabels(labels);
    follows_ = !options_.repository.empty();
    return absl::OkStatus();
  }
  return status;
}

// ---- The thread -------------------------------------------------------------

void ThreadedRegistry::Start(Engine* engine) {
  engine_ = engine;
  first_.reset();
  if (!options_.repository.empty()) {
    next_poll_ = absl::Now() + options_.poll_interval;
  }
  thread_ = std::thread([this] { Run(); });
}

void ThreadedRegistry::Stop() {
  {
    MutexLock lock(&mu_);
    is_stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void ThreadedRegistry::Enqueue(Job job, VersionDone done) {
  {
    MutexLock lock(&mu_);
    if (!is_stopping_) {
      jobs_.push_back({std::move(job), std::move(done)});
      changed_.NotifyAll();
      return;
    }
  }
  done(Draining());
}

void ThreadedRegistry::Run() {
  pthread_setname_np(pthread_self(), "stepd-registry");
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNice);
  Queued queued;
  while (TakeJob(&queued)) {
    if (queued.job != nullptr) Finish(&queued);
    if (absl::Now() >= next_poll_) Poll();
    Collect();
    queued = {};
  }
  MutexLock lock(&mu_);
  for (Queued& left : jobs_) left.done(Draining());
  jobs_.clear();
}

// Waits for a job, or (without one) until it is time for something else. False:
// to be stopped.
bool ThreadedRegistry::TakeJob(Queued* queued) {
  const auto until =
      std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(Pause());
  MutexLock lock(&mu_);
  while (jobs_.empty() && !is_stopping_) {
    if (!changed_.WaitUntil(&mu_, until)) break;
  }
  if (is_stopping_) return false;
  if (jobs_.empty()) return true;
  *queued = std::move(jobs_.front());
  jobs_.pop_front();
  return true;
}

absl::Duration ThreadedRegistry::Pause() const {
  const absl::Duration pause = std::clamp(next_poll_ - absl::Now(),
                                          absl::ZeroDuration(), absl::Hours(1));
  return versions_.HasLeaving() ? std::min(pause, kCollectInterval) : pause;
}

void ThreadedRegistry::Finish(Queued* queued) {
  absl::StatusOr<std::uint64_t> result = queued->job();
  if (!result.ok()) {
    observer_->OnChangeRefused(ReasonOf(result.status()));
    Log(LogLevel::kWarning, "a change of the weights was refused",
        {{"reason", ReasonOf(result.status())},
         {"error", std::string(result.status().message())}});
  }
  // Nothing of it is kept: copies of a status share memory, and threads free
  // it.
  queued->done(std::move(result));
}

// ---- Jobs -------------------------------------------------------------------

absl::StatusOr<std::uint64_t> ThreadedRegistry::Add(const PushHeader& header,
                                                    const WeightsSpool& spool) {
  const std::uint64_t newest = versions_.Newest();
  const std::uint64_t number =
      header.version == 0 ? newest + 1 : header.version;
  if (number <= newest) {
    return NoVersion(absl::StrCat("version ", number,
                                  " is not newer than version ", newest));
  }
  auto source = SourceOf(BaseOf(header));
  if (!source.ok()) return source.status();
  auto pushed = (*source)->WithTensors(
      spool.fd(), absl::StrCat("the pushed weights of version ", number),
      header.is_partial);
  if (!pushed.ok()) return WithReason(pushed.status());
  Version version;
  version.origin = VersionOrigin::kPushed;
  version.since = absl::Now();
  version.source = *std::move(pushed);
  versions_.Add(number, std::move(version));
  LabelChange change;
  change.label = header.label;
  change.version = number;
  change.canary_share = header.canary_share;
  const bool follows = follows_;
  auto result = Change(change);
  if (!result.ok()) versions_.Forget(number);
  follows_ = follows;  // a push decides about itself only
  return result;
}

absl::StatusOr<std::uint64_t> ThreadedRegistry::Change(
    const LabelChange& change) {
  const bool follows = change.label == kStable && change.version == 0;
  const std::uint64_t number = follows ? versions_.Newest() : change.version;
  if (number != 0 && !Exists(number)) {
    return NoVersion(absl::StrCat("there is no version ", number));
  }
  Labels labels = versions_.labels();
  if (number == 0) {
    labels.versions.erase(change.label);
  } else {
    labels.versions[change.label] = number;
  }
  if (change.label == kCanary) labels.canary_share = change.canary_share;
  const absl::Status status = Apply(labels);
  if (!status.ok()) return status;
  if (change.label == kStable) {
    follows_ = follows && !options_.repository.empty();
  }
  return number;
}

absl::StatusOr<std::uint64_t> ThreadedRegistry::GoBack() {
  LabelChange change;
  change.label = kStable;
  change.version = versions_.last_stable();
  if (change.version == 0) {
    return NoVersion("no version was stable before this one");
  }
  return Change(change);
}

void ThreadedRegistry::Poll() {
  next_poll_ = absl::Now() + options_.poll_interval;
  std::uint64_t newest = versions_.Newest();
  std::uint64_t found = 0;
  for (const std::uint64_t number : repository_.Look()) {
    if (versions_.Find(number).has_value()) continue;
    AddOfRepository(number);
    if (number > newest) found = newest = number;
  }
  if (found == 0 || !follows_) return;
  Queued queued;
  queued.job = [this, found]() -> absl::StatusOr<std::uint64_t> {
    LabelChange change;
    change.label = kStable;
    change.version = found;
    auto result = Change(change);
    // It is tried again when its files change.
    if (!result.ok()) versions_.Forget(found);
    follows_ = true;
    return result;
  };
  queued.done = [](const absl::StatusOr<std::uint64_t>& /*version*/) {};
  Finish(&queued);
}

// ---- Their parts ------------------------------------------------------------

// Loads what `labels` name and rolls it out; they are in force if it is OK.
absl::Status ThreadedRegistry::Apply(const Labels& labels) {
  const absl::Time begin = absl::Now();
  Rollout rollout;
  rollout.stable = labels.Find(kStable);
  rollout.canary = labels.Find(kCanary);
  rollout.canary_share = labels.canary_share;
  rollout.labels = labels.versions;
  std::set<std::uint64_t> numbers;
  for (const auto& [label, number] : labels.versions) numbers.insert(number);
  rollout.labels[kLatest] = *numbers.rbegin();
  for (const std::uint64_t number : numbers) {
    auto served = Load(number);
    if (!served.ok()) return served.status();
    rollout.versions.push_back(*std::move(served));
  }
  const absl::Status status = engine_->RollOut(rollout);
  if (!status.ok()) return status;
  versions_.SetLabels(labels);
  const absl::Duration duration = absl::Now() - begin;
  observer_->OnRollOut(rollout.stable, duration);
  Log(LogLevel::kInfo, "versions are in service",
      {{"labels", absl::StrJoin(rollout.labels, ",", absl::PairFormatter("="))},
       {"canary_share", absl::StrCat(labels.canary_share)},
       {"duration", absl::FormatDuration(duration)}});
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<ServedVersion>> ThreadedRegistry::Load(
    std::uint64_t number) {
  const std::optional<Version> version = versions_.Find(number);
  if (version.has_value() && version->served != nullptr) return version->served;
  auto source = SourceOf(number);
  if (!source.ok()) return source.status();
  absl::Status room = CheckRoom(number);
  if (!room.ok()) return room;
  auto policy = (*source)->Load();
  if (!policy.ok()) {
    return engine_ == nullptr ? policy.status() : WithReason(policy.status());
  }
  auto served = std::make_shared<ServedVersion>(number, *std::move(policy));
  versions_.SetServed(number, served);
  return served;
}

// Whether another version may be loaded beside those in memory.
absl::Status ThreadedRegistry::CheckRoom(std::uint64_t number) const {
  if (engine_ == nullptr) return absl::OkStatus();  // the first one
  const std::vector<LoadedVersion> loaded = versions_.Loaded();
  if (static_cast<int>(loaded.size()) >= options_.max_versions) {
    const auto add_number = [](std::string* text, const LoadedVersion& other) {
      absl::StrAppend(text, other.version);
    };
    return Error(
        absl::StatusCode::kResourceExhausted, reason::kWeightsMemory,
        absl::StrCat("versions ", absl::StrJoin(loaded, ", ", add_number),
                     " are in memory, by labels or by sessions; "
                     "limits.max_versions allows no more"));
  }
  return CheckMemory(absl::StrCat("version ", number),
                     engine_->spec().weight_bytes, options_.available_memory());
}

absl::StatusOr<std::shared_ptr<const VersionSource>> ThreadedRegistry::SourceOf(
    std::uint64_t number) {
  const std::optional<Version> version = versions_.Find(number);
  if (!version.has_value()) {
    return NoVersion(absl::StrCat("there is no version ", number));
  }
  if (version->source != nullptr) return version->source;
  auto source = open_(repository_.PathOf(number));
  if (!source.ok()) {
    return engine_ == nullptr ? source.status() : WithReason(source.status());
  }
  versions_.SetSource(number, *source);
  return source;
}

// The version that the pushed tensors are laid over.
std::uint64_t ThreadedRegistry::BaseOf(const PushHeader& header) const {
  if (header.base_version != 0) return header.base_version;
  const Labels labels = versions_.labels();
  const std::uint64_t labelled = labels.Find(header.label);
  return labelled != 0 ? labelled : labels.Find(kStable);
}

// Known, or in the repository without having been seen there before.
bool ThreadedRegistry::Exists(std::uint64_t number) {
  if (versions_.Find(number).has_value()) return true;
  const std::vector<std::uint64_t> there = repository_.List();
  if (!std::binary_search(there.begin(), there.end(), number)) return false;
  AddOfRepository(number);
  return true;
}

void ThreadedRegistry::AddOfRepository(std::uint64_t number) {
  Version version;
  version.origin = VersionOrigin::kRepository;
  version.since = absl::Now();
  versions_.Add(number, std::move(version));
}

// Gives back the memory of versions that nothing needs any more.
void ThreadedRegistry::Collect() {
  versions_.TakeUnneeded();
  observer_->OnLoadedVersions(versions_.Loaded());
}

// ---- Requests ---------------------------------------------------------------

class RegistryPush final : public Push {
 public:
  RegistryPush(ThreadedRegistry* registry, PushHeader header,
               std::unique_ptr<WeightsSpool> spool)
      : registry_(registry),
        header_(std::move(header)),
        spool_(std::move(spool)) {}
  ~RegistryPush() override {
    if (spool_ != nullptr) registry_->EndPush();
  }
  RegistryPush(const RegistryPush&) = delete;
  RegistryPush& operator=(const RegistryPush&) = delete;

  absl::Status Append(absl::string_view bytes) override {
    return spool_->Append(bytes);
  }
  void Commit(VersionDone done) override {
    registry_->CommitPush(header_, std::move(spool_), std::move(done));
  }

 private:
  ThreadedRegistry* const registry_;
  const PushHeader header_;
  std::unique_ptr<WeightsSpool> spool_;
};

absl::StatusOr<std::unique_ptr<Push>> ThreadedRegistry::BeginPush(
    const PushHeader& header) {
  absl::Status status = CheckLabel(header.label, header.canary_share);
  if (!status.ok()) return status;
  if (header.num_bytes > options_.max_push_bytes) {
    return Error(
        absl::StatusCode::kInvalidArgument, reason::kLimit,
        absl::StrCat("header.num_bytes: got ", header.num_bytes,
                     ", limits.max_push_bytes is ", options_.max_push_bytes),
        {{"field", "header.num_bytes"},
         {"got", absl::StrCat(header.num_bytes)},
         {"want", absl::StrCat("at most ", options_.max_push_bytes)}});
  }
  status =
      CheckMemory("this push", header.num_bytes + engine_->spec().weight_bytes,
                  options_.available_memory());
  if (!status.ok()) return status;
  if (has_push_.exchange(true, std::memory_order_acquire)) {
    return RetryableError(absl::StatusCode::kAborted, reason::kWeightsBusy,
                          "another push is going on", absl::Seconds(1));
  }
  auto spool = WeightsSpool::Create(header.num_bytes, header.sha256);
  if (!spool.ok()) {
    EndPush();
    return spool.status();
  }
  return std::make_unique<RegistryPush>(this, header, *std::move(spool));
}

void ThreadedRegistry::CommitPush(const PushHeader& header,
                                  std::unique_ptr<WeightsSpool> spool,
                                  VersionDone done) {
  Enqueue(
      [this, header,
       spool = std::move(spool)]() mutable -> absl::StatusOr<std::uint64_t> {
        const absl::Status status = spool->Check();
        if (!status.ok()) return status;
        return Add(header, *spool);
      },
      [this,
       done = std::move(done)](absl::StatusOr<std::uint64_t> version) mutable {
        EndPush();
        done(std::move(version));
      });
}

void ThreadedRegistry::SetLabel(const LabelChange& change, VersionDone done) {
  const double share = change.version == 0 && change.canary_share == 0.0 &&
                               change.label == kCanary
                           ? 1.0  // the label goes
                           : change.canary_share;
  absl::Status status = CheckLabel(change.label, share);
  if (!status.ok()) {
    done(std::move(status));
    return;
  }
  Enqueue([this, change] { return Change(change); }, std::move(done));
}

void ThreadedRegistry::Rollback(VersionDone done) {
  Enqueue([this] { return GoBack(); }, std::move(done));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRegistry>> ModelRegistry::Create(
    const ModelRegistryOptions& options, SourceOpener open,
    RegistryObserver* observer) {
  auto registry =
      std::make_unique<ThreadedRegistry>(options, std::move(open), observer);
  const absl::Status status = registry->LoadFirst();
  if (!status.ok()) return status;
  return registry;
}

}  // namespace stepd
