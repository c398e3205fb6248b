// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// `stepd serve`: the daemon, from its configuration to its exit code.

#ifndef STEPD_SERVER_COMMANDS_SERVE_H_
#define STEPD_SERVER_COMMANDS_SERVE_H_

#include "server/commands/command.h"

namespace CLI {
class App;
}

namespace stepd {

// Adds the subcommand to `app`.
//
// Exit codes: 0  drained after SIGTERM or SIGINT
//             1  it could not listen, or steps were left at drain_timeout
//             2  the configuration or the checkpoint is bad
void AddServeCommand(CLI::App* app, PolicyOpener open, int* exit_code);

}  // namespace stepd

#endif  // STEPD_SERVER_COMMANDS_SERVE_H_
