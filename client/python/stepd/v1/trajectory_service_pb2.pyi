from stepd.v1 import policy_service_pb2 as _policy_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StreamTrajectoriesRequest(_message.Message):
    __slots__ = ("stream_id", "sequence")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    sequence: int
    def __init__(self, stream_id: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class StreamTrajectoriesResponse(_message.Message):
    __slots__ = ("stream_id", "sequence", "dropped", "actor_ids", "epochs", "step_indices", "boundaries", "inputs", "session_inputs", "answered", "actions", "log_probs", "model_versions")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    ACTOR_IDS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    STEP_INDICES_FIELD_NUMBER: _ClassVar[int]
    BOUNDARIES_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    SESSION_INPUTS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    sequence: int
    dropped: int
    actor_ids: _containers.RepeatedScalarFieldContainer[str]
    epochs: _containers.RepeatedScalarFieldContainer[int]
    step_indices: _containers.RepeatedScalarFieldContainer[int]
    boundaries: _containers.RepeatedScalarFieldContainer[_policy_service_pb2.Boundary]
    inputs: _containers.RepeatedCompositeFieldContainer[_policy_service_pb2.Tensor]
    session_inputs: _containers.RepeatedCompositeFieldContainer[_policy_service_pb2.Tensor]
    answered: _containers.RepeatedScalarFieldContainer[bool]
    actions: _containers.RepeatedScalarFieldContainer[int]
    log_probs: _containers.RepeatedScalarFieldContainer[float]
    model_versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, stream_id: _Optional[str] = ..., sequence: _Optional[int] = ..., dropped: _Optional[int] = ..., actor_ids: _Optional[_Iterable[str]] = ..., epochs: _Optional[_Iterable[int]] = ..., step_indices: _Optional[_Iterable[int]] = ..., boundaries: _Optional[_Iterable[_Union[_policy_service_pb2.Boundary, str]]] = ..., inputs: _Optional[_Iterable[_Union[_policy_service_pb2.Tensor, _Mapping]]] = ..., session_inputs: _Optional[_Iterable[_Union[_policy_service_pb2.Tensor, _Mapping]]] = ..., answered: _Optional[_Iterable[bool]] = ..., actions: _Optional[_Iterable[int]] = ..., log_probs: _Optional[_Iterable[float]] = ..., model_versions: _Optional[_Iterable[int]] = ...) -> None: ...
