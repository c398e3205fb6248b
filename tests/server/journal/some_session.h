// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Sessions to journal: a session as a test thinks of it, and the entries that
// make a journal's the same.
//
// Thread safety: plain values.

#ifndef STEPD_TESTS_SERVER_JOURNAL_SOME_SESSION_H_
#define STEPD_TESTS_SERVER_JOURNAL_SOME_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/common/clock.h"
#include "server/engine/journal.h"

namespace stepd {

// Everything of a session in one text, so that tests compare and print it.
inline std::string Text(const std::optional<SessionRecord>& session) {
  if (!session) return "none";
  std::string text =
      absl::StrCat(session->actor_id, " epoch ", session->epoch, " inputs ",
                   session->session_inputs, " from ", session->first_step, ":");
  for (std::size_t i = 0; i < session->steps.size(); ++i) {
    absl::StrAppend(&text, " ", session->steps[i]);
  }
  if (session->answered) {
    absl::StrAppend(&text, " answered ", session->answered->step_index, " ",
                    session->answered->content_hash, " ",
                    session->answered->reply.step_index);
    for (const float log_prob : session->answered->reply.log_probs) {
      absl::StrAppend(&text, " ", log_prob);
    }
  }
  return text;
}

inline std::string Text(
    const absl::StatusOr<std::optional<SessionRecord>>& session) {
  return session.ok() ? Text(*session) : session.status().ToString();
}

class SomeSession {
 public:
  explicit SomeSession(const std::string& actor_id,
                       const std::string& inputs = "",
                       std::uint64_t epoch = 1) {
    record_.actor_id = actor_id;
    record_.session_inputs = inputs;
    record_.epoch = epoch;
  }

  const SessionRecord& record() const { return record_; }
  const std::string& actor_id() const { return record_.actor_id; }
  std::uint64_t num_steps() const { return record_.num_steps(); }
  std::string text() const { return Text(std::make_optional(record_)); }

  // Steps that the context does not keep are dropped from here on.
  void SetFirstStep(std::uint64_t first_step) { next_first_step_ = first_step; }

  // The entry of so many new steps; `what` tells them from others. It borrows
  // from this session until the next call.
  JournalEntry NewSteps(std::size_t count, const std::string& what = "") {
    new_steps_ = EncodedSteps();
    for (std::size_t i = 0; i < count; ++i) {
      new_steps_.Append(absl::StrCat(what, num_steps() + i));
    }
    answered_.step_index = num_steps();
    answered_.content_hash = 1000 + num_steps();
    answered_.reply.log_probs = {-0.25F * static_cast<float>(num_steps())};
    answered_.reply.step_index = num_steps() + count;
    JournalSteps entry;
    entry.actor_id = record_.actor_id;
    entry.epoch = record_.epoch;
    entry.step_index = num_steps();
    entry.steps = &new_steps_;
    if (num_steps() == 0) entry.session_inputs = record_.session_inputs;
    entry.first_step = next_first_step_;
    entry.answered = &answered_;
    return entry;
  }

  // The steps of the last entry are the session's.
  void Commit() {
    EncodedSteps steps;
    for (std::size_t i = 0; i < record_.steps.size(); ++i) {
      if (record_.first_step + i >= next_first_step_) {
        steps.Append(record_.steps[i]);
      }
    }
    const std::uint64_t before = num_steps();
    for (std::size_t i = 0; i < new_steps_.size(); ++i) {
      if (before + i >= next_first_step_) steps.Append(new_steps_[i]);
    }
    record_.first_step = next_first_step_;
    record_.steps = std::move(steps);
    record_.answered = answered_;
  }

  JournalEntry Whole() const {
    JournalReplace entry;
    entry.record = &record_;
    return entry;
  }
  JournalEntry Erase() const {
    JournalErase entry;
    entry.actor_id = record_.actor_id;
    return entry;
  }

 private:
  SessionRecord record_;
  std::uint64_t next_first_step_ = 0;
  EncodedSteps new_steps_;
  AnsweredTask answered_;
};

// One entry without a deadline; what became of it.
inline absl::StatusOr<JournalOutcome> AppendOne(
    Journal* journal, const JournalEntry& entry,
    MonotonicTime deadline = kInfiniteFuture) {
  const auto outcomes =
      journal->Append(absl::MakeConstSpan(&entry, 1), deadline);
  if (!outcomes.ok()) return outcomes.status();
  return outcomes->front();
}

// Writes and commits so many steps as one task; true if they were written.
inline bool Advance(Journal* journal, SomeSession* session, std::size_t count) {
  const auto outcome = AppendOne(journal, session->NewSteps(count));
  if (!outcome.ok() || *outcome != JournalOutcome::kWritten) return false;
  session->Commit();
  return true;
}

inline std::string ReadText(Journal* journal, const std::string& actor_id) {
  return Text(journal->Read(actor_id, kInfiniteFuture));
}

}  // namespace stepd

#endif  // STEPD_TESTS_SERVER_JOURNAL_SOME_SESSION_H_
