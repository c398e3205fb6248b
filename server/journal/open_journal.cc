// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/journal/open_journal.h"

#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/journal/degrading_journal.h"
#include "server/journal/fields_fingerprint.h"
#include "server/journal/observed_journal.h"
#include "server/journal/redis_journal.h"
#include "server/journal/rocksdb_journal.h"

namespace stepd {
namespace {

absl::Status InKey(absl::string_view key, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(key, ": ", status.message()));
}

absl::StatusOr<std::unique_ptr<Journal>> OpenRocksDb(
    const JournalConfig& config, const PolicySpec& spec,
    JournalEvents* events) {
  RocksDbJournalOptions options;
  options.path = config.path;
  options.fields = FieldsFingerprint(spec);
  options.sync =
      config.sync == "always" ? JournalSync::kAlways : JournalSync::kInterval;
  options.interval = config.interval;
  options.ttl = config.ttl;
  auto journal = OpenRocksDbJournal(options, events);
  if (!journal.ok()) return InKey("journal.path", journal.status());
  return journal;
}

absl::StatusOr<std::string> ReadPassword(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path);
  std::string password;
  if (!std::getline(file, password)) {
    return absl::InvalidArgumentError(
        absl::StrCat("journal.password_file: cannot read ", path));
  }
  return std::string(absl::StripAsciiWhitespace(password));
}

absl::StatusOr<std::unique_ptr<Journal>> OpenRedis(const JournalConfig& config,
                                                   const std::string& name,
                                                   const PolicySpec& spec) {
  RedisJournalOptions options;
  options.address = config.address;
  auto password = ReadPassword(config.password_file);
  if (!password.ok()) return password.status();
  options.password = *std::move(password);
  options.name = name;
  options.fields = FieldsFingerprint(spec);
  options.ttl = config.ttl;
  auto journal = MakeRedisJournal(options);
  if (!journal.ok()) return InKey("journal.address", journal.status());
  return journal;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> OpenJournal(
    const JournalConfig& config, const std::string& name,
    const PolicySpec& spec, JournalEvents* events) {
  if (config.kind == "none") return nullptr;
  auto stored = config.kind == "redis" ? OpenRedis(config, name, spec)
                                       : OpenRocksDb(config, spec, events);
  if (!stored.ok()) return stored.status();
  std::unique_ptr<Journal> journal =
      std::make_unique<ObservedJournal>(*std::move(stored), events);
  if (config.on_error == "fail") return journal;
  return std::make_unique<DegradingJournal>(std::move(journal), events);
}

}  // namespace stepd
