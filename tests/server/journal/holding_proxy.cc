// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/server/journal/holding_proxy.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/string_view.h"

namespace stepd {
namespace {

void Check(bool is_good, const char* what) {
  if (is_good) return;
  std::perror(what);
  std::abort();
}

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  return address;
}

void SendAll(int socket, absl::string_view bytes) {
  while (!bytes.empty()) {
    const auto count = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return;  // it hung up
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

}  // namespace

HoldingProxy::HoldingProxy(std::string path, std::string server)
    : server_(std::move(server)) {
  listening_ = socket(AF_UNIX, SOCK_STREAM, 0);
  const sockaddr_un address = AddressOf(path);
  Check(bind(listening_, reinterpret_cast<const sockaddr*>(&address),
             sizeof(address)) == 0 &&
            listen(listening_, 16) == 0 && pipe(wake_) == 0,
        "proxy");
  thread_ = std::thread([this] { Run(); });
}

HoldingProxy::~HoldingProxy() {
  {
    MutexLock lock(&mu_);
    is_stopping_ = true;
  }
  Check(write(wake_[1], "x", 1) == 1, "proxy");
  thread_.join();
  for (const Connection& connection : connections_) {
    close(connection.client);
    close(connection.server);
  }
  close(listening_);
  close(wake_[0]);
  close(wake_[1]);
}

void HoldingProxy::Hold() {
  MutexLock lock(&mu_);
  for (Connection& connection : connections_) connection.is_held = true;
}

void HoldingProxy::AwaitHeld() {
  MutexLock lock(&mu_);
  while (true) {
    for (const Connection& connection : connections_) {
      if (!connection.held.empty()) return;
    }
    has_changed_.Wait(&mu_);
  }
}

void HoldingProxy::Release() {
  MutexLock lock(&mu_);
  int num_wanted = num_answers_;
  for (Connection& connection : connections_) {
    if (!connection.is_held || connection.held.empty()) continue;
    SendAll(connection.server, connection.held);
    connection.held.clear();
    ++num_wanted;
  }
  while (num_answers_ < num_wanted) has_changed_.Wait(&mu_);
}

void HoldingProxy::Run() {
  while (true) {
    std::vector<pollfd> polled;
    {
      MutexLock lock(&mu_);
      if (is_stopping_) return;
      polled.push_back({wake_[0], POLLIN, 0});
      polled.push_back({listening_, POLLIN, 0});
      for (const Connection& connection : connections_) {
        polled.push_back({connection.client, POLLIN, 0});
        polled.push_back({connection.server, POLLIN, 0});
      }
    }
    Check(poll(polled.data(), polled.size(), -1) > 0, "proxy");
    MutexLock lock(&mu_);
    for (std::size_t i = 2; i < polled.size(); ++i) {
      if (polled[i].revents == 0) continue;
      Connection* connection = &connections_[(i - 2) / 2];
      i % 2 == 0 ? FromClient(connection) : FromServer(connection);
    }
    if (polled[1].revents != 0) Accept();
    has_changed_.NotifyAll();
  }
}

void HoldingProxy::Accept() {
  Connection connection;
  connection.client = accept(listening_, nullptr, nullptr);
  connection.server = socket(AF_UNIX, SOCK_STREAM, 0);
  const sockaddr_un address = AddressOf(server_);
  Check(connection.client >= 0 &&
            connect(connection.server,
                    reinterpret_cast<const sockaddr*>(&address),
                    sizeof(address)) == 0,
        "proxy");
  connections_.push_back(connection);
}

void HoldingProxy::FromClient(Connection* connection) {
  char bytes[65536];
  const auto count = read(connection->client, bytes, sizeof(bytes));
  if (count <= 0) {
    close(connection->client);
    connection->client = -1;
  } else if (connection->is_held) {
    connection->held.append(bytes, static_cast<std::size_t>(count));
  } else {
    SendAll(connection->server,
            absl::string_view(bytes, static_cast<std::size_t>(count)));
  }
}

void HoldingProxy::FromServer(Connection* connection) {
  char bytes[65536];
  const auto count = read(connection->server, bytes, sizeof(bytes));
  if (count <= 0) {
    close(connection->server);
    connection->server = -1;
    return;
  }
  if (connection->is_held) ++num_answers_;
  if (connection->client >= 0) {
    SendAll(connection->client,
            absl::string_view(bytes, static_cast<std::size_t>(count)));
  }
}

}  // namespace stepd
