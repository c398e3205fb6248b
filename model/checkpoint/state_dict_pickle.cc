// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/state_dict_pickle.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <set>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/checkpoint/byte_reader.h"

namespace stepd::checkpoint {
namespace {

// torch.save stays far below: it writes a dict in batches of 1000 entries,
// remembers about 8 objects per tensor and nests tuples once.
constexpr std::size_t kMaxStack = 1 << 16;
constexpr std::size_t kMaxMemo = 1 << 20;
constexpr std::size_t kMaxTensors = 1 << 18;
constexpr std::size_t kMaxDimensions = 16;
constexpr int kMaxTupleDepth = 4;

enum Opcode : std::uint8_t {
  kMark = '(',
  kStop = '.',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinUnicode = 'X',
  kBuild = 'b',
  kGlobal = 'c',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kSetItems = 'u',
  kEmptyDict = '}',
  kEmptyTuple = ')',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
};

struct StorageType {
  absl::string_view name;
  DType dtype;
};

constexpr StorageType kStorageTypes[] = {
    {"FloatStorage", DType::kFloat32}, {"BFloat16Storage", DType::kBFloat16},
    {"HalfStorage", DType::kFloat16},  {"DoubleStorage", DType::kFloat64},
    {"LongStorage", DType::kInt64},
};

struct Mark {};
struct OrderedDictClass {};
struct RebuildTensorFunction {};

// Keeps tensors only; of the other entries (torch.save adds the versions of
// the modules) it remembers one name, to refuse it in the state dict itself.
struct Dict {
  std::vector<PickledTensor> tensors;
  std::set<absl::string_view> names;
  std::string other_entry;
  bool has_other_entry = false;
};

struct Tuple;
using TensorPtr = std::shared_ptr<const PickledTensor>;
using TuplePtr = std::shared_ptr<const Tuple>;
using DictPtr = std::shared_ptr<Dict>;

// Cheap to copy, whatever it holds: the memo hands out copies. A dict never
// holds a dict or a tuple, so nothing can refer to itself.
using Value =
    std::variant<Mark, bool, std::int64_t, absl::string_view, OrderedDictClass,
                 RebuildTensorFunction, const StorageType*, PickledStorage,
                 TensorPtr, TuplePtr, DictPtr>;

struct Tuple {
  std::vector<Value> items;
  int depth = 1;
};

bool ToSizes(const Value& value, std::vector<std::int64_t>* sizes) {
  const auto* tuple = std::get_if<TuplePtr>(&value);
  if (tuple == nullptr || (*tuple)->items.size() > kMaxDimensions) return false;
  for (const Value& item : (*tuple)->items) {
    const auto* size = std::get_if<std::int64_t>(&item);
    if (size == nullptr) return false;
    sizes->push_back(*size);
  }
  return true;
}

class Machine {
 public:
  explicit Machine(absl::string_view pickle) : reader_(pickle) {}

  absl::StatusOr<std::vector<PickledTensor>> Run() {
    std::uint8_t opcode = 0;
    do {
      opcode_position_ = reader_.position();
      if (!reader_.Read(&opcode)) return Error("ends without STOP");
      if (opcode_position_ == 0 && opcode != kProto) {
        return Error("does not begin with PROTO");
      }
      if (absl::Status s = Execute(opcode); !s.ok()) return s;
      if (stack_.size() > kMaxStack) return Error("overflows the stack");
    } while (opcode != kStop);
    return TakeResult();
  }

 private:
  absl::Status Error(absl::string_view problem) const {
    return absl::InvalidArgumentError(
        absl::StrCat("pickle ", problem, " (byte ", opcode_position_, ")"));
  }

  absl::Status Execute(std::uint8_t opcode) {
    switch (opcode) {
      case kProto:
        return Proto();
      case kStop:
        return absl::OkStatus();
      case kMark:
        return Push(Mark{});
      case kNewTrue:
        return Push(true);
      case kNewFalse:
        return Push(false);
      case kBinInt:
        return PushInt<std::int32_t>();
      case kBinInt1:
        return PushInt<std::uint8_t>();
      case kBinInt2:
        return PushInt<std::uint16_t>();
      case kBinUnicode:
        return PushString();
      case kEmptyDict:
        return Push(std::make_shared<Dict>());
      case kEmptyTuple:
        return PushTuple(stack_.size());
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return PushTupleOfLast(opcode - kTuple1 + 1);
      case kTuple:
        return PushTupleFromMark();
      case kGlobal:
        return PushGlobal();
      case kBinPut:
        return Remember<std::uint8_t>();
      case kLongBinPut:
        return Remember<std::uint32_t>();
      case kBinGet:
        return Recall<std::uint8_t>();
      case kLongBinGet:
        return Recall<std::uint32_t>();
      case kBinPersId:
        return PushStorage();
      case kReduce:
        return Reduce();
      case kSetItem:
        return SetItems(stack_.size() < 2 ? 0 : stack_.size() - 2);
      case kSetItems:
        return SetItemsFromMark();
      case kBuild:
        return Build();
      default:
        return Error(
            absl::StrFormat("uses opcode 0x%02x, which is refused", opcode));
    }
  }

