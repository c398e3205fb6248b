# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""ModelClient: what a learner's or an operator's program holds.

    with stepd.connect_model("localhost:50051") as model:
        version = model.push_weights(policy.state_dict())

Thread safety: a ModelClient may be shared by threads.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import grpc

from stepd.connection import Connection, open_channel
from stepd.errors import from_rpc_error
from stepd.tls import Tls
from stepd.v1 import model_service_pb2 as pb
from stepd.weights_file import WeightsFile

_SERVICE = "/stepd.v1.ModelService/"
_CHUNK_BYTES = 1 << 20
_Reply = TypeVar("_Reply")


def connect_model(
    target: str,
    *,
    timeout: float | None = 600.0,
    tls: Tls | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> "ModelClient":
    """A client of the weights of the server at `target`; the rest as in connect().

    A call that puts a version into service waits until it is: hence the timeout.
    """
    return ModelClient(open_channel(target, tls, options), timeout)


@dataclass(frozen=True)
class Version:
    """A version of the weights that the server knows.

    origin        "started_with", "repository" or "pushed"
    sessions      whose context it made
    canary_share  of the actors, for the version with the label "canary"
    """

    version: int
    origin: str
    labels: tuple[str, ...]
    loaded: bool
    sessions: int
    available_since: datetime
    canary_share: float


class ModelClient(Connection):
    """The weights of one server. Made by connect_model(); a context manager.

    Every call raises StepdError, or a class derived from it, when it fails; what
    was served is served on then.
    """

    def __init__(self, channel: grpc.Channel, timeout: float | None) -> None:
        super().__init__(channel, timeout, _SERVICE)
        self._push = channel.stream_unary(
            _SERVICE + "PushWeights",
            response_deserializer=pb.PushWeightsResponse.FromString,
        )
        self._list = self._unary("ListVersions", pb.ListVersionsResponse)
        self._set_label = self._unary("SetLabel", pb.SetLabelResponse)
        self._rollback = self._unary("Rollback", pb.RollbackResponse)

    def push_weights(
        self,
        weights: str | Path | Mapping[str, Any],
        *,
        partial: bool = False,
        version: int = 0,
        base_version: int = 0,
        label: str = "stable",
        canary_share: float = 0.0,
        timeout: float | None = None,
    ) -> int:
        """Puts new weights into service; returns their version once they are.

        weights       a state dict (NumPy arrays or PyTorch tensors by the names
                      that the checkpoint has), or the path of a safetensors file
        partial       they are only those that changed; the others are those of
                      `base_version` (0: of the version that the label names)
        version       its number, larger than any before; 0: the next one
        label         that names it from then on: "stable" (contexts begin under
                      it), "canary" (those of `canary_share` of the actors do),
                      or one of your own (those of steps that ask for it)
        """
        file = WeightsFile(weights)
        header = pb.PushWeightsHeader(
            num_bytes=file.num_bytes,
            sha256=file.sha256(),
            version=version,
            partial=partial,
            base_version=base_version,
            label=label,
            canary_share=canary_share,
        )

        def parts() -> Iterator[bytes]:
            yield pb.PushWeightsRequest(header=header).SerializeToString()
            for chunk in file.chunks(_CHUNK_BYTES):
                yield pb.PushWeightsRequest(chunk=chunk).SerializeToString()

        return int(self._call(self._push, parts(), timeout).version)

    def versions(self, *, timeout: float | None = None) -> list[Version]:
        """The versions there are, the newest first."""
        reply = self._call(self._list, b"", timeout)
        return [_version(message) for message in reply.versions]

    def set_label(
        self,
        label: str,
        version: int,
        *,
        canary_share: float = 0.0,
        timeout: float | None = None,
    ) -> None:
        """Has `label` name another version, which is loaded if need be.

        Version 0 takes the label away; "stable" names the newest version then,
        and follows the repository.
        """
        request = pb.SetLabelRequest(
            label=label, version=version, canary_share=canary_share
        )
        self._call(self._set_label, request.SerializeToString(), timeout)

    def rollback(self, *, timeout: float | None = None) -> int:
        """Has "stable" name the version that it named before, and returns it."""
        return int(self._call(self._rollback, b"", timeout).version)

    def _call(
        self,
        method: Callable[..., _Reply],
        request: bytes | Iterator[bytes],
        timeout: float | None,
    ) -> _Reply:
        try:
            return method(
                request, timeout=self._timeout if timeout is None else timeout
            )
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error


def _version(message: pb.Version) -> Version:
    origin = pb.Version.Origin.Name(message.origin)
    return Version(
        version=message.version,
        origin=origin.removeprefix("ORIGIN_").lower(),
        labels=tuple(message.labels),
        loaded=message.loaded,
        sessions=message.sessions,
        available_since=message.available_since.ToDatetime(timezone.utc),
        canary_share=message.canary_share,
    )
