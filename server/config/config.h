// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The daemon's configuration. One table (config_keys.cc) holds every key with
// its type, default and help; the YAML file, the environment, the flags and
// --help are all read off it.
//
//   file         section:\n  key: value
//   environment  STEPD_SECTION_KEY=value
//   flag         --section.key value
//
// Flags win over the environment, that over the file, that over the defaults.
//
// Thread safety: plain values.

#ifndef STEPD_SERVER_CONFIG_CONFIG_H_
#define STEPD_SERVER_CONFIG_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace stepd {

struct ServerConfig {
  std::string address;
  std::string metrics_address;  // empty: none
  std::string port_file;
  std::string metrics_port_file;
  bool insecure = false;
  absl::Duration drain_timeout;
  std::int64_t max_message_bytes = 0;
};

struct TlsConfig {
  std::string cert;  // files; empty: no TLS
  std::string key;
  std::string client_ca;  // clients must show a certificate it signed
};

struct ModelConfig {
  std::string path;
  std::string name;
  std::int64_t version = 0;
  std::string device;
  std::string kernels;
  std::string dtype;
  bool deterministic = false;
  std::int64_t n_loops = 0;  // 0: as the checkpoint says
  std::string repository;    // empty: none
  absl::Duration poll_interval;
  std::string changes;  // auto | allow | refuse
};

struct BatchingConfig {
  std::int64_t max_batch_tokens = 0;
  std::int64_t max_batch_sessions = 0;
  std::optional<absl::Duration> max_wait;  // nullopt: auto
  std::int64_t max_queued = 0;
};

struct SessionsConfig {
  std::int64_t max_sessions = 0;
  std::int64_t max_steps = 0;
  std::string context_policy;  // error | rebuild | window
  std::int64_t keep_steps = 0;
  std::string forget_at;  // none | episode | task
  std::string kv_policy;  // pin | keep | recompute
  absl::Duration idle_timeout;
  std::int64_t cache_bytes = 0;
};

struct JournalConfig {
  std::string kind;           // none | rocksdb | redis
  std::string path;           // of rocksdb
  std::string address;        // of redis: HOST:PORT or unix:PATH
  std::string password_file;  // of redis; empty: no password
  std::string sync;           // of rocksdb: always | interval
  absl::Duration interval;
  std::string on_error;  // fail | degrade
  absl::Duration ttl;
};

struct ExecutorsConfig {
  std::int64_t count = 0;  // 0: as many as there are cores
  std::string affinity;    // none | core
  absl::Duration spin;
  std::optional<std::int64_t> companions;  // nullopt: auto
};

struct TrajectoriesConfig {
  std::string readers;  // auto | allow | refuse
  std::int64_t max_steps = 0;
  std::int64_t max_bytes = 0;
  absl::Duration linger;
};

struct LimitsConfig {
  std::int64_t max_steps_per_call = 0;
  std::int64_t max_actors_per_batch = 0;
  std::int64_t max_in_flight_per_stream = 0;
  std::int64_t max_calls_per_connection = 0;
  std::int64_t max_push_bytes = 0;
  std::int64_t max_versions = 0;
};

struct InputsConfig {
  std::string nan;
};

struct LogConfig {
  std::string level;
  std::string format;
};

struct Config {
  ServerConfig server;
  TlsConfig tls;
  ModelConfig model;
  BatchingConfig batching;
  SessionsConfig sessions;
  JournalConfig journal;
  ExecutorsConfig executors;
  TrajectoriesConfig trajectories;
  LimitsConfig limits;
  InputsConfig inputs;
  LogConfig log;
};

// One key, for --help, flags and docs.
struct ConfigKey {
  std::string name;  // "server.address"
  std::string type;  // "duration": shown to people
  std::string default_text;
  std::string help;
};
std::vector<ConfigKey> ConfigKeys();

// (name, value): of the environment, or of flags ("server.address").
using ConfigSettings = std::vector<std::pair<std::string, std::string>>;

// Where values come from besides the defaults.
struct ConfigSources {
  std::string file;            // empty: none
  ConfigSettings environment;  // all variables; only STEPD_... matter
  ConfigSettings flags;
};

// Errors: kInvalidArgument  an unknown key, a value of the wrong type or
//                           range, a contradiction; names the key and where
//                           it stands (file and line, variable or flag)
//         kNotFound         the file cannot be read
absl::StatusOr<Config> LoadConfig(const ConfigSources& sources);

// The variables of this process.
ConfigSettings ProcessEnvironment();

}  // namespace stepd

#endif  // STEPD_SERVER_CONFIG_CONFIG_H_
