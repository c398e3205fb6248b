// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/server/journal/redis_server.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/types/span.h"
#include "server/journal/redis_connection.h"

namespace stepd {
namespace {

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  std::abort();
}

// What was printed tells when it is ready.
void AwaitReady(int output) {
  FILE* lines = fdopen(output, "r");
  char line[1024];
  while (std::fgets(line, sizeof(line), lines) != nullptr) {
    if (absl::StrContains(line, "eady to accept connections")) {
      // Not closed: it goes on printing.
      return;
    }
  }
  Die("redis-server ended before it was ready");
}

}  // namespace

RedisServer::RedisServer(std::string folder, bool is_durable)
    : folder_(std::move(folder)),
      socket_(folder_ + "/redis.sock"),
      is_durable_(is_durable) {
  Start();
}

RedisServer::~RedisServer() { Stop(); }

void RedisServer::Start() {
  int output[2];
  if (pipe(output) != 0) Die("pipe");
  process_ = fork();
  if (process_ < 0) Die("fork");
  if (process_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(output[1], STDOUT_FILENO);
    close(output[0]);
    close(output[1]);
    execlp("redis-server", "redis-server", "--port", "0", "--unixsocket",
           socket_.c_str(), "--dir", folder_.c_str(), "--save", "",
           "--appendonly", is_durable_ ? "yes" : "no", "--appendfsync", "no",
           nullptr);
    Die("redis-server");
  }
  close(output[1]);
  AwaitReady(output[0]);
}

void RedisServer::Stop() {
  if (process_ == 0) return;
  kill(process_, SIGCONT);
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
  process_ = 0;
}

void RedisServer::Pause() {
  kill(process_, SIGSTOP);
  waitpid(process_, nullptr, WUNTRACED);
}

void RedisServer::Continue() { kill(process_, SIGCONT); }

std::vector<std::string> RedisServer::Run(
    std::initializer_list<absl::string_view> words) {
  RedisAddress address;
  address.host = socket_;
  auto connection = RedisConnection::Open(address);
  if (!connection.ok()) Die("cannot connect to redis-server");
  const auto reply =
      (*connection)
          ->Call(absl::MakeConstSpan(words.begin(), words.size()),
                 kInfiniteFuture);
  if (!reply.ok()) Die(reply.status().ToString().c_str());
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < (*reply)->elements; ++i) {
    texts.emplace_back((*reply)->element[i]->str, (*reply)->element[i]->len);
  }
  if ((*reply)->str != nullptr) texts.emplace_back((*reply)->str);
  return texts;
}

}  // namespace stepd
