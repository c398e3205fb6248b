// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/verify/recorded_case.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "model/checkpoint/safetensors.h"
#include "model/checkpoint/stored_tensor.h"
#include "model/step.h"
#include "nlohmann/json.hpp"

namespace stepd {
namespace {

using checkpoint::StoredTensor;
using nlohmann::json;
using TensorsByName = std::map<std::string, StoredTensor>;

constexpr char kEpisodeFile[] = "episode.json";
constexpr char kInputsFile[] = "inputs.safetensors";
constexpr char kExpectedFile[] = "expected.safetensors";

// Of every token, where a reply answers steps.
constexpr char kTokenHidden[] = "token_hidden";

template <typename... Parts>
absl::Status Malformed(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::StatusOr<TensorsByName> ReadTensors(const std::string& path) {
  absl::StatusOr<std::vector<StoredTensor>> tensors =
      checkpoint::ReadSafetensors(path);
  if (!tensors.ok()) return tensors.status();
  TensorsByName by_name;
  for (StoredTensor& tensor : *tensors) {
    std::string name = tensor.name;
    by_name.emplace(std::move(name), std::move(tensor));
  }
  return by_name;
}

absl::StatusOr<json> ReadJson(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("no file ", path));
  json value = json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return Malformed(path, " is no JSON object");
  return value;
}

// A row of a float32 or int64 tensor [steps, ...].
std::int64_t RowElements(const StoredTensor& tensor) {
  std::int64_t elements = 1;
  for (std::size_t i = 1; i < tensor.shape.size(); ++i) {
    elements *= tensor.shape[i];
  }
  return elements;
}

absl::StatusOr<RecordedOutput> ReadOutput(const StoredTensor& tensor) {
  if (tensor.dtype != DType::kFloat32 || tensor.shape.empty()) {
    return Malformed(kExpectedFile, ": \"", tensor.name,
                     "\" is no float32 array of steps");
  }
  RecordedOutput output;
  output.num_steps = tensor.shape.front();
  output.num_elements = RowElements(tensor);
  output.values.resize(tensor.bytes.size() / sizeof(float));
  std::memcpy(output.values.data(), tensor.bytes.data(), tensor.bytes.size());
  return output;
}

// The integer itself, or the one that the field gives the name.
std::optional<std::int64_t> ToInteger(const json& value,
                                      const FieldSpec& field) {
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (!value.is_string()) return std::nullopt;
  const std::vector<std::string>& names = field.value_names;
  const auto found =
      std::find(names.begin(), names.end(), value.get<std::string>());
  if (found == names.end()) return std::nullopt;
  return found - names.begin();
}

// Appends the numbers of a (nested) JSON array as the field's dtype; false if
// there is something else in it.
bool AppendNumbers(const json& value, const FieldSpec& field,
                   std::string* bytes) {
  if (value.is_array()) {
    for (const json& element : value) {
      if (!AppendNumbers(element, field, bytes)) return false;
    }
    return true;
  }
  if (field.dtype == DType::kInt64) {
    const std::optional<std::int64_t> integer = ToInteger(value, field);
    if (!integer.has_value()) return false;
    const std::int64_t number = *integer;
    bytes->append(reinterpret_cast<const char*>(&number), sizeof(number));
    return true;
  }
  if (!value.is_number()) return false;
  const auto number = static_cast<float>(value.get<double>());
  bytes->append(reinterpret_cast<const char*>(&number), sizeof(number));
  return true;
}

// Where the fields of one actor's steps come from: JSON or tensors. A step's
// rows of a ragged field's tensor follow those of the step before.
class StepReader {
 public:
  StepReader(const PolicySpec& spec, const json& actor,
             const TensorsByName& inputs)
      : spec_(spec),
        layout_(spec.fields),
        name_(actor.value("name", "")),
        steps_(actor.contains("steps") ? &actor["steps"] : nullptr),
        inputs_(inputs),
        next_rows_(spec.fields.size(), 0) {}

  // The inputs of the actor's session; empty: the policy has none.
  absl::StatusOr<std::string> ReadSessionInputs() const {
    std::string encoded;
    if (spec_.session_fields.empty()) return encoded;
    std::vector<FieldValue> values(spec_.session_fields.size());
    for (std::size_t f = 0; f < values.size(); ++f) {
      const FieldSpec& field = spec_.session_fields[f];
      const auto found =
          inputs_.find(absl::StrCat(name_, "/session/", field.name));
      if (found == inputs_.end()) {
        if (!field.required) continue;
        return Malformed("actor ", name_, ": session input \"", field.name,
                         "\" is missing");
      }
      const StoredTensor& tensor = found->second;
      const auto count =
          static_cast<std::int64_t>(tensor.bytes.size()) / SizeOf(field.dtype);
      const bool fits = field.is_ragged() ? count % field.num_elements() == 0
                                          : count == field.num_elements();
      if (tensor.dtype != field.dtype || !fits) {
        return Malformed(kInputsFile, ": \"", tensor.name, "\" is no ",
                         Name(field.dtype), " array of the session input");
      }
      values[f] = {tensor.bytes.data(), count};
    }
    StepLayout(spec_.session_fields).Encode(values, &encoded);
    return encoded;
  }

