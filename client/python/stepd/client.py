# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Client and Session: what an actor's program holds.

Thread safety: a Client may be shared by threads, and should be: its sessions
then share one connection. A Session is one actor's and belongs to one thread at
a time.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar

import grpc

from stepd import codec, description, results
from stepd.codec import Codec, Inputs, SessionInputs
from stepd.description import Description
from stepd.errors import StepdError, from_rpc_error
from stepd.results import BatchResult, StepResult, StepsResult
from stepd.stream import StepStream
from stepd.tls import Tls
from stepd.v1 import policy_service_pb2 as pb

_SERVICE = "/stepd.v1.PolicyService/"
_Reply = TypeVar("_Reply")


def connect(
    target: str,
    *,
    timeout: float | None = 5.0,
    tls: Tls | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> "Client":
    """A client of the server at `target` ("host:port", "unix:/path").

    Returns at once: the connection is made by the first call. `timeout`, in
    seconds, is the deadline of every call that does not name its own; None is
    no deadline. `options` are gRPC channel options.
    """
    # Replies are as long as what was asked for; requests are the server's to limit.
    settings = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    if tls is None:
        channel = grpc.insecure_channel(target, [*settings, *options])
    else:
        settings_tls = [*settings, *tls.channel_options(), *options]
        channel = grpc.secure_channel(target, tls.credentials(), settings_tls)
    return Client(channel, timeout)


class Client:
    """A connection to one server. Made by connect(); a context manager.

    Every call raises StepdError, or a class derived from it, when it fails.
    """

    def __init__(self, channel: grpc.Channel, timeout: float | None) -> None:
        self._channel = channel
        self._timeout = timeout
        self._lock = threading.Lock()
        self._codec: Codec | None = None

        def unary(name: str, reply: type[Any]) -> Callable[..., Any]:
            # Requests come as bytes: see codec.py.
            method: Callable[..., Any] = channel.unary_unary(
                _SERVICE + name, response_deserializer=reply.FromString
            )
            return method

        self._step = unary("Step", pb.StepResponse)
        self._step_batch = unary("StepBatch", pb.StepBatchResponse)
        self._reset = unary("Reset", pb.ResetResponse)
        self._describe = unary("Describe", pb.DescribeResponse)
        self._step_stream = channel.stream_stream(
            _SERVICE + "StepStream",
            response_deserializer=pb.StepStreamResponse.FromString,
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection. Calls that are running are cancelled."""
        self._channel.close()

    def describe(self, *, timeout: float | None = None) -> Description:
        """Asks what the policy reads and answers, and what the server allows."""
        reply: pb.DescribeResponse = self._call(self._describe, b"", timeout)
        answer = description.from_proto(reply)
        # Inputs are encoded as the last answer says.
        self._codec = Codec(answer)
        return answer

    def session(self, actor_id: str) -> "Session":
        """The session of one actor. It opens with its first step."""
        return Session(self, actor_id)

    def step_batch(
        self,
        actor_ids: Sequence[str],
        inputs: Inputs,
        *,
        session_inputs: SessionInputs | None = None,
        outputs: Iterable[str] = (),
        temperature: float = 0.0,
        num_actions: int | None = None,
        seed: int = 0,
        ephemeral: bool = False,
        timeout: float | None = None,
    ) -> BatchResult:
        """One step for each of N different actors; inputs have a leading N.

        An actor whose step fails does not fail the others: see
        BatchResult.errors. `session_inputs` have an entry for each actor: None
        where the session is open already. The rest is as in Session.step().
        """
        names = codec.names(outputs)
        tail = codec.options(names, temperature, num_actions, seed, ephemeral=ephemeral)
        request = self._ready_codec().batch(actor_ids, inputs, tail, session_inputs)
        return results.batch_result(self._call(self._step_batch, request, timeout))

    def reset(self, actor_id: str, *, timeout: float | None = None) -> None:
        """Empties an actor's session. An unknown actor is no error."""
        request = pb.ResetRequest(actor_id=actor_id).SerializeToString()
        self._call(self._reset, request, timeout)

    def stream(self) -> StepStream:
        """A stream of steps of any actors, each answered when it is ready."""
        return StepStream(self._step_stream, self._ready_codec(), self._timeout)

    # What follows is shared with Session.

    def _call(
        self, method: Callable[..., _Reply], request: bytes, timeout: float | None
    ) -> _Reply:
        try:
            return method(
                request, timeout=self._timeout if timeout is None else timeout
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def _ready_codec(self) -> Codec:
        """The codec, asking the server for the fields the first time."""
        if self._codec is None:
            with self._lock:
                if self._codec is None:
                    self.describe()
        assert self._codec is not None
        return self._codec


class Session:
    """One actor's steps on the server. Made by Client.session().

    As a context manager it resets the session at the end, which gives the
    server its memory back.
    """

    def __init__(self, client: Client, actor_id: str) -> None:
        self._client = client
        self._actor_id = actor_id
        self._head = codec.step_head(actor_id)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.reset()
        except StepdError:
            # The server expires idle sessions by itself; what failed inside the
            # block says more than this.
            if error is None:
                raise

    @property
    def actor_id(self) -> str:
        """Whose session this is."""
        return self._actor_id

    def step(
        self,
        inputs: Inputs,
        *,
        session_inputs: SessionInputs | None = None,
        outputs: Iterable[str] = (),
        temperature: float = 0.0,
        num_actions: int | None = None,
        seed: int = 0,
        ephemeral: bool = False,
        timeout: float | None = None,
    ) -> StepResult:
        """Appends one step and answers with the action.

        inputs       every field's value, shaped as Description.fields says;
                     optional fields may be None or left out
        session_inputs
                     what the policy reads once per session, shaped as
                     Description.session_inputs says: with the step that opens
                     the session, and only then
        outputs      names of outputs to return besides the action
        temperature  actions are drawn from softmax(scores / temperature); 0
                     takes the best one
        num_actions  keeps only the first scores
        seed         with the actor and the step's number it decides the draw
        ephemeral    ends the session with this call, as reset() after it would;
                     the server may then compute less
        timeout      seconds; the client's when None
        """
        names = codec.names(outputs)
        tail = codec.options(names, temperature, num_actions, seed, ephemeral=ephemeral)
        client = self._client
        request = client._ready_codec().step(self._head, inputs, tail, session_inputs)
        return results.step_result(client._call(client._step, request, timeout))

    def steps(
        self,
        inputs: Inputs,
        *,
        session_inputs: SessionInputs | None = None,
        answer: Literal["last", "all"] = "last",
        outputs: Iterable[str] = (),
        temperature: float = 0.0,
        num_actions: int | None = None,
        seed: int = 0,
        ephemeral: bool = False,
        timeout: float | None = None,
    ) -> StepsResult:
        """Appends several steps at once; inputs have a leading dimension of steps.

        `answer` says which of them are answered; the rest is as in step().
        """
        if answer not in ("last", "all"):
            raise ValueError(f'answer is "last" or "all", not {answer!r}')
        names = codec.names(outputs)
        every = answer == "all"
        tail = codec.options(
            names,
            temperature,
            num_actions,
            seed,
            all_steps=every,
            ephemeral=ephemeral,
        )
        client = self._client
        request = client._ready_codec().steps(self._head, inputs, tail, session_inputs)
        return results.steps_result(client._call(client._step, request, timeout))

    def reset(self, *, timeout: float | None = None) -> None:
        """Empties the session: the next step is an episode's first."""
        self._client.reset(self._actor_id, timeout=timeout)
