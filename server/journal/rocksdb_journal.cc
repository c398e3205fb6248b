// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/journal/rocksdb_journal.h"

#include <pthread.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/common/error.h"
#include "server/common/mutex.h"
#include "server/common/stable_hash.h"
#include "server/journal/record.h"

namespace stepd {
namespace {

// Sessions looked at between two writes for whether they have expired.
constexpr int kSweepSlice = 16;
// Sessions of which it is known that nothing is stored.
constexpr std::size_t kMaxEmpty = std::size_t{1} << 16;
constexpr absl::Duration kRetryAfter = absl::Milliseconds(100);
constexpr absl::Duration kMinSweepPeriod = absl::Seconds(1);
constexpr absl::Duration kMaxSweepPeriod = absl::Minutes(10);

// ---- Keys -------------------------------------------------------------------

constexpr char kInputsKey = 'I';
constexpr char kStepsKey = 'S';
constexpr std::size_t kHashBytes = 8;
constexpr std::size_t kSizeBytes = 2;

// Big-endian, so that bytes sort as the numbers do.
std::string BigEndian(std::uint64_t value, std::size_t num_bytes) {
  std::string bytes;
  for (std::size_t i = num_bytes; i > 0; --i) {
    bytes.push_back(static_cast<char>(value >> (8 * (i - 1))));
  }
  return bytes;
}

// All keys of a session begin with it, and no other's do.
std::string SessionPrefix(absl::string_view actor_id) {
  return absl::StrCat(BigEndian(StableHash(actor_id), kHashBytes),
                      BigEndian(actor_id.size(), kSizeBytes), actor_id);
}

std::string InputsKey(absl::string_view prefix) {
  return absl::StrCat(prefix, std::string(1, kInputsKey));
}

std::string StepsKey(absl::string_view prefix, std::uint64_t num_steps) {
  return absl::StrCat(prefix, std::string(1, kStepsKey),
                      BigEndian(num_steps, sizeof(num_steps)));
}

// Sorts behind every key of the session.
std::string EndKey(absl::string_view prefix) {
  return absl::StrCat(prefix, "\xff");
}

// Of any key of the session; empty: it is no key of ours.
absl::string_view PrefixOf(absl::string_view key) {
  if (key.size() < kHashBytes + kSizeBytes) return {};
  const auto high = static_cast<unsigned char>(key[kHashBytes]);
  const auto low = static_cast<unsigned char>(key[kHashBytes + 1]);
  const std::size_t size = kHashBytes + kSizeBytes + high * 256U + low;
  return size < key.size() ? key.substr(0, size) : absl::string_view();
}

rocksdb::Slice ToSlice(absl::string_view bytes) {
  return rocksdb::Slice(bytes.data(), bytes.size());
}

absl::string_view ToView(const rocksdb::Slice& slice) {
  return absl::string_view(slice.data(), slice.size());
}

absl::Status Unavailable(absl::string_view what) {
  return RetryableError(absl::StatusCode::kUnavailable, reason::kJournal,
                        absl::StrCat("the journal: ", what), kRetryAfter);
}

absl::Status ToStatus(const rocksdb::Status& status) {
  return status.ok() ? absl::OkStatus() : Unavailable(status.ToString());
}

// ---- Requests ---------------------------------------------------------------

// One entry as the thread writes it.
struct Mutation {
  std::string prefix;
  bool is_steps = false;  // else it begins with dropping what there is
  std::uint64_t step_index = 0;
  std::uint64_t first_step = 0;
  std::uint64_t num_steps = 0;  // after the entry
  std::string steps;            // records; empty: none
  std::string inputs;
};

Mutation MutationOf(const RecordStamp& stamp, const JournalSteps& entry) {
  Mutation mutation;
  mutation.prefix = SessionPrefix(entry.actor_id);
  mutation.is_steps = entry.step_index > 0;
  mutation.step_index = entry.step_index;
  mutation.first_step = entry.first_step;
  mutation.num_steps = entry.step_index + entry.steps->size();
  mutation.steps = EncodeSteps(stamp, entry);
  if (!entry.session_inputs.empty()) {
    mutation.inputs = EncodeInputs(stamp, entry);
  }
  return mutation;
}

Mutation MutationOf(const RecordStamp& stamp, const JournalReplace& entry) {
  Mutation mutation = MutationOf(stamp, AsOneEntry(*entry.record));
  mutation.is_steps = false;
  return mutation;
}

Mutation MutationOf(const RecordStamp& /*stamp*/, const JournalErase& entry) {
  Mutation mutation;
  mutation.prefix = SessionPrefix(entry.actor_id);
  return mutation;
}

// What a caller waits for: an append, or a read if there are no mutations.
struct Request {
  std::vector<Mutation> mutations;
  std::string prefix;

