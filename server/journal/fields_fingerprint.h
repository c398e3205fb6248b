// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Which policies can read each other's journals.
//
// Thread safety: pure function.

#ifndef STEPD_SERVER_JOURNAL_FIELDS_FINGERPRINT_H_
#define STEPD_SERVER_JOURNAL_FIELDS_FINGERPRINT_H_

#include <cstdint>

#include "model/policy_spec.h"

namespace stepd {

// Of all that the meaning of encoded steps, session inputs and replies rests
// on: the fields' names, types, shapes and bounds, the outputs and the number
// of actions. Not of the weights: other weights read the same log.
std::uint64_t FieldsFingerprint(const PolicySpec& spec);

}  // namespace stepd

#endif  // STEPD_SERVER_JOURNAL_FIELDS_FINGERPRINT_H_
