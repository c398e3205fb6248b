// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// Every CPU kernel, for every instruction set this machine has, against a
// naive double-precision reference; and to the bit against itself.

#include "model/kernels/cpu_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace stepd::kernels {
namespace {

using Floats = std::vector<float>;

Floats Random(std::int64_t count, int seed, float scale = 1.0F) {
  std::mt19937 generator(static_cast<unsigned>(seed));
  std::normal_distribution<float> normal(0.0F, scale);
  Floats values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

std::vector<const CpuKernels*> KernelsOfThisMachine() {
  std::vector<const CpuKernels*> all = {&PortableCpuKernels()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    all.push_back(&Avx2CpuKernels());
  }
  // The best one, and those whose instructions it has besides its own.
  const std::vector<const CpuKernels*> wide = {
      &Avx512CpuKernels(), &Avx512Bf16CpuKernels(), &AmxCpuKernels()};
  const auto best = std::find(wide.begin(), wide.end(), &BestCpuKernels());
  if (best != wide.end()) all.insert(all.end(), wide.begin(), best + 1);
#endif
  return all;
}

class CpuKernelsTest : public testing::TestWithParam<const CpuKernels*> {
 protected:
  const CpuKernels& kernels() const { return *GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Isa, CpuKernelsTest,
                         testing::ValuesIn(KernelsOfThisMachine()),
                         [](const auto& info) {
                           return std::string(info.param->name);
                         });

// ---- Linear -------------------------------------------------------------

struct PackedMatrix {
  Floats panels;
  Floats bias;
};

PackedMatrix Pack(const Floats& weight, const Floats& bias, std::int64_t in,
                  std::int64_t out, int panel) {
  const std::int64_t padded = (out + panel - 1) / panel * panel;
  PackedMatrix packed{Floats(static_cast<std::size_t>(padded * in)),
                      Floats(static_cast<std::size_t>(padded))};
  for (std::int64_t n = 0; n < out; ++n) {
    packed.bias[n] = bias[n];
    for (std::int64_t k = 0; k < in; ++k) {
      packed.panels[n / panel * in * panel + k * panel + n % panel] =
          weight[n * in + k];
    }
  }
  return packed;
}

// A linear in plain double precision.
struct NaiveLinear {
  std::int64_t in = 0;
  std::int64_t out = 0;
  Floats weight;  // [out, in]
  Floats bias;    // [out]

  void ExpectRows(const Floats& x, const Floats& before,
                  const Floats& y) const {
    const double tolerance = 2e-5 * std::sqrt(in) + 1e-6;
    for (std::size_t at = 0; at < y.size(); ++at) {
      const std::int64_t row = static_cast<std::int64_t>(at) / out;
      const std::int64_t n = static_cast<std::int64_t>(at) % out;
      double want = double{bias[n]} + before[at];
      for (std::int64_t k = 0; k < in; ++k) {
        want += double{x[row * in + k]} * weight[n * in + k];
      }
      ASSERT_NEAR(y[at], want, tolerance)
          << "in " << in << " out " << out << " row " << row;
    }
  }
};

TEST_P(CpuKernelsTest, LinearEqualsTheNaiveSumForEveryShape) {
  for (std::int64_t in : {1, 7, 64, 129}) {
    for (std::int64_t out : {1, 15, 16, 33, 96}) {
      const NaiveLinear naive = {in, out, Random(in * out, 1), Random(out, 2)};
      const PackedMatrix packed =
          Pack(naive.weight, naive.bias, in, out, kernels().panel);
      for (std::int64_t rows : {1, 2, 5, 11, 12, 13, 30}) {
        const Floats x = Random(rows * in, 3);
        Floats stored = Random(rows * out, 4);
        Floats added = stored;
        const Floats before = stored;
        CpuLinearArgs args = {packed.panels.data(),
                              packed.bias.data(),
                              in,
                              out,
                              x.data(),
                              in,
                              rows};
        args.y_stride = out;

        args.y = stored.data();
        kernels().linear(args);
        args.y = added.data();
        args.is_add = true;
        kernels().linear(args);

        naive.ExpectRows(x, Floats(before.size()), stored);
        naive.ExpectRows(x, before, added);
      }
    }
  }
}

TEST_P(CpuKernelsTest, ARowOfLinearHasTheSameBitsAloneAndInAnyBatch) {
  const std::int64_t in = 200;
  const std::int64_t out = 70;
  const PackedMatrix packed =
      Pack(Random(in * out, 1), Random(out, 2), in, out, kernels().panel);
  const std::int64_t rows = 64;
  const Floats x = Random(rows * in, 3);
  Floats together(rows * out);
  kernels().linear({packed.panels.data(), packed.bias.data(), in, out, x.data(),
                    in, rows, together.data(), out, false});

  for (std::int64_t i = 0; i < rows; ++i) {
    Floats alone(out);
    kernels().linear({packed.panels.data(), packed.bias.data(), in, out,
                      x.data() + i * in, in, 1, alone.data(), out, false});

    ASSERT_EQ(std::memcmp(alone.data(), together.data() + i * out,
                          out * sizeof(float)),
              0)
        << "row " << i;
  }
}

// What a bfloat16 number is, said differently: 8 bits of precision.
float Rounded(float x) {
  int exponent = 0;
  const float mantissa = std::frexp(x, &exponent);
  return std::ldexp(std::nearbyint(mantissa * 256.0F), exponent - 8);
}

// With rows behind the last that may be read.
Floats ToWords(const CpuKernels& kernels, const Floats& x, std::int64_t rows) {
  const auto in = static_cast<std::int64_t>(x.size()) / rows;
  const std::int64_t words = (in + 1) / 2;
  Floats converted(
      static_cast<std::size_t>((rows + kLinearRowsReadable - 1) * words),
      std::nanf(""));
  for (std::int64_t i = 0; i < rows; ++i) {
    kernels.to_bfloat16(x.data() + i * in, in, converted.data() + i * words);
  }
  return converted;
}

TEST_P(CpuKernelsTest, BFloat16IsTheNearestOneAndKeepsNaN) {
  Floats x = {1.0F, 1.00390625F, 1.01171875F, -3.14159F,
              0.0F, 1e-30F,      3.0e38F,     std::nanf("")};
  // More than a vector of them, in even and in odd places.
  x.push_back(2.0F);
  while (x.size() < 81) x.push_back(x[x.size() - 9]);
  const Floats words = ToWords(kernels(), x, 1);
  for (std::size_t k = 0; k < x.size(); ++k) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &words[k / 2], sizeof(bits));
    bits = k % 2 == 0 ? bits << 16 : bits & 0xffff0000U;
    float got = 0.0F;
    std::memcpy(&got, &bits, sizeof(got));
    if (std::isnan(x[k])) {
      EXPECT_TRUE(std::isnan(got));
    } else {
      EXPECT_EQ(got, Rounded(x[k])) << x[k];
    }
  }
}

TEST_P(CpuKernelsTest, LinearInBFloat16AddsExactProductsOfRoundedNumbers) {
  const std::int64_t out = 33;
  for (std::int64_t in : {1, 7, 64, 129, 256}) {
    NaiveLinear naive = {in, out, Random(in * out, 1), Random(out, 2)};
    const std::int64_t words = (in + 1) / 2;
    const PackedMatrix packed = Pack(ToWords(kernels(), naive.weight, out),
                                     naive.bias, words, out, kernels().panel);
    for (float& w : naive.weight) w = Rounded(w);
    for (std::int64_t rows : {1, 3, 13, 16, 17, 40}) {
      Floats x = Random(rows * in, 3);
      const Floats x_words = ToWords(kernels(), x, rows);
      for (float& value : x) value = Rounded(value);
      Floats y(static_cast<std::size_t>(rows * out));

      kernels().linear_bfloat16({packed.panels.data(), packed.bias.data(),
                                 words, out, x_words.data(), words, rows,
                                 y.data(), out, /*is_add=*/false});

      naive.ExpectRows(x, Floats(y.size()), y);
    }
  }
}

TEST_P(CpuKernelsTest, ARowInBFloat16HasTheSameBitsAloneAndInAnyBatch) {
  const std::int64_t in = 256;
  const std::int64_t words = in / 2;
  const std::int64_t out = 70;
  const PackedMatrix packed = Pack(ToWords(kernels(), Random(in * out, 1), out),
                                   Random(out, 2), words, out, kernels().panel);
  const std::int64_t rows = 50;
  const Floats x = Random(rows * in, 3);
  const Floats x_words = ToWords(kernels(), x, rows);
  Floats together(rows * out);
  kernels().linear_bfloat16({packed.panels.data(), packed.bias.data(), words,
                             out, x_words.data(), words, rows, together.data(),
                             out, /*is_add=*/false});

  for (std::int64_t i = 0; i < rows; ++i) {
    Floats alone(out);
    const Floats row = ToWords(
        kernels(), Floats(x.begin() + i * in, x.begin() + (i + 1) * in), 1);
    kernels().linear_bfloat16({packed.panels.data(), packed.bias.data(), words,
                               out, row.data(), words, 1, alone.data(), out,
                               /*is_add=*/false});

    ASSERT_EQ(std::memcmp(alone.data(), together.data() + i * out,
                          out * sizeof(float)),
              0)
        << "row " << i;
  }
}

// ---- Rows ---------------------------------------------------------------

TEST_P(CpuKernelsTest, RmsNormDividesByTheRootMeanSquare) {
  for (std::int64_t dim : {1, 8, 16, 31, 256}) {
    const Floats x = Random(3 * dim, 5, 4.0F);
    const Floats weight = Random(dim, 6);
    Floats y(3 * dim);

    kernels().rms_norm(
        {x.data(), 3, dim, weight.data(), /*bias=*/nullptr, 1e-5F, y.data()});

    for (std::int64_t row = 0; row < 3; ++row) {
      double squares = 0.0;
      for (std::int64_t i = 0; i < dim; ++i) {
        squares += double{x[row * dim + i]} * x[row * dim + i];
      }
      const double root = std::sqrt(squares / static_cast<double>(dim) + 1e-5);
      for (std::int64_t i = 0; i < dim; ++i) {
        ASSERT_NEAR(y[row * dim + i], weight[i] * x[row * dim + i] / root,
                    1e-5);
      }
    }
  }
}

TEST_P(CpuKernelsTest, SiluGateIsExactFromTinyToHugeInputs) {
  const Floats gates = {0.0F,  1e-6F,  -1e-6F, 0.5F,   -0.5F,  3.0F,    -3.0F,
                        20.0F, -20.0F, 87.0F,  -87.0F, 300.0F, -300.0F, 1e9F,
                        -1e9F, 1.0F,   -1.0F,  7.25F,  -7.25F};
  const auto dim = static_cast<std::int64_t>(gates.size());
  Floats gate_up = gates;
  gate_up.insert(gate_up.end(), gates.size(), 2.0F);
  Floats y(gates.size());

  kernels().activate_gated(Activation::kSilu, gate_up.data(), 1, dim, y.data());

  for (std::int64_t i = 0; i < dim; ++i) {
    const double g = gates[i];
    const double want = 2.0 * g / (1.0 + std::exp(-g));
    ASSERT_NEAR(y[i], want, 1e-6 * std::max(1.0, std::abs(want)))
        << "gate " << g;
  }
}

TEST_P(CpuKernelsTest, RopeTurnsElementIWithElementIPlusHalf) {
  const Floats cos = {0.5F, -0.25F, 1.0F};
  const Floats sin = {0.75F, 0.1F, 0.0F};
  Floats head = {1, 2, 3, 4, 5, 6};

  kernels().rope(head.data(), 3, cos.data(), sin.data(),
                 RopePairing::kHalfSplit);

  const Floats want = {1 * 0.5F - 4 * 0.75F, 2 * -0.25F - 5 * 0.1F, 3,
                       4 * 0.5F + 1 * 0.75F, 5 * -0.25F + 2 * 0.1F, 6};
  for (std::size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(head[i], want[i], 1e-6) << i;
  }
}

TEST_P(CpuKernelsTest, FourierFeaturesAreExactForLargeAngles) {
  for (std::int64_t width : {1, 16, 40}) {
    const std::int64_t inputs = 3;
    const Floats weight = Random(inputs * width, 7);
    const Floats freqs = Random(inputs * width, 8, 20.0F);
    const Floats phases = Random(inputs * width, 9, 3.0F);
    const Floats x = {0.3F, -25.0F, 400.0F};
    Floats out(width, 1.0F);

    kernels().add_fourier({weight.data(), freqs.data(), phases.data(), x.data(),
                           inputs, width, out.data()});

    for (std::int64_t i = 0; i < width; ++i) {
      double want = 1.0;
      for (std::int64_t c = 0; c < inputs; ++c) {
        const std::int64_t at = c * width + i;
        // The angle is a float32, rounded after the product and the sum.
        const float turned = x[c] * freqs[at];
        const float angle = turned + phases[at];
        want += double{weight[at]} * std::cos(double{angle});
      }
      ASSERT_NEAR(out[i], want, 2e-6) << "width " << width << " at " << i;
    }
  }
}

TEST_P(CpuKernelsTest, FourierFeaturesOfModestAnglesAreExactToRounding) {
  const std::int64_t width = 64;
  const Floats weight(width, 1.0F);
  const Floats freqs = Random(width, 8, 10.0F);
  const Floats phases(width, 0.0F);
  const Floats x = {1.0F};
  Floats out(width, 0.0F);

  kernels().add_fourier({weight.data(), freqs.data(), phases.data(), x.data(),
                         1, width, out.data()});

  for (std::int64_t i = 0; i < width; ++i) {
    ASSERT_NEAR(out[i], std::cos(double{freqs[i]}), 3e-7);
  }
}

// ---- Attention ----------------------------------------------------------

struct AttentionCase {
  int group;
  int head_dim;
  std::int64_t kv_len;
  std::int64_t num_new;
  std::int64_t window_left;
};

// One KV head of a paged cache, and the same keys and values in order.
struct PagedHead {
  PagedHead(const AttentionCase& c, int seed) {
    keys = Random(c.kv_len * c.head_dim, seed);
    values = Random(c.kv_len * c.head_dim, seed + 1);
    const std::int64_t num_blocks = (c.kv_len + 15) / 16;
    blocks.resize(static_cast<std::size_t>(num_blocks));
    std::iota(blocks.begin(), blocks.end(), 2);
    std::shuffle(blocks.begin(), blocks.end(),
                 std::mt19937(static_cast<unsigned>(seed)));
    // What no session wrote may be anything.
    const float garbage = std::nanf("");
    k.assign(static_cast<std::size_t>((num_blocks + 2) * 16 * c.head_dim + 15),
             garbage);
    v = k;
    for (std::int64_t t = 0; t < c.kv_len; ++t) {
      const std::int64_t block = blocks[t / 16] * 16 * c.head_dim;
      for (int d = 0; d < c.head_dim; ++d) {
        k[block + d * 16 + t % 16] = keys[t * c.head_dim + d];
        v[block + t % 16 * c.head_dim + d] = values[t * c.head_dim + d];
      }
    }
  }

