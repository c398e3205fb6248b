// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/token_fields.h"

#include <utility>

namespace stepd::checkpoint {

void AddTokenFields(const at::Tensor& embedding, const at::Tensor& head,
                    PolicyDescription* policy) {
  AddTokenInputs(embedding, policy);
  AddLogits(head, policy);
}

void AddTokenInputs(const at::Tensor& embedding, PolicyDescription* policy) {
  FieldSpec tokens;
  tokens.name = "tokens";
  tokens.dtype = DType::kInt64;
  tokens.min = 0;
  tokens.max = embedding.size(0) - 1;
  tokens.required = false;
  FieldEmbedding by_token;
  by_token.field = 0;
  by_token.content = TableEmbedding{embedding};
  policy->fields.push_back(std::move(tokens));
  policy->embedder.fields.push_back(std::move(by_token));
  policy->embedder.presence = FieldPresence::kExactlyOne;
  AddEmbeddingInput(policy);
  policy->fields.back().required = false;
}

void AddEmbeddingInput(PolicyDescription* policy) {
  FieldSpec embeds;
  embeds.name = "inputs_embeds";
  embeds.shape = {policy->decoder.hidden_dim};
  FieldEmbedding given;
  given.field = static_cast<int>(policy->fields.size());
  given.content = GivenEmbedding{};
  policy->fields.push_back(std::move(embeds));
  policy->embedder.fields.push_back(std::move(given));
  policy->embedder.hidden_dim = policy->decoder.hidden_dim;
}

void AddLogits(const at::Tensor& head, PolicyDescription* policy) {
  const std::int64_t vocabulary = head.size(0);
  OutputHeadConfig logits;
  logits.name = "logits";
  logits.shape = {vocabulary};
  logits.layers = {{head, at::Tensor()}};
  policy->heads.push_back(std::move(logits));
  policy->action = {"logits", ScoreRule::kOutput, vocabulary};
}

}  // namespace stepd::checkpoint
