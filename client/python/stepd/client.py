# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Client: what an actor's program holds of a server.

Thread safety: a Client may be shared by threads, and should be: its sessions
then share one connection.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, Unpack

import grpc
import numpy as np
from numpy.typing import ArrayLike

from stepd import description, results
from stepd.codec import Codec, Inputs
from stepd.connection import Connection, Method, open_channel
from stepd.description import Description, Limits
from stepd.errors import StepdError, from_rpc_error
from stepd.options import BatchOptions, SessionInputs, batch_options, names
from stepd.results import BatchResult, EvaluateResult
from stepd.retry import DEFAULT_RETRY, Retry, is_lost
from stepd.sampling import (
    ActionMask,
    Sampling,
    SamplingColumns,
    mask_tensor,
    split,
    to_proto,
)
from stepd.session import Session
from stepd.session_batch import SessionBatch
from stepd.sessions import Sessions
from stepd.stream import StepStream
from stepd.tls import Tls
from stepd.trajectories import Place, TrajectoryReader
from stepd.v1 import policy_service_pb2 as pb

_SERVICE = "/stepd.v1.PolicyService/"
_Reply = TypeVar("_Reply")


def connect(
    target: str,
    *,
    timeout: float | None = 5.0,
    tls: Tls | None = None,
    exactly_once: bool = True,
    retry: Retry | None = DEFAULT_RETRY,
    max_log_bytes: int = 64 << 20,
    options: Sequence[tuple[str, Any]] = (),
) -> "Client":
    """A client of the server at `target` ("host:port", "unix:/path").

    Returns at once: the connection is made by the first call. `timeout`, in
    seconds, is the deadline of every call that does not name its own; None is
    no deadline. `options` are gRPC channel options.

    exactly_once  sessions number their steps, so that the server takes none
                  twice, and what nobody answered may be sent again
    retry         how a call that nobody answered is tried again, within its
                  timeout; None: it is not. Steps need exactly_once for it
    max_log_bytes how much a session remembers of its steps, to send them again
                  to a server that lost them; 0: nothing
    """
    settings: list[tuple[str, Any]] = []
    if retry is not None:
        # Else gRPC itself waits for longer and longer before it connects.
        longest = int(1000 * retry.longest)
        settings = [
            ("grpc.initial_reconnect_backoff_ms", max(100, int(1000 * retry.first))),
            ("grpc.min_reconnect_backoff_ms", max(100, int(1000 * retry.first))),
            ("grpc.max_reconnect_backoff_ms", max(100, longest)),
        ]
    channel = open_channel(target, tls, [*settings, *options])
    return Client(
        channel,
        timeout,
        exactly_once=exactly_once,
        retry=retry,
        max_log_bytes=max_log_bytes,
    )


