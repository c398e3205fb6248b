// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session_blocks.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <vector>

#include "absl/types/span.h"

namespace stepd {
namespace {

// Idle sessions that are compared when one must give its blocks.
constexpr int kNumCandidates = 8;

// What it costs to compute a context again, in tokens: something for every
// rebuild, and for a long one attention as much as everything else.
constexpr double kSliceCost = 64;
constexpr double kLongContext = 4096;

}  // namespace

SessionBlocks::SessionBlocks(const PolicySpec& spec, std::int32_t num_blocks,
                             RunningVersions* versions, SessionTable* table,
                             Observer* observer)
    : tokens_per_block_(spec.tokens_per_block),
      has_cache_(spec.kv_bytes_per_token > 0),
      pool_(num_blocks),
      versions_(versions),
      table_(table),
      observer_(observer) {}

std::int64_t SessionBlocks::BlocksFor(std::int64_t num_tokens) const {
  if (!has_cache_) return 0;  // nothing to keep
  return (num_tokens + tokens_per_block_ - 1) / tokens_per_block_;
}

bool SessionBlocks::Reserve(std::int64_t num_tokens, std::int64_t num_kept,
                            Session* session) {
  // What a rebuild writes over is not worth copying.
  if (num_kept == 0 && NumShared(*session, 0) > 0) Drop(session);
  const auto num_more = [&] {
    const std::int64_t missing =
        BlocksFor(num_tokens) -
        static_cast<std::int64_t>(session->blocks.size());
    return std::max<std::int64_t>(0, missing);
  };
  // Whoever loses blocks to this session may have shared them with it.
  while (pool_.num_free() < num_more() + NumShared(*session, num_kept)) {
    Session* victim = Victim();
    if (victim == nullptr) return false;
    table_->MarkEvicted(victim);
    Evict(victim);
  }
  MakeOwn(num_kept, session);
  return pool_.Allocate(static_cast<std::int32_t>(num_more()),
                        &session->blocks);
}

std::int64_t SessionBlocks::NumShared(const Session& session,
                                      std::int64_t num_kept) const {
  const std::vector<std::int32_t>& blocks = session.blocks;
  const auto first = static_cast<std::size_t>(num_kept / tokens_per_block_);
  if (first >= blocks.size()) return 0;
  return std::count_if(
      blocks.begin() + static_cast<std::ptrdiff_t>(first), blocks.end(),
      [this](std::int32_t block) { return pool_.use_count(block) > 1; });
}

// REQUIRES: as many blocks are free.
void SessionBlocks::MakeOwn(std::int64_t num_kept, Session* session) {
  std::vector<std::int32_t>& blocks = session->blocks;
  const auto first = static_cast<std::size_t>(num_kept / tokens_per_block_);
  for (std::size_t i = first; i < blocks.size(); ++i) {
    if (pool_.use_count(blocks[i]) == 1) continue;
    std::vector<std::int32_t> own;
    [[maybe_unused]] const bool is_free = pool_.Allocate(1, &own);
    assert(is_free);
    const bool is_read = i == first && num_kept % tokens_per_block_ != 0;
    if (is_read) versions_->CopyBlock(blocks[i], own.front());
    pool_.Release(absl::MakeConstSpan(blocks).subspan(i, 1));
    blocks[i] = own.front();
  }
}

void SessionBlocks::Share(const Session& source, Session* fork) {
  assert(fork->blocks.empty());
  const auto num_held =
      static_cast<std::size_t>(BlocksFor(source.num_cached_tokens));
  fork->blocks.assign(
      source.blocks.begin(),
      source.blocks.begin() + static_cast<std::ptrdiff_t>(num_held));
  pool_.Share(fork->blocks);
  fork->num_cached_steps = source.num_cached_steps;
  fork->num_cached_tokens = source.num_cached_tokens;
  fork->prepared_inputs = source.prepared_inputs;
}

// Of those that were used least recently, the one that gives most for what it
// costs to compute its blocks again: attention makes long contexts cost more
// per token than short ones.
Session* SessionBlocks::Victim() const {
  Session* best = nullptr;
  double best_value = -1;
  Session* session = table_->OldestResident();
  for (int i = 0; i < kNumCandidates && session != nullptr; ++i) {
    const auto num_freed = static_cast<double>(std::count_if(
        session->blocks.begin(), session->blocks.end(),
        [this](std::int32_t b) { return pool_.use_count(b) == 1; }));
    const auto tokens = static_cast<double>(session->num_cached_tokens);
    const double value =
        num_freed / (kSliceCost + tokens * (1 + tokens / kLongContext));
    if (value > best_value) {
      best = session;
      best_value = value;
    }
    session = SessionTable::NextResident(session);
  }
  return best;
}

void SessionBlocks::Drop(Session* session) {
  pool_.Release(session->blocks);
  session->blocks = {};  // frees its memory too: idle sessions stay small
  ForgetCached(session);
  session->prepared_inputs.reset();
}

void SessionBlocks::Evict(Session* session) {
  Drop(session);
  ForgetInputs(session);
  observer_->OnSessionEnd(SessionEnd::kEvictedBlocks);
}

void SessionBlocks::ForgetInputs(Session* session) {
  session->prepared_inputs.reset();
  const ContextVersion& version = session->version;
  if (versions_->KvPolicyOf(version) == KvPolicy::kPin) return;
  versions_->Use(nullptr, &session->version.held);
}

void SessionBlocks::Trim(std::int64_t num_tokens, Session* session) {
  const auto kept = static_cast<std::size_t>(BlocksFor(num_tokens));
  if (session->blocks.size() <= kept) return;
  pool_.Release(absl::MakeConstSpan(session->blocks).subspan(kept));
  session->blocks.resize(kept);
}

void ForgetCached(Session* session) {
  session->num_cached_steps = session->window_start();
  session->num_cached_tokens = 0;
}

}  // namespace stepd
