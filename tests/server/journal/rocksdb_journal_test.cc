// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What is RocksDB's own; what holds for every journal is in journal_test.cc.

#include "server/journal/rocksdb_journal.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/common/error.h"
#include "tests/server/journal/recording_events.h"
#include "tests/server/journal/some_session.h"
#include "tools/bench_cc/temporary_folder.h"

namespace stepd {
namespace {

namespace fs = std::filesystem;

class RocksDbJournalTest : public testing::Test {
 protected:
  RocksDbJournalTest() { options_.path = folder_->path() + "/journal"; }

  absl::Status Open() {
    journal_.reset();
    auto journal = OpenRocksDbJournal(options_, &events_);
    if (!journal.ok()) return journal.status();
    journal_ = *std::move(journal);
    return absl::OkStatus();
  }

  // Of the journal's log of writes, the newest.
  fs::path NewestLog() const {
    fs::path newest;
    for (const auto& entry : fs::directory_iterator(options_.path)) {
      if (entry.path().extension() == ".log" && entry.path() > newest) {
        newest = entry.path();
      }
    }
    return newest;
  }

  const std::unique_ptr<bench::TemporaryFolder> folder_ =
      bench::TemporaryFolder::Create().value();
  RocksDbJournalOptions options_;
  RecordingEvents events_;
  std::unique_ptr<Journal> journal_;
};

TEST_F(RocksDbJournalTest, SaysWhichFolderCannotBeOpened) {
  options_.path = "/proc/no/such/folder";

  const absl::Status status = Open();

  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), reason::kJournal);
  EXPECT_TRUE(absl::StrContains(status.message(), options_.path)) << status;
}

TEST_F(RocksDbJournalTest, IsOpenOnceOnly) {
  ASSERT_TRUE(Open().ok());

  const auto second = OpenRocksDbJournal(options_, &events_);

  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(RocksDbJournalTest, AnswersInTimeWhateverTheTime) {
  ASSERT_TRUE(Open().ok());
  SomeSession session("actor");

  const auto outcome = AppendOne(journal_.get(), session.NewSteps(1),
                                 std::chrono::steady_clock::now());

  if (!outcome.ok()) {
    EXPECT_EQ(outcome.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(ReasonOf(outcome.status()), reason::kJournal);
  }
  EXPECT_TRUE(Advance(journal_.get(), &session, 1));
}

TEST_F(RocksDbJournalTest, SyncsSoonAfterAWriteAndWithoutWritesNever) {
  options_.interval = absl::Milliseconds(1);
  ASSERT_TRUE(Open().ok());
  SomeSession session("actor");

  ASSERT_TRUE(Advance(journal_.get(), &session, 1));

  events_.AwaitCalls(1);
  EXPECT_EQ(events_.num_errors(), 0);
  journal_.reset();
  EXPECT_EQ(events_.num_calls(), 1);
}

// A write that a crash cut short was never acknowledged.
TEST_F(RocksDbJournalTest, LosesOnlyTheEndOfATornLog) {
  options_.sync = JournalSync::kAlways;
  SomeSession session("actor");
  std::set<std::string> texts = {"none"};
  ASSERT_TRUE(Open().ok());
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(Advance(journal_.get(), &session, 1));
    texts.insert(session.text());
  }
  journal_.reset();
  const fs::path log = NewestLog();
  const fs::path whole = folder_->path() + "/whole";
  fs::copy(options_.path, whole, fs::copy_options::recursive);

  for (std::uintmax_t size = fs::file_size(log); size > 0;
       size -= std::min<std::uintmax_t>(size, 397)) {
    fs::remove_all(options_.path);
    fs::copy(whole, options_.path, fs::copy_options::recursive);
    fs::resize_file(log, size);
    ASSERT_TRUE(Open().ok()) << size;

    const std::string text = ReadText(journal_.get(), "actor");
    EXPECT_EQ(texts.count(text), 1U) << size << ": " << text;
    if (size == fs::file_size(whole / log.filename())) {
      EXPECT_EQ(text, session.text());
    }
    journal_.reset();
  }
}

TEST_F(RocksDbJournalTest, ServesNothingOfAFlippedLog) {
  options_.sync = JournalSync::kAlways;
  SomeSession session("actor");
  ASSERT_TRUE(Open().ok());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Advance(journal_.get(), &session, 1));
  }
  journal_.reset();
  const fs::path log = NewestLog();
  const fs::path whole = folder_->path() + "/whole";
  fs::copy(options_.path, whole, fs::copy_options::recursive);
  std::mt19937 random(1);
  const auto size = static_cast<unsigned>(fs::file_size(log));
  int num_refused = 0;
  for (int i = 0; i < 40; ++i) {
    fs::remove_all(options_.path);
    fs::copy(whole, options_.path, fs::copy_options::recursive);
    // Before the last write: after it, it is like a torn one.
    const unsigned at = random() % (size / 2);
    std::fstream file(log, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ (1 << (random() % 8))));
    file.close();

    const absl::Status status = Open();

    if (status.ok()) {
      EXPECT_EQ(ReadText(journal_.get(), "actor"), session.text()) << at;
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
      ++num_refused;
    }
    journal_.reset();
  }
  EXPECT_GT(num_refused, 30);
}

