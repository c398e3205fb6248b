import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIER_UNSPECIFIED: _ClassVar[Tier]
    TIER_CACHE: _ClassVar[Tier]
    TIER_LOG: _ClassVar[Tier]
    TIER_JOURNAL: _ClassVar[Tier]
TIER_UNSPECIFIED: Tier
TIER_CACHE: Tier
TIER_LOG: Tier
TIER_JOURNAL: Tier

class ForkRequest(_message.Message):
    __slots__ = ("actor_id", "forks", "epoch", "source_epoch", "step_index")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    FORKS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    STEP_INDEX_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    forks: _containers.RepeatedScalarFieldContainer[str]
    epoch: int
    source_epoch: int
    step_index: int
    def __init__(self, actor_id: _Optional[str] = ..., forks: _Optional[_Iterable[str]] = ..., epoch: _Optional[int] = ..., source_epoch: _Optional[int] = ..., step_index: _Optional[int] = ...) -> None: ...

class ForkResponse(_message.Message):
    __slots__ = ("epoch",)
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    def __init__(self, epoch: _Optional[int] = ...) -> None: ...

class CloseRequest(_message.Message):
    __slots__ = ("actor_id",)
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    def __init__(self, actor_id: _Optional[str] = ...) -> None: ...

class CloseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSessionRequest(_message.Message):
    __slots__ = ("actor_id",)
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    def __init__(self, actor_id: _Optional[str] = ...) -> None: ...

class SessionInfo(_message.Message):
    __slots__ = ("actor_id", "epoch", "steps", "context_steps", "context_tokens", "cached_tokens", "blocks", "shared_blocks", "log_bytes", "executor", "busy", "idle", "tier", "model_version", "context_version_min", "context_version_max")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_STEPS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    SHARED_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    EXECUTOR_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_VERSION_MIN_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_VERSION_MAX_FIELD_NUMBER: _ClassVar[int]
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
    idle: _duration_pb2.Duration
    tier: Tier
    model_version: int
    context_version_min: int
    context_version_max: int
    def __init__(self, actor_id: _Optional[str] = ..., epoch: _Optional[int] = ..., steps: _Optional[int] = ..., context_steps: _Optional[int] = ..., context_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., blocks: _Optional[int] = ..., shared_blocks: _Optional[int] = ..., log_bytes: _Optional[int] = ..., executor: _Optional[int] = ..., busy: _Optional[bool] = ..., idle: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., tier: _Optional[_Union[Tier, str]] = ..., model_version: _Optional[int] = ..., context_version_min: _Optional[int] = ..., context_version_max: _Optional[int] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ("actor_prefix", "max_sessions")
    ACTOR_PREFIX_FIELD_NUMBER: _ClassVar[int]
    MAX_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    actor_prefix: str
    max_sessions: int
    def __init__(self, actor_prefix: _Optional[str] = ..., max_sessions: _Optional[int] = ...) -> None: ...

class EndedSession(_message.Message):
    __slots__ = ("actor_id", "end", "epoch", "steps", "time")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    end: str
    epoch: int
    steps: int
    time: _timestamp_pb2.Timestamp
    def __init__(self, actor_id: _Optional[str] = ..., end: _Optional[str] = ..., epoch: _Optional[int] = ..., steps: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("num_sessions", "sessions", "ended")
    NUM_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    num_sessions: int
    sessions: _containers.RepeatedCompositeFieldContainer[SessionInfo]
    ended: _containers.RepeatedCompositeFieldContainer[EndedSession]
    def __init__(self, num_sessions: _Optional[int] = ..., sessions: _Optional[_Iterable[_Union[SessionInfo, _Mapping]]] = ..., ended: _Optional[_Iterable[_Union[EndedSession, _Mapping]]] = ...) -> None: ...

class ExportRequest(_message.Message):
    __slots__ = ("actor_id",)
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    def __init__(self, actor_id: _Optional[str] = ...) -> None: ...

class ExportResponse(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: SessionCopy
    def __init__(self, session: _Optional[_Union[SessionCopy, _Mapping]] = ...) -> None: ...

class SessionCopy(_message.Message):
    __slots__ = ("actor_id", "steps", "session_inputs")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SESSION_INPUTS_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    steps: bytes
    session_inputs: bytes
    def __init__(self, actor_id: _Optional[str] = ..., steps: _Optional[bytes] = ..., session_inputs: _Optional[bytes] = ...) -> None: ...

class ImportRequest(_message.Message):
    __slots__ = ("session", "actor_id")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    session: SessionCopy
    actor_id: str
    def __init__(self, session: _Optional[_Union[SessionCopy, _Mapping]] = ..., actor_id: _Optional[str] = ...) -> None: ...

class ImportResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
