// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/journal/record.h"

#include <cstddef>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/common/error.h"
#include "server/journal/crc32c.h"

namespace stepd {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "numbers are copied as they are");

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kChecksumAt = 2;
constexpr std::size_t kSizeAt = 6;
constexpr std::size_t kFrameBytes = 10;

enum class RecordKind : std::uint8_t { kSteps = 'S', kInputs = 'I' };

// ---- Writing ----------------------------------------------------------------

class RecordWriter {
 public:
  RecordWriter(RecordKind kind, const RecordStamp& stamp) {
    bytes_.assign(kFrameBytes, '\0');
    bytes_[0] = static_cast<char>(kVersion);
    bytes_[1] = static_cast<char>(kind);
    AddFixed(stamp.fields);
    AddFixed(absl::ToUnixMillis(stamp.written));
  }

  template <typename T>
  void AddFixed(T value) {
    AddArray(&value, 1);
  }
  template <typename T>
  void AddArray(const T* values, std::size_t count) {
    bytes_.append(reinterpret_cast<const char*>(values), count * sizeof(T));
  }
  void AddVarint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
      bytes_.push_back(static_cast<char>(value | 0x80));
    }
    bytes_.push_back(static_cast<char>(value));
  }
  void AddText(absl::string_view text) {
    AddVarint(text.size());
    bytes_.append(text.data(), text.size());
  }

  std::string Finish() {
    const auto size = static_cast<std::uint32_t>(bytes_.size() - kFrameBytes);
    std::memcpy(&bytes_[kSizeAt], &size, sizeof(size));
    const absl::string_view bytes = bytes_;
    const std::uint32_t crc =
        Crc32c(bytes.substr(kSizeAt), Crc32c(bytes.substr(0, kChecksumAt)));
    std::memcpy(&bytes_[kChecksumAt], &crc, sizeof(crc));
    return std::move(bytes_);
  }

 private:
  std::string bytes_;
};

void AddReply(const StepReply& reply, RecordWriter* writer) {
  // A new member does not compile until it is stored here and read below, as
  // all are but is_followed, which is of one delivery.
  const auto& [num_answered, actions, log_probs, outputs, step_index, epoch,
               served_from, model_version, context_version_min,
               context_version_max, is_followed] = reply;
  writer->AddVarint(static_cast<std::uint64_t>(num_answered));
  writer->AddVarint(actions.size());
  writer->AddArray(actions.data(), actions.size());
  writer->AddVarint(log_probs.size());
  writer->AddArray(log_probs.data(), log_probs.size());
  writer->AddVarint(outputs.size());
  for (const std::vector<float>& output : outputs) {
    writer->AddVarint(output.size());
    writer->AddArray(output.data(), output.size());
  }
  writer->AddVarint(step_index);
  writer->AddVarint(epoch);
  writer->AddVarint(static_cast<std::uint64_t>(served_from));
  writer->AddVarint(model_version);
  writer->AddVarint(context_version_min);
  writer->AddVarint(context_version_max);
}

// ---- Reading ----------------------------------------------------------------

// Every read is checked; after a failed one is_good() is false for good.
class RecordReader {
 public:
  explicit RecordReader(absl::string_view bytes) : rest_(bytes) {}

  bool is_good() const { return is_good_; }
  bool is_at_end() const { return is_good_ && rest_.empty(); }
  absl::string_view rest() const { return rest_; }

  // Fails as a read does if what was read is not good.
  void Require(bool is_good) {
    if (is_good) return;
    is_good_ = false;
    rest_ = {};
  }

