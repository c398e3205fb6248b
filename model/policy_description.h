// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// A whole policy as data: what every checkpoint format is translated into, and
// all that TransformerPolicy is built from.
//
// Thread safety: plain values.

#ifndef STEPD_MODEL_POLICY_DESCRIPTION_H_
#define STEPD_MODEL_POLICY_DESCRIPTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/decoder/decoder_config.h"
#include "model/embedders/embedder_config.h"
#include "model/heads/head_config.h"
#include "model/policy_spec.h"

namespace stepd {

struct PolicyDescription {
  std::string format;                     // PolicySpec::format
  std::string summary;                    // PolicySpec::summary
  std::vector<FieldSpec> fields;          // in the order of the encoded step
  std::vector<FieldSpec> session_fields;  // PolicySpec::session_fields
  EmbedderConfig embedder;
  std::optional<PrefixConfig> prefix;       // tokens before the first step's
  std::optional<SessionRowsConfig> source;  // what cross-attention reads
  // One row that sets norms and gates (ModulationConfig).
  std::optional<SessionRowsConfig> condition;
  DecoderConfig decoder;
  std::vector<OutputHeadConfig> heads;
  ActionConfig action;
  std::string q_head;           // PolicySpec::q_output, by name; empty: none
  bool recomputes = false;      // PolicySpec::recomputes
  std::int64_t max_tokens = 0;  // PolicySpec::max_tokens
  std::int64_t num_parameters = 0;  // of all tensors that were taken
};

}  // namespace stepd

#endif  // STEPD_MODEL_POLICY_DESCRIPTION_H_
