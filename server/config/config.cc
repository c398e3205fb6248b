// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/config/config.h"

#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <exception>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/config/config_keys.h"

namespace stepd {
namespace {

absl::Status Invalid(absl::string_view key, absl::string_view what,
                     absl::string_view where) {
  return absl::InvalidArgumentError(
      absl::StrCat(key, ": ", what, " (", where, ")"));
}

absl::Status SetValue(const ConfigKeyEntry& entry, absl::string_view text,
                      absl::string_view where, Config* config) {
  const absl::Status status = entry.set(text, config);
  if (status.ok()) return status;
  return Invalid(entry.name(), status.message(), where);
}

const ConfigKeyEntry* FindKey(absl::string_view name) {
  for (const ConfigKeyEntry& entry : ConfigTable()) {
    if (entry.name() == name) return &entry;
  }
  return nullptr;
}

bool IsSection(absl::string_view name) {
  for (const ConfigKeyEntry& entry : ConfigTable()) {
    if (entry.section == name) return true;
  }
  return false;
}

// ---- File -------------------------------------------------------------------

// "stepd.yaml, line 12"
std::string Where(const std::string& file, const YAML::Mark& mark) {
  return absl::StrCat(file, ", line ", mark.line + 1);
}

absl::Status ApplySection(const std::string& file, const std::string& section,
                          const YAML::Node& keys, Config* config) {
  std::vector<std::string> seen;
  for (const auto& item : keys) {
    const std::string where = Where(file, item.first.Mark());
    if (!item.first.IsScalar()) {
      return Invalid(section, "keys must be plain words", where);
    }
    const std::string name = absl::StrCat(section, ".", item.first.Scalar());
    const ConfigKeyEntry* entry = FindKey(name);
    if (entry == nullptr) return Invalid(name, "unknown key", where);
    for (const std::string& other : seen) {
      if (other == name) return Invalid(name, "given twice", where);
    }
    seen.push_back(name);
    if (!item.second.IsScalar()) {
      return Invalid(name, absl::StrCat("want one value (", entry->type, ")"),
                     where);
    }
    const absl::Status status =
        SetValue(*entry, item.second.Scalar(), where, config);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ApplyDocument(const std::string& file, const YAML::Node& root,
                           Config* config) {
  if (root.IsNull()) return absl::OkStatus();
  if (!root.IsMap()) {
    return Invalid("the file", "want sections of keys",
                   Where(file, root.Mark()));
  }
  for (const auto& item : root) {
    const std::string where = Where(file, item.first.Mark());
    if (!item.first.IsScalar() || !IsSection(item.first.Scalar())) {
      return Invalid(item.first.IsScalar() ? item.first.Scalar() : "?",
                     "unknown section", where);
    }
    if (item.second.IsNull()) continue;
    if (!item.second.IsMap()) {
      return Invalid(item.first.Scalar(), "want keys below it", where);
    }
    const absl::Status status =
        ApplySection(file, item.first.Scalar(), item.second, config);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// yaml-cpp throws; nothing beyond this function does.
absl::Status ApplyFile(const std::string& file, Config* config) {
  try {
    return ApplyDocument(file, YAML::LoadFile(file), config);
  } catch (const YAML::BadFile&) {
    return absl::NotFoundError(absl::StrCat("cannot read ", file));
  } catch (const YAML::ParserException& error) {
    return Invalid("the file", error.msg, Where(file, error.mark));
  } catch (const std::exception& error) {
    return Invalid("the file", error.what(), file);
  }
}

// ---- Environment and flags --------------------------------------------------

// STEPD_ variables of no section of ours (STEPD_CACHE) are someone else's.
bool IsOurs(absl::string_view variable) {
  for (const ConfigKeyEntry& entry : ConfigTable()) {
    const std::string prefix =
        absl::StrCat("STEPD_", absl::AsciiStrToUpper(entry.section), "_");
    if (absl::StartsWith(variable, prefix)) return true;
  }
  return false;
}

absl::Status ApplyEnvironment(const ConfigSettings& variables, Config* config) {
  for (const auto& [variable, text] : variables) {
    if (!IsOurs(variable)) continue;
    const ConfigKeyEntry* found = nullptr;
    for (const ConfigKeyEntry& entry : ConfigTable()) {
      if (entry.variable() == variable) found = &entry;
    }
    if (found == nullptr) {
      return Invalid(variable, "unknown key", "environment");
    }
    const absl::Status status =
        SetValue(*found, text, absl::StrCat("environment, ", variable), config);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ApplyFlags(const ConfigSettings& flags, Config* config) {
  for (const auto& [name, text] : flags) {
    const ConfigKeyEntry* entry = FindKey(name);
    if (entry == nullptr) return Invalid(name, "unknown key", "flag");
    const absl::Status status =
        SetValue(*entry, text, absl::StrCat("flag --", name), config);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// ---- What no key alone can say ----------------------------------------------

absl::Status CheckJournal(const JournalConfig& journal) {
  if (journal.kind == "rocksdb" && journal.path.empty()) {
    return absl::InvalidArgumentError(
        "journal.path: is empty; journal.kind: rocksdb needs it");
  }
  if (journal.kind == "redis" && journal.address.empty()) {
    return absl::InvalidArgumentError(
        "journal.address: is empty; journal.kind: redis needs it");
  }
  if (journal.interval == absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        "journal.interval: want more than 0; journal.sync: always syncs "
        "before every reply");
  }
  if (journal.ttl < absl::Seconds(1)) {
    return absl::InvalidArgumentError("journal.ttl: want at least 1s");
  }
  return absl::OkStatus();
}

absl::Status CheckTogether(const Config& config) {
  const TlsConfig& tls = config.tls;
  if (tls.cert.empty() != tls.key.empty()) {
    return absl::InvalidArgumentError(
        "tls.cert and tls.key: one is set without the other");
  }
  if (tls.cert.empty() && !tls.client_ca.empty()) {
    return absl::InvalidArgumentError(
        "tls.client_ca: needs tls.cert and tls.key");
  }
  if (config.server.address.empty()) {
    return absl::InvalidArgumentError("server.address: is empty");
  }
  constexpr std::int64_t kMaxInt = std::numeric_limits<int>::max();
  if (config.server.max_message_bytes > kMaxInt) {
    return absl::InvalidArgumentError(
        "server.max_message_bytes: want less than 2GiB");
  }
  if (config.batching.max_batch_sessions > kMaxInt ||
      config.batching.max_queued > kMaxInt ||
      config.limits.max_steps_per_call > kMaxInt ||
      config.limits.max_actors_per_batch > kMaxInt ||
      config.limits.max_in_flight_per_stream > kMaxInt ||
      config.limits.max_calls_per_connection > kMaxInt ||
      config.limits.max_versions > kMaxInt) {
    return absl::InvalidArgumentError(
        "batching, limits: want counts below 2147483648");
  }
  if (config.sessions.keep_steps > config.sessions.max_steps) {
    return absl::InvalidArgumentError(
        "sessions.keep_steps: want at most sessions.max_steps");
  }
  const absl::Status status = CheckJournal(config.journal);
  if (!status.ok()) return status;
  constexpr std::int64_t kMaxExecutors = 1024;
  if (config.executors.count > kMaxExecutors) {
    return absl::InvalidArgumentError("executors.count: want at most 1024");
  }
  if (config.executors.companions.value_or(0) > kMaxExecutors) {
    return absl::InvalidArgumentError(
        "executors.companions: want at most 1024");
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<ConfigKey> ConfigKeys() {
  std::vector<ConfigKey> keys;
  for (const ConfigKeyEntry& entry : ConfigTable()) {
    keys.push_back({entry.name(), entry.type, entry.default_text, entry.help});
  }
  return keys;
}

absl::StatusOr<Config> LoadConfig(const ConfigSources& sources) {
  Config config;
  absl::Status status;
  for (const ConfigKeyEntry& entry : ConfigTable()) {
    status.Update(SetValue(entry, entry.default_text, "default", &config));
  }
  if (status.ok() && !sources.file.empty()) {
    status = ApplyFile(sources.file, &config);
  }
  if (status.ok()) status = ApplyEnvironment(sources.environment, &config);
  if (status.ok()) status = ApplyFlags(sources.flags, &config);
  if (status.ok()) status = CheckTogether(config);
  if (!status.ok()) return status;
  return config;
}

ConfigSettings ProcessEnvironment() {
  ConfigSettings variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const absl::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals == absl::string_view::npos) continue;
    variables.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

}  // namespace stepd
