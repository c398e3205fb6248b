# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Actors in Python: what a program of generated stubs and threads reaches.

Each actor is a thread that sends its next step when it has the answer to the
last one; threads are spread over a process per core. Speaks only what every
server of the protocol answers. Prints the steps per second of all actors:
    python_client.py --target HOST:PORT --actors 64 --seconds 1
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from stepd.v1 import policy_service_pb2 as pb

SERVICE = "/stepd.v1.PolicyService/"
EPISODE_STEPS = 128
WARM_UP_SECONDS = 0.3
POOL_SIZE = 64
DTYPES = {pb.DATA_TYPE_INT64: np.int64, pb.DATA_TYPE_FLOAT32: np.float32}


def random_values(field: pb.Field) -> list[bytes]:
    """Valid values of a field, for as many steps as the pool has."""
    random = np.random.default_rng(1)
    shape = (POOL_SIZE, *field.shape)
    values: NDArray[np.generic]
    if field.dtype == pb.DATA_TYPE_INT64:
        values = random.integers(int(field.min), int(field.max) + 1, shape)
    else:
        values = random.uniform(-1.0, 1.0, shape)
    return [row.tobytes() for row in values.astype(DTYPES[field.dtype])]


class Actor:
    """Belongs to one thread."""

    def __init__(self, channel: grpc.Channel, name: str, position: int) -> None:
        def unary(method: str, reply: type[Any]) -> Callable[[Any], Any]:
            call: Callable[[Any], Any] = channel.unary_unary(
                SERVICE + method,
                request_serializer=lambda request: request.SerializeToString(),
                response_deserializer=reply.FromString,
            )
            return call

        self._step = unary("Step", pb.StepResponse)
        self._reset = unary("Reset", pb.ResetResponse)
        describe = unary("Describe", pb.DescribeResponse)
        fields = describe(pb.DescribeRequest()).fields
        self._name = name
        self._pool = [random_values(field) for field in fields]
        self._request = pb.StepRequest(actor_id=name)
        for field in fields:
            self._request.inputs.add(
                name=field.name, dtype=field.dtype, shape=[1, *field.shape]
            )
        self._next = 0
        # Episodes are staggered: the first one is shorter.
        self._steps_left = EPISODE_STEPS - position
        self.num_steps = 0

    def step(self) -> None:
        for tensor, values in zip(self._request.inputs, self._pool, strict=True):
            tensor.data = values[self._next]
        self._next = (self._next + 1) % POOL_SIZE
        self._step(self._request)
        self.num_steps += 1
        self._steps_left -= 1
        if self._steps_left == 0:
            self.reset()
            self._steps_left = EPISODE_STEPS

    def reset(self) -> None:
        self._reset(pb.ResetRequest(actor_id=self._name))


def run_actors(target: str, actors: range, num_actors: int, seconds: float) -> float:
    """Steps per second of some of the actors, of one process."""
    with grpc.insecure_channel(target) as channel:
        all_actors = [
            Actor(channel, f"python-{i}", i * EPISODE_STEPS // num_actors)
            for i in actors
        ]
        end = time.perf_counter() + WARM_UP_SECONDS + seconds
        is_open = True

        def run(actor: Actor) -> None:
            while is_open:
                actor.step()

        threads = [threading.Thread(target=run, args=(one,)) for one in all_actors]
        for thread in threads:
            thread.start()
        time.sleep(WARM_UP_SECONDS)
        num_before = sum(one.num_steps for one in all_actors)
        begin = time.perf_counter()
        time.sleep(max(0.0, end - begin))
        num_steps = sum(one.num_steps for one in all_actors) - num_before
        rate = num_steps / (time.perf_counter() - begin)
        is_open = False
        for thread in threads:
            thread.join()
        for one in all_actors:
            one.reset()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True)
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    num_processes = min(os.cpu_count() or 1, options.actors)
    shares = [
        range(
            options.actors * i // num_processes,
            options.actors * (i + 1) // num_processes,
        )
        for i in range(num_processes)
    ]
    with multiprocessing.get_context("spawn").Pool(num_processes) as pool:
        rates = pool.starmap(
            run_actors,
            [(options.target, s, options.actors, options.seconds) for s in shares],
        )
    print(sum(rates))


if __name__ == "__main__":
    main()
