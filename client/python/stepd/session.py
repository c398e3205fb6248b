# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Session: one actor's steps, each taken exactly once, whatever happens.

A session numbers its steps, so that one which is sent again, because nobody
answered, is not taken twice; and it remembers them, so that a server which lost
the session (it restarted, or the session was idle for too long) gets them
again. Draws depend on seed, actor and step index alone: nothing the actor sees
is different.

Thread safety: a Session belongs to one thread at a time.
"""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from stepd import codec, results
from stepd.codec import Inputs
from stepd.errors import OutOfOrder, SessionUnknown, StepdError
from stepd.options import Answer, StepOptions, step_options
from stepd.results import StepResult, StepsResult
from stepd.retry import is_lost
from stepd.step_log import RowLayout, StepLog
from stepd.v1 import policy_service_pb2 as pb
from stepd.v1 import session_service_pb2 as session_pb

if TYPE_CHECKING:
    from stepd.client import Client

# What says that the server lost steps, or never had them.
_Lost: TypeAlias = SessionUnknown | OutOfOrder

# Field numbers and wire types (protobuf's "tag" bytes) of StepRequest.
_STEP_INDEX = b"\x40"  # 8, varint
_EPOCH = b"\x48"  # 9, varint
_UNANSWERED = pb.StepRequest(answered_steps=pb.ANSWERED_STEPS_NONE).SerializeToString()


def new_epoch(after: int = 0) -> int:
    """A number for a session that no session before has had."""
    return max(time.time_ns(), after + 1)


class Session:
    """One actor's steps on the server. Made by Client.session().

    As a context manager it resets the session at the end, which gives the
    server its memory back.
    """

    def __init__(self, client: "Client", actor_id: str) -> None:
        self._client = client
        self._actor_id = actor_id
        self._head = codec.step_head(actor_id)
        self._keeps_log = client._exactly_once and client._max_log_bytes > 0
        self._is_claimed = False
        self._begin(new_epoch())

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

    @property
    def step_index(self) -> int:
        """Steps in the session, as far as the server has answered."""
        return self._num_steps

    def step(
        self,
        inputs: Inputs,
        *,
        timeout: float | None = None,
        **keywords: Unpack[StepOptions],
    ) -> StepResult:
        """Appends one step and answers with the action.

        inputs       every field's value, shaped as Description.fields says;
                     optional fields may be None or left out
        timeout      seconds; the client's when None
        **keywords   of StepOptions
        """
        options = step_options(**keywords)
        client = self._client
        ready = client._ready_codec()
        request = ready.step(
            self._head, inputs, options.tail + self._order(), options.session_inputs
        )
        reply = self._exchange(request, client._deadline(timeout))
        if self._keeps_log:
            is_plain = options.session_inputs is None and options.boundary == "none"
            self._remember(request, ready.row_layout if is_plain else None)
        self._moved_to(reply.step_index, options.ephemeral)
        return results.step_result(reply)

    def steps(
        self,
        inputs: Inputs,
        *,
        answer: Answer = "last",
        timeout: float | None = None,
        **keywords: Unpack[StepOptions],
    ) -> StepsResult:
        """Appends several steps at once; inputs have a leading dimension of steps.

        `answer` says which of them are answered, and so how many rows
        `action_mask` has: [num_actions], or [S, num_actions] for all. `boundary`
        is at the first step. The rest is as in step().
        """
        if answer not in ("last", "all"):
            raise ValueError(f'answer is "last" or "all", not {answer!r}')
        options = step_options(answer, **keywords)
        client = self._client
        request = client._ready_codec().steps(
            self._head, inputs, options.tail + self._order(), options.session_inputs
        )
        reply = self._exchange(request, client._deadline(timeout))
        if self._keeps_log:
            message = pb.StepRequest.FromString(request)
            self._ready_log().append(message, codec.count_rows(inputs))
        self._moved_to(reply.step_index, options.ephemeral)
        return results.steps_result(reply)

    def reset(self, *, timeout: float | None = None) -> None:
        """Empties the session: the next step is an episode's first.

        Even if this fails: the step itself says that it is the first.
        """
        if self._is_numbered:
            self._begin(new_epoch(after=self._epoch))
        epoch = self._epoch if self._is_numbered else None
        self._client._reset_actor(self._actor_id, epoch, timeout)

    def fork(
        self, actor_ids: Sequence[str], *, timeout: float | None = None
    ) -> "list[Session]":
        """Sessions of new actors that go on from here, each on its own.

        Costs the same at any length, and no memory for what they share.
        """
        request = session_pb.ForkRequest(actor_id=self._actor_id, forks=actor_ids)
        if self._is_numbered:
            request.epoch = new_epoch(after=self._epoch)
            request.source_epoch = self._epoch
            request.step_index = self._num_steps
        deadline = self._client._deadline(timeout)
        sessions = self._client.sessions
        try:
            epoch = sessions._fork(request, deadline)
        except (SessionUnknown, OutOfOrder) as error:
            if not self._can_replay(error):
                raise
            self._replay(error, deadline)
            epoch = sessions._fork(request, deadline)
        return [self._forked(actor_id, epoch) for actor_id in actor_ids]

    # What follows is shared with Client and StepStream.

    @property
    def _is_numbered(self) -> bool:
        return self._client._exactly_once

    def _claim(self) -> None:
        """Until _release(): a stream has a step of it that is not answered."""
        if self._is_claimed:
            raise RuntimeError(f"a step of {self._actor_id!r} is not answered yet")
        self._is_claimed = True

    def _release(self) -> None:
        self._is_claimed = False

    def _take(
        self, reply: pb.StepResponse, request: bytes, ephemeral: bool
    ) -> StepResult:
        """Takes note of a step that a stream has sent."""
        if self._keeps_log:
            self._remember(request, None)
        self._moved_to(reply.step_index, ephemeral)
        return results.step_result(reply)

    def _may_go_on(self, error: BaseException | None) -> bool:
        """Whether a step that failed so may be sent as a call."""
        if isinstance(error, (SessionUnknown, OutOfOrder)):
            return self._can_replay(error)
        return (
            self._is_numbered
            and self._client._retry is not None
            and isinstance(error, StepdError)
            and is_lost(error)
        )

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._epoch_part = _EPOCH + codec.varint(epoch)
        self._num_steps = 0
        self._log: StepLog | None = None

    def _forked(self, actor_id: str, epoch: int) -> "Session":
        fork = Session(self._client, actor_id)
        fork._begin(epoch)
        fork._num_steps = self._num_steps
        if self._log is not None:
            fork._log = self._log.copy(len(fork._head))
        return fork

    def _order(self, step_index: int | None = None) -> bytes:
        """The part of a StepRequest that says where in the session it belongs."""
        if not self._is_numbered:
            return b""
        index = self._num_steps if step_index is None else step_index
        return _STEP_INDEX + codec.varint(index) + self._epoch_part

    def _exchange(self, request: bytes, deadline: float | None) -> Any:
        """Sends a StepRequest until it is answered."""
        client = self._client
        lost: _Lost | None = None
        while True:
            try:
                if lost is not None:
                    self._replay(lost, deadline)
                again = self._is_numbered
                return client._call(client._step, request, deadline, again=again)
            except (SessionUnknown, OutOfOrder) as error:
                if not self._can_replay(error):
                    raise
                lost = error

    def _ready_log(self) -> StepLog:
        if self._log is None:
            client = self._client
            layout = client._ready_codec().row_layout
            self._log = StepLog(client._max_log_bytes, layout, len(self._head))
        return self._log

    def _remember(self, request: bytes, layout: RowLayout | None) -> None:
        """Adds a step that was answered to the log."""
        log = self._log or self._ready_log()
        if layout is not None and layout is log.row_layout:
            log.append_row(request)
        else:
            log.append(pb.StepRequest.FromString(request), 1)

    def _moved_to(self, step_index: int, ephemeral: bool) -> None:
        """Takes note of what the server has."""
        if ephemeral and self._is_numbered:
            self._begin(new_epoch(after=self._epoch))
        else:
            self._num_steps = step_index

    def _can_replay(self, error: _Lost) -> bool:
        """Whether the server merely lacks steps that we have."""
        log = self._log
        if log is None or not log.is_complete:
            return False
        # A later epoch is another's session; more steps than we know of are
        # those of a call that the caller gave up.
        epoch = int(error.metadata.get("epoch", self._epoch))
        return _expected(error) < self._num_steps and epoch <= self._epoch

    def _replay(self, error: _Lost, deadline: float | None) -> None:
        """Sends again what the server lacks. REQUIRES: _can_replay()."""
        assert self._log is not None
        client = self._client
        max_steps = client._ready_limits().max_steps_per_call
        for index, steps in self._log.requests(_expected(error), max_steps):
            request = b"".join((self._head, steps, _UNANSWERED, self._order(index)))
            client._call(client._step, request, deadline, again=True)


def _expected(error: _Lost) -> int:
    return int(error.metadata.get("expected", "0"))
