# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""CartPole-v1 with both velocities hidden: balancing it takes memory.

The true state is (position, velocity, angle, angular velocity); the observation
is (position, angle). One frame does not say which way the pole is falling, so a
policy has to infer the velocities from the frames it saw before.

Needs gymnasium and numpy only: the training script and the demo's remote actors
share this file.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

Observation = NDArray[np.float32]

# CartPole-v1 gives one point per step and stops after this many.
MAX_STEPS = 500

# The `action` field of a step holds the action taken before it. The first step
# of an episode has none and holds this instead.
FIRST_ACTION = 0

# Where position and angle stand in CartPole's state.
VISIBLE = [0, 2]


class HiddenVelocityCartPole(gym.ObservationWrapper[Observation, Any, Observation]):
    """Shows float32 [position, angle] of the CartPole environment it wraps."""

    def __init__(self, env: gym.Env[Observation, Any]) -> None:
        super().__init__(env)
        full = env.observation_space
        assert isinstance(full, gym.spaces.Box)
        self.observation_space = gym.spaces.Box(
            full.low[VISIBLE], full.high[VISIBLE], dtype=np.float32
        )

    def observation(self, observation: Observation) -> Observation:
        return observation[VISIBLE]


def make() -> HiddenVelocityCartPole:
    """Returns a fresh environment; seed it with `reset(seed=...)`."""
    return HiddenVelocityCartPole(gym.make("CartPole-v1"))
