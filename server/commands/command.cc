// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/commands/command.h"

#include <cstdio>

namespace stepd {

int Fail(const absl::Status& status, int exit_code) {
  std::fprintf(stderr, "stepd: %s\n", std::string(status.message()).c_str());
  return exit_code;
}

}  // namespace stepd
