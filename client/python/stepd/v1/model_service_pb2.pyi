import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PushWeightsHeader(_message.Message):
    __slots__ = ("num_bytes", "sha256", "version", "partial", "base_version", "label", "canary_share")
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    num_bytes: int
    sha256: bytes
    version: int
    partial: bool
    base_version: int
    label: str
    canary_share: float
    def __init__(self, num_bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ..., version: _Optional[int] = ..., partial: _Optional[bool] = ..., base_version: _Optional[int] = ..., label: _Optional[str] = ..., canary_share: _Optional[float] = ...) -> None: ...

class PushWeightsRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: PushWeightsHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[PushWeightsHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class PushWeightsResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("versions", "follows_repository")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    FOLLOWS_REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[Version]
    follows_repository: bool
    def __init__(self, versions: _Optional[_Iterable[_Union[Version, _Mapping]]] = ..., follows_repository: _Optional[bool] = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("version", "origin", "labels", "loaded", "sessions", "available_since", "canary_share")
    class Origin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ORIGIN_UNSPECIFIED: _ClassVar[Version.Origin]
        ORIGIN_STARTED_WITH: _ClassVar[Version.Origin]
        ORIGIN_REPOSITORY: _ClassVar[Version.Origin]
        ORIGIN_PUSHED: _ClassVar[Version.Origin]
    ORIGIN_UNSPECIFIED: Version.Origin
    ORIGIN_STARTED_WITH: Version.Origin
    ORIGIN_REPOSITORY: Version.Origin
    ORIGIN_PUSHED: Version.Origin
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_SINCE_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    version: int
    origin: Version.Origin
    labels: _containers.RepeatedScalarFieldContainer[str]
    loaded: bool
    sessions: int
    available_since: _timestamp_pb2.Timestamp
    canary_share: float
    def __init__(self, version: _Optional[int] = ..., origin: _Optional[_Union[Version.Origin, str]] = ..., labels: _Optional[_Iterable[str]] = ..., loaded: _Optional[bool] = ..., sessions: _Optional[int] = ..., available_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., canary_share: _Optional[float] = ...) -> None: ...

class SetLabelRequest(_message.Message):
    __slots__ = ("label", "version", "canary_share")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    label: str
    version: int
    canary_share: float
    def __init__(self, label: _Optional[str] = ..., version: _Optional[int] = ..., canary_share: _Optional[float] = ...) -> None: ...

class SetLabelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...
