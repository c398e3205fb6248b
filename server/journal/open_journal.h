// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The journal that the configuration asks for.

#ifndef STEPD_SERVER_JOURNAL_OPEN_JOURNAL_H_
#define STEPD_SERVER_JOURNAL_OPEN_JOURNAL_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/policy_spec.h"
#include "server/config/config.h"
#include "server/engine/journal.h"
#include "server/journal/journal_events.h"

namespace stepd {

// nullptr with `journal.kind: none`. `name` is the model's; `events` must
// outlive the journal.
// Errors: kInvalidArgument  a value that cannot be used
//         kUnavailable      the folder cannot be opened
//         kDataLoss         what is in the folder is damaged
// all of which name the key. A Redis server that is not there is no error yet.
absl::StatusOr<std::unique_ptr<Journal>> OpenJournal(
    const JournalConfig& config, const std::string& name,
    const PolicySpec& spec, JournalEvents* events);

}  // namespace stepd

#endif  // STEPD_SERVER_JOURNAL_OPEN_JOURNAL_H_
