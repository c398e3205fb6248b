// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "model/checkpoint/token_fields.h"

#include <utility>

namespace stepd::checkpoint {

void AddTokenFields(const at::Tensor& embedding, const at::Tensor& head,
                    PolicyDescription* policy) {
  const std::int64_t vocabulary = embedding.size(0);
  const std::int64_t hidden_dim = policy->decoder.hidden_dim;

  FieldSpec tokens;
  tokens.name = "tokens";
  tokens.dtype = DType::kInt64;
  tokens.min = 0;
  tokens.max = vocabulary - 1;
  tokens.required = false;
  FieldSpec embeds;
  embeds.name = "inputs_embeds";
  embeds.shape = {hidden_dim};
  embeds.required = false;
  policy->fields = {std::move(tokens), std::move(embeds)};

  FieldEmbedding by_token;
  by_token.field = 0;
  by_token.content = TableEmbedding{embedding};
  FieldEmbedding given;
  given.field = 1;
  given.content = GivenEmbedding{};
  policy->embedder.hidden_dim = hidden_dim;
  policy->embedder.presence = FieldPresence::kExactlyOne;
  policy->embedder.fields = {std::move(by_token), std::move(given)};

  OutputHeadConfig logits;
  logits.name = "logits";
  logits.shape = {vocabulary};
  logits.layers = {{head, at::Tensor()}};
  policy->heads.push_back(std::move(logits));
  policy->action = {"logits", ScoreRule::kOutput, vocabulary};
}

}  // namespace stepd::checkpoint
