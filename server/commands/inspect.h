// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// `stepd inspect DIR`: what a checkpoint is and what serving it costs, or why
// it is refused.

#ifndef STEPD_SERVER_COMMANDS_INSPECT_H_
#define STEPD_SERVER_COMMANDS_INSPECT_H_

#include "server/commands/command.h"

namespace CLI {
class App;
}

namespace stepd {

// Adds the subcommand to `app`. It loads the policy as `serve` does, so that
// it refuses what `serve` refuses.
//
// Exit codes: 0  it can be served
//             2  it is refused; says the file and the key or tensor, and why
void AddInspectCommand(CLI::App* app, PolicyLoader load_policy, int* exit_code);

}  // namespace stepd

#endif  // STEPD_SERVER_COMMANDS_INSPECT_H_
