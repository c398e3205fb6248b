// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/journal/redis_pool.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace stepd {
namespace {

constexpr MonotonicDuration kConnectTimeout = std::chrono::seconds(1);
constexpr MonotonicDuration kMinBackoff = std::chrono::milliseconds(20);
constexpr MonotonicDuration kMaxBackoff = std::chrono::seconds(1);

}  // namespace

RedisPool::RedisPool(Options options)
    : options_(std::move(options)), thread_([this] { Run(); }) {}

RedisPool::~RedisPool() {
  {
    MutexLock lock(&mu_);
    is_stopping_ = true;
  }
  is_wanted_.NotifyAll();
  thread_.join();
}

absl::StatusOr<std::unique_ptr<RedisConnection>> RedisPool::Take(
    MonotonicTime deadline) {
  MutexLock lock(&mu_);
  ++num_waiting_;
  is_wanted_.NotifyOne();
  bool is_in_time = true;
  while (idle_.empty() && error_.ok() && is_in_time) {
    is_in_time = has_changed_.WaitUntil(&mu_, deadline);
  }
  --num_waiting_;
  if (!idle_.empty()) {
    std::unique_ptr<RedisConnection> connection = std::move(idle_.back());
    idle_.pop_back();
    return connection;
  }
  if (error_.ok()) return absl::DeadlineExceededError("no connection in time");
  // A copy of its own: copies of a status share memory among threads.
  return absl::UnavailableError(std::string(error_.message()));
}

void RedisPool::Return(std::unique_ptr<RedisConnection> connection) {
  MutexLock lock(&mu_);
  idle_.push_back(std::move(connection));
  has_changed_.NotifyAll();
}

void RedisPool::Drop(std::unique_ptr<RedisConnection> connection) {
  connection.reset();
  MutexLock lock(&mu_);
  idle_.clear();
}

void RedisPool::Run() {
  pthread_setname_np(pthread_self(), "stepd-redis");
  std::minstd_rand random(std::random_device{}());
  MonotonicDuration backoff = kMinBackoff;
  mu_.Lock();
  while (!is_stopping_) {
    if (num_waiting_ <= idle_.size() && error_.ok()) {
      is_wanted_.Wait(&mu_);
      continue;
    }
    mu_.Unlock();
    auto connection = Connect();
    mu_.Lock();
    if (connection.ok()) {
      idle_.push_back(*std::move(connection));
      error_ = absl::OkStatus();
      backoff = kMinBackoff;
      has_changed_.NotifyAll();
      continue;
    }
    error_ = connection.status();
    has_changed_.NotifyAll();
    // Not all replicas at the same moment.
    const MonotonicTime next = std::chrono::steady_clock::now() + backoff / 2 +
                               backoff / 2 * (random() % 1000) / 1000;
    while (!is_stopping_ && is_wanted_.WaitUntil(&mu_, next)) {
    }
    backoff = std::min(2 * backoff, kMaxBackoff);
  }
  mu_.Unlock();
}

absl::StatusOr<std::unique_ptr<RedisConnection>> RedisPool::Connect() const {
  auto connection = RedisConnection::Open(options_.address);
  if (!connection.ok()) return connection.status();
  const MonotonicTime deadline =
      std::chrono::steady_clock::now() + kConnectTimeout;
  if (!options_.password.empty()) {
    const auto reply =
        (*connection)->Call({"AUTH", options_.password}, deadline);
    if (!reply.ok()) return reply.status();
  }
  const auto reply = (*connection)->Call({"PING"}, deadline);
  if (!reply.ok()) return reply.status();
  for (const std::string& script : options_.scripts) {
    const absl::Status status = (*connection)->LoadScript(script, deadline);
    if (!status.ok()) return status;
  }
  return connection;
}

}  // namespace stepd
