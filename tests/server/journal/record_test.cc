// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/journal/record.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/common/error.h"
#include "server/journal/crc32c.h"

namespace stepd {
namespace {

constexpr std::uint64_t kFields = 0x1234567890abcdef;

RecordStamp Stamp() {
  RecordStamp stamp;
  stamp.fields = kFields;
  stamp.written = absl::FromUnixMillis(1700000000123);
  return stamp;
}

EncodedSteps StepsOf(const std::vector<std::string>& texts) {
  EncodedSteps steps;
  for (const std::string& text : texts) steps.Append(text);
  return steps;
}

float FloatOfBits(std::uint32_t bits) {
  float value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

std::uint32_t BitsOf(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

AnsweredTask SomeAnswer() {
  AnsweredTask answered;
  answered.step_index = 5;
  answered.content_hash = 0xfedcba9876543210;
  answered.reply.num_answered = 2;
  answered.reply.actions = {3, -1};
  answered.reply.log_probs = {-0.5F, FloatOfBits(0x7fc00123)};
  answered.reply.outputs = {{}, {1.0F, FloatOfBits(1)}};
  answered.reply.step_index = 7;
  answered.reply.epoch = 8;
  answered.reply.served_from = ServedFrom::kLog;
  answered.reply.model_version = 7;
  answered.reply.context_version_min = 5;
  answered.reply.context_version_max = 300;
  return answered;
}

struct Owned {
  EncodedSteps steps;
  AnsweredTask answered;
  JournalSteps entry;
};

// Steps 5 and 6 of a session whose context begins at 4.
std::unique_ptr<Owned> SomeEntry() {
  auto owned = std::make_unique<Owned>();
  owned->steps = StepsOf({"", std::string("\0five six", 9)});
  owned->answered = SomeAnswer();
  owned->entry.actor_id = "actor";
  owned->entry.epoch = std::numeric_limits<std::uint64_t>::max();
  owned->entry.step_index = 5;
  owned->entry.first_step = 4;
  owned->entry.steps = &owned->steps;
  owned->entry.answered = &owned->answered;
  return owned;
}

std::string StepsRecord(std::uint64_t step_index, std::uint64_t first_step,
                        const std::vector<std::string>& texts,
                        std::uint64_t epoch = 1) {
  const EncodedSteps steps = StepsOf(texts);
  JournalSteps entry;
  entry.actor_id = "actor";
  entry.epoch = epoch;
  entry.step_index = step_index;
  entry.first_step = first_step;
  entry.steps = &steps;
  return EncodeSteps(Stamp(), entry);
}

std::string InputsRecord(const std::string& inputs, std::uint64_t epoch = 1) {
  JournalSteps entry;
  entry.actor_id = "actor";
  entry.epoch = epoch;
  entry.session_inputs = inputs;
  return EncodeInputs(Stamp(), entry);
}

StoredSession Stored(std::vector<std::string> steps, std::string inputs = "") {
  StoredSession stored;
  stored.actor_id = "actor";
  stored.inputs = std::move(inputs);
  stored.steps = std::move(steps);
  return stored;
}

std::vector<std::string> Texts(const EncodedSteps& steps) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < steps.size(); ++i) texts.emplace_back(steps[i]);
  return texts;
}

// The message, if the session is refused as it should be.
std::string Refusal(const StoredSession& stored) {
  const auto session = AssembleSession(kFields, stored);
  if (session.ok()) return "accepted";
  EXPECT_EQ(session.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReasonOf(session.status()), reason::kJournal);
  return std::string(session.status().message());
}

TEST(Crc32c, GivesTheStandardsValues) {
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aa);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43);
  EXPECT_EQ(Crc32c("6789", Crc32c("12345")), Crc32c("123456789"));
}

