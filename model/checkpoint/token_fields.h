// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What every policy over tokens has: a step is a token id or an embedding, and
// the action is the next token.
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_CHECKPOINT_TOKEN_FIELDS_H_
#define STEPD_MODEL_CHECKPOINT_TOKEN_FIELDS_H_

#include "ATen/core/Tensor.h"
#include "model/policy_description.h"

namespace stepd::checkpoint {

// Adds the fields `tokens` (int64, a row of `embedding` [V, D]) and
// `inputs_embeds` (float32 [D], the row itself), of which a step has exactly
// one; and the head `logits` = `head` [V, D] times the hidden state, which is
// the action head.
// REQUIRES: policy->decoder.hidden_dim is set.
void AddTokenFields(const at::Tensor& embedding, const at::Tensor& head,
                    PolicyDescription* policy);

// The two halves of it.
void AddTokenInputs(const at::Tensor& embedding, PolicyDescription* policy);
void AddLogits(const at::Tensor& head, PolicyDescription* policy);

// The field `inputs_embeds` alone, which every step must have.
void AddEmbeddingInput(PolicyDescription* policy);

}  // namespace stepd::checkpoint

#endif  // STEPD_MODEL_CHECKPOINT_TOKEN_FIELDS_H_
