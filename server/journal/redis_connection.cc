// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/journal/redis_connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace stepd {

absl::StatusOr<RedisAddress> ParseRedisAddress(absl::string_view text) {
  RedisAddress address;
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "unix:") && !rest.empty()) {
    address.host = std::string(rest);
    return address;
  }
  const std::size_t colon = text.rfind(':');
  if (colon != absl::string_view::npos && colon > 0 &&
      absl::SimpleAtoi(text.substr(colon + 1), &address.port) &&
      address.port > 0 && address.port < 65536) {
    absl::string_view host = text.substr(0, colon);
    if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
    address.host = std::string(host);
    return address;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("want HOST:PORT or unix:PATH, got \"", text, "\""));
}

absl::StatusOr<std::unique_ptr<RedisConnection>> RedisConnection::Open(
    const RedisAddress& address) {
  ContextPtr context(
      address.port == 0
          ? redisConnectUnixNonBlock(address.host.c_str())
          : redisConnectNonBlock(address.host.c_str(), address.port));
  if (context == nullptr) return absl::UnavailableError("out of memory");
  std::unique_ptr<RedisConnection> connection(
      new RedisConnection(std::move(context)));
  if (connection->context_->err != 0) return connection->Lost();
  return connection;
}

absl::StatusOr<RedisReply> RedisConnection::Call(
    absl::Span<const absl::string_view> words, MonotonicTime deadline) {
  std::vector<const char*> data;
  std::vector<std::size_t> sizes;
  for (const absl::string_view word : words) {
    data.push_back(word.data());
    sizes.push_back(word.size());
  }
  char* command = nullptr;
  const int size = redisFormatCommandArgv(
      &command, static_cast<int>(words.size()), data.data(), sizes.data());
  if (size < 0) return absl::UnavailableError("out of memory");
  const absl::Status sent = Send(
      absl::string_view(command, static_cast<std::size_t>(size)), deadline);
  redisFreeCommand(command);
  if (!sent.ok()) return sent;
  redisContext* context = context_.get();
  void* reply = nullptr;
  while (true) {
    if (redisGetReplyFromReader(context, &reply) != REDIS_OK) return Lost();
    if (reply != nullptr) break;
    const absl::Status status = WaitFor(POLLIN, deadline);
    if (!status.ok()) return status;
    if (redisBufferRead(context) != REDIS_OK) return Lost();
  }
  RedisReply owned(static_cast<redisReply*>(reply));
  if (owned->type == REDIS_REPLY_ERROR) {
    return absl::FailedPreconditionError(
        absl::string_view(owned->str, owned->len));
  }
  return owned;
}

// As hiredis does, but without a signal where the connection is closed.
absl::Status RedisConnection::Send(absl::string_view bytes,
                                   MonotonicTime deadline) const {
  while (!bytes.empty()) {
    const absl::Status status = WaitFor(POLLOUT, deadline);
    if (!status.ok()) return status;
    const ssize_t count =
        send(context_->fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno != EAGAIN && errno != EINTR) {
      return absl::UnavailableError(std::strerror(errno));
    }
  }
  return absl::OkStatus();
}

absl::Status RedisConnection::LoadScript(absl::string_view script,
                                         MonotonicTime deadline) {
  const auto reply = Call({"SCRIPT", "LOAD", script}, deadline);
  if (!reply.ok()) return reply.status();
  script_ids_.emplace_back((*reply)->str, (*reply)->len);
  return absl::OkStatus();
}

absl::Status RedisConnection::Lost() const {
  // The buffer's text of a system error is not always filled in.
  return absl::UnavailableError(
      context_->err == REDIS_ERR_IO ? std::strerror(errno) : context_->errstr);
}

absl::Status RedisConnection::WaitFor(short events,
                                      MonotonicTime deadline) const {
  pollfd wanted{};
  wanted.fd = context_->fd;
  wanted.events = events;
  while (true) {
    const MonotonicTime now = std::chrono::steady_clock::now();
    if (now >= deadline) {
      return absl::DeadlineExceededError("no answer in time");
    }
    // In pieces: kInfiniteFuture is no time that a kernel knows.
    const auto rest =
        std::min<MonotonicDuration>(deadline - now, std::chrono::seconds(1));
    timespec timeout{};
    timeout.tv_sec = std::chrono::floor<std::chrono::seconds>(rest).count();
    timeout.tv_nsec = (rest % std::chrono::seconds(1)).count();
    const int num_ready = ppoll(&wanted, 1, &timeout, nullptr);
    if (num_ready > 0) return absl::OkStatus();
    if (num_ready < 0 && errno != EINTR) {
      return absl::UnavailableError(std::strerror(errno));
    }
  }
}

}  // namespace stepd
