// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The sessions of one executor by actor, and the orders in which idle ones
// lose their blocks and expire. Every operation is O(1) amortised, whatever
// the number of idle sessions.
//
// An idle session has no queued work. It is in the idle order (least recently
// used first) and, when it holds blocks, in the resident order too. "Recent"
// sessions are idle ones whose actor is expected back soon: they were used
// within the recent window.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_SESSION_TABLE_H_
#define STEPD_SERVER_ENGINE_SESSION_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "server/common/clock.h"
#include "server/engine/intrusive_list.h"
#include "server/engine/session.h"

namespace stepd {

class SessionTable {
 public:
  explicit SessionTable(const SessionShape& shape) : shape_(shape) {}

  const SessionShape& shape() const { return shape_; }
  std::int64_t size() const {
    return static_cast<std::int64_t>(sessions_.size());
  }

  // nullptr: no such session.
  Session* Find(absl::string_view actor_id) const;
  // A new one is not idle.
  Session* FindOrCreate(absl::string_view actor_id);
  // REQUIRES: `session` holds no blocks and has no work.
  void Erase(Session* session);

  // REQUIRES: `session` is not idle; `now` never decreases between calls.
  void MarkIdle(Session* session, MonotonicTime now);
  // Does nothing to a session that is not idle.
  void MarkBusy(Session* session);
  // For an idle session that lost its blocks.
  void MarkEvicted(Session* session);

  // Least recently used first; nullptr: none.
  Session* OldestIdle() const { return idle_.front(); }
  Session* OldestResident() const { return resident_.front(); }
  // Most recently used; nullptr: none.
  Session* NewestIdle() const { return idle_.back(); }

  static Session* NextResident(Session* session) {
    return IntrusiveList<Session, &Session::resident_link>::Next(session);
  }

  // Every one, in no order, until `visit` (a bool of a const Session&) gives
  // false.
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    for (const std::unique_ptr<Session>& session : sessions_) {
      if (!visit(*session)) return;
    }
  }

  // Idle sessions that were used at `since` or later. Those that an earlier
  // call has not counted are not recent again before they are used.
  std::int64_t CountRecent(MonotonicTime since);

 private:
  struct HashById {
    // Asked for by the container.
    using is_transparent = void;  // NOLINT(readability-identifier-naming)
    std::size_t operator()(absl::string_view id) const {
      return absl::Hash<absl::string_view>()(id);
    }
    std::size_t operator()(const std::unique_ptr<Session>& session) const {
      return (*this)(session->actor_id);
    }
  };
  struct EqualById {
    // Asked for by the container.
    using is_transparent = void;  // NOLINT(readability-identifier-naming)
    static absl::string_view Id(absl::string_view id) { return id; }
    static absl::string_view Id(const std::unique_ptr<Session>& session) {
      return session->actor_id;
    }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Id(a) == Id(b);
    }
  };

  void ForgetRecent(Session* session);

  const SessionShape shape_;
  absl::flat_hash_set<std::unique_ptr<Session>, HashById, EqualById> sessions_;
  IntrusiveList<Session, &Session::idle_link> idle_;
  IntrusiveList<Session, &Session::resident_link> resident_;
  // Recent sessions are the last num_recent_ of idle_.
  Session* first_recent_ = nullptr;
  std::int64_t num_recent_ = 0;
};

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SESSION_TABLE_H_
