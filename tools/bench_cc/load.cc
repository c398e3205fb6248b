// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "tools/bench_cc/load.h"

#include <utility>

namespace stepd::bench {
namespace {

class CombinedLoad final : public Load {
 public:
  explicit CombinedLoad(std::vector<std::unique_ptr<Load>> loads)
      : loads_(std::move(loads)) {}
  void Start() override {
    for (const auto& load : loads_) load->Start();
  }
  void OnQuiet() override {
    for (const auto& load : loads_) load->OnQuiet();
  }

 private:
  const std::vector<std::unique_ptr<Load>> loads_;
};

}  // namespace

std::unique_ptr<Load> MakeCombinedLoad(
    std::vector<std::unique_ptr<Load>> loads) {
  return std::make_unique<CombinedLoad>(std::move(loads));
}

}  // namespace stepd::bench