TEST(Record, KeepsEveryBitOfAnEntry) {
  const std::unique_ptr<Owned> owned = SomeEntry();
  const std::string before =
      StepsRecord(4, 4, {"four"}, std::numeric_limits<std::uint64_t>::max());

  const auto session = AssembleSession(
      kFields, Stored({before, EncodeSteps(Stamp(), owned->entry)}));

  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->actor_id, "actor");
  EXPECT_EQ(session->epoch, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(session->first_step, 4U);
  EXPECT_EQ(
      Texts(session->steps),
      (std::vector<std::string>{"four", "", std::string("\0five six", 9)}));
  ASSERT_TRUE(session->answered.has_value());
  const AnsweredTask want = SomeAnswer();
  EXPECT_EQ(session->answered->step_index, want.step_index);
  EXPECT_EQ(session->answered->content_hash, want.content_hash);
  const StepReply& reply = session->answered->reply;
  EXPECT_EQ(reply.num_answered, want.reply.num_answered);
  EXPECT_EQ(reply.actions, want.reply.actions);
  EXPECT_EQ(reply.step_index, want.reply.step_index);
  EXPECT_EQ(reply.epoch, want.reply.epoch);
  EXPECT_EQ(reply.served_from, want.reply.served_from);
  EXPECT_EQ(reply.model_version, want.reply.model_version);
  EXPECT_EQ(reply.context_version_min, want.reply.context_version_min);
  EXPECT_EQ(reply.context_version_max, want.reply.context_version_max);
  ASSERT_EQ(reply.log_probs.size(), 2U);
  EXPECT_EQ(BitsOf(reply.log_probs[1]), 0x7fc00123);
  ASSERT_EQ(reply.outputs.size(), 2U);
  EXPECT_TRUE(reply.outputs[0].empty());
  ASSERT_EQ(reply.outputs[1].size(), 2U);
  EXPECT_EQ(BitsOf(reply.outputs[1][1]), 1U);
}

TEST(Record, TellsItsContextAndTimeAlone) {
  const std::string record = StepsRecord(5, 3, {"five"});

  EXPECT_EQ(*ReadFirstStep(kFields, record), 3U);
  EXPECT_EQ(*ReadTime(record), Stamp().written);
  EXPECT_FALSE(ReadFirstStep(kFields, InputsRecord("image")).ok());
  EXPECT_FALSE(ReadFirstStep(kFields + 1, record).ok());
  EXPECT_FALSE(ReadTime(record.substr(0, 20)).ok());
}

TEST(Record, ForgetsStepsBeforeTheContextEvenInTheMiddleOfARecord) {
  const auto session = AssembleSession(
      kFields,
      Stored({StepsRecord(0, 0, {"0", "1", "2"}), StepsRecord(3, 2, {"3"})},
             InputsRecord("image")));

  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->first_step, 2U);
  EXPECT_EQ(session->num_steps(), 4U);
  EXPECT_EQ(Texts(session->steps), (std::vector<std::string>{"2", "3"}));
  EXPECT_EQ(session->session_inputs, "image");
}

TEST(Record, VoidsTheAnswerBeforeATaskWithoutAStepIndex) {
  const std::unique_ptr<Owned> owned = SomeEntry();
  owned->entry.first_step = 5;
  owned->entry.epoch = 1;

  const auto session =
      AssembleSession(kFields, Stored({EncodeSteps(Stamp(), owned->entry),
                                       StepsRecord(7, 5, {"seven"})}));

  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_FALSE(session->answered.has_value());
}

TEST(Record, TakesAWholeSessionAsOneEntry) {
  SessionRecord record;
  record.actor_id = "actor";
  record.epoch = 9;
  record.session_inputs = "mask";
  record.first_step = 100;
  record.steps = StepsOf({"a", "b"});
  record.answered = SomeAnswer();

  const JournalSteps entry = AsOneEntry(record);
  const auto session = AssembleSession(
      kFields,
      Stored({EncodeSteps(Stamp(), entry)}, EncodeInputs(Stamp(), entry)));

  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->epoch, 9U);
  EXPECT_EQ(session->session_inputs, "mask");
  EXPECT_EQ(session->first_step, 100U);
  EXPECT_EQ(Texts(session->steps), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(session->answered->content_hash, SomeAnswer().content_hash);
}

TEST(Record, RefusesEveryFlippedByteAndBit) {
  const std::unique_ptr<Owned> owned = SomeEntry();
  owned->entry.first_step = 5;
  const std::string record = EncodeSteps(Stamp(), owned->entry);
  ASSERT_TRUE(AssembleSession(kFields, Stored({record})).ok());
  for (std::size_t at = 0; at < record.size(); ++at) {
    for (int flip = 1; flip < 256; ++flip) {
      std::string flipped = record;
      flipped[at] = static_cast<char>(flipped[at] ^ flip);
      EXPECT_NE(Refusal(Stored({flipped})), "accepted") << at << " " << flip;
    }
  }
}

