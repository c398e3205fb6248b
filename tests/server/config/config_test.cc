// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace stepd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Writes `text` to a file of its own.
std::string WriteFile(const std::string& text) {
  static int count = 0;
  const std::string path =
      absl::StrCat(std::getenv("TEST_TMPDIR"), "/config", count++, ".yaml");
  std::ofstream(path) << text;
  return path;
}

std::string MessageOf(const ConfigSources& sources) {
  const auto config = LoadConfig(sources);
  EXPECT_FALSE(config.ok());
  return std::string(config.status().message());
}

TEST(Config, HasDefaults) {
  const auto config = LoadConfig({});

  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->server.address, "127.0.0.1:50051");
  EXPECT_EQ(config->server.metrics_address, "127.0.0.1:9090");
  EXPECT_EQ(config->server.drain_timeout, absl::Seconds(30));
  EXPECT_FALSE(config->server.insecure);
  EXPECT_EQ(config->model.version, 1);
  EXPECT_EQ(config->executors.count, 0);
  EXPECT_EQ(config->executors.affinity, "none");
  EXPECT_EQ(config->executors.spin, absl::Microseconds(400));
  EXPECT_EQ(config->executors.companions, std::nullopt);
  EXPECT_EQ(config->inputs.nan, "refuse");
}

TEST(Config, ReadsAFile) {
  const std::string file = WriteFile(R"(# comment
server:
  address: 127.0.0.1:7000
  insecure: true
  drain_timeout: 1.5s
model:
  path: "/models/a b"
  version: 3
batching:
  max_wait: 500us
sessions:
  cache_bytes: 512MiB
  idle_timeout: none
executors:
  count: 4
  affinity: core
  spin: 300us
  companions: 0
log:
)");

  const auto config = LoadConfig({file, {}, {}});

  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->server.address, "127.0.0.1:7000");
  EXPECT_TRUE(config->server.insecure);
  EXPECT_EQ(config->server.drain_timeout, absl::Milliseconds(1500));
  EXPECT_EQ(config->model.path, "/models/a b");
  EXPECT_EQ(config->model.version, 3);
  EXPECT_EQ(config->batching.max_wait, absl::Microseconds(500));
  EXPECT_EQ(config->sessions.cache_bytes, 512 << 20);
  EXPECT_EQ(config->sessions.idle_timeout, absl::InfiniteDuration());
  EXPECT_EQ(config->executors.count, 4);
  EXPECT_EQ(config->executors.affinity, "core");
  EXPECT_EQ(config->executors.spin, absl::Microseconds(300));
  EXPECT_EQ(config->executors.companions, 0);
}

TEST(Config, TakesAnEmptyFile) {
  EXPECT_TRUE(LoadConfig({WriteFile(""), {}, {}}).ok());
}

TEST(Config, LetsFlagsWinOverEnvironmentOverFileOverDefault) {
  ConfigSources sources;
  sources.file =
      WriteFile("model:\n  name: file\n  device: file\n  path: file\n");
  sources.environment = {{"STEPD_MODEL_NAME", "environment"},
                         {"STEPD_MODEL_DEVICE", "environment"}};
  sources.flags = {{"model.name", "flag"}};

  const auto config = LoadConfig(sources);

  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.name, "flag");
  EXPECT_EQ(config->model.device, "environment");
  EXPECT_EQ(config->model.path, "file");
  EXPECT_EQ(config->model.kernels, "auto");
}

TEST(Config, LetsTheLastFlagWin) {
  const auto config =
      LoadConfig({"", {}, {{"model.name", "a"}, {"model.name", "b"}}});

  EXPECT_EQ(config->model.name, "b");
}

TEST(Config, LeavesVariablesOfOthersAlone) {
  const auto config = LoadConfig({"",
                                  {{"STEPD_CACHE", "/cache"},
                                   {"STEPD_SERVERS", "x"},
                                   {"SERVER_ADDRESS", "x"},
                                   {"stepd_server_address", "x"}},
                                  {}});

  EXPECT_TRUE(config.ok()) << config.status();
}

TEST(Config, TakesEveryKeyFromEverySource) {
  for (const ConfigKey& key : ConfigKeys()) {
    const std::string dot = key.name;
    const std::string section = dot.substr(0, dot.find('.'));
    const std::string name = dot.substr(dot.find('.') + 1);
    const std::string variable =
        absl::AsciiStrToUpper(absl::StrCat("STEPD_", section, "_", name));
    const std::string& text = key.default_text;

    // A flag is parsed and found by name, whether or not the parts together
    // make sense.
    const std::string file =
        WriteFile(absl::StrCat(section, ":\n  ", name, ": \"", text, "\"\n"));
    EXPECT_TRUE(LoadConfig({file, {}, {}}).ok()) << dot;
    EXPECT_TRUE(LoadConfig({"", {{variable, text}}, {}}).ok()) << variable;
    EXPECT_TRUE(LoadConfig({"", {}, {{dot, text}}}).ok()) << dot;
    EXPECT_FALSE(key.help.empty()) << dot;
  }
}

TEST(Config, NamesNoKeyTwice) {
  std::set<std::string> names;
  for (const ConfigKey& key : ConfigKeys()) {
    EXPECT_TRUE(names.insert(key.name).second) << key.name;
  }
}

TEST(Config, SaysWhenTheFileCannotBeRead) {
  const auto config = LoadConfig({"/nonexistent/stepd.yaml", {}, {}});

  EXPECT_EQ(config.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(config.status().message()),
              HasSubstr("/nonexistent/stepd.yaml"));
}

struct BadFile {
  std::string name;
  std::string text;
  std::string key;
  std::string what;
  int line;
};

class BadFileTest : public ::testing::TestWithParam<BadFile> {};

