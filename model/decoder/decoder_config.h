// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A decoder as data: stages of layers, each layer an attention kind and a
// feed-forward kind with its own numbers and weights. Checkpoint formats
// produce this; nothing after them knows where it came from.
//
// Tensors are on the CPU, contiguous, in the checkpoint's floating dtype. An
// undefined tensor means "not there". Symbols: docs/glossary.md.
//
// Thread safety: plain values.

#ifndef STEPD_MODEL_DECODER_DECODER_CONFIG_H_
#define STEPD_MODEL_DECODER_DECODER_CONFIG_H_

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/kinds.h"
#include "model/linear_weights.h"

namespace stepd {

enum class NormKind {
  kRms,    // weight * x / sqrt(mean(x^2) + eps) (arXiv:1910.07467)
  kLayer,  // weight * (x - mean) / sqrt(var + eps) + bias (arXiv:1607.06450)
};

struct NormConfig {
  at::Tensor weight;  // [D]; [banks, D]: a token meets the row of its bank
  float eps = 1e-5F;
  NormKind kind = NormKind::kRms;
  at::Tensor bias;  // as weight, kLayer only; or undefined
};

// Rotary positions (arXiv:2104.09864): pair i turns by position *
// inverse_frequencies[i]; cos and sin are multiplied by attention_factor. The
// last element of an odd E stays as it is.
struct RopeConfig {
  std::vector<float> inverse_frequencies;  // [E / 2]; none: no rotation
  float attention_factor = 1.0F;
  RopePairing pairing = RopePairing::kHalfSplit;
};

// ---- Attention kinds ----------------------------------------------------

// Contributes nothing and costs nothing: no norm, no cache.
struct NoOp {};

// x += W norm(x); caches nothing.
struct LinearMixer {
  LinearWeights linear;  // [D, D]
};

struct GqaWeights {
  LinearWeights q;                   // [num_heads * head_dim, D]
  LinearWeights k;                   // [num_kv_heads * head_dim, D]
  LinearWeights v;                   // [num_kv_heads * head_dim, D]
  LinearWeights o;                   // [D, num_heads * head_dim]
  std::optional<NormConfig> q_norm;  // over head_dim, before rope; kRms
  std::optional<NormConfig> k_norm;
};

// Grouped-query attention (arXiv:2305.13245): query head h reads KV head
// h / (num_heads / num_kv_heads). A token meets the weights of its bank.
struct GqaConfig {
  int num_heads = 0;
  int num_kv_heads = 0;  // divides num_heads
  int head_dim = 0;
  std::vector<GqaWeights> banks;  // one: for all tokens
  RopeConfig rope;
  // A token sees itself and this many tokens before it; -1 = all.
  std::int64_t window_left = -1;
};

// Multi-head latent attention (arXiv:2405.04434, section 2.1): the cache holds
// one latent and one rope key per token, shared by all heads.
//   query of head h = [q_up_nope_h c_q | rope(q_up_rope_h c_q)],
//     c_q = q_norm(q_down x)
//   latent = kv_norm(first latent_dim rows of kv_down x), rope key = rope(rest)
//   key of head h = [kv_up_h[:nope_dim] latent | rope key],
//   value of head h = kv_up_h[nope_dim:] latent
struct MlaConfig {
  int num_heads = 0;
  int latent_dim = 0;
  int nope_dim = 0;
  int rope_dim = 0;  // even
  int v_dim = 0;
  LinearWeights q_down;  // [query rank, D]
  NormConfig q_norm;
  LinearWeights q_up_nope;  // [num_heads * nope_dim, query rank]
  LinearWeights q_up_rope;  // [num_heads * rope_dim, query rank]
  LinearWeights kv_down;    // [latent_dim + rope_dim, D]
  NormConfig kv_norm;
  at::Tensor kv_up;  // [num_heads * (nope_dim + v_dim), latent_dim]
  LinearWeights o;   // [D, num_heads * v_dim]
  RopeConfig rope;   // of rope_dim
};

// Attention of every token over all rows of its session's source; the rows'
// keys and values are computed once per session. By bank: one entry is for all
// tokens.
struct CrossAttentionConfig {
  int num_heads = 0;
  int num_kv_heads = 0;  // divides num_heads
  int head_dim = 0;
  std::vector<LinearWeights> q;  // by bank [num_heads * head_dim, D]
  LinearWeights k;               // [num_kv_heads * head_dim, D of the source]
  LinearWeights v;               // [num_kv_heads * head_dim, D of the source]
  std::vector<LinearWeights> o;  // by bank [D, num_heads * head_dim]
  // Of the source's rows.
  std::optional<NormConfig> source_norm;
  // Of queries by their position and of keys by their row.
  RopeConfig rope;
};

// ---- Feed-forward kinds -------------------------------------------------

// With a gate: down(activation(gate x) * up x) (arXiv:2002.05202); without:
// down(activation(up x)).
struct DenseFfnConfig {
  Activation activation = Activation::kSilu;
  LinearWeights gate;  // [F, D]; undefined weight: no gate
  LinearWeights up;    // [F, D]
  LinearWeights down;  // [D, F]
};

enum class RouterScores {
  kSoftmax,  // over all experts
  kSigmoid,  // each expert by itself
};

enum class MoeChoice {
  kByToken,
  // Every expert takes the min(T, max(1, ceil(T * capacity_factor))) tokens of
  // the highest scores among the T of a session in one call, ties to the
  // earliest; their weights are their scores, which are kSigmoid, and no expert
  // is shared or biased (arXiv:2202.09368). What a token
  // gets depends on the later ones: PolicySpec::recomputes.
  kByExpert,
};

// Mixture of experts, per token. z = router x; scores = softmax(z) or
// sigmoid(z); the top_k experts by z + selection_bias, ties to the lowest
// index; their weights are their scores divided by the sum of the chosen
// scores. Shared experts are added whole.
struct MoeConfig {
  MoeChoice choice = MoeChoice::kByToken;
  LinearWeights router;  // [E, D]
  RouterScores scores = RouterScores::kSoftmax;
  at::Tensor selection_bias;  // [E], picks only; or undefined
  int top_k = 1;
  std::vector<DenseFfnConfig> experts;
  std::vector<DenseFfnConfig> shared_experts;
  // kByToken, > 0: in one call of T tokens of a session every slot of every
  // expert keeps max(1, ceil(T * top_k / E * capacity_factor)) tokens, first
  // come first served; the others lose that slot's contribution.
  double capacity_factor = 0.0;
};

// A block per bank of tokens; each sees the tokens of its bank alone.
struct BankedFfnConfig {
  using Bank = std::variant<DenseFfnConfig, MoeConfig>;
  std::vector<Bank> banks;
};

// ---- Layers and stages --------------------------------------------------

using AttentionConfig =
    std::variant<NoOp, LinearMixer, GqaConfig, MlaConfig, CrossAttentionConfig>;
using FfnConfig =
    std::variant<NoOp, LinearMixer, DenseFfnConfig, BankedFfnConfig, MoeConfig>;

// Norms and gates that a session's condition c [C] sets (arXiv:2212.09748):
// with [a_scale, a_shift, a_gate, f_scale, f_shift, f_gate] = project c,
//   x += a_gate * attention(a_shift + (1 + a_scale) * norm(x)),
//   x += f_gate * ffn(f_shift + (1 + f_scale) * norm(x)).
// A layer with a source of width S has two more, source_scale and source_shift,
// for the source's norm.
struct ModulationConfig {
  std::int64_t dim = 0;         // D
  std::int64_t source_dim = 0;  // S
  LinearWeights project;        // [6 D + 2 S, C] with bias
};

// x += attention(attention_norm(x)); x += ffn(ffn_norm(x)). The norm of a NoOp
// is not there. With a modulation both norms are of kind kLayer and have no
// weights of their own.
struct LayerConfig {
  NormConfig attention_norm;
  AttentionConfig attention;
  NormConfig ffn_norm;
  FfnConfig ffn;
  std::optional<ModulationConfig> modulation;
};

// A stage whose layers run `num_loops` times on h, with e = the stage's input
// and out = 0 at first; every visit has its own kv slots. Per loop t and token:
//   c = norm((h with loop_embedding(t) added to its first columns) + e)
//   y = layers(c);  y += ((lora_down y) * lora_scale[min(t, rows-1)]) lora_up
//   h = decay * h + injection * e + y
//   p = sigmoid(halt h);  w = halted ? 0 : cum + p >= threshold ?
//                             max(1 - cum, 0) : p
//   out += w * h;  cum += halted ? 0 : p;  halted |= cum >= threshold
// and the stage's output is out (adaptive computation time, arXiv:1603.08983,
// without its remainder).
struct RecurrentLoopConfig {
  int num_loops = 1;
  at::Tensor loop_embeddings;  // [num_loops, columns]
  NormConfig norm;
  at::Tensor decay;         // [D]
  at::Tensor injection;     // [D]
  LinearWeights lora_down;  // [rank, D]
  at::Tensor lora_scale;    // [rows, rank]
  at::Tensor lora_up;       // [rank, D]
  LinearWeights halt;       // [1, D] with bias
  float halt_threshold = 0.99F;
};

// Layers in order; with `loop`, repeated.
struct StageConfig {
  std::vector<LayerConfig> layers;
  std::optional<RecurrentLoopConfig> loop;
};

struct DecoderConfig {
  std::int64_t hidden_dim = 0;  // D
  std::vector<StageConfig> stages;
  std::optional<NormConfig> final_norm;
};

}  // namespace stepd

#endif  // STEPD_MODEL_DECODER_DECODER_CONFIG_H_
