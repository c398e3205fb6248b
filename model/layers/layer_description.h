// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0
//
// What a layer is, for people. A new kind adds its alternative here: the
// compiler asks for it.
//
// Thread safety: reentrant.

#ifndef STEPD_MODEL_LAYERS_LAYER_DESCRIPTION_H_
#define STEPD_MODEL_LAYERS_LAYER_DESCRIPTION_H_

#include "model/decoder/decoder_config.h"
#include "model/policy_spec.h"

namespace stepd {

// Kinds, sizes and parameters; the decoder knows stage, visits and cache.
LayerSpec DescribeLayer(const LayerConfig& config);

}  // namespace stepd

#endif  // STEPD_MODEL_LAYERS_LAYER_DESCRIPTION_H_
