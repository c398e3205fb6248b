# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Actors that take every step exactly once, whatever happens to the server.

Written on the wire's messages alone, so that no client library hides a lost or
changed step: an actor names its step's index and its session's epoch, sends the
same request again until it is answered, and keeps what it was answered.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2

from stepd.v1 import policy_service_pb2 as pb

# Nothing is wrong with the request: it may be sent again.
RETRIED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


def reason_of(error: grpc.RpcError) -> str:
    """The reason in the error's details; "" if it has none."""
    metadata = dict(error.trailing_metadata() or ())
    details = metadata.get("grpc-status-details-bin")
    if details is None:
        return ""
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(details).details:
        detail.Unpack(info)
    return str(info.reason)


def tensor(name: str, dtype: pb.DataType, values: np.ndarray) -> pb.Tensor:
    """The array as the wire carries it."""
    return pb.Tensor(name=name, dtype=dtype, shape=values.shape, data=values.tobytes())


def steps_of(actor_id: str, index: int, count: int) -> list[pb.Tensor]:
    """Inputs of the case llama_sum_mha: always the same for the same step."""
    rows = []
    for i in range(index, index + count):
        draw = random.Random(f"{actor_id} {i}")
        rows.append((draw.randrange(4), [draw.gauss(0, 1) for _ in range(3)]))
    return [
        tensor("time", pb.DATA_TYPE_INT64, np.zeros(count, np.int64)),
        tensor(
            "action", pb.DATA_TYPE_INT64, np.array([row[0] for row in rows], np.int64)
        ),
        tensor(
            "obs_continuous",
            pb.DATA_TYPE_FLOAT32,
            np.array([row[1] for row in rows], np.float32),
        ),
        tensor("reward", pb.DATA_TYPE_FLOAT32, np.full(count, 0.5, np.float32)),
        tensor("done", pb.DATA_TYPE_INT64, np.zeros(count, np.int64)),
    ]


@dataclass
class ExactActor:
    """One actor. `target` says where the server is now."""

    actor_id: str
    target: Callable[[], str]
    timeout: float = 5.0
    epoch: int = 1
    num_steps: int = 0
    answers: list[bytes] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)  # reasons, until answered
    served_from: set[int] = field(default_factory=set)
    _channel: grpc.Channel | None = None
    _connected_to: str = ""
    _between_tries: threading.Event = field(default_factory=threading.Event)

    def step(self, count: int = 1, patience: float = 60.0) -> None:
        """Takes so many steps in one call, and keeps the answer."""
        request = pb.StepRequest(
            actor_id=self.actor_id,
            inputs=steps_of(self.actor_id, self.num_steps, count),
            outputs=["sp"],
            sampling=pb.Sampling(temperature=1.0, seed=7),
            step_index=self.num_steps,
            epoch=self.epoch,
        )
        answer = self._call(request, patience)
        self.num_steps += count
        assert answer.step_index == self.num_steps
        assert answer.epoch == self.epoch
        # How it was computed is all that may differ.
        self.served_from.add(answer.served_from)
        answer.ClearField("served_from")
        answer.ClearField("epoch")
        self.answers.append(answer.SerializeToString(deterministic=True))

    def close(self) -> None:
        """Hangs up; the next step connects again."""
        if self._channel is not None:
            self._channel.close()
        self._channel = None

    def begin_anew(self) -> None:
        """The next step is the first of another session."""
        self.epoch += 1
        self.num_steps = 0

    def live(self, num_calls: int, *, num_calls_per_session: int = 40) -> None:
        """Steps, one to three at a time, and new sessions now and then."""
        draw = random.Random(self.actor_id)
        for i in range(num_calls):
            if i > 0 and i % num_calls_per_session == 0:
                self.begin_anew()
            self.step(draw.choice((1, 1, 1, 2, 3)))

    def _call(self, request: pb.StepRequest, patience: float) -> pb.StepResponse:
        end = time.monotonic() + patience
        while True:
            try:
                answer: pb.StepResponse = self._stub()(request, timeout=self.timeout)
                return answer
            except grpc.RpcError as error:
                if error.code() not in RETRIED:
                    raise
                self.refusals.append(reason_of(error) or error.code().name)
                assert time.monotonic() < end, error
            self._between_tries.wait(0.02)

    def _stub(self) -> grpc.UnaryUnaryMultiCallable:
        target = self.target()
        if self._channel is None or target != self._connected_to:
            self.close()
            self._channel = grpc.insecure_channel(target)
            self._connected_to = target
        return self._channel.unary_unary(
            "/stepd.v1.PolicyService/Step",
            request_serializer=pb.StepRequest.SerializeToString,
            response_deserializer=pb.StepResponse.FromString,
        )