  absl::Status status;
  std::vector<JournalOutcome> outcomes;
  StoredSession stored;

  // Guarded by the journal's mutex.
  enum class State { kWaiting, kRunning, kDone } state = State::kWaiting;
  bool is_abandoned = false;
  CondVar is_done;
};

class RocksDbJournal final : public Journal {
 public:
  RocksDbJournal(const RocksDbJournalOptions& options, JournalEvents* events,
                 std::unique_ptr<rocksdb::DB> db);
  ~RocksDbJournal() override;
  RocksDbJournal(const RocksDbJournal&) = delete;
  RocksDbJournal& operator=(const RocksDbJournal&) = delete;

  absl::StatusOr<std::vector<JournalOutcome>> Append(
      absl::Span<const JournalEntry> entries, MonotonicTime deadline) override;
  absl::StatusOr<std::optional<SessionRecord>> Read(
      absl::string_view actor_id, MonotonicTime deadline) override;

 private:
  using Requests = std::vector<std::shared_ptr<Request>>;

  absl::Status Await(const std::shared_ptr<Request>& request,
                     MonotonicTime deadline) ABSL_LOCKS_EXCLUDED(mu_);

  // The thread.
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  bool NextRequests(Requests* requests) ABSL_LOCKS_EXCLUDED(mu_);
  void Serve(const Requests& requests);
  void Finish(const Requests& requests) ABSL_LOCKS_EXCLUDED(mu_);
  void NoteErased(const Request& request);
  void ReadSession(Request* request);
  absl::Status AddAll(Request* request, rocksdb::WriteBatch* batch);
  absl::StatusOr<JournalOutcome> AddSteps(const Mutation& mutation,
                                          rocksdb::WriteBatch* batch);
  absl::Status AddWhole(const Mutation& mutation, rocksdb::WriteBatch* batch);
  absl::Status DropKeys(const std::string& from, const std::string& to,
                        rocksdb::WriteBatch* batch);
  void SweepSome();
  // True: it has been dropped.
  bool DropIfExpired(rocksdb::Iterator* keys, const std::string& prefix);

  void SyncRegularly() ABSL_LOCKS_EXCLUDED(mu_);

  const RocksDbJournalOptions options_;
  JournalEvents* const events_;
  const std::unique_ptr<rocksdb::DB> db_;
  std::atomic<bool> is_dirty_{false};  // something is not synced

  // Used by the thread only.
  // Sessions that may have steps of which nobody was told that they are there.
  absl::flat_hash_set<std::string> uncertain_;
  // Sessions that were erased, and not written since: looking for them would
  // pass over all that they ever were.
  absl::flat_hash_set<std::string> empty_;
  std::string sweep_from_;  // empty: no sweep is going on
  MonotonicTime next_sweep_{};

  Mutex mu_;
  Requests waiting_ ABSL_GUARDED_BY(mu_);
  bool is_stopping_ ABSL_GUARDED_BY(mu_) = false;
  CondVar has_work_;
  CondVar has_stopped_;