  absl::Status Proto() {
    std::uint8_t version = 0;
    if (opcode_position_ != 0 || !reader_.Read(&version) || version != 2) {
      return Error("is not of protocol 2");
    }
    return absl::OkStatus();
  }

  absl::Status Push(Value value) {
    stack_.push_back(std::move(value));
    return absl::OkStatus();
  }

  template <typename Integer>
  absl::Status PushInt() {
    Integer value = 0;
    if (!reader_.Read(&value)) return Error("is truncated");
    return Push(static_cast<std::int64_t>(value));
  }

  absl::Status PushString() {
    std::uint32_t size = 0;
    absl::string_view text;
    if (!reader_.Read(&size) || !reader_.ReadBytes(size, &text)) {
      return Error("is truncated");
    }
    return Push(text);
  }

  // Makes a tuple of everything from stack position `begin` on.
  absl::Status PushTuple(std::size_t begin) {
    auto tuple = std::make_shared<Tuple>();
    for (std::size_t i = begin; i < stack_.size(); ++i) {
      if (const auto* inner = std::get_if<TuplePtr>(&stack_[i])) {
        tuple->depth = std::max(tuple->depth, (*inner)->depth + 1);
      }
      if (std::holds_alternative<Mark>(stack_[i])) {
        return Error("puts a mark into a tuple");
      }
      tuple->items.push_back(std::move(stack_[i]));
    }
    if (tuple->depth > kMaxTupleDepth) return Error("nests tuples too deeply");
    stack_.resize(begin);
    return Push(TuplePtr(std::move(tuple)));
  }

  absl::Status PushTupleOfLast(std::size_t count) {
    if (stack_.size() < count) return Error("pops an empty stack");
    return PushTuple(stack_.size() - count);
  }

  absl::Status PushTupleFromMark() {
    std::size_t begin = 0;
    if (!PopMark(&begin)) return Error("needs a mark");
    return PushTuple(begin);
  }

  // Takes the last mark off the stack; what was above it begins at `begin`.
  bool PopMark(std::size_t* begin) {
    for (std::size_t i = stack_.size(); i-- > 0;) {
      if (std::holds_alternative<Mark>(stack_[i])) {
        stack_.erase(stack_.begin() + static_cast<std::ptrdiff_t>(i));
        *begin = i;
        return true;
      }
    }
    return false;
  }

  absl::Status PushGlobal() {
    absl::string_view module;
    absl::string_view name;
    if (!reader_.ReadLine(&module) || !reader_.ReadLine(&name)) {
      return Error("is truncated");
    }
    if (module == "collections" && name == "OrderedDict") {
      return Push(OrderedDictClass{});
    }
    if (module == "torch._utils" && name == "_rebuild_tensor_v2") {
      return Push(RebuildTensorFunction{});
    }
    for (const StorageType& type : kStorageTypes) {
      if (module == "torch" && name == type.name) return Push(&type);
    }
    return Error(absl::StrCat("names ", module.substr(0, 80), ".",
                              name.substr(0, 80), ", which is refused"));
  }

  // Memo entries are numbered in the order of their making.
  template <typename Index>
  absl::Status Remember() {
    Index index = 0;
    if (!reader_.Read(&index)) return Error("is truncated");
    if (stack_.empty() || std::holds_alternative<Mark>(stack_.back())) {
      return Error("remembers nothing");
    }
    if (index > memo_.size() || index >= kMaxMemo) {
      return Error("numbers its memo out of order");
    }
    if (index == memo_.size()) memo_.emplace_back();
    memo_[index] = stack_.back();
    return absl::OkStatus();
  }

  template <typename Index>
  absl::Status Recall() {
    Index index = 0;
    if (!reader_.Read(&index)) return Error("is truncated");
    if (index >= memo_.size()) return Error("recalls what it never remembered");
    return Push(memo_[index]);
  }

  // ('storage', type, key, location, number of elements)
  absl::Status PushStorage() {
    if (stack_.empty()) return Error("pops an empty stack");
    const auto* tuple = std::get_if<TuplePtr>(&stack_.back());
    if (tuple == nullptr || (*tuple)->items.size() != 5) {
      return Error("has a persistent id that is no storage");
    }
    const std::vector<Value>& items = (*tuple)->items;
    const auto* tag = std::get_if<absl::string_view>(&items[0]);
    const auto* type = std::get_if<const StorageType*>(&items[1]);
    const auto* key = std::get_if<absl::string_view>(&items[2]);
    const auto* location = std::get_if<absl::string_view>(&items[3]);
    const auto* num_elements = std::get_if<std::int64_t>(&items[4]);
    if (tag == nullptr || *tag != "storage" || type == nullptr ||
        key == nullptr || location == nullptr || num_elements == nullptr) {
      return Error("has a persistent id that is no storage");
    }
    const PickledStorage storage = {(*type)->dtype, (*type)->name, *key,
                                    *num_elements};
    stack_.back() = storage;
    return absl::OkStatus();
  }

