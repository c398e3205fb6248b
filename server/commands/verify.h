// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// `stepd verify CASE_DIR`: does the engine compute what the policy's original
// implementation recorded?

#ifndef STEPD_SERVER_COMMANDS_VERIFY_H_
#define STEPD_SERVER_COMMANDS_VERIFY_H_

#include "server/commands/command.h"

namespace CLI {
class App;
}

namespace stepd {

// Adds the subcommand to `app`. It prints one JSON line per output and one
// with the verdict.
//
// Exit codes: 0  every output is within the tolerance, every greedy action
//                agrees; or the case is optional and its checkpoint is refused
//             1  beyond the tolerance, or a step failed
//             2  the case or its checkpoint is bad
void AddVerifyCommand(CLI::App* app, PolicyLoader load_policy, int* exit_code);

}  // namespace stepd

#endif  // STEPD_SERVER_COMMANDS_VERIFY_H_