TEST_P(BadFileTest, NamesKeyFileAndLine) {
  const std::string file = WriteFile(GetParam().text);

  EXPECT_THAT(MessageOf({file, {}, {}}),
              AllOf(HasSubstr(GetParam().key), HasSubstr(GetParam().what),
                    HasSubstr(absl::StrCat("(", file, ", line ",
                                           GetParam().line, ")"))));
}

INSTANTIATE_TEST_SUITE_P(
    Every, BadFileTest,
    ::testing::Values(
        BadFile{"UnknownSection", "server:\n  insecure: true\nsevrer: {}\n",
                "sevrer", "unknown section", 3},
        BadFile{"UnknownKey", "server:\n  adress: x\n", "server.adress",
                "unknown key", 2},
        BadFile{"KeyGivenTwice", "model:\n  name: a\n  name: b\n", "model.name",
                "given twice", 3},
        BadFile{"SectionIsAValue", "server: 5\n", "server", "want keys", 1},
        BadFile{"FileIsAList", "- server\n", "the file", "want sections", 1},
        BadFile{"ListForAValue", "model:\n  name: [a, b]\n", "model.name",
                "want one value", 2},
        BadFile{"MapForAValue", "model:\n  name:\n    a: b\n", "model.name",
                "want one value", 2},
        BadFile{"NothingForAValue", "model:\n  version:\n", "model.version",
                "want one value (integer)", 2},
        BadFile{"WordForAnInteger", "\n\nmodel:\n  version: two\n",
                "model.version", "an integer of at least 1, got \"two\"", 4},
        BadFile{"ZeroForACount", "batching:\n  max_queued: 0\n",
                "batching.max_queued", "got \"0\"", 2},
        BadFile{"NumberForADuration", "batching:\n  max_wait: 5\n",
                "batching.max_wait", "a duration like", 2},
        BadFile{"EndlessDrain", "server:\n  drain_timeout: none\n",
                "server.drain_timeout", "finite", 2},
        BadFile{"WordForABool", "server:\n  insecure: yes\n", "server.insecure",
                "true or false", 2},
        BadFile{"DecimalSize", "sessions:\n  cache_bytes: 2GB\n",
                "sessions.cache_bytes", "a size like", 2},
        BadFile{"NoChoice", "inputs:\n  nan: maybe\n", "inputs.nan",
                "one of refuse, pass", 2},
        BadFile{"WordForExecutors", "executors:\n  count: all\n",
                "executors.count", "auto or an integer", 2},
        BadFile{"NegativeCompanions", "executors:\n  companions: -1\n",
                "executors.companions", "auto or an integer", 2},
        BadFile{"BrokenYaml", "server:\n  address: [1\n", "the file", "", 3}),
    [](const auto& info) { return info.param.name; });

TEST(Config, NamesTheVariable) {
  EXPECT_THAT(MessageOf({"", {{"STEPD_MODEL_VERSION", "x"}}, {}}),
              AllOf(HasSubstr("model.version"),
                    HasSubstr("(environment, STEPD_MODEL_VERSION)")));
  EXPECT_THAT(MessageOf({"", {{"STEPD_SERVER_ADRESS", "x"}}, {}}),
              AllOf(HasSubstr("STEPD_SERVER_ADRESS"), HasSubstr("unknown")));
}

TEST(Config, NamesTheFlag) {
  EXPECT_THAT(MessageOf({"", {}, {{"model.version", "x"}}}),
              HasSubstr("(flag --model.version)"));
  EXPECT_THAT(MessageOf({"", {}, {{"model.vresion", "1"}}}),
              HasSubstr("unknown key"));
}

TEST(Config, RefusesContradictions) {
  EXPECT_THAT(MessageOf({"", {}, {{"tls.cert", "a"}}}), HasSubstr("tls.key"));
  EXPECT_THAT(MessageOf({"", {}, {{"tls.client_ca", "a"}}}),
              HasSubstr("tls.client_ca"));
  EXPECT_THAT(MessageOf({"", {}, {{"server.address", ""}}}),
              HasSubstr("server.address"));
  EXPECT_THAT(MessageOf({"", {}, {{"server.max_message_bytes", "2GiB"}}}),
              HasSubstr("server.max_message_bytes"));
  EXPECT_THAT(
      MessageOf({"", {}, {{"limits.max_steps_per_call", "9999999999"}}}),
      HasSubstr("limits"));
  EXPECT_THAT(MessageOf({"", {}, {{"executors.companions", "1025"}}}),
              HasSubstr("executors.companions"));
  EXPECT_THAT(MessageOf({"", {}, {{"executors.count", "1025"}}}),
              HasSubstr("executors.count"));
}

TEST(Config, RefusesAJournalThatLacksSomething) {
  EXPECT_THAT(MessageOf({"", {}, {{"journal.kind", "rocksdb"}}}),
              HasSubstr("journal.path"));
  EXPECT_THAT(MessageOf({"", {}, {{"journal.kind", "redis"}}}),
              HasSubstr("journal.address"));
  EXPECT_THAT(MessageOf({"", {}, {{"journal.kind", "sqlite"}}}),
              HasSubstr("one of none, rocksdb, redis"));
  EXPECT_THAT(MessageOf({"", {}, {{"journal.interval", "0"}}}),
              HasSubstr("journal.interval"));
  EXPECT_THAT(MessageOf({"", {}, {{"journal.ttl", "10ms"}}}),
              HasSubstr("journal.ttl"));
}

TEST(Config, SeesTheEnvironmentOfTheProcess) {
  ASSERT_EQ(setenv("STEPD_MODEL_NAME", "a=b", 1), 0);

  const auto config = LoadConfig({"", ProcessEnvironment(), {}});

  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.name, "a=b");
}

}  // namespace
}  // namespace stepd
