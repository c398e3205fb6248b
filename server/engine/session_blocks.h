// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The KV blocks of an executor's sessions: who has which, who shares them, and
// who loses them when there are too few.
//
// Invariants: (1) a block that a session writes is used by that session alone;
// (2) only blocks in front of what is written are shared.
//
// Thread safety: none; one executor owns it.

#ifndef STEPD_SERVER_ENGINE_SESSION_BLOCKS_H_
#define STEPD_SERVER_ENGINE_SESSION_BLOCKS_H_

#include <cstdint>

#include "model/kv_cache/block_pool.h"
#include "model/policy_spec.h"
#include "server/engine/observer.h"
#include "server/engine/running_versions.h"
#include "server/engine/session.h"
#include "server/engine/session_table.h"

namespace stepd {

class SessionBlocks {
 public:
  // What is passed by pointer must outlive it.
  SessionBlocks(const PolicySpec& spec, std::int32_t num_blocks,
                RunningVersions* versions, SessionTable* table,
                Observer* observer);

  const BlockPool& pool() const { return pool_; }
  // How many so many tokens of a session need.
  std::int64_t BlocksFor(std::int64_t num_tokens) const;

  // Gives `session` blocks for `num_tokens`, those after the first `num_kept`
  // cached tokens its own; all or nothing. Takes them from idle sessions if
  // too few are free. False: there are not enough.
  bool Reserve(std::int64_t num_tokens, std::int64_t num_kept,
               Session* session);

  // `fork`, which has no blocks, shares those of `source` and what they hold.
  void Share(const Session& source, Session* fork);

  // Gives every block back, and what was prepared of the inputs; the next step
  // makes them anew.
  void Drop(Session* session);
  // The same, because others need them.
  void Evict(Session* session);
  // What was prepared of the session's inputs goes, and with it the need of the
  // version that prepared it.
  void ForgetInputs(Session* session);
  // Gives back the blocks that `num_tokens` do not need.
  void Trim(std::int64_t num_tokens, Session* session);

 private:
  bool FreeUp(std::int64_t num_blocks);
  // The idle session to take blocks from; nullptr: none has any.
  Session* Victim() const;
  // Blocks of others among those that will be written.
  std::int64_t NumShared(const Session& session, std::int64_t num_kept) const;
  void MakeOwn(std::int64_t num_kept, Session* session);

  const std::int64_t tokens_per_block_;
  const bool has_cache_;
  BlockPool pool_;
  RunningVersions* const versions_;
  SessionTable* const table_;
  Observer* const observer_;
};

// The blocks' content is void; they stay the session's.
void ForgetCached(Session* session);

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SESSION_BLOCKS_H_
