// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session_table.h"

#include <cassert>

namespace stepd {

Session* SessionTable::Find(absl::string_view actor_id) const {
  const auto it = sessions_.find(actor_id);
  return it == sessions_.end() ? nullptr : it->get();
}

Session* SessionTable::FindOrCreate(absl::string_view actor_id) {
  if (Session* session = Find(actor_id)) return session;
  return sessions_.insert(std::make_unique<Session>(actor_id, shape_))
      .first->get();
}

void SessionTable::Erase(Session* session) {
  assert(session->blocks.empty() && session->first_work == nullptr);
  MarkBusy(session);
  sessions_.erase(sessions_.find(absl::string_view(session->actor_id)));
}

void SessionTable::MarkIdle(Session* session, MonotonicTime now) {
  session->last_use = now;
  idle_.PushBack(session);
  if (!session->blocks.empty()) resident_.PushBack(session);
  session->is_recent = true;
  ++num_recent_;
  if (first_recent_ == nullptr) first_recent_ = session;
}

void SessionTable::MarkBusy(Session* session) {
  if (!idle_.Has(session)) return;
  if (session->is_recent) ForgetRecent(session);
  idle_.Remove(session);
  if (resident_.Has(session)) resident_.Remove(session);
}

void SessionTable::MarkEvicted(Session* session) {
  if (resident_.Has(session)) resident_.Remove(session);
}

std::int64_t SessionTable::CountRecent(MonotonicTime since) {
  while (first_recent_ != nullptr && first_recent_->last_use < since) {
    ForgetRecent(first_recent_);
  }
  return num_recent_;
}

void SessionTable::ForgetRecent(Session* session) {
  session->is_recent = false;
  --num_recent_;
  if (first_recent_ == session) first_recent_ = idle_.Next(session);
}

}  // namespace stepd