  // Appends step `index` of the actor to `steps`.
  // REQUIRES: steps are read one after another.
  absl::Status Read(std::int64_t index, EncodedSteps* steps) {
    std::vector<std::string> storage(spec_.fields.size());
    std::vector<FieldValue> values(spec_.fields.size());
    for (std::size_t f = 0; f < spec_.fields.size(); ++f) {
      const FieldSpec& field = spec_.fields[f];
      absl::StatusOr<bool> is_present = ReadField(index, f, &storage[f]);
      if (!is_present.ok()) return is_present.status();
      if (!*is_present) continue;
      const auto count =
          static_cast<std::int64_t>(storage[f].size()) / SizeOf(field.dtype);
      const bool fits = field.is_ragged() ? count % field.num_elements() == 0
                                          : count == field.num_elements();
      if (!fits) {
        return Malformed("actor ", name_, " step ", index, ": field \"",
                         field.name, "\" has ", count, " elements");
      }
      values[f] = {storage[f].data(), count};
    }
    layout_.Encode(values, steps->bytes());
    steps->EndStep();
    return absl::OkStatus();
  }

 private:
  // False: the field is absent, which its spec allows.
  absl::StatusOr<bool> ReadField(std::int64_t index, std::size_t field_index,
                                 std::string* bytes) {
    const FieldSpec& field = spec_.fields[field_index];
    if (const json* value = FindJson(index, field.name)) {
      if (!AppendNumbers(*value, field, bytes)) {
        return Malformed("actor ", name_, " step ", index, ": field \"",
                         field.name, "\" is not ", Name(field.dtype));
      }
      return true;
    }
    const auto found = inputs_.find(absl::StrCat(name_, "/", field.name));
    if (found != inputs_.end()) {
      return ReadRows(found->second, index, field_index, bytes);
    }
    if (!field.required) return false;
    return Malformed("actor ", name_, " step ", index, ": field \"", field.name,
                     "\" is missing");
  }

  // The field's value in the episode's step; nullptr: it is not there.
  const json* FindJson(std::int64_t index, const std::string& field) const {
    const auto i = static_cast<std::size_t>(index);
    if (steps_ == nullptr || i >= steps_->size()) return nullptr;
    const auto found = (*steps_)[i].find(field);
    return found == (*steps_)[i].end() ? nullptr : &*found;
  }

  // Rows of the tensor that are the step's: one, or, of a ragged field, as many
  // as the field in the episode that is as long has entries.
  std::int64_t CountRows(std::int64_t index, const FieldSpec& field) const {
    if (!field.is_ragged()) return 1;
    for (const FieldSpec& other : spec_.fields) {
      if (other.same_length_as != field.name) continue;
      const json* value = FindJson(index, other.name);
      if (value != nullptr) return static_cast<std::int64_t>(value->size());
    }
    return 1;
  }

  absl::StatusOr<bool> ReadRows(const StoredTensor& tensor, std::int64_t index,
                                std::size_t field_index, std::string* bytes) {
    const FieldSpec& field = spec_.fields[field_index];
    const std::int64_t count = CountRows(index, field);
    const std::int64_t first = next_rows_[field_index];
    if (tensor.dtype != field.dtype || tensor.shape.empty() ||
        first + count > tensor.shape.front()) {
      return Malformed(kInputsFile, ": \"", tensor.name, "\" has no ",
                       Name(field.dtype), " rows for step ", index);
    }
    next_rows_[field_index] = first + count;
    const std::int64_t row = RowElements(tensor) * SizeOf(field.dtype);
    bytes->assign(tensor.bytes.data() + first * row,
                  static_cast<std::size_t>(count * row));
    return true;
  }