  absl::Status Reduce() {
    if (stack_.size() < 2) return Error("pops an empty stack");
    const Value arguments = std::move(stack_.back());
    stack_.pop_back();
    const auto* tuple = std::get_if<TuplePtr>(&arguments);
    if (tuple == nullptr) return Error("calls without arguments");
    const std::vector<Value>& items = (*tuple)->items;
    if (std::holds_alternative<OrderedDictClass>(stack_.back())) {
      if (!items.empty()) return Error("calls OrderedDict with arguments");
      stack_.back() = std::make_shared<Dict>();
      return absl::OkStatus();
    }
    if (std::holds_alternative<RebuildTensorFunction>(stack_.back())) {
      return RebuildTensor(items);
    }
    return Error("calls what is no function");
  }

  // (storage, offset, size, stride, requires_grad, hooks)
  absl::Status RebuildTensor(const std::vector<Value>& items) {
    if (items.size() != 6)
      return Error("rebuilds a tensor from the wrong parts");
    auto tensor = std::make_shared<PickledTensor>();
    const auto* storage = std::get_if<PickledStorage>(&items[0]);
    const auto* offset = std::get_if<std::int64_t>(&items[1]);
    const bool is_valid = storage != nullptr && offset != nullptr &&
                          ToSizes(items[2], &tensor->shape) &&
                          ToSizes(items[3], &tensor->strides) &&
                          std::holds_alternative<bool>(items[4]) &&
                          std::holds_alternative<DictPtr>(items[5]);
    if (!is_valid) return Error("rebuilds a tensor from the wrong parts");
    tensor->storage = *storage;
    tensor->offset = *offset;
    stack_.back() = TensorPtr(std::move(tensor));
    return absl::OkStatus();
  }

  absl::Status SetItemsFromMark() {
    std::size_t begin = 0;
    if (!PopMark(&begin)) return Error("needs a mark");
    return SetItems(begin);
  }

  // Moves the keys and values from stack position `begin` on into the dict
  // below them.
  absl::Status SetItems(std::size_t begin) {
    if (begin == 0) return Error("pops an empty stack");
    const auto* dict = std::get_if<DictPtr>(&stack_[begin - 1]);
    if (dict == nullptr || (stack_.size() - begin) % 2 != 0) {
      return Error("sets items of what is no dict");
    }
    for (std::size_t i = begin; i < stack_.size(); i += 2) {
      const auto* key = std::get_if<absl::string_view>(&stack_[i]);
      if (key == nullptr) return Error("has a key that is no string");
      if (absl::Status s = Set(*key, stack_[i + 1], dict->get()); !s.ok()) {
        return s;
      }
    }
    stack_.resize(begin);
    return absl::OkStatus();
  }

  absl::Status Set(absl::string_view key, const Value& value,
                   Dict* dict) const {
    const auto* tensor = std::get_if<TensorPtr>(&value);
    if (tensor == nullptr) {
      dict->has_other_entry = true;
      dict->other_entry = std::string(key);
      return absl::OkStatus();
    }
    if (!dict->names.insert(key).second) {
      return Error(absl::StrCat("has tensor '", key, "' twice"));
    }
    if (dict->tensors.size() == kMaxTensors)
      return Error("has too many tensors");
    dict->tensors.push_back(**tensor);
    dict->tensors.back().name = std::string(key);
    return absl::OkStatus();
  }

  // Attributes of the state dict (its `_metadata`) are not needed.
  absl::Status Build() {
    if (stack_.size() < 2) return Error("pops an empty stack");
    if (!std::holds_alternative<DictPtr>(stack_.back()) ||
        !std::holds_alternative<DictPtr>(stack_[stack_.size() - 2])) {
      return Error("builds what is no dict");
    }
    stack_.pop_back();
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<PickledTensor>> TakeResult() {
    if (reader_.remaining() != 0) return Error("goes on after STOP");
    const auto* dict =
        stack_.size() == 1 ? std::get_if<DictPtr>(&stack_[0]) : nullptr;
    if (dict == nullptr) return Error("holds no state dict");
    if ((*dict)->has_other_entry) {
      return Error(absl::StrCat("entry '", (*dict)->other_entry,
                                "' of the state dict is no tensor"));
    }
    return std::move((*dict)->tensors);
  }

  ByteReader reader_;
  std::size_t opcode_position_ = 0;
  std::vector<Value> stack_;
  std::vector<Value> memo_;
};

}  // namespace

absl::StatusOr<std::vector<PickledTensor>> ReadStateDictPickle(
    absl::string_view pickle) {
  return Machine(pickle).Run();
}

}  // namespace stepd::checkpoint
