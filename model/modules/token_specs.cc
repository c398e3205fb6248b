// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/modules/token_specs.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace stepd {
namespace {

constexpr char kAnchors[] = "_anchors";

template <typename... Parts>
absl::Status Malformed(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::string_view DomainOf(const TokenSpec& spec) {
  return absl::string_view(spec.name).substr(0, spec.name.find('_'));
}

// Rows [first, end) of an input.
struct Range {
  std::int32_t first = 0;
  std::int32_t end = 0;
};

std::map<std::string, Range> RangesOf(absl::Span<const TokenSpec> specs) {
  std::map<std::string, Range> ranges;
  std::int32_t next = 0;
  for (const TokenSpec& spec : specs) {
    const std::int32_t first = next;
    next += static_cast<std::int32_t>(spec.size.value_or(0));
    ranges[spec.name] = {first, next};
  }
  return ranges;
}

absl::Status CheckSizes(absl::Span<const TokenSpec> specs,
                        std::int64_t num_tokens) {
  std::set<absl::string_view> names;
  std::int64_t sum = 0;
  for (const TokenSpec& spec : specs) {
    if (!names.insert(spec.name).second) {
      return Malformed("token group '", spec.name, "' is there twice");
    }
    if (spec.size.value_or(0) < 0) {
      return Malformed("token group '", spec.name, "' has a size of ",
                       *spec.size);
    }
    sum += spec.size.value_or(0);
  }
  if (sum == num_tokens) return absl::OkStatus();
  return Malformed("token groups have ", sum, " tokens, the input has ",
                   num_tokens);
}

// The rows of a range of an input that begins at `first_row`; of the real
// tokens, if it is said which are.
void AppendRows(Range range, absl::Span<const bool> is_real,
                std::int32_t first_row, std::vector<std::int32_t>* rows) {
  for (std::int32_t row = range.first; row < range.end; ++row) {
    if (is_real.empty() || is_real[static_cast<std::size_t>(row)]) {
      rows->push_back(first_row + row);
    }
  }
}

// Every group is a query exactly once.
absl::Status CheckQueries(const std::map<std::string, Range>& ranges,
                          absl::Span<const NamedPattern> patterns) {
  std::set<absl::string_view> seen;
  for (const NamedPattern& pattern : patterns) {
    for (const std::string& name : pattern.queries) {
      if (ranges.count(name) == 0) {
        return Malformed("query '", name, "' is no token group");
      }
      if (!seen.insert(name).second) {
        return Malformed("token group '", name, "' is a query twice");
      }
    }
  }
  for (const auto& [name, range] : ranges) {
    if (seen.count(name) == 0) {
      return Malformed("token group '", name, "' is no query");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::int32_t>> BanksOfTokens(
    absl::Span<const TokenSpec> specs, std::int64_t num_tokens, int num_banks) {
  absl::Status status = CheckSizes(specs, num_tokens);
  if (!status.ok()) return status;
  std::vector<absl::string_view> domains;
  std::vector<std::int32_t> banks;
  for (const TokenSpec& spec : specs) {
    if (spec.size.value_or(0) == 0) continue;
    const absl::string_view domain = DomainOf(spec);
    if (domains.empty() || domains.back() != domain) {
      if (std::find(domains.begin(), domains.end(), domain) != domains.end()) {
        return Malformed("domain '", domain, "' of token group '", spec.name,
                         "' is not consecutive");
      }
      domains.push_back(domain);
    }
    if (domains.size() > static_cast<std::size_t>(num_banks)) {
      return Malformed("domain '", domain, "' of token group '", spec.name,
                       "' is one more than there are banks, ", num_banks);
    }
    banks.insert(banks.end(), static_cast<std::size_t>(*spec.size),
                 static_cast<std::int32_t>(domains.size()) - 1);
  }
  return banks;
}

int CountDomains(absl::Span<const TokenSpec> specs) {
  std::set<absl::string_view> domains;
  for (const TokenSpec& spec : specs) {
    if (spec.size.value_or(0) > 0) domains.insert(DomainOf(spec));
  }
  return static_cast<int>(domains.size());
}

std::vector<NamedPattern> AllToAll(absl::Span<const TokenSpec> specs) {
  NamedPattern pattern;
  for (const TokenSpec& spec : specs) pattern.queries.push_back(spec.name);
  pattern.keys = pattern.queries;
  return {std::move(pattern)};
}

absl::StatusOr<std::vector<NamedPattern>> AnchorPatterns(
    absl::Span<const TokenSpec> specs, absl::Span<const std::string> branches,
    AnchorAttention attention) {
  if (attention != AnchorAttention::kSelf && branches.size() < 2) {
    return Malformed("attention across branches needs at least two of them");
  }
  std::vector<NamedPattern> patterns(branches.size());
  for (const TokenSpec& spec : specs) {
    const auto branch = std::find_if(
        branches.begin(), branches.end(),
        [&](const std::string& b) { return absl::StartsWith(spec.name, b); });
    if (branch == branches.end()) {
      return Malformed("token group '", spec.name, "' belongs to no branch");
    }
    patterns[static_cast<std::size_t>(branch - branches.begin())]
        .queries.push_back(spec.name);
  }
  for (std::size_t i = 0; i < branches.size(); ++i) {
    const std::string anchors = branches[i] + kAnchors;
    const std::vector<std::string>& queries = patterns[i].queries;
    if (std::find(queries.begin(), queries.end(), anchors) == queries.end()) {
      return Malformed("branch '", branches[i], "' lacks its token group '",
                       anchors, "'");
    }
    for (std::size_t reader = 0; reader < branches.size(); ++reader) {
      const bool is_own = reader == i;
      if (attention == AnchorAttention::kJoint ||
          is_own == (attention == AnchorAttention::kSelf)) {
        patterns[reader].keys.push_back(anchors);
      }
    }
  }
  return patterns;
}

absl::StatusOr<std::vector<AttentionPattern>> RowsOfPatterns(
    absl::Span<const TokenSpec> specs, absl::Span<const NamedPattern> patterns,
    absl::Span<const bool> is_real, std::int32_t first_row) {
  const std::map<std::string, Range> ranges = RangesOf(specs);
  absl::Status status = CheckQueries(ranges, patterns);
  if (!status.ok()) return status;
  std::int64_t num_tokens = 0;
  for (const TokenSpec& spec : specs) num_tokens += spec.size.value_or(0);
  if (!is_real.empty() &&
      static_cast<std::int64_t>(is_real.size()) != num_tokens) {
    return Malformed("the mask has ", is_real.size(), " tokens, the input has ",
                     num_tokens);
  }
  std::vector<AttentionPattern> rows;
  for (const NamedPattern& pattern : patterns) {
    AttentionPattern& of_pattern = rows.emplace_back();
    for (const std::string& name : pattern.queries) {
      AppendRows(ranges.at(name), {}, first_row, &of_pattern.queries);
    }
    for (const std::string& name : pattern.keys) {
      const auto range = ranges.find(name);
      if (range == ranges.end()) {
        return Malformed("key '", name, "' is no token group");
      }
      AppendRows(range->second, is_real, first_row, &of_pattern.keys);
    }
    if (!of_pattern.queries.empty() && of_pattern.keys.empty()) {
      return Malformed("token group '", pattern.queries.front(),
                       "' has no key that is not masked");
    }
  }
  return rows;
}

}  // namespace stepd
