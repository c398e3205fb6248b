// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/config/config_keys.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/config/config_value.h"

namespace stepd {
namespace {

using Set = std::function<absl::Status(absl::string_view, Config*)>;

// A setter of one member of one section, given how to parse it.
template <typename Section, typename T, typename Parse>
Set Into(Section Config::*section, T Section::*member, Parse parse) {
  return [section, member, parse](absl::string_view text, Config* config) {
    auto value = parse(text);
    if (!value.ok()) return value.status();
    (config->*section).*member = *std::move(value);
    return absl::OkStatus();
  };
}

absl::StatusOr<std::string> ParseText(absl::string_view text) {
  return std::string(text);
}

auto AtLeast(std::int64_t min) {
  return [min](absl::string_view text) { return ParseInteger(text, min); };
}

auto OneOf(std::vector<std::string> choices) {
  return [choices = std::move(choices)](
             absl::string_view text) -> absl::StatusOr<std::string> {
    if (std::find(choices.begin(), choices.end(), text) != choices.end()) {
      return std::string(text);
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "want one of ", absl::StrJoin(choices, ", "), ", got \"", text, "\""));
  };
}

absl::StatusOr<std::int64_t> ParseCount(absl::string_view text) {
  if (text == "auto") return std::int64_t{0};
  const auto count = ParseInteger(text, 1);
  if (count.ok()) return count;
  return absl::InvalidArgumentError(absl::StrCat(
      "want auto or an integer of at least 1, got \"", text, "\""));
}

absl::StatusOr<std::optional<std::int64_t>> ParseCompanions(
    absl::string_view text) {
  if (text == "auto") return std::nullopt;
  const auto count = ParseInteger(text, 0);
  if (count.ok()) return *count;
  return absl::InvalidArgumentError(absl::StrCat(
      "want auto or an integer of at least 0, got \"", text, "\""));
}

absl::StatusOr<absl::Duration> ParseFiniteDuration(absl::string_view text) {
  const auto duration = ParseDuration(text);
  if (duration.ok() && *duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError("want a finite duration, got \"none\"");
  }
  return duration;
}

absl::StatusOr<std::optional<absl::Duration>> ParseMaxWait(
    absl::string_view text) {
  if (text == "auto") return std::nullopt;
  const auto duration = ParseFiniteDuration(text);
  if (!duration.ok()) return duration.status();
  return *duration;
}

std::vector<ConfigKeyEntry> ServerKeys() {
  using S = ServerConfig;
  const auto section = &Config::server;
  return {
      {"server", "address", "address", "127.0.0.1:50051",
       "where gRPC listens: HOST:PORT (port 0: any free one) or unix:PATH",
       Into(section, &S::address, ParseText)},
      {"server", "metrics_address", "address", "127.0.0.1:9090",
       "where plain HTTP answers /metrics, /healthz, /readyz; empty: nowhere",
       Into(section, &S::metrics_address, ParseText)},
      {"server", "port_file", "path", "",
       "file to write the gRPC port to, once it is listened on",
       Into(section, &S::port_file, ParseText)},
      {"server", "metrics_port_file", "path", "",
       "file to write the HTTP port to, once it is listened on",
       Into(section, &S::metrics_port_file, ParseText)},
      {"server", "insecure", "bool", "false",
       "allow listening beyond this machine without TLS",
       Into(section, &S::insecure, ParseBool)},
      {"server", "drain_timeout", "duration", "30s",
       "how long SIGTERM waits for queued steps",
       Into(section, &S::drain_timeout, ParseFiniteDuration)},
      {"server", "max_message_bytes", "size", "16MiB",
       "largest request accepted",
       Into(section, &S::max_message_bytes, ParseSize)},
      {"tls", "cert", "path", "", "certificate chain, PEM; turns TLS on",
       Into(&Config::tls, &TlsConfig::cert, ParseText)},
      {"tls", "key", "path", "", "private key of tls.cert, PEM",
       Into(&Config::tls, &TlsConfig::key, ParseText)},
      {"tls", "client_ca", "path", "",
       "authorities, PEM: clients must show a certificate of theirs",
       Into(&Config::tls, &TlsConfig::client_ca, ParseText)},
  };
}

std::vector<ConfigKeyEntry> ModelKeys() {
  using M = ModelConfig;
  const auto section = &Config::model;
  return {
      {"model", "path", "path", "", "checkpoint directory (also --model)",
       Into(section, &M::path, ParseText)},
      {"model", "name", "text", "policy", "name in logs and metrics",
       Into(section, &M::name, ParseText)},
      {"model", "version", "integer", "1", "version that replies carry",
       Into(section, &M::version, AtLeast(1))},
      {"model", "device", "text", "auto", "cpu, cuda, cuda:N or auto",
       Into(section, &M::device, ParseText)},
      {"model", "kernels", "choice", "auto", "auto, native or reference",
       Into(section, &M::kernels, OneOf({"auto", "native", "reference"}))},
      {"model", "dtype", "choice", "float32",
       "float32, or bfloat16 for the large matrices, on a GPU for the cache "
       "too",
       Into(section, &M::dtype, OneOf({"float32", "bfloat16"}))},
      {"model", "deterministic", "boolean", "false",
       "on a GPU: a session's answers have the same bits in any batch, as they "
       "have on the CPU anyway",
       Into(section, &M::deterministic, ParseBool)},
      {"model", "n_loops", "auto or integer", "auto",
       "how often a looped stage runs; auto: as the checkpoint says",
       Into(section, &M::n_loops, ParseCount)},
      {"model", "repository", "path", "",
       "directory of NAME/VERSION/ checkpoints, NAME being model.name; empty: "
       "none",
       Into(section, &M::repository, ParseText)},
      {"model", "poll_interval", "duration", "10s",
       "how often to look there for a newer version; none: only when told",
       Into(section, &M::poll_interval, ParseDuration)},
      {"model", "changes", "choice", "auto",
       "whether clients may push weights and set labels: allow, refuse, or "
       "auto: if only this machine can connect or tls.client_ca is set",
       Into(section, &M::changes, OneOf({"auto", "allow", "refuse"}))},
  };
}

std::vector<ConfigKeyEntry> BatchingKeys() {
  using B = BatchingConfig;
  return {
      {"batching", "max_batch_tokens", "integer", "2048",
       "tokens in one forward pass; longer prefills run in chunks",
       Into(&Config::batching, &B::max_batch_tokens, AtLeast(1))},
      {"batching", "max_batch_sessions", "integer", "256",
       "sessions in one forward pass",
       Into(&Config::batching, &B::max_batch_sessions, AtLeast(1))},
      {"batching", "max_wait", "duration", "auto",
       "how long a free executor may wait for more steps; auto: for two "
       "batches' time, 4ms at most, if most actors come back in that time",
       Into(&Config::batching, &B::max_wait, ParseMaxWait)},
      {"batching", "max_queued", "integer", "4096",
       "calls waiting per executor; more are refused as OVERLOADED",
       Into(&Config::batching, &B::max_queued, AtLeast(1))},
  };
}

std::vector<ConfigKeyEntry> SessionsKeys() {
  using S = SessionsConfig;
  return {
      {"sessions", "max_sessions", "integer", "100000", "sessions in memory",
       Into(&Config::sessions, &S::max_sessions, AtLeast(1))},
      {"sessions", "max_steps", "integer", "4096",
       "steps of one session's context",
       Into(&Config::sessions, &S::max_steps, AtLeast(1))},
      {"sessions", "context_policy", "choice", "error",
       "of a full context; error: steps are refused as CONTEXT_FULL; rebuild: "
       "it begins again with the last keep_steps steps; window: with all that "
       "the policy's sliding windows see, so that a session has no end",
       Into(&Config::sessions, &S::context_policy,
            OneOf({"error", "rebuild", "window"}))},
      {"sessions", "keep_steps", "integer", "0",
       "steps that a rebuilt context begins with; 0: half of max_steps, or as "
       "few as the window allows",
       Into(&Config::sessions, &S::keep_steps, AtLeast(0))},
      {"sessions", "forget_at", "choice", "task",
       "boundary at which a session's context begins anew: none, episode "
       "(and task) or task",
       Into(&Config::sessions, &S::forget_at,
            OneOf({"none", "episode", "task"}))},
      {"sessions", "kv_policy", "choice", "pin",
       "of a session whose weights change; pin: it finishes its context under "
       "the old ones; keep: the new ones go on over the old keys; recompute: "
       "it is rebuilt",
       Into(&Config::sessions, &S::kv_policy,
            OneOf({"pin", "keep", "recompute"}))},
      {"sessions", "idle_timeout", "duration", "1h",
       "an idle session is forgotten after this; none: never",
       Into(&Config::sessions, &S::idle_timeout, ParseDuration)},
      {"sessions", "cache_bytes", "size", "1GiB", "memory for KV blocks",
       Into(&Config::sessions, &S::cache_bytes, ParseSize)},
  };
}

std::vector<ConfigKeyEntry> ExecutorsKeys() {
  return {
      {"executors", "count", "auto or integer", "auto",
       "threads that compute; auto: one per core (CPU), one (GPU)",
       Into(&Config::executors, &ExecutorsConfig::count, ParseCount)},
      {"executors", "affinity", "choice", "none",
       "none: the system places executors; core: each stays on a core of its "
       "own, its KV blocks in that core's memory",
       Into(&Config::executors, &ExecutorsConfig::affinity,
            OneOf({"none", "core"}))},
      {"executors", "spin", "duration", "400us",
       "an executor without work looks for it for so long before it sleeps, at "
       "most as long as a batch takes, and only while it comes sooner than "
       "that",
       Into(&Config::executors, &ExecutorsConfig::spin, ParseFiniteDuration)},
      {"executors", "companions", "auto or integer", "auto",
       "further threads that share the matrices of a small batch while it is "
       "the only one; auto: one if there is a second core",
       Into(&Config::executors, &ExecutorsConfig::companions, ParseCompanions)},
  };
}

std::vector<ConfigKeyEntry> JournalKeys() {
  using J = JournalConfig;
  const auto section = &Config::journal;
  return {
      {"journal", "kind", "choice", "none",
       "where sessions outlive the process: none, rocksdb (a folder of this "
       "machine) or redis (a server that replicas share)",
       Into(section, &J::kind, OneOf({"none", "rocksdb", "redis"}))},
      {"journal", "path", "path", "", "folder of the rocksdb journal",
       Into(section, &J::path, ParseText)},
      {"journal", "address", "address", "",
       "the redis server: HOST:PORT or unix:PATH",
       Into(section, &J::address, ParseText)},
      {"journal", "password_file", "path", "",
       "file whose first line is the redis password; empty: none",
       Into(section, &J::password_file, ParseText)},
      {"journal", "sync", "choice", "interval",
       "when rocksdb's log is synced to the disk; always: before every reply; "
       "interval: soon after. Either way it survives kill -9",
       Into(section, &J::sync, OneOf({"always", "interval"}))},
      {"journal", "interval", "duration", "100ms",
       "what a loss of power may cost with journal.sync: interval",
       Into(section, &J::interval, ParseFiniteDuration)},
      {"journal", "on_error", "choice", "fail",
       "what steps do that cannot be journalled; fail: they are refused as "
       "JOURNAL; degrade: they go on, and may be lost",
       Into(section, &J::on_error, OneOf({"fail", "degrade"}))},
      {"journal", "ttl", "duration", "24h",
       "a journalled session that nobody steps is dropped after this; none: "
       "never",
       Into(section, &J::ttl, ParseDuration)},
  };
}

std::vector<ConfigKeyEntry> TrajectoryKeys() {
  using T = TrajectoriesConfig;
  const auto section = &Config::trajectories;
  return {
      {"trajectories", "readers", "choice", "auto",
       "whether clients may read what all actors do: allow, refuse, or auto: "
       "if only this machine can connect or tls.client_ca is set",
       Into(section, &T::readers, OneOf({"auto", "allow", "refuse"}))},
      {"trajectories", "max_steps", "integer", "65536",
       "finished steps that are held for readers, while there are any",
       Into(section, &T::max_steps, AtLeast(1))},
      {"trajectories", "max_bytes", "size", "64MiB", "memory for them",
       Into(section, &T::max_bytes, ParseSize)},
      {"trajectories", "linger", "duration", "1m",
       "how long steps go on being held when the last reader has left",
       Into(section, &T::linger, ParseFiniteDuration)},
  };
}

std::vector<ConfigKeyEntry> EdgeKeys() {
  using L = LimitsConfig;
  const auto limits = &Config::limits;
  return {
      {"limits", "max_steps_per_call", "integer", "1024", "steps in one Step",
       Into(limits, &L::max_steps_per_call, AtLeast(1))},
      {"limits", "max_actors_per_batch", "integer", "1024",
       "actors in one StepBatch, requests in one message of a StepStream",
       Into(limits, &L::max_actors_per_batch, AtLeast(1))},
      {"limits", "max_in_flight_per_stream", "integer", "256",
       "unanswered requests of one StepStream; more wait unread",
       Into(limits, &L::max_in_flight_per_stream, AtLeast(1))},
      {"limits", "max_calls_per_connection", "integer", "1024",
       "calls at a time on one connection; more wait in the client",
       Into(limits, &L::max_calls_per_connection, AtLeast(1))},
      {"limits", "max_push_bytes", "size", "8GiB",
       "largest weights file that clients may push",
       Into(limits, &L::max_push_bytes, ParseSize)},
      {"limits", "max_versions", "integer", "4",
       "versions of the weights in memory at a time",
       Into(limits, &L::max_versions, AtLeast(2))},
      {"inputs", "nan", "choice", "refuse",
       "refuse or pass NaN and infinities in real inputs",
       Into(&Config::inputs, &InputsConfig::nan, OneOf({"refuse", "pass"}))},
      {"log", "level", "choice", "info", "debug, info, warning or error",
       Into(&Config::log, &LogConfig::level,
            OneOf({"debug", "info", "warning", "error"}))},
      {"log", "format", "choice", "text", "text or json",
       Into(&Config::log, &LogConfig::format, OneOf({"text", "json"}))},
  };
}

std::vector<ConfigKeyEntry> AllKeys() {
  std::vector<ConfigKeyEntry> all;
  for (auto part :
       {ServerKeys(), ModelKeys(), BatchingKeys(), SessionsKeys(),
        ExecutorsKeys(), JournalKeys(), TrajectoryKeys(), EdgeKeys()}) {
    std::move(part.begin(), part.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace

std::string ConfigKeyEntry::name() const {
  return absl::StrCat(section, ".", key);
}

std::string ConfigKeyEntry::variable() const {
  return absl::AsciiStrToUpper(absl::StrCat("STEPD_", section, "_", key));
}

const std::vector<ConfigKeyEntry>& ConfigTable() {
  static const auto* const table = new std::vector<ConfigKeyEntry>(AllKeys());
  return *table;
}

}  // namespace stepd
