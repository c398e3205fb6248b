// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/commands/sessions.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "server/commands/command.h"
#include "server/service/session_client.h"

namespace stepd {
namespace {

using nlohmann::json;

struct SessionsOptions {
  SessionClientOptions client;
  std::string prefix;
  std::int64_t max_sessions = 1000;
  bool is_ended = false;
  bool is_json = false;
  std::string closed;  // the actor whose session to close; empty: list
};

const char* TierText(ServedFrom tier) {
  switch (tier) {
    case ServedFrom::kNew:
      return "new";
    case ServedFrom::kCache:
      return "cache";
    case ServedFrom::kLog:
      return "log";
    case ServedFrom::kJournal:
      return "journal";
  }
  return "";
}

json ToJson(const SessionInfo& info) {
  return {{"actor_id", info.actor_id},
          {"epoch", info.epoch},
          {"tier", TierText(info.tier)},
          {"model_version", info.model_version},
          {"context_version_min", info.context_version_min},
          {"context_version_max", info.context_version_max},
          {"steps", info.num_steps},
          {"context_steps", info.context_steps},
          {"context_tokens", info.context_tokens},
          {"cached_tokens", info.cached_tokens},
          {"blocks", info.num_blocks},
          {"shared_blocks", info.num_shared_blocks},
          {"log_bytes", info.log_bytes},
          {"executor", info.executor},
          {"busy", info.is_busy},
          {"idle_seconds", absl::ToDoubleSeconds(info.idle)}};
}

json ToJson(const EndedSession& ended) {
  return {{"actor_id", ended.actor_id},
          {"end", std::string(Name(ended.end))},
          {"epoch", ended.epoch},
          {"steps", ended.num_steps},
          {"time", absl::FormatTime(ended.time, absl::UTCTimeZone())}};
}

template <typename Items>
json ToJsonArray(const Items& items) {
  json array = json::array();
  for (const auto& item : items) array.push_back(ToJson(item));
  return array;
}

void PrintSessions(const SessionList& list) {
  constexpr char kRow[] = "%8s %8s %8s %8s %8s %8s  %s\n";
  absl::PrintF(kRow, "steps", "tokens", "blocks", "tier", "version", "idle",
               "actor");
  for (const SessionInfo& info : list.sessions) {
    const std::string idle =
        info.is_busy
            ? "busy"
            : absl::FormatDuration(absl::Trunc(info.idle, absl::Seconds(1)));
    absl::PrintF(kRow, absl::StrCat(info.num_steps),
                 absl::StrCat(info.context_tokens),
                 absl::StrCat(info.num_blocks), TierText(info.tier),
                 absl::StrCat(info.model_version), idle, info.actor_id);
  }
  absl::PrintF("%d of %d sessions\n", list.sessions.size(), list.num_sessions);
}

void PrintEnded(const SessionList& list) {
  constexpr char kRow[] = "%-20s %10s %8s  %s\n";
  absl::PrintF(kRow, "time", "end", "steps", "actor");
  for (const EndedSession& ended : list.ended) {
    absl::PrintF(
        kRow,
        absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", ended.time, absl::UTCTimeZone()),
        std::string(Name(ended.end)), absl::StrCat(ended.num_steps),
        ended.actor_id);
  }
}

void Print(const SessionList& list, const SessionsOptions& options) {
  if (options.is_json) {
    const json answer = {{"num_sessions", list.num_sessions},
                         {"sessions", ToJsonArray(list.sessions)},
                         {"ended", ToJsonArray(list.ended)}};
    absl::PrintF("%s\n", answer.dump(2));
  } else if (options.is_ended) {
    PrintEnded(list);
  } else {
    PrintSessions(list);
  }
}

int RunSessions(const SessionsOptions& options) {
  const auto client = SessionClient::Create(options.client);
  if (!client.ok()) return Fail(client.status(), kExitBadInput);
  if (!options.closed.empty()) {
    const absl::Status status = (*client)->Close(options.closed);
    return status.ok() ? kExitOk : Fail(status, kExitFailed);
  }
  const auto list = (*client)->List(options.prefix, options.max_sessions);
  if (!list.ok()) return Fail(list.status(), kExitFailed);
  Print(*list, options);
  return kExitOk;
}

void AddFlags(CLI::App* sessions, SessionsOptions* options) {
  SessionClientOptions& client = options->client;
  client.address = "localhost:50051";
  sessions->add_option("--address", client.address, "of the server")
      ->capture_default_str();
  sessions->add_option("--tls.ca", client.tls_ca,
                       "whose certificates to believe, PEM; empty: no TLS");
  sessions->add_option("--tls.cert", client.tls_cert, "ours, PEM");
  sessions->add_option("--tls.key", client.tls_key, "of --tls.cert, PEM");
  sessions->add_option("--prefix", options->prefix,
                       "Only actors whose ID begins so");
  sessions
      ->add_option("--max", options->max_sessions,
                   "At most so many an executor")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  sessions->add_flag("--ended", options->is_ended,
                     "The sessions that ended last, and how");
  sessions->add_flag("--json", options->is_json, "Print JSON");
}

}  // namespace

void AddSessionsCommand(CLI::App* app, int* exit_code) {
  auto options = std::make_shared<SessionsOptions>();
  CLI::App* sessions = app->add_subcommand(
      "sessions", "Show the sessions of a running server, or end one");
  sessions->require_subcommand(0, 1);
  AddFlags(sessions, options.get());
  sessions->add_subcommand("close", "End an actor's session")
      ->add_option("actor", options->closed, "Its ID")
      ->required();
  sessions->callback(
      [options, exit_code] { *exit_code = RunSessions(*options); });
}

}  // namespace stepd
