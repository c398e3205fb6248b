# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""What every HTTP peer does with the steps of a batch, whatever serves them."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.bench.peers.torch_policy import StaticCachePolicy

MAX_WAIT_SECONDS = 0.005
MAX_BATCH = 64
NUM_SLOTS = 1024
MAX_STEPS = 256


class SessionSteps:
    """Sessions by the names of their actors. Not thread-safe."""

    def __init__(self, model: Path) -> None:
        self._policy = StaticCachePolicy(model, NUM_SLOTS, MAX_STEPS)
        self._slots: dict[str, int] = {}

    def step(self, requests: Sequence[dict[str, Any]]) -> list[int]:
        """The action of each; one that `begins` an episode clears its session."""
        slots = []
        for request in requests:
            slot = self._slots.setdefault(request["actor"], len(self._slots))
            if request["begins"]:
                self._policy.clear(slot)
            slots.append(slot)

        def column(name: str, dtype: type) -> NDArray[Any]:
            return np.array([request[name] for request in requests], dtype)

        fields: dict[str, NDArray[np.generic]] = {
            "action": column("action", np.int64),
            "obs_continuous": column("obs_continuous", np.float32),
            "reward": column("reward", np.float32),
            "done": column("done", np.int64),
        }
        return [int(action) for action in self._policy.step(slots, fields)]


def parse(description: str | None) -> argparse.Namespace:
    """The options of every peer, named as stepd's: model and port_file."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument(
        "--server.port_file", dest="port_file", type=Path, required=True
    )
    return parser.parse_known_args()[0]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
