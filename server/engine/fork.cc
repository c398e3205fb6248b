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

// The copies that other executors make of one session.
//
// Thread safety: thread-safe.
class RemoteForks {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<ForkResult>)>;

  // `local`: the forks that were made beside the source.
  RemoteForks(const ForkResult& local, std::size_t num_others,
              SubmitTask submit, Done done)
      : epoch_(local.epoch),
        submit_(std::move(submit)),
        made_(local.made),
        num_left_(num_others),
        done_(std::move(done)) {}

  // The last one completes the fork.
  void End(const std::string& actor_id, const absl::StatusOr<bool>& was_made)
      ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(&mu_);
      if (was_made.ok() && *was_made) made_.push_back(actor_id);
      status_.Update(was_made.status());
      if (--num_left_ > 0) return;
    }
    Finish();
  }

 private:
  // Nobody else is left to take the lock.
  void Finish() ABSL_NO_THREAD_SAFETY_ANALYSIS {
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

  const std::uint64_t epoch_;
  const SubmitTask submit_;
  Mutex mu_;
  std::vector<std::string> made_ ABSL_GUARDED_BY(mu_);  // by this call
  std::size_t num_left_ ABSL_GUARDED_BY(mu_);
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  Done done_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::Status ForkAcross(ForkTask task, std::vector<std::string> others,
                        SubmitTask submit) {
  if (others.empty()) return submit(std::move(task));
  task.wants_record = true;
  task.done = [others = std::move(others), submit,
               has_epoch = task.epoch.has_value(), done = std::move(task.done)](
                  const absl::StatusOr<ForkResult>& source) mutable {
    if (!source.ok()) return done(source.status());
    const auto forks = std::make_shared<RemoteForks>(*source, others.size(),
                                                     submit, std::move(done));
    for (const std::string& actor_id : others) {
      ImportTask copy;
      copy.actor_id = actor_id;
      copy.record = source->record;
      copy.epoch = source->epoch;
      copy.may_be_made = has_epoch;
      copy.kv_policy = source->kv_policy;
      copy.done = [forks, actor_id](const absl::StatusOr<bool>& was_made) {
        forks->End(actor_id, was_made);
      };
      const absl::Status status = submit(std::move(copy));
      if (!status.ok()) forks->End(actor_id, status);
    }
  };
  return submit(std::move(task));
}

}  // namespace stepd
