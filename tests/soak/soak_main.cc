// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// The long runs behind tools/soak: prints what it runs and how far it is, what
// went wrong with the seed that shows it again, and a summary.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/soak/interleavings.h"
#include "tests/soak/oracle.h"

namespace stepd {
namespace {

using Counts = std::map<std::string, std::int64_t>;

struct SoakOptions {
  bool runs_interleavings = true;
  bool runs_oracle = true;
  std::vector<std::string> families = FamilyNames();
  unsigned first_seed = 0;
  unsigned num_seeds = 20;
  OracleOptions oracle;
};

// False: there is no such option, or it has no such value.
bool Parse(absl::string_view name, absl::string_view value,
           SoakOptions* options) {
  if (name == "--only") {
    options->runs_interleavings = value == "interleavings";
    options->runs_oracle = value == "oracle";
    return options->runs_interleavings || options->runs_oracle;
  }
  if (name == "--families") {
    options->families = absl::StrSplit(value, ',');
    const std::vector<std::string> known = FamilyNames();
    return std::all_of(options->families.begin(), options->families.end(),
                       [&known](const std::string& family) {
                         return std::count(known.begin(), known.end(), family);
                       });
  }
  if (name == "--first-seed") {
    return absl::SimpleAtoi(value, &options->first_seed);
  }
  if (name == "--seeds") return absl::SimpleAtoi(value, &options->num_seeds);
  if (name == "--actors") {
    return absl::SimpleAtoi(value, &options->oracle.num_actors);
  }
  if (name == "--operations") {
    return absl::SimpleAtoi(value, &options->oracle.operations_per_actor);
  }
  return false;
}

// False: it found a fault.
bool RunOracle(const OracleOptions& options, Counts* totals) {
  const absl::Time start = absl::Now();
  Oracle oracle(options);
  std::printf("%s\n", oracle.Setting().c_str());
  absl::Time last = start;
  const absl::Status status = oracle.Run([&](std::int64_t num_operations) {
    if (absl::Now() - last < absl::Seconds(20)) return;
    last = absl::Now();
    std::printf("  %lld operations\n", static_cast<long long>(num_operations));
    std::fflush(stdout);
  });
  for (const auto& [what, count] : oracle.counts()) (*totals)[what] += count;
  std::printf("  %s in %s\n",
              status.ok() ? "ok" : std::string(status.message()).c_str(),
              absl::FormatDuration(
                  absl::Trunc(absl::Now() - start, absl::Milliseconds(100)))
                  .c_str());
  if (!status.ok()) {
    std::printf(
        "  again: tools/soak --only oracle --families %s --first-seed %u "
        "--seeds 1 "
        "--actors %d --operations %lld\n",
        options.family.c_str(), options.seed, options.num_actors,
        static_cast<long long>(options.operations_per_actor));
  }
  std::fflush(stdout);
  return status.ok();
}

// The numbers of what ran and of what found a fault.
struct Outcome {
  int num_runs = 0;
  int num_failed = 0;
};

void RunAllInterleavings(Outcome* outcome) {
  std::int64_t num_orders = 0;
  for (const InterleavingCase& test_case : LongInterleavings()) {
    const std::int64_t before = num_orders;
    const absl::Status status = RunInterleavings(test_case, &num_orders);
    std::printf("%s: %lld orders: %s\n", NameOf(test_case).c_str(),
                static_cast<long long>(num_orders - before),
                status.ok() ? "ok" : std::string(status.message()).c_str());
    std::fflush(stdout);
    ++outcome->num_runs;
    outcome->num_failed += status.ok() ? 0 : 1;
  }
  std::printf("%lld orders in all\n", static_cast<long long>(num_orders));
}

void RunAllSeeds(const SoakOptions& soak, Outcome* outcome) {
  Counts totals;
  for (unsigned i = 0; i < soak.num_seeds; ++i) {
    for (const std::string& family : soak.families) {
      OracleOptions options = soak.oracle;
      options.family = family;
      options.seed = soak.first_seed + i;
      ++outcome->num_runs;
      outcome->num_failed += RunOracle(options, &totals) ? 0 : 1;
    }
  }
  for (const auto& [what, count] : totals) {
    std::printf("%-22s %12lld\n", what.c_str(), static_cast<long long>(count));
  }
}

int Run(const SoakOptions& soak) {
  Outcome outcome;
  if (soak.runs_interleavings) RunAllInterleavings(&outcome);
  if (soak.runs_oracle) RunAllSeeds(soak, &outcome);
  std::printf("%d runs, %d failed\n", outcome.num_runs, outcome.num_failed);
  return outcome.num_failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace stepd

int main(int argc, char** argv) {
  stepd::SoakOptions options;
  for (int i = 1; i < argc; i += 2) {
    const bool has_value = i + 1 < argc;
    if (has_value && stepd::Parse(argv[i], argv[i + 1], &options)) continue;
    std::fprintf(stderr, "stepd-soak: %s %s: see tools/soak\n", argv[i],
                 has_value ? argv[i + 1] : "lacks a value");
    return 2;
  }
  at::set_num_threads(1);
  return stepd::Run(options);
}
