// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/engine/session_task.h"

#include <type_traits>

namespace stepd {

const std::string& ActorOf(const Task& task) {
  static const std::string everybody;
  return std::visit(
      [](const auto& t) -> const std::string& {
        if constexpr (std::is_same_v<decltype(t), const ListTask&>) {
          return everybody;
        } else {
          return t.actor_id;
        }
      },
      task);
}

}  // namespace stepd
