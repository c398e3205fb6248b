from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_BOOL: _ClassVar[DataType]
    DATA_TYPE_UINT8: _ClassVar[DataType]
    DATA_TYPE_INT32: _ClassVar[DataType]
    DATA_TYPE_INT64: _ClassVar[DataType]
    DATA_TYPE_FLOAT16: _ClassVar[DataType]
    DATA_TYPE_BFLOAT16: _ClassVar[DataType]
    DATA_TYPE_FLOAT32: _ClassVar[DataType]
    DATA_TYPE_FLOAT64: _ClassVar[DataType]

class Boundary(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BOUNDARY_NONE: _ClassVar[Boundary]
    BOUNDARY_EPISODE: _ClassVar[Boundary]
    BOUNDARY_TASK: _ClassVar[Boundary]

class KvPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KV_POLICY_UNSPECIFIED: _ClassVar[KvPolicy]
    KV_POLICY_PIN: _ClassVar[KvPolicy]
    KV_POLICY_KEEP: _ClassVar[KvPolicy]
    KV_POLICY_RECOMPUTE: _ClassVar[KvPolicy]

class ServedFrom(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVED_FROM_UNSPECIFIED: _ClassVar[ServedFrom]
    SERVED_FROM_NEW: _ClassVar[ServedFrom]
    SERVED_FROM_CACHE: _ClassVar[ServedFrom]
    SERVED_FROM_LOG: _ClassVar[ServedFrom]
    SERVED_FROM_JOURNAL: _ClassVar[ServedFrom]

class AnsweredSteps(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANSWERED_STEPS_LAST: _ClassVar[AnsweredSteps]
    ANSWERED_STEPS_ALL: _ClassVar[AnsweredSteps]
    ANSWERED_STEPS_NONE: _ClassVar[AnsweredSteps]
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_BOOL: DataType
DATA_TYPE_UINT8: DataType
DATA_TYPE_INT32: DataType
DATA_TYPE_INT64: DataType
DATA_TYPE_FLOAT16: DataType
DATA_TYPE_BFLOAT16: DataType
DATA_TYPE_FLOAT32: DataType
DATA_TYPE_FLOAT64: DataType
BOUNDARY_NONE: Boundary
BOUNDARY_EPISODE: Boundary
BOUNDARY_TASK: Boundary
KV_POLICY_UNSPECIFIED: KvPolicy
KV_POLICY_PIN: KvPolicy
KV_POLICY_KEEP: KvPolicy
KV_POLICY_RECOMPUTE: KvPolicy
SERVED_FROM_UNSPECIFIED: ServedFrom
SERVED_FROM_NEW: ServedFrom
SERVED_FROM_CACHE: ServedFrom
SERVED_FROM_LOG: ServedFrom
SERVED_FROM_JOURNAL: ServedFrom
ANSWERED_STEPS_LAST: AnsweredSteps
ANSWERED_STEPS_ALL: AnsweredSteps
ANSWERED_STEPS_NONE: AnsweredSteps

class Tensor(_message.Message):
    __slots__ = ("name", "dtype", "shape", "data", "lengths")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    lengths: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ..., lengths: _Optional[_Iterable[int]] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ("temperature", "num_actions", "seed", "top_k", "epsilon")
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    NUM_ACTIONS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    temperature: float
    num_actions: int
    seed: int
    top_k: int
    epsilon: float
    def __init__(self, temperature: _Optional[float] = ..., num_actions: _Optional[int] = ..., seed: _Optional[int] = ..., top_k: _Optional[int] = ..., epsilon: _Optional[float] = ...) -> None: ...

class SamplingColumns(_message.Message):
    __slots__ = ("temperatures", "num_actions", "seeds", "top_k", "epsilons")
    TEMPERATURES_FIELD_NUMBER: _ClassVar[int]
    NUM_ACTIONS_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    EPSILONS_FIELD_NUMBER: _ClassVar[int]
    temperatures: _containers.RepeatedScalarFieldContainer[float]
    num_actions: _containers.RepeatedScalarFieldContainer[int]
    seeds: _containers.RepeatedScalarFieldContainer[int]
    top_k: _containers.RepeatedScalarFieldContainer[int]
    epsilons: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, temperatures: _Optional[_Iterable[float]] = ..., num_actions: _Optional[_Iterable[int]] = ..., seeds: _Optional[_Iterable[int]] = ..., top_k: _Optional[_Iterable[int]] = ..., epsilons: _Optional[_Iterable[float]] = ...) -> None: ...

class StepRequest(_message.Message):
    __slots__ = ("actor_id", "inputs", "outputs", "sampling", "answered_steps", "session_inputs", "ephemeral", "step_index", "epoch", "boundary", "min_model_version", "model_label", "action_mask", "kv_policy")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_STEPS_FIELD_NUMBER: _ClassVar[int]
    SESSION_INPUTS_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    STEP_INDEX_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BOUNDARY_FIELD_NUMBER: _ClassVar[int]
    MIN_MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_LABEL_FIELD_NUMBER: _ClassVar[int]
    ACTION_MASK_FIELD_NUMBER: _ClassVar[int]
    KV_POLICY_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    sampling: Sampling
    answered_steps: AnsweredSteps
    session_inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    ephemeral: bool
    step_index: int
    epoch: int
    boundary: Boundary
    min_model_version: int
    model_label: str
    action_mask: Tensor
    kv_policy: KvPolicy
    def __init__(self, actor_id: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., outputs: _Optional[_Iterable[str]] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., answered_steps: _Optional[_Union[AnsweredSteps, str]] = ..., session_inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., ephemeral: _Optional[bool] = ..., step_index: _Optional[int] = ..., epoch: _Optional[int] = ..., boundary: _Optional[_Union[Boundary, str]] = ..., min_model_version: _Optional[int] = ..., model_label: _Optional[str] = ..., action_mask: _Optional[_Union[Tensor, _Mapping]] = ..., kv_policy: _Optional[_Union[KvPolicy, str]] = ...) -> None: ...

class StepResponse(_message.Message):
    __slots__ = ("actions", "log_probs", "outputs", "step_index", "model_version", "epoch", "served_from", "context_version_min", "context_version_max")
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    STEP_INDEX_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SERVED_FROM_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_VERSION_MIN_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_VERSION_MAX_FIELD_NUMBER: _ClassVar[int]
    actions: _containers.RepeatedScalarFieldContainer[int]
    log_probs: _containers.RepeatedScalarFieldContainer[float]
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    step_index: int
    model_version: int
    epoch: int
    served_from: ServedFrom
    context_version_min: int
    context_version_max: int
    def __init__(self, actions: _Optional[_Iterable[int]] = ..., log_probs: _Optional[_Iterable[float]] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., step_index: _Optional[int] = ..., model_version: _Optional[int] = ..., epoch: _Optional[int] = ..., served_from: _Optional[_Union[ServedFrom, str]] = ..., context_version_min: _Optional[int] = ..., context_version_max: _Optional[int] = ...) -> None: ...

class StepBatchRequest(_message.Message):
    __slots__ = ("actor_ids", "inputs", "outputs", "sampling", "session_inputs", "ephemeral", "step_indices", "epochs", "boundaries", "min_model_version", "model_label", "action_mask", "sampling_columns", "kv_policy")
    ACTOR_IDS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    SESSION_INPUTS_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    STEP_INDICES_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BOUNDARIES_FIELD_NUMBER: _ClassVar[int]
    MIN_MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_LABEL_FIELD_NUMBER: _ClassVar[int]
    ACTION_MASK_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    KV_POLICY_FIELD_NUMBER: _ClassVar[int]
    actor_ids: _containers.RepeatedScalarFieldContainer[str]
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    sampling: Sampling
    session_inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    ephemeral: bool
    step_indices: _containers.RepeatedScalarFieldContainer[int]
    epochs: _containers.RepeatedScalarFieldContainer[int]
    boundaries: _containers.RepeatedScalarFieldContainer[Boundary]
    min_model_version: int
    model_label: str
    action_mask: Tensor
    sampling_columns: SamplingColumns
    kv_policy: KvPolicy
    def __init__(self, actor_ids: _Optional[_Iterable[str]] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., outputs: _Optional[_Iterable[str]] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., session_inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., ephemeral: _Optional[bool] = ..., step_indices: _Optional[_Iterable[int]] = ..., epochs: _Optional[_Iterable[int]] = ..., boundaries: _Optional[_Iterable[_Union[Boundary, str]]] = ..., min_model_version: _Optional[int] = ..., model_label: _Optional[str] = ..., action_mask: _Optional[_Union[Tensor, _Mapping]] = ..., sampling_columns: _Optional[_Union[SamplingColumns, _Mapping]] = ..., kv_policy: _Optional[_Union[KvPolicy, str]] = ...) -> None: ...

class StepBatchResponse(_message.Message):
    __slots__ = ("actions", "log_probs", "outputs", "step_indices", "model_version", "errors", "epochs", "served_from", "model_versions", "context_versions_min", "context_versions_max")
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    STEP_INDICES_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SERVED_FROM_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_VERSIONS_MIN_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_VERSIONS_MAX_FIELD_NUMBER: _ClassVar[int]
    actions: _containers.RepeatedScalarFieldContainer[int]
    log_probs: _containers.RepeatedScalarFieldContainer[float]
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    step_indices: _containers.RepeatedScalarFieldContainer[int]
    model_version: int
    errors: _containers.RepeatedCompositeFieldContainer[RowError]
    epochs: _containers.RepeatedScalarFieldContainer[int]
    served_from: _containers.RepeatedScalarFieldContainer[ServedFrom]
    model_versions: _containers.RepeatedScalarFieldContainer[int]
    context_versions_min: _containers.RepeatedScalarFieldContainer[int]
    context_versions_max: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, actions: _Optional[_Iterable[int]] = ..., log_probs: _Optional[_Iterable[float]] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., step_indices: _Optional[_Iterable[int]] = ..., model_version: _Optional[int] = ..., errors: _Optional[_Iterable[_Union[RowError, _Mapping]]] = ..., epochs: _Optional[_Iterable[int]] = ..., served_from: _Optional[_Iterable[_Union[ServedFrom, str]]] = ..., model_versions: _Optional[_Iterable[int]] = ..., context_versions_min: _Optional[_Iterable[int]] = ..., context_versions_max: _Optional[_Iterable[int]] = ...) -> None: ...

class RowError(_message.Message):
    __slots__ = ("row", "status")
    ROW_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    row: int
    status: _status_pb2.Status
    def __init__(self, row: _Optional[int] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class StepStreamRequest(_message.Message):
    __slots__ = ("request_id", "step", "step_batch", "reset", "several")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_BATCH_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    SEVERAL_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    step: StepRequest
    step_batch: StepBatchRequest
    reset: ResetRequest
    several: StepStreamRequests
    def __init__(self, request_id: _Optional[int] = ..., step: _Optional[_Union[StepRequest, _Mapping]] = ..., step_batch: _Optional[_Union[StepBatchRequest, _Mapping]] = ..., reset: _Optional[_Union[ResetRequest, _Mapping]] = ..., several: _Optional[_Union[StepStreamRequests, _Mapping]] = ...) -> None: ...

class StepStreamRequests(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[StepStreamRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[StepStreamRequest, _Mapping]]] = ...) -> None: ...

class StepStreamResponse(_message.Message):
    __slots__ = ("request_id", "step", "step_batch", "reset", "error", "several")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_BATCH_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SEVERAL_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    step: StepResponse
    step_batch: StepBatchResponse
    reset: ResetResponse
    error: _status_pb2.Status
    several: StepStreamResponses
    def __init__(self, request_id: _Optional[int] = ..., step: _Optional[_Union[StepResponse, _Mapping]] = ..., step_batch: _Optional[_Union[StepBatchResponse, _Mapping]] = ..., reset: _Optional[_Union[ResetResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., several: _Optional[_Union[StepStreamResponses, _Mapping]] = ...) -> None: ...

class StepStreamResponses(_message.Message):
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[StepStreamResponse]
    def __init__(self, responses: _Optional[_Iterable[_Union[StepStreamResponse, _Mapping]]] = ...) -> None: ...

class ResetRequest(_message.Message):
    __slots__ = ("actor_id", "epoch")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    epoch: int
    def __init__(self, actor_id: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class ResetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EvaluateRequest(_message.Message):
    __slots__ = ("inputs", "actions", "sampling", "sampling_columns", "action_mask", "outputs", "session_inputs")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ACTION_MASK_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    SESSION_INPUTS_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    actions: _containers.RepeatedScalarFieldContainer[int]
    sampling: Sampling
    sampling_columns: SamplingColumns
    action_mask: Tensor
    outputs: _containers.RepeatedScalarFieldContainer[str]
    session_inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    def __init__(self, inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., actions: _Optional[_Iterable[int]] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., sampling_columns: _Optional[_Union[SamplingColumns, _Mapping]] = ..., action_mask: _Optional[_Union[Tensor, _Mapping]] = ..., outputs: _Optional[_Iterable[str]] = ..., session_inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ...) -> None: ...

class EvaluateResponse(_message.Message):
    __slots__ = ("log_probs", "outputs", "model_version")
    LOG_PROBS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    log_probs: _containers.RepeatedScalarFieldContainer[float]
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    model_version: int
    def __init__(self, log_probs: _Optional[_Iterable[float]] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., model_version: _Optional[int] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Field(_message.Message):
    __slots__ = ("name", "dtype", "shape", "min", "max", "required", "value_names", "same_length_as")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    VALUE_NAMES_FIELD_NUMBER: _ClassVar[int]
    SAME_LENGTH_AS_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    min: int
    max: int
    required: bool
    value_names: _containers.RepeatedScalarFieldContainer[str]
    same_length_as: str
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., min: _Optional[int] = ..., max: _Optional[int] = ..., required: _Optional[bool] = ..., value_names: _Optional[_Iterable[str]] = ..., same_length_as: _Optional[str] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("name", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_message_bytes", "max_steps_per_call", "max_actors_per_batch", "max_sessions", "max_steps_per_session")
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_PER_CALL_FIELD_NUMBER: _ClassVar[int]
    MAX_ACTORS_PER_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_PER_SESSION_FIELD_NUMBER: _ClassVar[int]
    max_message_bytes: int
    max_steps_per_call: int
    max_actors_per_batch: int
    max_sessions: int
    max_steps_per_session: int
    def __init__(self, max_message_bytes: _Optional[int] = ..., max_steps_per_call: _Optional[int] = ..., max_actors_per_batch: _Optional[int] = ..., max_sessions: _Optional[int] = ..., max_steps_per_session: _Optional[int] = ...) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("summary", "fields", "outputs", "action_head", "num_actions", "min_tokens_per_step", "max_tokens_per_step", "kv_bytes_per_token", "num_parameters", "limits", "model_version", "server_version", "device", "session_inputs", "num_prefix_tokens")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    ACTION_HEAD_FIELD_NUMBER: _ClassVar[int]
    NUM_ACTIONS_FIELD_NUMBER: _ClassVar[int]
    MIN_TOKENS_PER_STEP_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_PER_STEP_FIELD_NUMBER: _ClassVar[int]
    KV_BYTES_PER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NUM_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SESSION_INPUTS_FIELD_NUMBER: _ClassVar[int]
    NUM_PREFIX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    summary: str
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    outputs: _containers.RepeatedCompositeFieldContainer[Output]
    action_head: str
    num_actions: int
    min_tokens_per_step: int
    max_tokens_per_step: int
    kv_bytes_per_token: int
    num_parameters: int
    limits: Limits
    model_version: int
    server_version: str
    device: str
    session_inputs: _containers.RepeatedCompositeFieldContainer[Field]
    num_prefix_tokens: int
    def __init__(self, summary: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[Output, _Mapping]]] = ..., action_head: _Optional[str] = ..., num_actions: _Optional[int] = ..., min_tokens_per_step: _Optional[int] = ..., max_tokens_per_step: _Optional[int] = ..., kv_bytes_per_token: _Optional[int] = ..., num_parameters: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., model_version: _Optional[int] = ..., server_version: _Optional[str] = ..., device: _Optional[str] = ..., session_inputs: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., num_prefix_tokens: _Optional[int] = ...) -> None: ...
