// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/journal/redis_journal.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <iterator>
#include <optional>
#include <random>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/common/error.h"
#include "server/journal/record.h"
#include "server/journal/redis_connection.h"
#include "server/journal/redis_pool.h"

namespace stepd {
namespace {

// Numbers of the scripts that every connection loads.
enum Script : std::size_t { kAppend, kRead, kNumScripts };

constexpr absl::Duration kRetryAfter = absl::Milliseconds(100);
// For how long a call may be under way and still be refused.
constexpr absl::Duration kMaxErasedTime = absl::Hours(1);

// KEYS are sessions. ARGV: the caller, the number of its call, how long
// sessions live and how long their remains do (milliseconds, 0: for ever); then
// six for each session: "steps", "whole" or "erase", its steps before and after
// the entry, the first of its context, the two records. Gives what became of
// each: 0 written, 1 behind, 2 taken over.
constexpr char kAppendScript[] = R"lua(
local owner, call = ARGV[1], tonumber(ARGV[2])
local ttl, erased_ttl = tonumber(ARGV[3]), tonumber(ARGV[4])

local function drop(key, from, to)
  local fields = {}
  for i = from, to do
    fields[#fields + 1] = string.format('%.0f', i)
    if #fields == 1000 or i == to then
      redis.call('HDEL', key, unpack(fields))
      fields = {}
    end
  end
end

local function expire(key, milliseconds)
  if milliseconds > 0 then redis.call('PEXPIRE', key, milliseconds) end
end

local function append(key, a)
  local kind, before, after, first =
      ARGV[a], tonumber(ARGV[a + 1]), ARGV[a + 2], tonumber(ARGV[a + 3])
  local is = redis.pcall('HMGET', key, 'o', 'q', 'n', 'w')
  if is.err then is = {false, false, false, false} end
  local mine = is[1] == owner
  -- It was given up, and a later one is here already.
  if mine and tonumber(is[2]) >= call then return 2 end
  if kind == 'steps' and before > 0 then
    if not is[1] then return 1 end
    if not mine then return 2 end
    local now = tonumber(is[3] or 0)
    if now < before or redis.call('HEXISTS', key, ARGV[a + 1]) == 0 then
      return 1
    end
    if now > before then drop(key, before + 1, now) end
    if first > tonumber(is[4]) then drop(key, tonumber(is[4]), first) end
  else
    if kind == 'steps' and is[3] and not mine then return 2 end
    redis.call('DEL', key)
  end
  redis.call('HSET', key, 'o', owner, 'q', ARGV[2])
  if kind == 'erase' then
    expire(key, erased_ttl)
    return 0
  end
  redis.call('HSET', key, 'n', after, 'w', ARGV[a + 3], after, ARGV[a + 4])
  if ARGV[a + 5] ~= '' then redis.call('HSET', key, 'i', ARGV[a + 5]) end
  expire(key, ttl)
  return 0
end

local outcomes = {}
for i, key in ipairs(KEYS) do outcomes[i] = append(key, 6 * i - 1) end
return outcomes
)lua";

// KEYS[1] is a session; ARGV: the caller and the number of its call. Gives all
// that there is of it, which is the caller's from now on.
constexpr char kReadScript[] = R"lua(
local is = redis.call('HMGET', KEYS[1], 'o', 'q', 'n')
if not is[3] then return {} end
if is[1] ~= ARGV[1] or tonumber(is[2]) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'o', ARGV[1], 'q', ARGV[2])
end
return redis.call('HGETALL', KEYS[1])
)lua";

absl::Status Unavailable(absl::string_view what) {
  return RetryableError(absl::StatusCode::kUnavailable, reason::kJournal,
                        absl::StrCat("the journal: ", what), kRetryAfter);
}

std::string MillisecondsOf(absl::Duration duration) {
  if (duration == absl::InfiniteDuration()) return "0";
  return absl::StrCat(
      std::max<std::int64_t>(1, absl::ToInt64Milliseconds(duration)));
}

