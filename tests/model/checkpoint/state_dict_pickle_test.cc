// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/state_dict_pickle.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/checkpoint/weights_files.h"

namespace stepd::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const std::string kProto = "\x80\x02";
const std::string kNewDict = PickleGlobal("collections", "OrderedDict") + ")R";

// A dict with this entry, around what a test wants to see refused.
std::string DictWith(const std::string& value) {
  return kProto + kNewDict + PickleString("w") + value + "s.";
}

TEST(StateDictPickle, ReadsTensors) {
  TensorPickle tensor;
  tensor.name = "layer.weight";
  tensor.storage = "BFloat16Storage";
  tensor.key = "7";
  tensor.offset = 5;
  const std::string pickle = PickleStateDict({tensor, {}});

  const auto tensors = ReadStateDictPickle(pickle);

  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_THAT(*tensors, SizeIs(2));
  const PickledTensor& first = tensors->front();
  EXPECT_EQ(first.name, "layer.weight");
  EXPECT_EQ(first.storage.dtype, DType::kBFloat16);
  EXPECT_EQ(first.storage.key, "7");
  EXPECT_EQ(first.storage.num_elements, 6);
  EXPECT_EQ(first.offset, 5);
  EXPECT_THAT(first.shape, ElementsAre(2, 3));
  EXPECT_THAT(first.strides, ElementsAre(3, 1));
}

TEST(StateDictPickle, ReadsScalars) {
  TensorPickle scalar;
  scalar.shape = {};
  scalar.strides = {};

  const auto tensors = ReadStateDictPickle(PickleStateDict({scalar}));

  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_THAT(tensors->front().shape, SizeIs(0));
}

TEST(StateDictPickle, ForgetsAttributes) {
  const std::string versions = "}" + PickleString("version") + "K\1s";
  const std::string metadata =
      kNewDict + "(" + PickleString("") + versions + "u";
  const std::string pickle = kProto + kNewDict + PickleString("w") +
                             PickleTensor({}) + "s}" +
                             PickleString("_metadata") + metadata + "sb.";

  const auto tensors = ReadStateDictPickle(pickle);

  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_THAT(*tensors, SizeIs(1));
}

TEST(StateDictPickle, RefusesThePickleCutAnywhere) {
  const std::string pickle = PickleStateDict({{}});

  for (std::size_t size = 0; size < pickle.size(); ++size) {
    EXPECT_FALSE(ReadStateDictPickle(pickle.substr(0, size)).ok())
        << "cut after " << size << " bytes";
  }
}

TEST(StateDictPickle, SurvivesEveryDamagedByte) {
  const std::string pickle = PickleStateDict({{}});

  for (std::size_t i = 0; i < pickle.size(); ++i) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string damaged = pickle;
      damaged[i] = static_cast<char>(byte);
      ReadStateDictPickle(damaged).IgnoreError();  // ASan watches
    }
  }
}

struct BadPickle {
  const char* name;
  std::string pickle;
  const char* error;
};

std::string Repeat(int count, const std::string& text) {
  std::string repeated;
  for (int i = 0; i < count; ++i) repeated += text;
  return repeated;
}

TensorPickle TensorOfManyDimensions() {
  TensorPickle tensor;
  tensor.shape.assign(1000, 1);
  tensor.strides.assign(1000, 1);
  return tensor;
}

class BadStateDictPickle : public ::testing::TestWithParam<BadPickle> {};