  const PolicySpec& spec_;
  StepLayout layout_;
  std::string name_;
  const json* steps_;
  const TensorsByName& inputs_;
  std::vector<std::int64_t> next_rows_;  // of each field's tensor
};

absl::Status ReadExpected(const TensorsByName& tensors, RecordedActor* actor) {
  const std::string prefix = absl::StrCat(actor->name, "/");
  for (const auto& [name, tensor] : tensors) {
    absl::string_view output = name;
    if (!absl::ConsumePrefix(&output, prefix) ||
        absl::StartsWith(output, "trace/") || output == kTokenHidden) {
      continue;
    }
    if (output == "greedy_action") {
      actor->greedy_actions.resize(tensor.bytes.size() / sizeof(std::int64_t));
      std::memcpy(actor->greedy_actions.data(), tensor.bytes.data(),
                  actor->greedy_actions.size() * sizeof(std::int64_t));
      continue;
    }
    absl::StatusOr<RecordedOutput> recorded = ReadOutput(tensor);
    if (!recorded.ok()) return recorded.status();
    float temperature = 0.0F;
    if (absl::ConsumePrefix(&output, "action_probs_t") &&
        absl::SimpleAtof(output, &temperature)) {
      actor->action_probs.emplace(temperature, *std::move(recorded));
    } else {
      actor->outputs.emplace(std::string(output), *std::move(recorded));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<EncodedSteps>> ReadCalls(const json& calls,
                                                    StepReader reader) {
  std::vector<EncodedSteps> read;
  std::int64_t index = 0;
  for (const json& call : calls) {
    EncodedSteps& steps = read.emplace_back();
    for (const std::int64_t end = index + call.get<std::int64_t>(); index < end;
         ++index) {
      absl::Status status = reader.Read(index, &steps);
      if (!status.ok()) return status;
    }
  }
  return read;
}

// Where only the scores were recorded, the greedy action is the best of them.
void InferGreedyActions(const PolicySpec& spec, RecordedActor* actor) {
  const auto scores = actor->outputs.find(spec.action_head);
  if (!actor->greedy_actions.empty() || scores == actor->outputs.end() ||
      spec.num_actions == 0 ||
      scores->second.num_elements != spec.num_actions) {
    return;
  }
  auto row = scores->second.values.begin();
  for (std::int64_t i = 0; i < scores->second.num_steps; ++i) {
    const auto end = row + spec.num_actions;
    actor->greedy_actions.push_back(std::max_element(row, end) - row);
    row = end;
  }
}

absl::StatusOr<RecordedActor> ReadActor(const json& episode_actor,
                                        const PolicySpec& spec,
                                        const TensorsByName& inputs,
                                        const TensorsByName& expected) {
  RecordedActor actor;
  actor.name = episode_actor.value("name", "");
  if (!episode_actor.contains("calls") || actor.name.empty()) {
    return Malformed(kEpisodeFile, ": an actor needs a name and calls");
  }
  const StepReader reader(spec, episode_actor, inputs);
  absl::StatusOr<std::string> session_inputs = reader.ReadSessionInputs();
  if (!session_inputs.ok()) return session_inputs.status();
  actor.session_inputs = *std::move(session_inputs);
  absl::StatusOr<std::vector<EncodedSteps>> calls =
      ReadCalls(episode_actor["calls"], reader);
  if (!calls.ok()) return calls.status();
  actor.calls = *std::move(calls);
  absl::Status status = ReadExpected(expected, &actor);
  if (!status.ok()) return status;
  InferGreedyActions(spec, &actor);
  return actor;
}

}  // namespace

absl::StatusOr<RecordedCase> ReadRecordedCase(const std::string& directory,
                                              const PolicySpec& spec) {
  const std::filesystem::path folder(directory);
  absl::StatusOr<json> episode = ReadJson(folder / kEpisodeFile);
  if (!episode.ok()) return episode.status();
  absl::StatusOr<TensorsByName> expected = ReadTensors(folder / kExpectedFile);
  if (!expected.ok()) return expected.status();
  TensorsByName inputs;
  if (std::filesystem::exists(folder / kInputsFile)) {
    absl::StatusOr<TensorsByName> tensors = ReadTensors(folder / kInputsFile);
    if (!tensors.ok()) return tensors.status();
    inputs = *std::move(tensors);
  }
  RecordedCase recorded;
  recorded.name = folder.filename();
  recorded.is_optional = episode->value("optional", false);
  const auto num_actions = episode->find("num_actions");
  if (num_actions != episode->end() && num_actions->is_number_integer()) {
    recorded.num_actions = num_actions->get<std::int64_t>();
  }
  const auto kv_policy = episode->find("kv_policy");
  if (kv_policy != episode->end() && kv_policy->is_object()) {
    ContextLimits context;
    context.max_steps = kv_policy->value("max_cache", context.max_steps);
    context.keep_steps = kv_policy->value("start_cache", context.keep_steps);
    recorded.context = context;
  }
  for (const json& actor : episode->value("actors", json::array())) {
    absl::StatusOr<RecordedActor> read =
        ReadActor(actor, spec, inputs, *expected);
    if (!read.ok()) return read.status();
    recorded.actors.push_back(*std::move(read));
  }
  if (recorded.actors.empty()) return Malformed(kEpisodeFile, ": no actors");
  return recorded;
}

}  // namespace stepd
