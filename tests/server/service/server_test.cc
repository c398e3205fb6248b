// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/server.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/stepd/v1/policy_service.grpc.pb.h"
#include "server/service/policy_service.h"
#include "tests/fakes/recording_observer.h"
#include "tests/server/service/fake_engine.h"

namespace stepd {
namespace {

using ::testing::HasSubstr;

TEST(Server, KnowsWhatOnlyThisMachineCanReach) {
  for (const char* address :
       {"127.0.0.1:50051", "127.8.9.1:1", "localhost:50051", "[::1]:50051",
        "unix:/run/stepd.sock", "unix-abstract:stepd", "ipv4:127.0.0.1:1",
        "dns:///localhost:50051"}) {
    EXPECT_TRUE(IsLocalAddress(address)) << address;
  }
  for (const char* address :
       {"0.0.0.0:50051", "[::]:50051", "10.0.0.1:50051", "example.org:50051",
        "localhost.example.org:1", "12.7.0.1:1", "*:1", ":50051", ""}) {
    EXPECT_FALSE(IsLocalAddress(address)) << address;
  }
}

class ServerTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options) {
    return Server::Start(options, {service_.get()});
  }

  // Whether a Describe through `target` is answered.
  static grpc::Status Describe(const std::string& target) {
    auto stub = v1::PolicyService::NewStub(
        grpc::CreateChannel(target, grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    v1::DescribeResponse response;
    return stub->Describe(&context, {}, &response);
  }

  RecordingObserver observer_;
  FakeEngine engine_;
  std::unique_ptr<PolicyService> service_ =
      PolicyService::Create(&engine_, {}, &observer_);
};

TEST_F(ServerTest, ServesOnAFreePort) {
  ServerOptions options;
  options.address = "127.0.0.1:0";

  auto server = Start(options);

  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_GT((*server)->port(), 0);
  EXPECT_TRUE(Describe(absl::StrCat("127.0.0.1:", (*server)->port())).ok());
  (*server)->Shutdown(absl::Seconds(1));
}

TEST_F(ServerTest, ServesOnASocketFile) {
  // Relative: the kernel allows the name of a socket 107 characters, and the
  // folder's may be longer.
  std::filesystem::current_path(std::getenv("TEST_TMPDIR"));
  ServerOptions options;
  options.address = "unix:stepd.sock";

  auto server = Start(options);

  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ((*server)->port(), 0);
  EXPECT_TRUE(Describe(options.address).ok());
  (*server)->Shutdown(absl::Seconds(1));
}

TEST_F(ServerTest, RefusesToListenBeyondThisMachineInTheClear) {
  ServerOptions options;
  options.address = "0.0.0.0:0";

  const auto refused = Start(options);
  options.is_insecure_allowed = true;
  const auto allowed = Start(options);

  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("server.address"));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("--insecure"));
  ASSERT_TRUE(allowed.ok()) << allowed.status();
  (*allowed)->Shutdown(absl::Seconds(1));
}

TEST_F(ServerTest, RefusesAPortInUse) {
  ServerOptions options;
  options.address = "127.0.0.1:0";
  auto first = Start(options);
  ASSERT_TRUE(first.ok());
  options.address = absl::StrCat("127.0.0.1:", (*first)->port());

  const auto second = Start(options);

  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  (*first)->Shutdown(absl::Seconds(1));
}

TEST_F(ServerTest, NamesATlsFileThatCannotBeRead) {
  ServerOptions options;
  options.address = "127.0.0.1:0";
  options.tls_cert = "/nonexistent/cert.pem";
  options.tls_key = "/nonexistent/key.pem";

  const absl::Status status = Start(options).status();

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tls.cert: cannot read /nonexistent/cert.pem"));
}

}  // namespace
}  // namespace stepd