TEST(Record, RefusesWhatIsTornOrHasBytesLeftOver) {
  const std::string steps = StepsRecord(0, 0, {"zero", "one"});
  const std::string inputs = InputsRecord("image");
  for (std::size_t size = 0; size < steps.size(); ++size) {
    EXPECT_NE(Refusal(Stored({steps.substr(0, size)})), "accepted") << size;
  }
  for (std::size_t size = 1; size < inputs.size(); ++size) {
    EXPECT_NE(Refusal(Stored({steps}, inputs.substr(0, size))), "accepted");
  }
  EXPECT_NE(Refusal(Stored({steps + '\0'})), "accepted");
  EXPECT_NE(Refusal(Stored({steps}, inputs + '\0')), "accepted");
}

// Replaces the checksum by that of the bytes as they are.
std::string Resealed(std::string record) {
  const absl::string_view bytes = record;
  const std::uint32_t crc = Crc32c(bytes.substr(6), Crc32c(bytes.substr(0, 2)));
  std::memcpy(&record[2], &crc, sizeof(crc));
  return record;
}

// Whoever can write to the journal can also compute a checksum.
TEST(Record, ReadsForgedRecordsWithoutReadingPastTheirEnd) {
  const std::unique_ptr<Owned> owned = SomeEntry();
  owned->entry.first_step = 5;
  const std::string record = EncodeSteps(Stamp(), owned->entry);
  int num_refused = 0;
  for (std::size_t at = 10; at < record.size(); ++at) {
    for (int flip = 1; flip < 256; ++flip) {
      std::string forged = record;
      forged[at] = static_cast<char>(forged[at] ^ flip);
      if (Refusal(Stored({Resealed(forged)})) != "accepted") ++num_refused;
    }
  }
  EXPECT_GT(num_refused, 0);
}

TEST(Record, SaysWhenANewerServerWroteIt) {
  std::string record = StepsRecord(0, 0, {"zero"});
  record[0] = 2;

  EXPECT_TRUE(absl::StrContains(Refusal(Stored({Resealed(record)})),
                                "format 2, this server reads 1"));
}

TEST(Record, SaysWhenItWasWrittenForOtherFields) {
  const auto session =
      AssembleSession(kFields + 1, Stored({StepsRecord(0, 0, {"zero"})}));

  EXPECT_TRUE(absl::StrContains(session.status().message(), "other fields"));
}

struct Refused {
  std::string name;
  std::vector<std::string> steps;
  std::string inputs;
  std::string because;
};

class RefusedSession : public testing::TestWithParam<Refused> {};

TEST_P(RefusedSession, IsNeverServed) {
  const Refused& refused = GetParam();

  EXPECT_TRUE(absl::StrContains(Refusal(Stored(refused.steps, refused.inputs)),
                                refused.because))
      << Refusal(Stored(refused.steps, refused.inputs));
}

INSTANTIATE_TEST_SUITE_P(
    Record, RefusedSession,
    testing::Values(
        Refused{"NoSteps", {}, "", "no steps"},
        Refused{"AGap",
                {StepsRecord(0, 0, {"0"}), StepsRecord(2, 0, {"2"})},
                "",
                "steps are missing"},
        Refused{"AnOverlap",
                {StepsRecord(0, 0, {"0", "1"}), StepsRecord(1, 0, {"1"})},
                "",
                "steps are missing"},
        Refused{"NoBeginning",
                {StepsRecord(3, 2, {"3"})},
                "",
                "first steps of its context are missing"},
        Refused{"TwoEpochs",
                {StepsRecord(0, 0, {"0"}), StepsRecord(1, 0, {"1"}, 2)},
                "",
                "steps are missing"},
        Refused{"AContextThatBeginsAfterItsEnd",
                {StepsRecord(0, 7, {"0"})},
                "",
                "makes no sense"},
        Refused{
            "StepsThatWrapAround",
            {StepsRecord(std::numeric_limits<std::uint64_t>::max(), 0, {"0"})},
            "",
            "makes no sense"},
        Refused{
            "ARecordOfNothing", {StepsRecord(0, 0, {})}, "", "makes no sense"},
        Refused{"InputsAsSteps", {InputsRecord("i")}, "", "another kind"},
        Refused{"StepsAsInputs",
                {StepsRecord(0, 0, {"0"})},
                StepsRecord(0, 0, {"0"}),
                "another kind"},
        Refused{"InputsOfAnotherEpoch",
                {StepsRecord(0, 0, {"0"})},
                InputsRecord("i", 2),
                "steps are missing"}),
    [](const auto& row) { return row.param.name; });

TEST(Record, RefusesAnotherActorsRecord) {
  StoredSession stored = Stored({StepsRecord(0, 0, {"zero"})});
  stored.actor_id = "somebody else";

  EXPECT_TRUE(absl::StrContains(Refusal(stored), "another actor's"));
}

}  // namespace
}  // namespace stepd
