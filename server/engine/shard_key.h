// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Which actors belong together: those of one key live on one executor, and
// forks among them share their blocks.
//
// Thread safety: pure function.

#ifndef STEPD_SERVER_ENGINE_SHARD_KEY_H_
#define STEPD_SERVER_ENGINE_SHARD_KEY_H_

#include "absl/strings/string_view.h"

namespace stepd {

// What stands between the first `{` of an actor's ID and the next `}`, unless
// that is nothing; else the ID itself. So "{env-3}/a" and "{env-3}/b" belong
// to "env-3". (Redis Cluster's hash tags.)
inline absl::string_view ShardKey(absl::string_view actor_id) {
  const auto open = actor_id.find('{');
  if (open == absl::string_view::npos) return actor_id;
  const auto close = actor_id.find('}', open + 1);
  if (close == absl::string_view::npos || close == open + 1) return actor_id;
  return actor_id.substr(open + 1, close - open - 1);
}

}  // namespace stepd

#endif  // STEPD_SERVER_ENGINE_SHARD_KEY_H_
