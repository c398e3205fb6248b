# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""What all actors of a server saw and did, as a learner reads it.

    with stepd.connect("localhost:50051") as client:
        for steps in client.trajectories():
            replay.add(steps.actor_ids, steps.inputs, steps.actions, steps.log_probs)

Thread safety: a TrajectoryReader belongs to one thread; only close() may be
called from another.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import grpc
import numpy as np
from numpy.typing import NDArray

from stepd import description
from stepd.connection import Closing
from stepd.description import DTYPES, Field
from stepd.errors import StepdError, from_rpc_error
from stepd.options import BOUNDARIES, Boundary
from stepd.retry import is_lost
from stepd.v1 import policy_service_pb2
from stepd.v1 import trajectory_service_pb2 as pb

if TYPE_CHECKING:
    from stepd.client import Client

_METHOD = "/stepd.v1.TrajectoryService/StreamTrajectories"

# One entry per step. Of a field that every step has in the same shape, an array
# [N, ...]; of others a list, with None for steps without it.
Column: TypeAlias = NDArray[Any] | list[NDArray[Any] | None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a stream: the last step that was read."""

    stream_id: str
    sequence: int


@dataclass(slots=True, eq=False)
class FinishedSteps:
    """N steps of any actors, each actor's in their order.

    Steps that a client sent only to have them in the context (not the last one
    of Session.steps(), or all of a session that the server had lost) are not
    answered: their action and log_prob are 0. Of a policy without actions,
    `actions` and `log_probs` are empty.
    """

    actor_ids: list[str]  # [N]
    epochs: NDArray[np.int64]  # [N]
    step_indices: NDArray[np.int64]  # [N], steps of the session before each
    boundaries: list[Boundary]  # [N]
    inputs: dict[str, Column]  # by field; none of a field that no step had
    # None for steps that did not open a session.
    session_inputs: dict[str, list[NDArray[Any] | None]]
    answered: NDArray[np.bool_]  # [N]
    actions: NDArray[np.int64]  # [N]
    log_probs: NDArray[np.float32]  # [N]
    model_versions: NDArray[np.int64]  # [N]
    # Steps before these that the reader was too slow for.
    dropped: int
    # Steps before these are missing, and nobody knows how many: the stream that
    # was read before has ended, as it does with its server.
    is_new_stream: bool
    place: Place  # of the last of them

    def __len__(self) -> int:
        return len(self.actor_ids)


class TrajectoryReader(Closing):
    """Made by Client.trajectories(): an iterator, and a context manager.

    Steps that finish after it was made are read, or counted as dropped. When
    the connection breaks, reading goes on where it was.
    """

    def __init__(self, client: "Client", after: Place | None) -> None:
        self._client = client
        self._method = client._channel.unary_stream(
            _METHOD, response_deserializer=pb.StreamTrajectoriesResponse.FromString
        )
        self._is_closed = False
        self._is_new_stream = False
        self._place = after or Place("", 0)
        self._has_begun = after is not None
        try:
            self._open()
        except StepdError as error:
            self._open_again(error)

    @property
    def place(self) -> Place:
        """The last step that was read: for Client.trajectories(after=...)."""
        return self._place

    def close(self) -> None:
        """Reads no more; an iteration that waits ends."""
        self._is_closed = True
        self._call.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> FinishedSteps:
        while not self._is_closed:
            try:
                return self._take(next(self._call))
            except grpc.RpcError as rpc_error:
                if not self._is_closed:
                    self._open_again(from_rpc_error(rpc_error))
        self._call.cancel()  # It may have been opened again since.
        raise StopIteration

    def _open(self) -> None:
        client = self._client
        policy = description.from_proto(
            client._call(client._describe, b"", client._deadline(None), again=True)
        )
        self._fields = {f.name: f for f in policy.fields}
        self._session_fields = {f.name: f for f in policy.session_inputs}
        request = pb.StreamTrajectoriesRequest(
            stream_id=self._place.stream_id, sequence=self._place.sequence
        )
        self._call: Any = self._method(request.SerializeToString())
        try:
            first = next(self._call)
        except grpc.RpcError as rpc_error:
            raise from_rpc_error(rpc_error) from rpc_error
        is_same = first.stream_id == self._place.stream_id
        self._is_new_stream |= self._has_begun and not is_same
        self._has_begun = True
        self._place = Place(first.stream_id, first.sequence)

    def _open_again(self, error: StepdError) -> None:
        """Goes on after `error`; raises what cannot be healed in time."""
        client = self._client
        deadline = client._deadline(None)
        for wait in client._retry.waits() if client._retry else ():
            wait += error.retry_after or 0.0
            is_late = deadline is not None and time.monotonic() + wait >= deadline
            if is_late or not is_lost(error):
                break
            time.sleep(wait)
            try:
                return self._open()
            except StepdError as again:
                error = again
        raise error

    def _take(self, message: pb.StreamTrajectoriesResponse) -> FinishedSteps:
        self._place = Place(message.stream_id, message.sequence)
        is_new_stream, self._is_new_stream = self._is_new_stream, False
        return FinishedSteps(
            list(message.actor_ids),
            np.array(message.epochs, np.int64),
            np.array(message.step_indices, np.int64),
            [BOUNDARIES[boundary] for boundary in message.boundaries],
            _columns(message.inputs, self._fields),
            {
                tensor.name: _entries(tensor, self._session_fields[tensor.name])
                for tensor in message.session_inputs
            },
            np.array(message.answered, np.bool_),
            np.array(message.actions, np.int64),
            np.array(message.log_probs, np.float32),
            np.array(message.model_versions, np.int64),
            message.dropped,
            is_new_stream,
            self._place,
        )


def _columns(tensors: Any, fields: Mapping[str, Field]) -> dict[str, Column]:
    return {
        tensor.name: _entries(tensor, fields[tensor.name])
        if tensor.lengths
        else _array(tensor)
        for tensor in tensors
    }


def _array(tensor: policy_service_pb2.Tensor) -> NDArray[Any]:
    return np.frombuffer(tensor.data, DTYPES[tensor.dtype]).reshape(tuple(tensor.shape))


def _entries(
    tensor: policy_service_pb2.Tensor, field: Field
) -> list[NDArray[Any] | None]:
    array = _array(tensor)
    entries: list[NDArray[Any] | None] = []
    begin = 0
    for length in tensor.lengths:
        rows = array[begin : begin + length]
        begin += length
        if field.is_ragged:
            entries.append(rows)
        else:
            entries.append(rows[0] if length else None)
    return entries
