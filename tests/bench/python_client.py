# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Actors in Python: what a program of generated stubs and threads reaches.

Speaks only what every server of the protocol answers, over one connection per
process. Prints the steps per second of all actors:
    python_client.py --target HOST:PORT --actors 64 --seconds 1
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tests.bench.actors import EPISODE_STEPS, main

from stepd.v1 import policy_service_pb2 as pb

SERVICE = "/stepd.v1.PolicyService/"
POOL_SIZE = 64
DTYPES = {pb.DATA_TYPE_INT64: np.int64, pb.DATA_TYPE_FLOAT32: np.float32}


@functools.cache
def channel_to(target: str) -> grpc.Channel:
    return grpc.insecure_channel(target)


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


class GrpcActor:
    def __init__(self, target: str, name: str, position: int) -> None:
        def unary(method: str, reply: type[Any]) -> Callable[[Any], Any]:
            call: Callable[[Any], Any] = channel_to(target).unary_unary(
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
            self.close()
            self._steps_left = EPISODE_STEPS

    def close(self) -> None:
        """The session ends; its actor may begin another one."""
        self._reset(pb.ResetRequest(actor_id=self._name))


if __name__ == "__main__":
    main(GrpcActor)