class Client(Connection):
    """A connection to one server. Made by connect(); a context manager.

    Every call raises StepdError, or a class derived from it, when it fails.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        timeout: float | None,
        *,
        exactly_once: bool,
        retry: Retry | None,
        max_log_bytes: int,
    ) -> None:
        super().__init__(channel, timeout, _SERVICE)
        self._exactly_once = exactly_once
        self._retry = retry
        self._max_log_bytes = max_log_bytes
        self._lock = threading.Lock()
        self._codec: Codec | None = None
        self._limits: Limits | None = None

        self._step = self._unary("Step", pb.StepResponse)
        self._step_batch = self._unary("StepBatch", pb.StepBatchResponse)
        self._reset = self._unary("Reset", pb.ResetResponse)
        self._evaluate = self._unary("Evaluate", pb.EvaluateResponse)
        self._describe = self._unary("Describe", pb.DescribeResponse)
        self._step_stream = channel.stream_stream(
            _SERVICE + "StepStream",
            response_deserializer=pb.StepStreamResponse.FromString,
        )

    def describe(self, *, timeout: float | None = None) -> Description:
        """Asks what the policy reads and answers, and what the server allows."""
        reply: pb.DescribeResponse = self._call(
            self._describe, b"", self._deadline(timeout), again=True
        )
        answer = description.from_proto(reply)
        # Inputs are encoded as the last answer says.
        self._limits = answer.limits
        self._codec = Codec(answer)
        return answer

    def session(self, actor_id: str) -> Session:
        """A new session of one actor. It opens with its first step.

        With exactly_once, that step ends what the actor had before.
        """
        return Session(self, actor_id)

    def step_batch(
        self,
        actors: Sequence[str] | Sequence[Session],
        inputs: Inputs,
        *,
        timeout: float | None = None,
        **keywords: Unpack[BatchOptions],
    ) -> BatchResult:
        """One step for each of N different actors; inputs have a leading N.

        Actors are sessions, or IDs: steps of IDs are not numbered, so that they
        are neither tried again nor remembered. An actor whose step fails does
        not fail the others: see BatchResult.errors. Keywords are those of
        BatchOptions.
        """
        batch = SessionBatch(self, actors)
        options = batch_options(len(actors), **keywords)
        request = self._ready_codec().batch(
            batch.actor_ids,
            inputs,
            options.tail + batch.order(),
            options.session_inputs,
        )
        return batch.send(request, options.ephemeral, self._deadline(timeout))

    def evaluate(
        self,
        inputs: Inputs,
        actions: ArrayLike | Sequence[int | None] = (),
        *,
        session_inputs: SessionInputs | None = None,
        outputs: Iterable[str] = ("entropy",),
        sampling: Sampling | None = None,
        action_mask: ActionMask | None = None,
        timeout: float | None = None,
        **fields: Unpack[SamplingColumns],
    ) -> EvaluateResult:
        """What the policy says of a whole episode, without a session.

        inputs       of S steps from the first on, with a leading S
        actions      [S], taken after each step; empty: no log-probabilities
        outputs      of every step
        action_mask  [S, num_actions], or a sequence with None for all
        sampling, **fields
                     as the actions were drawn; fields may be [S]

        The numbers are, to the bit, those that the steps were answered with.
        """
        request = self._ready_codec().evaluation(inputs, session_inputs)
        shared, columns = split(sampling, fields)
        request += pb.EvaluateRequest(
            actions=np.asarray(actions, np.int64).tolist(),
            sampling=to_proto(shared),
            sampling_columns=columns,
            action_mask=mask_tensor(action_mask),
            outputs=names(outputs),
        ).SerializeToString()
        deadline = self._deadline(timeout)
        return results.evaluate_result(
            self._call(self._evaluate, request, deadline, again=True)
        )

    def reset(self, actor_id: str, *, timeout: float | None = None) -> None:
        """Empties an actor's session. An unknown actor is no error.

        For an actor that has a Session here, Session.reset() is the one to call.
        """
        self._reset_actor(actor_id, None, timeout)

    @property
    def sessions(self) -> Sessions:
        """What the server has of sessions, whoever steps them."""
        return Sessions(self)

    def stream(self) -> StepStream:
        """A stream of steps of any actors, each answered when it is ready."""
        return StepStream(self._step_stream, self._ready_codec(), self._timeout)

    def trajectories(self, after: Place | None = None) -> TrajectoryReader:
        """What all actors see and do from now on, or after `after`.

        Whoever read up to `after` may be another program; see Place.
        """
        return TrajectoryReader(self, after)

    # What follows is shared with Session, Sessions and TrajectoryReader.

    def _reset_actor(
        self, actor_id: str, epoch: int | None, timeout: float | None
    ) -> None:
        request = pb.ResetRequest(actor_id=actor_id, epoch=epoch).SerializeToString()
        # Without an epoch too: an actor that tries again has not stepped since.
        self._call(self._reset, request, self._deadline(timeout), again=True)

    def _deadline(self, timeout: float | None) -> float | None:
        """The end of a call that begins now, by time.monotonic()."""
        seconds = self._timeout if timeout is None else timeout
        return None if seconds is None else time.monotonic() + seconds

    def _call(
        self,
        method: Method[_Reply],
        request: bytes,
        deadline: float | None,
        *,
        again: bool,
    ) -> _Reply:
        """Calls until `deadline`; `again`: also when nobody answered."""
        try:
            return method(request, timeout=_left(deadline))
        except grpc.RpcError as rpc_error:
            error = from_rpc_error(rpc_error)
            if not again or self._retry is None or not is_lost(error):
                raise error from rpc_error
        return self._call_again(method, request, deadline, error)

    def _call_again(
        self,
        method: Method[_Reply],
        request: bytes,
        deadline: float | None,
        error: StepdError,
    ) -> _Reply:
        """Goes on after `error`, with a wait before every attempt."""
        assert self._retry is not None
        for wait in self._retry.waits():
            wait += error.retry_after or 0.0
            if deadline is not None and time.monotonic() + wait >= deadline:
                raise error
            time.sleep(wait)
            try:
                return method(request, timeout=_left(deadline))
            except grpc.RpcError as rpc_error:
                error = from_rpc_error(rpc_error)
                if not is_lost(error):
                    raise error from rpc_error
        raise AssertionError("waits never end")

    def _ready_codec(self) -> Codec:
        """The codec, asking the server for the fields the first time."""
        if self._codec is None:
            with self._lock:
                if self._codec is None:
                    self.describe()
        assert self._codec is not None
        return self._codec

    def _ready_limits(self) -> Limits:
        self._ready_codec()
        assert self._limits is not None
        return self._limits


def _left(deadline: float | None) -> float | None:
    """Seconds until `deadline`."""
    return None if deadline is None else deadline - time.monotonic()