  std::thread thread_;  // last: they use all of the above
  std::thread sync_thread_;
};

RocksDbJournal::RocksDbJournal(const RocksDbJournalOptions& options,
                               JournalEvents* events,
                               std::unique_ptr<rocksdb::DB> db)
    : options_(options), events_(events), db_(std::move(db)) {
  if (options_.ttl == absl::InfiniteDuration()) next_sweep_ = kInfiniteFuture;
  thread_ = std::thread([this] { Run(); });
  if (options_.sync == JournalSync::kInterval) {
    sync_thread_ = std::thread([this] { SyncRegularly(); });
  }
}

RocksDbJournal::~RocksDbJournal() {
  {
    MutexLock lock(&mu_);
    is_stopping_ = true;
  }
  has_work_.NotifyAll();
  has_stopped_.NotifyAll();
  thread_.join();
  if (sync_thread_.joinable()) sync_thread_.join();
}

// ---- The callers' side ------------------------------------------------------

absl::StatusOr<std::vector<JournalOutcome>> RocksDbJournal::Append(
    absl::Span<const JournalEntry> entries, MonotonicTime deadline) {
  RecordStamp stamp;
  stamp.fields = options_.fields;
  stamp.written = options_.now();
  auto request = std::make_shared<Request>();
  request->mutations.reserve(entries.size());
  for (const JournalEntry& entry : entries) {
    request->mutations.push_back(std::visit(
        [&stamp](const auto& e) { return MutationOf(stamp, e); }, entry));
  }
  if (entries.empty()) return std::vector<JournalOutcome>();
  const absl::Status status = Await(request, deadline);
  if (!status.ok()) return status;
  return std::move(request->outcomes);
}

absl::StatusOr<std::optional<SessionRecord>> RocksDbJournal::Read(
    absl::string_view actor_id, MonotonicTime deadline) {
  auto request = std::make_shared<Request>();
  request->prefix = SessionPrefix(actor_id);
  const absl::Status status = Await(request, deadline);
  if (!status.ok()) return status;
  StoredSession& stored = request->stored;
  if (stored.steps.empty() && stored.inputs.empty()) return std::nullopt;
  stored.actor_id = std::string(actor_id);
  auto session = AssembleSession(options_.fields, stored);
  if (!session.ok()) return session.status();
  return *std::move(session);
}

absl::Status RocksDbJournal::Await(const std::shared_ptr<Request>& request,
                                   MonotonicTime deadline) {
  MutexLock lock(&mu_);
  waiting_.push_back(request);
  has_work_.NotifyOne();
  while (request->state != Request::State::kDone) {
    if (request->is_done.WaitUntil(&mu_, deadline) ||
        request->state == Request::State::kDone) {
      continue;
    }
    if (request->state == Request::State::kWaiting) {
      waiting_.erase(std::find(waiting_.begin(), waiting_.end(), request));
    }
    request->is_abandoned = true;
    return Unavailable("no answer from the disk in time");
  }
  return request->status;
}

// ---- The thread's side ------------------------------------------------------

void RocksDbJournal::Run() {
  pthread_setname_np(pthread_self(), "stepd-journal");
  Requests requests;
  while (NextRequests(&requests)) {
    if (requests.empty()) {
      SweepSome();
      continue;
    }
    Serve(requests);
    Finish(requests);
    requests.clear();
  }
}

// False: there will be no more. None: it is time to sweep.
bool RocksDbJournal::NextRequests(Requests* requests) {
  MutexLock lock(&mu_);
  while (waiting_.empty() && !is_stopping_) {
    if (!has_work_.WaitUntil(&mu_, next_sweep_) && waiting_.empty()) break;
  }
  requests->swap(waiting_);
  for (const auto& request : *requests) {
    request->state = Request::State::kRunning;
  }
  return !requests->empty() || !is_stopping_;
}

void RocksDbJournal::Serve(const Requests& requests) {
  rocksdb::WriteBatch batch;
  for (const auto& request : requests) {
    if (request->mutations.empty()) {
      ReadSession(request.get());
    } else {
      request->status = AddAll(request.get(), &batch);
    }
  }
  if (batch.Count() == 0) return;
  rocksdb::WriteOptions options;
  options.sync = options_.sync == JournalSync::kAlways;
  const absl::Status written = ToStatus(db_->Write(options, &batch));
  is_dirty_ = true;
  for (const auto& request : requests) {
    if (request->mutations.empty()) continue;
    request->status.Update(written);
    if (request->status.ok()) NoteErased(*request);
  }
}

void RocksDbJournal::NoteErased(const Request& request) {
  for (const Mutation& mutation : request.mutations) {
    if (!mutation.steps.empty()) continue;
    if (empty_.size() == kMaxEmpty) empty_.clear();
    empty_.insert(mutation.prefix);
  }
}

void RocksDbJournal::Finish(const Requests& requests) {
  MutexLock lock(&mu_);
  for (const auto& request : requests) {
    request->state = Request::State::kDone;
    request->is_done.NotifyOne();
    const bool is_told = request->status.ok() && !request->is_abandoned;
    for (const Mutation& mutation : request->mutations) {
      if (is_told) {
        uncertain_.erase(mutation.prefix);
      } else {
        uncertain_.insert(mutation.prefix);
      }
    }
  }
}

void RocksDbJournal::ReadSession(Request* request) {
  if (empty_.contains(request->prefix)) return;
  const std::string end = EndKey(request->prefix);
  const rocksdb::Slice upper = ToSlice(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> keys(db_->NewIterator(options));
  const std::string inputs_key = InputsKey(request->prefix);
  for (keys->Seek(ToSlice(request->prefix)); keys->Valid(); keys->Next()) {
    std::string value = keys->value().ToString();
    if (keys->key() == ToSlice(inputs_key)) {
      request->stored.inputs = std::move(value);
    } else {
      request->stored.steps.push_back(std::move(value));
    }
  }
  request->status = ToStatus(keys->status());
}

absl::Status RocksDbJournal::AddAll(Request* request,
                                    rocksdb::WriteBatch* batch) {
  for (const Mutation& mutation : request->mutations) {
    JournalOutcome outcome = JournalOutcome::kWritten;
    if (mutation.is_steps) {
      const auto added = AddSteps(mutation, batch);
      if (!added.ok()) return added.status();
      outcome = *added;
    } else {
      const absl::Status status = AddWhole(mutation, batch);
      if (!status.ok()) return status;
    }
    request->outcomes.push_back(outcome);
  }
  return absl::OkStatus();
}

absl::StatusOr<JournalOutcome> RocksDbJournal::AddSteps(
    const Mutation& mutation, rocksdb::WriteBatch* batch) {
  std::string last;
  const rocksdb::Status found =
      db_->Get(rocksdb::ReadOptions(),
               ToSlice(StepsKey(mutation.prefix, mutation.step_index)), &last);
  if (found.IsNotFound()) return JournalOutcome::kBehind;
  if (!found.ok()) return ToStatus(found);
  // A damaged one is mended like a missing one.
  const auto old_first_step = ReadFirstStep(options_.fields, last);
  if (!old_first_step.ok()) return JournalOutcome::kBehind;

  absl::Status status;
  if (uncertain_.contains(mutation.prefix)) {
    status = DropKeys(StepsKey(mutation.prefix, mutation.step_index + 1),
                      EndKey(mutation.prefix), batch);
  }
  // Without looking whether there is a task that ends at each of these.
  for (std::uint64_t i = *old_first_step + 1; i <= mutation.first_step; ++i) {
    batch->Delete(ToSlice(StepsKey(mutation.prefix, i)));
  }
  if (!status.ok()) return status;
  batch->Put(ToSlice(StepsKey(mutation.prefix, mutation.num_steps)),
             mutation.steps);
  return JournalOutcome::kWritten;
}

absl::Status RocksDbJournal::AddWhole(const Mutation& mutation,
                                      rocksdb::WriteBatch* batch) {
  absl::Status status;
  if (empty_.erase(mutation.prefix) == 0) {
    status = DropKeys(mutation.prefix, EndKey(mutation.prefix), batch);
  }
  if (!status.ok()) return status;
  if (!mutation.inputs.empty()) {
    batch->Put(ToSlice(InputsKey(mutation.prefix)), mutation.inputs);
  }
  if (!mutation.steps.empty()) {
    batch->Put(ToSlice(StepsKey(mutation.prefix, mutation.num_steps)),
               mutation.steps);
  }
  return absl::OkStatus();
}

// Key by key: a range tombstone per session that ends would slow every read.
absl::Status RocksDbJournal::DropKeys(const std::string& from,
                                      const std::string& to,
                                      rocksdb::WriteBatch* batch) {
  const rocksdb::Slice upper = ToSlice(to);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> keys(db_->NewIterator(options));
  for (keys->Seek(ToSlice(from)); keys->Valid(); keys->Next()) {
    batch->Delete(keys->key());
  }
  return ToStatus(keys->status());
}

// ---- Expiry -----------------------------------------------------------------

// Looks at the next few sessions, in between the requests.
void RocksDbJournal::SweepSome() {
  rocksdb::ReadOptions options;
  options.total_order_seek = true;
  const std::unique_ptr<rocksdb::Iterator> keys(db_->NewIterator(options));
  int num_dropped = 0;
  bool is_over = false;
  for (int i = 0; i < kSweepSlice && !is_over; ++i) {
    keys->Seek(ToSlice(sweep_from_));
    is_over = !keys->Valid();
    if (is_over) break;
    const std::string prefix(PrefixOf(ToView(keys->key())));
    if (prefix.empty()) {
      sweep_from_ = absl::StrCat(ToView(keys->key()), std::string(1, '\0'));
    } else {
      if (DropIfExpired(keys.get(), prefix)) ++num_dropped;
      sweep_from_ = EndKey(prefix);
    }
  }
  if (num_dropped > 0) events_->OnJournalExpired(num_dropped);
  if (!is_over) return;
  sweep_from_.clear();
  const absl::Duration period =
      std::clamp(options_.ttl / 8, kMinSweepPeriod, kMaxSweepPeriod);
  next_sweep_ =
      std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(period);
}

bool RocksDbJournal::DropIfExpired(rocksdb::Iterator* keys,
                                   const std::string& prefix) {
  const std::string end = EndKey(prefix);
  keys->SeekForPrev(ToSlice(end));
  if (!keys->Valid()) return false;
  const auto written = ReadTime(ToView(keys->value()));
  // What is damaged stays, for whoever asks for it to be told.
  if (!written.ok() || options_.now() - *written < options_.ttl) return false;
  rocksdb::WriteBatch batch;
  return DropKeys(prefix, end, &batch).ok() &&
         db_->Write(rocksdb::WriteOptions(), &batch).ok();
}

// ---- Syncing ----------------------------------------------------------------

void RocksDbJournal::SyncRegularly() {
  pthread_setname_np(pthread_self(), "stepd-sync");
  bool is_last = false;
  while (!is_last) {
    {
      MutexLock lock(&mu_);
      const MonotonicTime next = std::chrono::steady_clock::now() +
                                 absl::ToChronoNanoseconds(options_.interval);
      while (!is_stopping_ && has_stopped_.WaitUntil(&mu_, next)) {
      }
      is_last = is_stopping_;
    }
    if (!is_dirty_.exchange(false)) continue;
    const MonotonicTime start = std::chrono::steady_clock::now();
    const absl::Status status = ToStatus(db_->SyncWAL());
    events_->OnJournalCall(JournalCall::kSync,
                           std::chrono::steady_clock::now() - start, status);
  }
}

rocksdb::Options DbOptions(JournalSync sync) {
  rocksdb::Options options;
  options.create_if_missing = true;
  // Without syncs a loss of power may leave holes before the end of the log:
  // what comes after one is gone. With them a hole is damage.
  options.wal_recovery_mode =
      sync == JournalSync::kAlways
          ? rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords
          : rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.write_buffer_size = std::size_t{16} << 20;
  options.max_write_buffer_number = 4;
  options.max_open_files = 256;
  options.stats_dump_period_sec = 0;
  options.keep_log_file_num = 2;
  options.max_log_file_size = std::size_t{1} << 20;
  options.prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(kHashBytes));
  options.memtable_prefix_bloom_size_ratio = 0.05;
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> OpenRocksDbJournal(
    const RocksDbJournalOptions& options, JournalEvents* events) {
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::Open(DbOptions(options.sync), options.path, &db);
  if (!status.ok()) {
    return Error(
        status.IsCorruption() ? absl::StatusCode::kDataLoss
                              : absl::StatusCode::kUnavailable,
        reason::kJournal,
        absl::StrCat("the journal in ", options.path, ": ", status.ToString()));
  }
  return std::make_unique<RocksDbJournal>(options, events,
                                          std::unique_ptr<rocksdb::DB>(db));
}

}  // namespace stepd