// Tells this process from every other one.
std::string NewOwner() {
  std::random_device random;
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad8),
                      absl::Hex(random(), absl::kZeroPad8));
}

RedisPool::Options PoolOptions(const RedisJournalOptions& options,
                               RedisAddress address) {
  RedisPool::Options pool;
  pool.address = std::move(address);
  pool.password = options.password;
  pool.scripts.resize(kNumScripts);
  pool.scripts[kAppend] = kAppendScript;
  pool.scripts[kRead] = kReadScript;
  return pool;
}

// The keys and arguments of one append, except for those of all appends.
struct AppendWords {
  RecordStamp stamp;
  absl::string_view key_prefix;
  std::vector<std::string> keys;
  std::vector<std::string> arguments;

  void Add(const JournalSteps& entry) { AddSteps("steps", entry); }
  void Add(const JournalReplace& entry) {
    AddSteps("whole", AsOneEntry(*entry.record));
  }
  void Add(const JournalErase& entry) {
    keys.push_back(absl::StrCat(key_prefix, entry.actor_id));
    AddArguments({"erase", "0", "0", "0", "", ""});
  }

 private:
  void AddSteps(absl::string_view kind, const JournalSteps& entry) {
    keys.push_back(absl::StrCat(key_prefix, entry.actor_id));
    std::string inputs;
    if (!entry.session_inputs.empty()) inputs = EncodeInputs(stamp, entry);
    AddArguments({std::string(kind), absl::StrCat(entry.step_index),
                  absl::StrCat(entry.step_index + entry.steps->size()),
                  absl::StrCat(entry.first_step), EncodeSteps(stamp, entry),
                  std::move(inputs)});
  }
  void AddArguments(std::vector<std::string> more) {
    std::move(more.begin(), more.end(), std::back_inserter(arguments));
  }
};

// The session of a reply to kReadScript: names and values of a hash.
StoredSession StoredSessionOf(const redisReply& reply,
                              absl::string_view actor_id) {
  StoredSession stored;
  stored.actor_id = std::string(actor_id);
  std::vector<std::pair<std::uint64_t, std::string>> steps;
  for (std::size_t i = 0; i + 1 < reply.elements; i += 2) {
    const absl::string_view name(reply.element[i]->str, reply.element[i]->len);
    std::string value(reply.element[i + 1]->str, reply.element[i + 1]->len);
    std::uint64_t num_steps = 0;
    if (name == "i") {
      stored.inputs = std::move(value);
    } else if (absl::SimpleAtoi(name, &num_steps)) {
      steps.emplace_back(num_steps, std::move(value));
    }
  }
  std::sort(steps.begin(), steps.end());
  for (auto& [num_steps, record] : steps) {
    stored.steps.push_back(std::move(record));
  }
  return stored;
}

class RedisJournal final : public Journal {
 public:
  RedisJournal(const RedisJournalOptions& options, RedisAddress address)
      : fields_(options.fields),
        key_prefix_(absl::StrCat("stepd:", options.name, ":")),
        ttl_(MillisecondsOf(options.ttl)),
        erased_ttl_(MillisecondsOf(std::min(options.ttl, kMaxErasedTime))),
        owner_(NewOwner()),
        pool_(PoolOptions(options, std::move(address))) {}

  absl::StatusOr<std::vector<JournalOutcome>> Append(
      absl::Span<const JournalEntry> entries, MonotonicTime deadline) override;
  absl::StatusOr<std::optional<SessionRecord>> Read(
      absl::string_view actor_id, MonotonicTime deadline) override;

 private:
  // Runs a script with `keys`, the owner, the number of the call and
  // `arguments`.
  absl::StatusOr<RedisReply> Run(Script script,
                                 const std::vector<std::string>& keys,
                                 const std::vector<std::string>& arguments,
                                 MonotonicTime deadline);

