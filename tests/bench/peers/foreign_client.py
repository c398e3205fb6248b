# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Actors of servers with protocols of their own, as python_client.py is of ours.

Prints the steps per second of all actors:
    foreign_client.py --server Triton --target HOST:PORT --actors 64 --seconds 1
"""

from __future__ import annotations

import argparse
import http.client
import json
from typing import Any

import numpy as np
from tests.bench.actors import EPISODE_STEPS, Actor, main

POOL_SIZE = 64
NUM_OBSERVATIONS = 16
NUM_ACTIONS = 6


class ForeignActor:
    """Episodes and observations; how a step is sent is the subclass's."""

    def __init__(self, target: str, name: str, position: int) -> None:
        self._target = target
        self._name = name
        random = np.random.default_rng(1)
        self._pool: list[dict[str, Any]] = [
            {
                "action": int(random.integers(NUM_ACTIONS)),
                "obs_continuous": random.uniform(-1.0, 1.0, NUM_OBSERVATIONS).tolist(),
                "reward": 0.0,
                "done": 0,
            }
            for _ in range(POOL_SIZE)
        ]
        self._steps_left = EPISODE_STEPS - position
        self.num_steps = 0
        self.connect()

    def connect(self) -> None: ...
    def send(self, step: dict[str, Any], begins: bool) -> None: ...
    def close(self) -> None: ...

    def step(self) -> None:
        begins = self.num_steps == 0 or self._steps_left == EPISODE_STEPS
        self.send(self._pool[self.num_steps % POOL_SIZE], begins)
        self.num_steps += 1
        self._steps_left = self._steps_left - 1 or EPISODE_STEPS


class HttpActor(ForeignActor):
    """JSON over a connection that stays open."""

    def connect(self) -> None:
        self._connection = http.client.HTTPConnection(self._target)

    def send(self, step: dict[str, Any], begins: bool) -> None:
        body = json.dumps({"actor": self._name, "begins": begins, **step})
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/predict", body, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"HTTP {response.status}: {answer.decode()}")
        json.loads(answer)

    def close(self) -> None:
        self._connection.close()


class TritonActor(ForeignActor):
    """Triton's own gRPC client."""

    def connect(self) -> None:
        import tritonclient.grpc as triton

        self._client = triton.InferenceServerClient(self._target)
        self._inputs = [
            triton.InferInput("actor", [1, 1], "INT64"),
            triton.InferInput("begins", [1, 1], "BOOL"),
            triton.InferInput("numbers", [1, 3 + NUM_OBSERVATIONS], "FP32"),
        ]
        number = int(self._name.rpartition("-")[2])
        self._inputs[0].set_data_from_numpy(np.array([[number]], np.int64))

    def send(self, step: dict[str, Any], begins: bool) -> None:
        numbers = [step["action"], step["reward"], step["done"]]
        row = np.array([numbers + step["obs_continuous"]], np.float32)
        self._inputs[1].set_data_from_numpy(np.array([[begins]]))
        self._inputs[2].set_data_from_numpy(row)
        self._client.infer("policy", self._inputs).as_numpy("action")

    def close(self) -> None:
        self._client.close()


def actor_type() -> type[Actor]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default="")
    server = parser.parse_known_args()[0].server
    return TritonActor if server == "Triton" else HttpActor


if __name__ == "__main__":
    main(actor_type())