TEST_P(BadStateDictPickle, IsRefused) {
  const auto tensors = ReadStateDictPickle(GetParam().pickle);

  ASSERT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(tensors.status().message(), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Pickles, BadStateDictPickle,
    ::testing::ValuesIn(std::vector<BadPickle>{
        {"Empty", "", "ends without STOP"},
        {"NoProto", "}.", "does not begin with PROTO"},
        {"Protocol4", "\x80\x04}.", "not of protocol 2"},
        {"OsSystem",
         DictWith(PickleGlobal("os", "system") +
                  PickleTuple({PickleString("touch pwned")}) + "R"),
         "names os.system, which is refused"},
        {"PosixSystem", DictWith(PickleGlobal("posix", "system")),
         "names posix.system, which is refused"},
        {"BuiltinsEval", DictWith(PickleGlobal("builtins", "eval")),
         "names builtins.eval, which is refused"},
        {"OtherTorchFunction", DictWith(PickleGlobal("torch", "load")),
         "names torch.load, which is refused"},
        {"NameWithDots",
         DictWith(PickleGlobal("collections", "OrderedDict.fromkeys")),
         "which is refused"},
        {"Opcode_None", DictWith("N"), "opcode 0x4e"},
        {"Opcode_List", DictWith("]"), "opcode 0x5d"},
        {"Opcode_Inst", DictWith("(ios\nsystem\n"), "opcode 0x69"},
        {"Opcode_Obj", DictWith("(o"), "opcode 0x6f"},
        {"Opcode_StackGlobal", DictWith("\x93"), "opcode 0x93"},
        {"Opcode_NewObj", DictWith("\x81"), "opcode 0x81"},
        {"Opcode_Ext1", DictWith("\x82\x01"), "opcode 0x82"},
        {"Opcode_Long1", DictWith("\x8a\x01\x01"), "opcode 0x8a"},
        {"Opcode_PersId", DictWith("P0\n"), "opcode 0x50"},
        {"CallsAString", DictWith(PickleString("f") + ")R"),
         "calls what is no function"},
        {"CallsAStorageType",
         DictWith(PickleGlobal("torch", "FloatStorage") + ")R"),
         "calls what is no function"},
        {"CallsWithoutTuple",
         DictWith(PickleGlobal("collections", "OrderedDict") + "}R"),
         "calls without arguments"},
        {"DictWithArguments",
         DictWith(PickleGlobal("collections", "OrderedDict") + "K\1\x85R"),
         "calls OrderedDict with arguments"},
        {"TensorFromNothing",
         DictWith(PickleGlobal("torch._utils", "_rebuild_tensor_v2") + ")R"),
         "rebuilds a tensor from the wrong parts"},
        {"PersistentIdIsNoTuple", DictWith("K\1Q"), "is no storage"},
        {"PersistentIdIsShort",
         DictWith(PickleTuple({PickleString("storage")}) + "Q"),
         "is no storage"},
        {"ManyDimensions", PickleStateDict({TensorOfManyDimensions()}),
         "rebuilds a tensor from the wrong parts"},
        {"NameTwice", PickleStateDict({{}, {}}), "tensor 'w' twice"},
        {"EntryIsNoTensor", DictWith("K\1"), "entry 'w' of the state dict"},
        {"KeyIsNoString", kProto + kNewDict + "K\1" + PickleTensor({}) + "s.",
         "a key that is no string"},
        {"OddItems", kProto + kNewDict + "(" + PickleString("w") + "u.",
         "sets items of what is no dict"},
        {"ItemsOfAnInt", kProto + "K\1(u.", "sets items of what is no dict"},
        {"ItemsOfNothing", kProto + "(u.", "pops an empty stack"},
        {"NoMark", kProto + "u.", "needs a mark"},
        {"EmptyStackReduce", kProto + "R.", "pops an empty stack"},
        {"EmptyStackBuild", kProto + "b.", "pops an empty stack"},
        {"EmptyStackSetItem", kProto + "s.", "pops an empty stack"},
        {"EmptyStackPersId", kProto + "Q.", "pops an empty stack"},
        {"EmptyStackTuple", kProto + "\x87.", "pops an empty stack"},
        {"EmptyStackPut", kProto + std::string("q\0.", 3), "remembers nothing"},
        {"BuildsAnInt", kProto + "K\1}b.", "builds what is no dict"},
        {"GetOfNothing", kProto + std::string("h\0.", 3), "never remembered"},
        {"MemoGap", kProto + "}r\xff\xff\xff\xff.", "out of order"},
        {"MarkInTuple", kProto + "(\x85.", "puts a mark into a tuple"},
        {"TupleBomb", kProto + ")" + Repeat(1000000, "\x85") + ".",
         "nests tuples too deeply"},
        {"StackBomb", kProto + Repeat(100000, "("), "overflows the stack"},
        {"MemoBomb",
         kProto + PickleString("x") + std::string("q\0", 2) +
             Repeat(100000, std::string("h\0", 2)),
         "overflows the stack"},
        {"HugeString", kProto + "X\xff\xff\xff\xff" + "abc", "is truncated"},
        {"TwoResults", kProto + "}}.", "holds no state dict"},
        {"NoResult", kProto + ".", "holds no state dict"},
        {"AfterStop", kProto + "}.}", "goes on after STOP"},
    }),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace stepd::checkpoint