  const std::uint64_t fields_;
  const std::string key_prefix_;
  const std::string ttl_;  // milliseconds
  const std::string erased_ttl_;
  const std::string owner_;
  std::atomic<std::uint64_t> num_calls_{0};
  RedisPool pool_;
};

absl::StatusOr<std::vector<JournalOutcome>> RedisJournal::Append(
    absl::Span<const JournalEntry> entries, MonotonicTime deadline) {
  if (entries.empty()) return std::vector<JournalOutcome>();
  AppendWords words;
  words.stamp.fields = fields_;
  words.stamp.written = absl::Now();
  words.key_prefix = key_prefix_;
  words.arguments = {ttl_, erased_ttl_};
  for (const JournalEntry& entry : entries) {
    std::visit([&words](const auto& e) { words.Add(e); }, entry);
  }
  const auto reply = Run(kAppend, words.keys, words.arguments, deadline);
  if (!reply.ok()) {
    return Unavailable(reply.status().message());
  }
  std::vector<JournalOutcome> outcomes;
  for (std::size_t i = 0; i < (*reply)->elements; ++i) {
    outcomes.push_back(
        static_cast<JournalOutcome>((*reply)->element[i]->integer));
  }
  if (outcomes.size() != entries.size()) {
    return Unavailable("the answer is none to an append");
  }
  return outcomes;
}

absl::StatusOr<std::optional<SessionRecord>> RedisJournal::Read(
    absl::string_view actor_id, MonotonicTime deadline) {
  const auto reply =
      Run(kRead, {absl::StrCat(key_prefix_, actor_id)}, {}, deadline);
  if (absl::IsDataLoss(reply.status())) {
    return Error(
        absl::StatusCode::kDataLoss, reason::kJournal,
        absl::StrCat("the journal: what it has under the key of actor \"",
                     actor_id, "\" is no session"));
  }
  if (!reply.ok()) {
    return Unavailable(reply.status().message());
  }
  if ((*reply)->elements == 0) return std::nullopt;
  auto session = AssembleSession(fields_, StoredSessionOf(**reply, actor_id));
  if (!session.ok()) return session.status();
  return *std::move(session);
}

// A connection that was lost may have been idle for long: the call is made
// again on a new one, with a number of its own. Whatever became of the first,
// the second takes its place.
absl::StatusOr<RedisReply> RedisJournal::Run(
    Script script, const std::vector<std::string>& keys,
    const std::vector<std::string>& arguments, MonotonicTime deadline) {
  for (bool is_first = true;; is_first = false) {
    auto connection = pool_.Take(deadline);
    if (!connection.ok()) return connection.status();
    const std::string num_keys = absl::StrCat(keys.size());
    const std::string call = absl::StrCat(++num_calls_);
    std::vector<absl::string_view> words = {
        "EVALSHA", (*connection)->script_id(script), num_keys};
    words.insert(words.end(), keys.begin(), keys.end());
    words.insert(words.end(), {owner_, call});
    words.insert(words.end(), arguments.begin(), arguments.end());
    auto reply = (*connection)->Call(words, deadline);
    if (reply.ok()) {
      pool_.Return(*std::move(connection));
      return reply;
    }
    const absl::string_view error = reply.status().message();
    if (absl::StrContains(error, "WRONGTYPE")) {
      pool_.Return(*std::move(connection));
      return absl::DataLossError(error);
    }
    pool_.Drop(*std::move(connection));
    const bool is_lost = absl::IsUnavailable(reply.status()) ||
                         absl::StartsWith(error, "NOSCRIPT");
    if (!is_first || !is_lost) return reply;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> MakeRedisJournal(
    const RedisJournalOptions& options) {
  auto address = ParseRedisAddress(options.address);
  if (!address.ok()) return address.status();
  return std::make_unique<RedisJournal>(options, *std::move(address));
}

}  // namespace stepd