TEST_F(RocksDbJournalTest, RefusesAFlippedRecordAndMendsIt) {
  SomeSession damaged("damaged");
  SomeSession neighbour("neighbour");
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Advance(journal_.get(), &damaged, 2));
  ASSERT_TRUE(Advance(journal_.get(), &neighbour, 2));
  journal_.reset();
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(
      rocksdb::DB::Open(rocksdb::Options(), options_.path, &opened).ok());
  std::unique_ptr<rocksdb::DB> db(opened);
  std::unique_ptr<rocksdb::Iterator> keys(
      db->NewIterator(rocksdb::ReadOptions()));
  for (keys->SeekToFirst(); keys->Valid(); keys->Next()) {
    if (!absl::StrContains(keys->key().ToString(), "damaged")) continue;
    std::string value = keys->value().ToString();
    value.back() = static_cast<char>(value.back() ^ 1);
    ASSERT_TRUE(db->Put(rocksdb::WriteOptions(), keys->key(), value).ok());
  }
  keys.reset();
  db.reset();
  ASSERT_TRUE(Open().ok());

  const auto read = journal_->Read("damaged", kInfiniteFuture);

  EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(read.status().message(), "checksum"));
  EXPECT_EQ(ReadText(journal_.get(), "neighbour"), neighbour.text());
  EXPECT_EQ(*AppendOne(journal_.get(), damaged.NewSteps(1)),
            JournalOutcome::kBehind);
  ASSERT_TRUE(AppendOne(journal_.get(), damaged.Whole()).ok());
  EXPECT_EQ(ReadText(journal_.get(), "damaged"), damaged.text());
}

TEST_F(RocksDbJournalTest, DropsSessionsThatNobodyCameBackTo) {
  absl::Time now = absl::FromUnixSeconds(1700000000);
  options_.now = [&now] { return now; };
  options_.ttl = absl::Hours(24);
  ASSERT_TRUE(Open().ok());
  std::vector<SomeSession> stale;
  for (int i = 0; i < 100; ++i) {
    stale.emplace_back(absl::StrCat("stale-", i), "image");
    ASSERT_TRUE(Advance(journal_.get(), &stale.back(), 3));
  }
  SomeSession kept("kept");
  ASSERT_TRUE(Advance(journal_.get(), &kept, 3));
  now += absl::Hours(13);
  ASSERT_TRUE(Advance(journal_.get(), &kept, 1));
  journal_.reset();
  now += absl::Hours(12);

  ASSERT_TRUE(Open().ok());
  events_.AwaitExpired(100);

  EXPECT_EQ(ReadText(journal_.get(), "stale-99"), "none");
  EXPECT_EQ(ReadText(journal_.get(), "kept"), kept.text());
  EXPECT_EQ(*AppendOne(journal_.get(), stale[0].NewSteps(1)),
            JournalOutcome::kBehind);
}

std::uintmax_t BytesOf(const fs::path& folder) {
  std::uintmax_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

std::string RandomBytes(std::mt19937* random) {
  std::string bytes;
  for (int i = 0; i < 250; ++i) {
    const auto word = static_cast<std::uint32_t>((*random)());
    bytes.append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  return bytes;
}

TEST_F(RocksDbJournalTest, StaysSmallHoweverLongSessionsGoOn) {
  ASSERT_TRUE(Open().ok());
  std::mt19937 random(1);
  SomeSession endless("endless");
  SomeSession again("again");
  // 60 MB in all, of which the last 8 steps count.
  for (std::uint64_t i = 0; i < 30000; ++i) {
    if (i >= 8) endless.SetFirstStep(i - 7);
    std::vector<JournalEntry> entries = {
        endless.NewSteps(1, RandomBytes(&random)),
        again.NewSteps(1, RandomBytes(&random))};
    ASSERT_TRUE(journal_->Append(entries, kInfiniteFuture).ok());
    endless.Commit();
    again.Commit();
    if (i % 8 == 7) {
      ASSERT_TRUE(AppendOne(journal_.get(), again.Erase()).ok());
      again = SomeSession("again", "", i);
    }
  }

  EXPECT_EQ(ReadText(journal_.get(), "endless"), endless.text());
  EXPECT_LT(BytesOf(options_.path), std::uintmax_t{40} << 20);
}

}  // namespace
}  // namespace stepd