  absl::string_view TakeBytes(std::uint64_t count) {
    Require(count <= rest_.size());
    if (!is_good_) return {};
    const absl::string_view bytes = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return bytes;
  }
  template <typename T>
  T TakeFixed() {
    T value{};
    const absl::string_view bytes = TakeBytes(sizeof(T));
    if (is_good_) std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  std::uint64_t TakeVarint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = TakeFixed<std::uint8_t>();
      const std::uint64_t bits = byte & 0x7f;
      Require((bits << shift) >> shift == bits);
      value |= bits << shift;
      if (byte < 0x80) return value;
    }
    Require(false);
    return 0;
  }
  absl::string_view TakeText() { return TakeBytes(TakeVarint()); }
  template <typename T>
  std::vector<T> TakeArray() {
    const std::uint64_t count = TakeVarint();
    Require(count <= rest_.size() / sizeof(T));
    if (!is_good_) return {};
    std::vector<T> values(count);
    const absl::string_view bytes = TakeBytes(count * sizeof(T));
    if (count > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

 private:
  absl::string_view rest_;
  bool is_good_ = true;
};

StepReply TakeReply(RecordReader* reader) {
  StepReply reply;
  reply.num_answered = static_cast<std::int64_t>(reader->TakeVarint());
  reply.actions = reader->TakeArray<std::int64_t>();
  reply.log_probs = reader->TakeArray<float>();
  const std::uint64_t num_outputs = reader->TakeVarint();
  for (std::uint64_t i = 0; i < num_outputs && reader->is_good(); ++i) {
    reply.outputs.push_back(reader->TakeArray<float>());
  }
  reply.step_index = reader->TakeVarint();
  reply.epoch = reader->TakeVarint();
  const std::uint64_t served_from = reader->TakeVarint();
  reader->Require(served_from <=
                  static_cast<std::uint64_t>(ServedFrom::kJournal));
  reply.served_from = static_cast<ServedFrom>(served_from);
  reply.model_version = reader->TakeVarint();
  reply.context_version_min = reader->TakeVarint();
  reply.context_version_max = reader->TakeVarint();
  return reply;
}

struct StepsRecord {
  absl::string_view actor_id;
  std::uint64_t epoch = 0;
  std::uint64_t step_index = 0;
  std::uint64_t first_step = 0;
  std::vector<absl::string_view> steps;
  std::optional<AnsweredTask> answered;
};

StepsRecord TakeSteps(RecordReader* reader) {
  StepsRecord record;
  record.actor_id = reader->TakeText();
  record.epoch = reader->TakeVarint();
  record.step_index = reader->TakeVarint();
  record.first_step = reader->TakeVarint();
  const std::uint64_t num_steps = reader->TakeVarint();
  for (std::uint64_t i = 0; i < num_steps && reader->is_good(); ++i) {
    record.steps.push_back(reader->TakeText());
  }
  if (reader->TakeFixed<std::uint8_t>() != 0) {
    AnsweredTask& answered = record.answered.emplace();
    answered.step_index = reader->TakeVarint();
    answered.content_hash = reader->TakeFixed<std::uint64_t>();
    answered.reply = TakeReply(reader);
  }
  return record;
}

absl::Status Damaged(absl::string_view actor_id, absl::string_view what) {
  return Error(absl::StatusCode::kDataLoss, reason::kJournal,
               absl::StrCat("the journal's record of actor \"", actor_id,
                            "\" cannot be used: ", what));
}

struct RecordFrame {
  std::uint8_t kind = 0;
  std::uint64_t fields = 0;
  absl::Time written;
  absl::string_view payload;
};

absl::StatusOr<RecordFrame> ReadFrame(absl::string_view record) {
  if (record.size() < kFrameBytes) return absl::DataLossError("it is cut off");
  RecordReader reader(record);
  RecordFrame frame;
  const auto version = reader.TakeFixed<std::uint8_t>();
  frame.kind = reader.TakeFixed<std::uint8_t>();
  const auto stored_crc = reader.TakeFixed<std::uint32_t>();
  const auto size = reader.TakeFixed<std::uint32_t>();
  if (size != record.size() - kFrameBytes) {
    return absl::DataLossError("it is cut off, or has bytes left over");
  }
  const std::uint32_t crc =
      Crc32c(record.substr(kSizeAt), Crc32c(record.substr(0, kChecksumAt)));
  if (crc != stored_crc) return absl::DataLossError("its checksum is wrong");
  if (version != kVersion) {
    return absl::DataLossError(absl::StrCat("it is of format ", version,
                                            ", this server reads ", kVersion));
  }
  frame.fields = reader.TakeFixed<std::uint64_t>();
  frame.written = absl::FromUnixMillis(reader.TakeFixed<std::int64_t>());
  if (!reader.is_good()) return absl::DataLossError("it is cut off");
  frame.payload = reader.rest();
  return frame;
}

absl::StatusOr<absl::string_view> ReadPayload(absl::string_view record,
                                              RecordKind kind,
                                              std::uint64_t fields) {
  const auto frame = ReadFrame(record);
  if (!frame.ok()) return frame.status();
  if (frame->fields != fields) {
    return absl::DataLossError("it was written for a policy of other fields");
  }
  if (frame->kind != static_cast<std::uint8_t>(kind)) {
    return absl::DataLossError("it is of another kind");
  }
  return frame->payload;
}

absl::StatusOr<StepsRecord> DecodeSteps(absl::string_view bytes,
                                        std::uint64_t fields) {
  const auto payload = ReadPayload(bytes, RecordKind::kSteps, fields);
  if (!payload.ok()) return payload.status();
  RecordReader reader(*payload);
  StepsRecord record = TakeSteps(&reader);
  const bool is_possible =
      !record.steps.empty() &&
      record.step_index <=
          std::numeric_limits<std::uint64_t>::max() - record.steps.size() &&
      record.first_step < record.step_index + record.steps.size();
  if (!reader.is_at_end() || !is_possible) {
    return absl::DataLossError("it makes no sense");
  }
  return record;
}

// Puts the records of one session together, oldest first.
class SessionAssembly {
 public:
  SessionAssembly(std::uint64_t fields, absl::string_view actor_id)
      : fields_(fields) {
    session_.actor_id = std::string(actor_id);
  }

  absl::Status AddSteps(absl::string_view bytes) {
    auto record = DecodeSteps(bytes, fields_);
    if (!record.ok()) return record.status();
    if (record->actor_id != session_.actor_id) return OfAnotherActor();
    if (!records_.empty()) {
      const StepsRecord& last = records_.back();
      if (record->epoch != last.epoch ||
          record->step_index != last.step_index + last.steps.size() ||
          record->first_step < last.first_step) {
        return absl::DataLossError("steps are missing before it");
      }
    }
    records_.push_back(*std::move(record));
    return absl::OkStatus();
  }

  // After the steps.
  absl::Status AddInputs(absl::string_view bytes) {
    const auto payload = ReadPayload(bytes, RecordKind::kInputs, fields_);
    if (!payload.ok()) return payload.status();
    RecordReader reader(*payload);
    const absl::string_view actor_id = reader.TakeText();
    const std::uint64_t epoch = reader.TakeVarint();
    session_.session_inputs = std::string(reader.TakeText());
    if (!reader.is_at_end()) return absl::DataLossError("it makes no sense");
    if (actor_id != session_.actor_id) return OfAnotherActor();
    if (records_.empty() || epoch != records_.front().epoch) {
      return absl::DataLossError("its session's steps are missing");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<SessionRecord> Finish() {
    if (records_.empty()) return absl::DataLossError("it has no steps");
    const std::uint64_t first_step = records_.back().first_step;
    if (first_step < records_.front().step_index) {
      return absl::DataLossError("the first steps of its context are missing");
    }
    session_.epoch = records_.back().epoch;
    session_.first_step = first_step;
    for (const StepsRecord& record : records_) {
      for (std::size_t i = 0; i < record.steps.size(); ++i) {
        if (record.step_index + i < first_step) continue;
        session_.steps.Append(record.steps[i]);
      }
    }
    session_.answered = std::move(records_.back().answered);
    return std::move(session_);
  }

 private:
  static absl::Status OfAnotherActor() {
    return absl::DataLossError("it is another actor's");
  }

  const std::uint64_t fields_;
  SessionRecord session_;
  std::vector<StepsRecord> records_;
};

}  // namespace

std::string EncodeSteps(const RecordStamp& stamp, const JournalSteps& entry) {
  RecordWriter writer(RecordKind::kSteps, stamp);
  writer.AddText(entry.actor_id);
  writer.AddVarint(entry.epoch);
  writer.AddVarint(entry.step_index);
  writer.AddVarint(entry.first_step);
  writer.AddVarint(entry.steps->size());
  for (std::size_t i = 0; i < entry.steps->size(); ++i) {
    writer.AddText((*entry.steps)[i]);
  }
  writer.AddFixed(static_cast<std::uint8_t>(entry.answered != nullptr));
  if (entry.answered != nullptr) {
    writer.AddVarint(entry.answered->step_index);
    writer.AddFixed(entry.answered->content_hash);
    AddReply(entry.answered->reply, &writer);
  }
  return writer.Finish();
}

std::string EncodeInputs(const RecordStamp& stamp, const JournalSteps& entry) {
  RecordWriter writer(RecordKind::kInputs, stamp);
  writer.AddText(entry.actor_id);
  writer.AddVarint(entry.epoch);
  writer.AddText(entry.session_inputs);
  return writer.Finish();
}

absl::StatusOr<std::uint64_t> ReadFirstStep(std::uint64_t fields,
                                            absl::string_view steps_record) {
  const auto record = DecodeSteps(steps_record, fields);
  if (!record.ok()) return Damaged("?", record.status().message());
  return record->first_step;
}

absl::StatusOr<absl::Time> ReadTime(absl::string_view record) {
  const auto frame = ReadFrame(record);
  if (!frame.ok()) return Damaged("?", frame.status().message());
  return frame->written;
}

JournalSteps AsOneEntry(const SessionRecord& record) {
  JournalSteps entry;
  entry.actor_id = record.actor_id;
  entry.epoch = record.epoch;
  entry.step_index = record.first_step;
  entry.steps = &record.steps;
  entry.session_inputs = record.session_inputs;
  entry.first_step = record.first_step;
  entry.answered = record.answered ? &*record.answered : nullptr;
  return entry;
}

absl::StatusOr<SessionRecord> AssembleSession(std::uint64_t fields,
                                              const StoredSession& stored) {
  SessionAssembly assembly(fields, stored.actor_id);
  absl::Status status;
  for (const std::string& record : stored.steps) {
    if (status.ok()) status = assembly.AddSteps(record);
  }
  if (status.ok() && !stored.inputs.empty()) {
    status = assembly.AddInputs(stored.inputs);
  }
  if (!status.ok()) return Damaged(stored.actor_id, status.message());
  absl::StatusOr<SessionRecord> session = assembly.Finish();
  if (!session.ok()) {
    return Damaged(stored.actor_id, session.status().message());
  }
  return session;
}

}  // namespace stepd
