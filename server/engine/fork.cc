// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/fork.h"

#include <cstddef>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "server/common/mutex.h"

namespace stepd {
namespace {

// The copies that other executors make. Deletes itself with the last of them.
class RemoteForks {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<ForkResult>)>;

  // `local`: the forks that are made already.
  RemoteForks(std::vector<std::string> local, std::vector<std::string> others,
              SubmitTask submit, Done done)
      : made_(std::move(local)),
        others_(std::move(others)),
        submit_(std::move(submit)),
        done_(std::move(done)),
        num_left_(others_.size()) {}

  void Start(const ForkResult& source) {
    epoch_ = source.epoch;
    // The last End() deletes this, maybe while the loop still runs.
    const std::vector<std::string> others = others_;
    const std::shared_ptr<const SessionRecord> record = source.record;
    const SubmitTask submit = submit_;
    for (const std::string& actor_id : others) {
      ImportTask task;
      task.actor_id = actor_id;
      task.record = record;
      task.epoch = source.epoch;
      task.done = [this, actor_id](absl::Status status) {
        End(actor_id, std::move(status));
      };
      absl::Status status = submit(std::move(task));
      if (!status.ok()) End(actor_id, std::move(status));
    }
  }

 private:
  void End(const std::string& actor_id, absl::Status status)
      ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(&mu_);
      if (status.ok()) made_.push_back(actor_id);
      status_.Update(status);
      if (--num_left_ > 0) return;
    }
    Finish();
    delete this;
  }

  void Finish() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    if (status_.ok()) {
      ForkResult result;
      result.epoch = epoch_;
      return done_(std::move(result));
    }
    for (const std::string& actor_id : made_) {
      ResetTask task;
      task.actor_id = actor_id;
      task.done = [](const absl::Status&) {};
      // A server that drains refuses it, and forgets the session anyway.
      submit_(std::move(task)).IgnoreError();
    }
    done_(status_);
  }

  Mutex mu_;
  std::vector<std::string> made_ ABSL_GUARDED_BY(mu_);
  const std::vector<std::string> others_;
  const SubmitTask submit_;
  Done done_;
  std::size_t num_left_ ABSL_GUARDED_BY(mu_);
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  std::uint64_t epoch_ = 0;
};

}  // namespace

absl::Status ForkAcross(ForkTask task, std::vector<std::string> others,
                        SubmitTask submit) {
  if (others.empty()) return submit(std::move(task));
  task.wants_record = true;
  task.done = [local = task.forks, others = std::move(others), submit,
               done = std::move(task.done)](
                  const absl::StatusOr<ForkResult>& source) mutable {
    if (!source.ok()) return done(source.status());
    auto* forks = new RemoteForks(std::move(local), std::move(others),
                                  std::move(submit), std::move(done));
    forks->Start(*source);
  };
  return submit(std::move(task));
}

}  // namespace stepd
