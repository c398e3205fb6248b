// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/journal/fields_fingerprint.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <vector>

namespace stepd {
namespace {

PolicySpec SomeSpec() {
  PolicySpec spec;
  FieldSpec& action = spec.fields.emplace_back();
  action.name = "action";
  action.dtype = DType::kInt64;
  action.min = 0;
  action.max = 5;
  FieldSpec& image = spec.session_fields.emplace_back();
  image.name = "image";
  image.shape = {-1, 3};
  spec.outputs.emplace_back().name = "sp";
  spec.num_actions = 6;
  return spec;
}

TEST(FieldsFingerprint, ChangesWithEverythingThatRecordsDependOn) {
  const std::vector<std::function<void(PolicySpec*)>> changes = {
      [](PolicySpec*) {},
      [](PolicySpec* s) { s->fields[0].name = "actions"; },
      [](PolicySpec* s) { s->fields[0].dtype = DType::kFloat32; },
      [](PolicySpec* s) { s->fields[0].shape = {1}; },
      [](PolicySpec* s) { s->fields[0].min = 1; },
      [](PolicySpec* s) { s->fields[0].max = 6; },
      [](PolicySpec* s) { s->fields[0].max.reset(); },
      [](PolicySpec* s) { s->fields[0].required = false; },
      [](PolicySpec* s) { s->fields.push_back(s->fields[0]); },
      [](PolicySpec* s) {
        s->session_fields[0].shape = {-1, 4};
      },
      [](PolicySpec* s) { s->session_fields[0].same_length_as = "action"; },
      [](PolicySpec* s) { std::swap(s->fields, s->session_fields); },
      [](PolicySpec* s) { s->outputs[0].name = "q"; },
      [](PolicySpec* s) { s->outputs[0].shape = {2}; },
      [](PolicySpec* s) { s->num_actions = 5; },
  };
  std::set<std::uint64_t> fingerprints;
  for (const auto& change : changes) {
    PolicySpec spec = SomeSpec();
    change(&spec);
    fingerprints.insert(FieldsFingerprint(spec));
  }

  EXPECT_EQ(fingerprints.size(), changes.size());
}

TEST(FieldsFingerprint, StaysWithOtherWeights) {
  PolicySpec spec = SomeSpec();
  spec.num_parameters = 7;
  spec.summary = "trained longer";
  spec.device = "cuda:0";

  EXPECT_EQ(FieldsFingerprint(spec), FieldsFingerprint(SomeSpec()));
}

}  // namespace
}  // namespace stepd
