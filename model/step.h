// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The step as bytes, and the batch of steps that one forward takes.
//
// A step is stored encoded: the values of its fields one after another, in the
// order of the spec, little-endian and unpadded. The same bytes are queued,
// kept in the session's log, hashed, journalled and read by the embedders, so
// nothing is converted twice.
//
//   field, required, fixed shape:  elements
//   field, optional:               one byte (1 = present), then as above
//   field, ragged leading size:    uint32 count of leading entries, elements
//
// The inputs of a session are encoded in the same way, once.
//
// Thread safety: plain values and const functions; const access from anywhere.

#ifndef STEPD_MODEL_STEP_H_
#define STEPD_MODEL_STEP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/policy_spec.h"

namespace stepd {

// The value of one field in one step: borrowed bytes in the field's dtype,
// possibly unaligned.
struct FieldValue {
  const char* data = nullptr;  // nullptr: absent
  std::int64_t count = 0;      // elements

  bool is_present() const { return data != nullptr; }
};

// Element `i` of an unaligned array.
std::int64_t LoadInt64(const FieldValue& value, std::int64_t i = 0);
float LoadFloat(const FieldValue& value, std::int64_t i = 0);
bool LoadBool(const FieldValue& value, std::int64_t i = 0);

// Encodes and decodes the steps of one spec.
class StepLayout {
 public:
  explicit StepLayout(const std::vector<FieldSpec>& fields);

  int num_fields() const { return static_cast<int>(fields_.size()); }
  // Bytes of every encoded step, or -1 when steps differ in size.
  std::int64_t fixed_bytes() const { return fixed_bytes_; }

  // Appends one step to `out`.
  // REQUIRES: values.size() == num_fields(); every value fits its field.
  void Encode(absl::Span<const FieldValue> values, std::string* out) const;

  // Splits `step` into `values`, which borrow from it. False if `step` is not
  // an encoding of this layout (wrong size, or torn): nothing is read past it.
  // REQUIRES: values.size() == num_fields().
  bool Decode(absl::string_view step, absl::Span<FieldValue> values) const;

 private:
  struct Field {
    std::int64_t element_bytes;
    std::int64_t num_elements;  // of one leading entry when ragged
    bool is_optional;
    bool is_ragged;
  };
  std::vector<Field> fields_;
  std::int64_t fixed_bytes_ = 0;
};

// What a runner keeps ready of one session's inputs besides its blocks (e.g.
// the keys and values of an image): made by PolicyRunner::PrepareInputs(),
// immutable.
class PreparedInputs {
 public:
  virtual ~PreparedInputs() = default;
};

// A set of outputs of a spec: bit i = spec.outputs[i].
using OutputMask = std::uint64_t;

// The new steps of one session in a batch.
struct SessionSlice {
  // Encoded steps, oldest first; at least one.
  std::vector<absl::string_view> steps;
  // Tokens of the session that its blocks hold already: the position of the
  // first new token. 0: the slice begins with the spec's prefix tokens.
  std::int64_t num_cached_tokens = 0;
  // The session's block table: block ids in order, enough for the cached and
  // the new tokens.
  absl::Span<const std::int32_t> blocks;
  // How many of the last steps are answered (0 for a part of a prefill).
  int num_answered = 0;
  // The session's inputs, encoded; empty if the policy reads none, or if none
  // were given.
  absl::string_view session_inputs;
  // What PrepareInputs() gave for them.
  const PreparedInputs* prepared_inputs = nullptr;
  // No later batch reads what this one writes into the blocks: it may be left
  // out where nothing in this batch needs it.
  bool is_final = false;
};

// What one forward takes. Views borrow from the caller for its duration.
struct StepBatch {
  std::vector<SessionSlice> slices;
  // Outputs to fill in StepResult besides the scores.
  OutputMask outputs = 0;
};

// What one forward gives: one row per answered step, slices in order, each
// slice's steps oldest first. R rows.
struct StepResult {
  std::int64_t num_rows = 0;
  std::vector<float> scores;  // [R, num_actions]; empty without actions
  // By index of the spec's outputs; empty where not asked for.
  std::vector<std::vector<float>> outputs;  // each [R, elements]
};

}  // namespace stepd

#endif  // STEPD_MODEL_STEP_H_
