# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""One step of each of several sessions in one call.

Thread safety: none, as of its sessions.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepd import results
from stepd.errors import OutOfOrder, SessionUnknown, StepdError
from stepd.results import BatchResult
from stepd.session import Session
from stepd.step_log import SentBatch
from stepd.v1 import policy_service_pb2 as pb

if TYPE_CHECKING:
    from stepd.client import Client


class SessionBatch:
    """The actors of one call."""

    def __init__(
        self, client: "Client", actors: Sequence[str] | Sequence[Session]
    ) -> None:
        self._client = client
        self._sessions = [actor for actor in actors if isinstance(actor, Session)]
        if self._sessions and len(self._sessions) < len(actors):
            raise TypeError("actors are all sessions or all IDs")
        self.actor_ids = [a.actor_id if isinstance(a, Session) else a for a in actors]
        self._are_numbered = bool(self._sessions) and client._exactly_once

    def order(self) -> bytes:
        """The part of a StepBatchRequest that says where the steps belong."""
        message = pb.StepBatchRequest()
        if self._are_numbered:
            message.step_indices.extend(s._num_steps for s in self._sessions)
            message.epochs.extend(s._epoch for s in self._sessions)
        return message.SerializeToString()

    def send(
        self, request: bytes, ephemeral: bool, deadline: float | None
    ) -> BatchResult:
        """Sends the StepBatchRequest until all that can be answered is."""
        client = self._client
        again = self._are_numbered
        while True:
            reply = client._call(client._step_batch, request, deadline, again=again)
            result = results.batch_result(reply)
            # Rows that were answered are answered the same once more.
            if not self._replay(result.errors, deadline):
                break
        if self._sessions:
            self._take_note(result, request, ephemeral)
        return result

    def _replay(self, errors: dict[int, StepdError], deadline: float | None) -> bool:
        """Sends servers again what they lost; False: nothing was to be done."""
        is_any_replayed = False
        for row, error in errors.items():
            if not isinstance(error, (SessionUnknown, OutOfOrder)):
                continue
            if self._are_numbered and self._sessions[row]._can_replay(error):
                self._sessions[row]._replay(error, deadline)
                is_any_replayed = True
        return is_any_replayed

    def _take_note(self, result: BatchResult, request: bytes, ephemeral: bool) -> None:
        batch = SentBatch(request, len(self._sessions))
        keeps_log = self._sessions[0]._keeps_log
        step_indices = result.step_indices.tolist()
        for row, session in enumerate(self._sessions):
            if row in result.errors:
                continue
            if keeps_log:
                session._ready_log().append_batch_row(batch, row)
            session._moved_to(step_indices[row], ephemeral)
