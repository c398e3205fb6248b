# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, as exceptions.

Every error of the server is a StepdError; its class follows from the reason the
server gave (google.rpc.ErrorInfo) and, where it gave none, from the gRPC code.
Whatever the error, the session is as it was before the call.

The client checks only what it must know to encode a request (names, dtypes and
shapes of fields) and then raises what the server would have answered.
"""

from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"


class StepdError(Exception):
    """A call failed.

    code         grpc.StatusCode
    reason       machine-readable, of docs/errors.md; "" when the server gave none
    message      for people
    metadata     details by name, such as "field", "got", "want"
    retry_after  seconds after which the server asks to be tried again, or None
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, reason, message, metadata, retry_after)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_after = retry_after

    @property
    def field(self) -> str | None:
        """The input field that the error is about, if it is about one."""
        return self.metadata.get("field")

    def __str__(self) -> str:
        return f"{self.reason or self.code.name}: {self.message}"


class InvalidRequest(StepdError):
    """The request is wrong, and would be wrong again: a bug of the caller."""


class FieldError(InvalidRequest):
    """An input field is unknown, missing, or of a wrong dtype, shape or range."""


class SessionInputsRefused(StepdError):
    """Inputs of a whole session came with a step that does not open it."""


class SessionUnknown(StepdError):
    """The server has none of the steps before this one, and they are not at hand."""


class OutOfOrder(StepdError):
    """The step is not the next one of the server's session."""


class SessionExists(StepdError):
    """A new session was to be opened for an actor that has one."""


class ContextFull(StepdError):
    """The session has as many steps as one may have: reset it."""


class SessionsFull(StepdError):
    """The server keeps as many sessions as it may."""


class Unavailable(StepdError):
    """No server answered, or it cannot answer now. Trying again may work."""


class Overloaded(Unavailable):
    """The queue is full."""


class Draining(Unavailable):
    """The server is shutting down."""


class Loading(Unavailable):
    """The model is still loading."""


class DeadlineExceeded(StepdError):
    """The call's timeout passed."""


class Cancelled(StepdError):
    """The call was cancelled."""


class NotAllowed(StepdError):
    """The server wants other credentials, or none will do."""


class VersionUnavailable(StepdError):
    """There is no such version of the weights, or none that is new enough."""


class WeightsRefused(StepdError):
    """Pushed weights are malformed, do not fit the model, or find no memory."""


class WeightsBusy(StepdError):
    """Other weights are being pushed: try again."""


class InternalError(StepdError):
    """The server failed. Its log has the id that the message has."""


_BY_REASON: dict[str, type[StepdError]] = {
    "ACTOR_ID": InvalidRequest,
    "FIELD_UNKNOWN": FieldError,
    "FIELD_MISSING": FieldError,
    "FIELD_TYPE": FieldError,
    "FIELD_SHAPE": FieldError,
    "FIELD_RANGE": FieldError,
    "SESSION_INPUTS": SessionInputsRefused,
    "OUTPUT_UNKNOWN": InvalidRequest,
    "SAMPLING": InvalidRequest,
    "LIMIT": InvalidRequest,
    "SESSION_UNKNOWN": SessionUnknown,
    "STEP_INDEX": OutOfOrder,
    "SESSION_EXISTS": SessionExists,
    "RECORD": InvalidRequest,
    "CONTEXT_FULL": ContextFull,
    "SESSIONS_FULL": SessionsFull,
    "OVERLOADED": Overloaded,
    "DRAINING": Draining,
    "LOADING": Loading,
    "MODEL_VERSION": VersionUnavailable,
    "WEIGHTS": WeightsRefused,
    "WEIGHTS_DIGEST": WeightsRefused,
    "WEIGHTS_MEMORY": WeightsRefused,
    "WEIGHTS_BUSY": WeightsBusy,
    "CHANGES_REFUSED": NotAllowed,
    "READERS_REFUSED": NotAllowed,
    "DEADLINE": DeadlineExceeded,
    "CANCELLED": Cancelled,
    "INTERNAL": InternalError,
}

_BY_CODE: dict[grpc.StatusCode, type[StepdError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.INTERNAL: InternalError,
}

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def make_error(
    code: grpc.StatusCode,
    reason: str,
    message: str,
    metadata: Mapping[str, str] | None = None,
    retry_after: float | None = None,
) -> StepdError:
    """The error of the class that `reason`, else `code`, asks for."""
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code, StepdError)
    return kind(code, reason, message, metadata, retry_after)


def invalid(reason: str, message: str, **metadata: str) -> StepdError:
    """The error the server would answer a wrong request with."""
    return make_error(grpc.StatusCode.INVALID_ARGUMENT, reason, message, metadata)


def from_status(status: status_pb2.Status) -> StepdError:
    """The error in a google.rpc.Status."""
    reason = ""
    metadata: dict[str, str] = {}
    retry_after = None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            if info.domain == "stepd":
                reason, metadata = info.reason, dict(info.metadata)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            delay = retry.retry_delay
            retry_after = delay.seconds + delay.nanos / 1e9
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return make_error(code, reason, status.message, metadata, retry_after)


def from_rpc_error(error: grpc.RpcError) -> StepdError:
    """The error that ended an RPC."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            try:
                return from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                break  # A proxy's, perhaps: the code and the message remain.
    return make_error(error.code(), "", error.details() or "")
