// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/rope_parameters.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/pow.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace stepd::checkpoint {
namespace {

constexpr double kDefaultTheta = 10000.0;
constexpr double kPi = 3.14159265358979323846;
constexpr NumberRange kAboveOne = {1.0, kMaxNumber};

// theta^(2i / head_dim): what the default frequencies are the inverse of.
// LibTorch's own power, so that the last bit is the original's.
std::vector<float> PositionPeriods(double theta, std::int64_t head_dim) {
  const at::Tensor exponents =
      at::arange(0, head_dim, 2, at::kFloat).div(head_dim);
  const at::Tensor periods = at::pow(at::Scalar(theta), exponents).contiguous();
  const float* data = periods.const_data_ptr<float>();
  return std::vector<float>(data, data + periods.numel());
}

}  // namespace

std::vector<float> DefaultFrequencies(double theta, std::int64_t head_dim) {
  std::vector<float> frequencies = PositionPeriods(theta, head_dim);
  for (float& frequency : frequencies) frequency = 1.0F / frequency;
  return frequencies;
}

namespace {

std::int64_t OriginalMaxPositions(ConfigReader* parameters,
                                  const RopeGeometry& geometry) {
  return parameters->OptionalInt("original_max_position_embeddings",
                                 geometry.max_positions);
}

RopeConfig Linear(double theta, ConfigReader* parameters,
                  const RopeGeometry& geometry) {
  const double factor = parameters->RequireNumber("factor", kPositive);
  RopeConfig rope{DefaultFrequencies(theta, geometry.head_dim)};
  for (float& f : rope.inverse_frequencies) f /= static_cast<float>(factor);
  return rope;
}

// Long wavelengths are stretched, short ones kept, those between blended.
RopeConfig Llama3(double theta, ConfigReader* parameters,
                  const RopeGeometry& geometry) {
  const auto factor =
      static_cast<float>(parameters->RequireNumber("factor", kPositive));
  const double low = parameters->RequireNumber("low_freq_factor", kPositive);
  const double high = parameters->RequireNumber("high_freq_factor", kPositive);
  if (high <= low) {
    parameters->Fail("high_freq_factor", "must be above low_freq_factor");
  }
  const auto length =
      static_cast<double>(OriginalMaxPositions(parameters, geometry));
  const auto longest = static_cast<float>(length / low);
  const auto shortest = static_cast<float>(length / high);

  RopeConfig rope{DefaultFrequencies(theta, geometry.head_dim)};
  for (float& f : rope.inverse_frequencies) {
    const float wavelength = (1.0F / f) * static_cast<float>(2 * kPi);
    if (wavelength > longest) {
      f = f / factor;
    } else if (!(wavelength < shortest)) {
      const float turns = (1.0F / wavelength) * static_cast<float>(length);
      const float blend =
          (turns - static_cast<float>(low)) / static_cast<float>(high - low);
      f = (1.0F - blend) * f / factor + blend * f;
    }
  }
  return rope;
}

double YarnScale(double factor, double weight) {
  return factor <= 1.0 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
}

double YarnAttentionFactor(double factor, ConfigReader* parameters) {
  const double scale = parameters->OptionalNumber("mscale", 0.0);
  const double scale_all = parameters->OptionalNumber("mscale_all_dim", 0.0);
  const double otherwise =
      scale != 0.0 && scale_all != 0.0
          ? YarnScale(factor, scale) / YarnScale(factor, scale_all)
          : YarnScale(factor, 1.0);
  return parameters->OptionalNumber("attention_factor", otherwise, kPositive);
}

struct YarnRange {
  double low = 0;
  double high = 0;
};

// The dimensions between which the blend goes from kept to stretched: those
// that turn beta_fast and beta_slow times over the original length.
YarnRange ReadYarnRange(double theta, ConfigReader* parameters,
                        const RopeGeometry& geometry) {
  const auto dim = static_cast<double>(geometry.head_dim);
  const auto length =
      static_cast<double>(OriginalMaxPositions(parameters, geometry));
  const auto dimension_of = [&](double turns) {
    return dim * std::log(length / (turns * 2 * kPi)) / (2 * std::log(theta));
  };
  YarnRange range = {
      dimension_of(parameters->OptionalNumber("beta_fast", 32.0, kPositive)),
      dimension_of(parameters->OptionalNumber("beta_slow", 1.0, kPositive))};
  if (parameters->OptionalBool("truncate", true)) {
    range = {std::floor(range.low), std::ceil(range.high)};
  }
  range = {std::max(range.low, 0.0), std::min(range.high, dim - 1.0)};
  if (range.low == range.high) range.high += 0.001;
  return range;
}

RopeConfig Yarn(double theta, ConfigReader* parameters,
                const RopeGeometry& geometry) {
  const double factor = parameters->RequireNumber("factor", kPositive);
  const YarnRange range = ReadYarnRange(theta, parameters, geometry);
  const auto low = static_cast<float>(range.low);
  const auto width = static_cast<float>(range.high - range.low);

  RopeConfig rope{PositionPeriods(theta, geometry.head_dim)};
  rope.attention_factor =
      static_cast<float>(YarnAttentionFactor(factor, parameters));
  for (std::size_t i = 0; i < rope.inverse_frequencies.size(); ++i) {
    const float period = rope.inverse_frequencies[i];
    const float kept = 1.0F / period;
    const float stretched = 1.0F / (static_cast<float>(factor) * period);
    const float ramp =
        std::clamp((static_cast<float>(i) - low) / width, 0.0F, 1.0F);
    const float keep = 1.0F - ramp;
    rope.inverse_frequencies[i] = stretched * (1.0F - keep) + kept * keep;
  }
  return rope;
}

// Only the first part of the dimensions turns.
RopeConfig Proportional(double theta, ConfigReader* parameters,
                        const RopeGeometry& geometry) {
  const double part =
      parameters->OptionalNumber("partial_rotary_factor", 1.0, {0.0, 1.0});
  const double factor = parameters->OptionalNumber("factor", 1.0, kPositive);
  const auto num_turning = static_cast<std::size_t>(
      part * static_cast<double>(geometry.head_dim) / 2);

  RopeConfig rope{DefaultFrequencies(theta, geometry.head_dim)};
  for (std::size_t i = 0; i < rope.inverse_frequencies.size(); ++i) {
    float& f = rope.inverse_frequencies[i];
    f = i < num_turning ? f / static_cast<float>(factor) : 0.0F;
  }
  return rope;
}

RopeConfig ReadType(const std::string& type, ConfigReader* parameters,
                    const RopeGeometry& geometry) {
  const double theta =
      parameters->OptionalNumber("rope_theta", kDefaultTheta, kAboveOne);
  if (type == "linear") return Linear(theta, parameters, geometry);
  if (type == "llama3") return Llama3(theta, parameters, geometry);
  if (type == "yarn") return Yarn(theta, parameters, geometry);
  if (type == "proportional") return Proportional(theta, parameters, geometry);
  if (type == "dynamic" || type == "longrope") {
    parameters->Fail("rope_type",
                     absl::StrCat("'", type,
                                  "' is refused: keys that are cached already "
                                  "would depend on how long the session "
                                  "becomes"));
  } else if (type != "default") {
    parameters->Fail("rope_type",
                     absl::StrCat("'", type,
                                  "' is unknown; known are default, linear, "
                                  "llama3, yarn and proportional"));
  }
  return {DefaultFrequencies(theta, geometry.head_dim)};
}

}  // namespace

RopeConfig ReadRopeParameters(std::optional<ConfigReader> parameters,
                              const RopeGeometry& geometry) {
  if (!parameters) {
    return {DefaultFrequencies(kDefaultTheta, geometry.head_dim)};
  }
  // `type` is the old name of `rope_type`.
  const std::string old_name = parameters->OptionalString("type", "default");
  const std::string type = parameters->OptionalString("rope_type", old_name);
  RopeConfig rope = ReadType(type, &*parameters, geometry);
  parameters->RefuseOtherKeys();
  return rope;
}

}  // namespace stepd::checkpoint
