// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What a journal stores: records as bytes, and the session that they make up.
//
// A record holds the steps of one task with its reply, or the inputs of a
// session. The first ten bytes are the same in every version of the format:
//
//   uint8   version of the format
//   uint8   kind: steps or session inputs
//   uint32  CRC-32C of the two bytes before and of everything after
//   uint32  size of everything after
//
// There follow the fingerprint of the fields and the time of writing, then
// varints (seven bits at a time, low ones first), texts and real numbers as
// their bits. Fixed numbers are little-endian.
//
// Readers take bytes that nobody vouches for: what is torn, flipped, left over,
// of another actor or of another format is refused.
//
// Thread safety: pure functions and plain values.

#ifndef STEPD_SERVER_JOURNAL_RECORD_H_
#define STEPD_SERVER_JOURNAL_RECORD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/engine/journal.h"
#include "server/engine/session_record.h"

namespace stepd {

// What all records of a journal are written with.
struct RecordStamp {
  std::uint64_t fields = 0;  // FieldsFingerprint() of the policy
  absl::Time written;        // to the millisecond
};

// The entry without its session inputs.
std::string EncodeSteps(const RecordStamp& stamp, const JournalSteps& entry);
// Its session inputs alone.
std::string EncodeInputs(const RecordStamp& stamp, const JournalSteps& entry);

// The whole session as one entry, which borrows from it.
JournalSteps AsOneEntry(const SessionRecord& record);

// The first step of the context after the record's task.
// Errors: as AssembleSession()
absl::StatusOr<std::uint64_t> ReadFirstStep(std::uint64_t fields,
                                            absl::string_view steps_record);

// When the record was written, for whatever fields.
// Errors: kDataLoss  JOURNAL: it is damaged, or of a newer format
absl::StatusOr<absl::Time> ReadTime(absl::string_view record);

// All that a journal has of one session.
struct StoredSession {
  std::string actor_id;
  std::string inputs;              // record of its inputs; empty: none
  std::vector<std::string> steps;  // records in the order of their steps
};

// Errors: kDataLoss  JOURNAL: a record is damaged, of another actor, of a newer
//                    format or written for other fields; a step of the context
//                    is missing. Says which.
absl::StatusOr<SessionRecord> AssembleSession(std::uint64_t fields,
                                              const StoredSession& stored);

}  // namespace stepd

#endif  // STEPD_SERVER_JOURNAL_RECORD_H_
