# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Connections to a server.

Thread safety: connections may be shared by threads.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import grpc

from stepd.tls import Tls

_Reply = TypeVar("_Reply")

# A call of the server: (request, *, timeout) -> reply.
Method: TypeAlias = Callable[..., _Reply]


def open_channel(
    target: str, tls: Tls | None, options: Sequence[tuple[str, Any]]
) -> grpc.Channel:
    """A channel to `target`; it connects with its first call."""
    # Replies are as long as what was asked for; requests are the server's to limit.
    settings = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    if tls is None:
        return grpc.insecure_channel(target, [*settings, *options])
    settings_tls = [*settings, *tls.channel_options(), *options]
    return grpc.secure_channel(target, tls.credentials(), settings_tls)


class Closing(ABC):
    """A context manager that closes itself at the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None: ...


class Connection(Closing):
    """What the clients of all services have in common. A context manager."""

    def __init__(
        self, channel: grpc.Channel, timeout: float | None, service: str
    ) -> None:
        self._channel = channel
        self._timeout = timeout
        self._service = service

    def close(self) -> None:
        """Closes the connection. Calls that are running are cancelled."""
        self._channel.close()

    def _unary(self, name: str, reply: type[_Reply]) -> Method[_Reply]:
        """A method of the service. Requests come as bytes (see codec.py)."""
        method: Method[_Reply] = self._channel.unary_unary(
            self._service + name,
            response_deserializer=reply.FromString,  # type: ignore[attr-defined]
        )
        return method
