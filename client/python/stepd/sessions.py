# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions: what a server has, whoever steps them. Of Client.sessions.

Thread safety: may be shared by threads, as the Client is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from stepd.v1 import session_service_pb2 as pb

if TYPE_CHECKING:
    from stepd.client import Client

_SERVICE = "/stepd.v1.SessionService/"

Tier: TypeAlias = Literal["", "cache", "log", "journal"]
_TIERS: tuple[Tier, ...] = ("", "cache", "log", "journal")


@dataclass(frozen=True)
class SessionInfo:
    """A session in a server's memory.

    steps, context_steps  since it began, and of them those the policy sees
    context_tokens        of these; cached_tokens of them are in the KV cache
    blocks, shared_blocks of the KV cache; how many of them forks share
    log_bytes             of the context's steps and the session inputs
    executor, busy        whose it is, and whether steps are queued or running
    idle                  since its last step
    tier                  what its next step is served from
    model_version         of its context; the oldest and the newest weights that
                          made what is cached: context_version_min and _max
    """

    actor_id: str
    epoch: int
    steps: int
    context_steps: int
    context_tokens: int
    cached_tokens: int
    blocks: int
    shared_blocks: int
    log_bytes: int
    executor: int
    busy: bool
    idle: timedelta
    tier: Tier
    model_version: int
    context_version_min: int
    context_version_max: int


@dataclass(frozen=True)
class EndedSession:
    """A session that is no more, or no more in this server's memory.

    end  "expired", "reset", "closed", "ephemeral", "stored" (the journal has
         it), "taken_over" (another server has it)
    """

    actor_id: str
    end: str
    epoch: int
    steps: int
    time: datetime


@dataclass(frozen=True)
class SessionList:
    """num_sessions are in memory, listed or not; ended: the latest, oldest first."""

    num_sessions: int
    sessions: list[SessionInfo]
    ended: list[EndedSession]


class Sessions:
    """The sessions of one server. Made by Client.sessions.

    Every call raises StepdError, or a class derived from it, when it fails; all
    sessions are as they were then.
    """

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(
        self,
        prefix: str = "",
        *,
        max_sessions: int = 1000,
        timeout: float | None = None,
    ) -> SessionList:
        """The sessions of actors whose ID begins so, at most so many an executor."""
        request = pb.ListSessionsRequest(actor_prefix=prefix, max_sessions=max_sessions)
        reply = self._call("ListSessions", request, pb.ListSessionsResponse, timeout)
        return SessionList(
            num_sessions=reply.num_sessions,
            sessions=[_info(message) for message in reply.sessions],
            ended=[_ended(message) for message in reply.ended],
        )

    def get(self, actor_id: str, *, timeout: float | None = None) -> SessionInfo:
        """One session in memory; looking at it is no use of it."""
        request = pb.GetSessionRequest(actor_id=actor_id)
        return _info(self._call("GetSession", request, pb.SessionInfo, timeout))

    def fork(
        self,
        actor_id: str,
        forks: Sequence[str],
        *,
        epoch: int | None = None,
        timeout: float | None = None,
    ) -> int:
        """Opens sessions for new actors as copies of one; returns their epoch.

        Session.fork() does this for a session that steps through this client.

        epoch  of the new sessions; None: the server's choice
        """
        request = pb.ForkRequest(actor_id=actor_id, forks=forks, epoch=epoch)
        return self._fork(request, self._client._deadline(timeout))

    def close(self, actor_id: str, *, timeout: float | None = None) -> None:
        """Ends a session. An unknown actor is no error."""
        request = pb.CloseRequest(actor_id=actor_id)
        self._call("Close", request, pb.CloseResponse, timeout)

    def export(self, actor_id: str, *, timeout: float | None = None) -> bytes:
        """A session as bytes, for load() here or in a server of the same policy."""
        request = pb.ExportRequest(actor_id=actor_id)
        reply = self._call("Export", request, pb.ExportResponse, timeout)
        return bytes(reply.session.SerializeToString())

    def load(
        self, exported: bytes, actor_id: str = "", *, timeout: float | None = None
    ) -> None:
        """Opens a session as export() gave it; `actor_id`: for another actor."""
        request = pb.ImportRequest(
            session=pb.SessionCopy.FromString(exported), actor_id=actor_id
        )
        deadline = self._client._deadline(timeout)
        self._send("Import", request, pb.ImportResponse, deadline, again=False)

    def _fork(self, request: pb.ForkRequest, deadline: float | None) -> int:
        # Only with an epoch are the forks of a call that comes twice made once.
        again = request.HasField("epoch")
        reply = self._send("Fork", request, pb.ForkResponse, deadline, again=again)
        return int(reply.epoch)

    def _call(
        self, name: str, request: Any, reply: type[Any], timeout: float | None
    ) -> Any:
        deadline = self._client._deadline(timeout)
        return self._send(name, request, reply, deadline, again=True)

    def _send(
        self,
        name: str,
        request: Any,
        reply: type[Any],
        deadline: float | None,
        *,
        again: bool,
    ) -> Any:
        client = self._client
        method = client._channel.unary_unary(
            _SERVICE + name, response_deserializer=reply.FromString
        )
        return client._call(method, request.SerializeToString(), deadline, again=again)


def _info(message: pb.SessionInfo) -> SessionInfo:
    return SessionInfo(
        actor_id=message.actor_id,
        epoch=message.epoch,
        steps=message.steps,
        context_steps=message.context_steps,
        context_tokens=message.context_tokens,
        cached_tokens=message.cached_tokens,
        blocks=message.blocks,
        shared_blocks=message.shared_blocks,
        log_bytes=message.log_bytes,
        executor=message.executor,
        busy=message.busy,
        idle=message.idle.ToTimedelta(),
        tier=_TIERS[message.tier],
        model_version=message.model_version,
        context_version_min=message.context_version_min,
        context_version_max=message.context_version_max,
    )


def _ended(message: pb.EndedSession) -> EndedSession:
    return EndedSession(
        actor_id=message.actor_id,
        end=message.end,
        epoch=message.epoch,
        steps=message.steps,
        time=message.time.ToDatetime(timezone.utc),
    )