  Floats keys;  // [kv_len, head_dim]
  Floats values;
  Floats k;  // blocks
  Floats v;
  std::vector<std::int32_t> blocks;
};

Floats RunAttention(const CpuKernels& kernels, const AttentionCase& c,
                    const PagedHead& head, const Floats& query) {
  Floats out(query.size());
  Floats scratch(static_cast<std::size_t>(c.group * (c.kv_len + 16)));
  CpuAttentionArgs args = {};
  args.query = query.data();
  args.query_stride = c.group * c.head_dim;
  args.out = out.data();
  args.out_stride = c.group * c.head_dim;
  args.k = head.k.data();
  args.v = head.v.data();
  args.k_block_elements = 16 * c.head_dim;
  args.v_block_elements = 16 * c.head_dim;
  args.blocks = head.blocks.data();
  args.num_new = c.num_new;
  args.kv_len = c.kv_len;
  args.group = c.group;
  args.k_dim = c.head_dim;
  args.v_dim = c.head_dim;
  args.scale = 1.0F / std::sqrt(static_cast<float>(c.head_dim));
  args.window_left = c.window_left;
  args.scratch = scratch.data();
  args.next = args.k;
  kernels.attention(args);
  return out;
}

// softmax(scale q.k) v of one query head, in double precision.
std::vector<double> NaiveAttention(const AttentionCase& c,
                                   const PagedHead& head, const float* q,
                                   std::int64_t position) {
  const std::int64_t first =
      c.window_left < 0 ? 0
                        : std::max<std::int64_t>(0, position - c.window_left);
  std::vector<double> weights;
  double sum = 0.0;
  for (std::int64_t t = first; t <= position; ++t) {
    double dot = 0.0;
    for (int d = 0; d < c.head_dim; ++d) {
      dot += double{q[d]} * head.keys[t * c.head_dim + d];
    }
    weights.push_back(std::exp(dot / std::sqrt(double(c.head_dim))));
    sum += weights.back();
  }
  std::vector<double> out(static_cast<std::size_t>(c.head_dim));
  for (std::size_t i = 0; i < weights.size(); ++i) {
    for (int d = 0; d < c.head_dim; ++d) {
      out[d] +=
          weights[i] / sum *
          head.values[(first + static_cast<std::int64_t>(i)) * c.head_dim + d];
    }
  }
  return out;
}

std::vector<AttentionCase> AttentionCases() {
  std::vector<AttentionCase> cases;
  for (int group : {1, 2, 3, 4, 7}) {
    for (int head_dim : {2, 8, 16, 24, 64}) {
      for (std::int64_t kv_len : {1, 15, 16, 17, 65}) {
        for (std::int64_t window_left : {-1, 0, 5, 40}) {
          cases.push_back({group, head_dim, kv_len, 1, window_left});
          cases.push_back({group, head_dim, kv_len,
                           std::min<std::int64_t>(kv_len, 5), window_left});
        }
      }
    }
  }
  return cases;
}

TEST_P(CpuKernelsTest, AttentionEqualsTheNaiveSoftmaxForEveryShape) {
  for (const AttentionCase& c : AttentionCases()) {
    const PagedHead head(c, 11);
    const Floats query = Random(c.num_new * c.group * c.head_dim, 13);

    const Floats out = RunAttention(kernels(), c, head, query);

    for (std::int64_t row = 0; row < c.num_new * c.group; ++row) {
      const std::int64_t position = c.kv_len - c.num_new + row / c.group;
      const std::vector<double> want =
          NaiveAttention(c, head, query.data() + row * c.head_dim, position);
      for (int d = 0; d < c.head_dim; ++d) {
        ASSERT_NEAR(out[row * c.head_dim + d], want[d], 2e-6)
            << "group " << c.group << " head_dim " << c.head_dim << " kv_len "
            << c.kv_len << " new " << c.num_new << " window " << c.window_left;
      }
    }
  }
}

TEST_P(CpuKernelsTest, ATokenOfAPrefillHasTheBitsOfADecodeStep) {
  for (const AttentionCase& prefill :
       {AttentionCase{2, 64, 70, 70, -1}, AttentionCase{4, 24, 33, 20, 7}}) {
    const PagedHead head(prefill, 17);
    const std::int64_t width = prefill.group * prefill.head_dim;
    const Floats query = Random(prefill.num_new * width, 19);
    const Floats together = RunAttention(kernels(), prefill, head, query);

    for (std::int64_t i = 0; i < prefill.num_new; ++i) {
      AttentionCase decode = prefill;
      decode.kv_len = prefill.kv_len - prefill.num_new + i + 1;
      decode.num_new = 1;
      const Floats one(query.begin() + i * width,
                       query.begin() + (i + 1) * width);
      const Floats alone = RunAttention(kernels(), decode, head, one);

      ASSERT_EQ(std::memcmp(alone.data(), together.data() + i * width,
                            width * sizeof(float)),
                0)
          << "token " << i;
    }
  }
}

TEST_P(CpuKernelsTest, AttentionSurvivesHugeScores) {
  const AttentionCase c = {1, 16, 20, 1, -1};
  PagedHead head(c, 23);
  const Floats query = Random(16, 29, 1e4F);

  const Floats out = RunAttention(kernels(), c, head, query);

  for (float value : out) EXPECT_TRUE(std::isfinite(value));
}

}  // namespace
}  // namespace stepd::kernels
