// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// `stepd sessions`: what a running server has of sessions; `stepd sessions
// close ACTOR` ends one.

#ifndef STEPD_SERVER_COMMANDS_SESSIONS_H_
#define STEPD_SERVER_COMMANDS_SESSIONS_H_

namespace CLI {
class App;
}

namespace stepd {

// Adds the subcommand to `app`.
//
// Exit codes: 0  done
//             1  the server cannot be reached, or refuses; says why
//             2  bad flags
void AddSessionsCommand(CLI::App* app, int* exit_code);

}  // namespace stepd

#endif  // STEPD_SERVER_COMMANDS_SESSIONS_H_
