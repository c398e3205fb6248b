# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the daemon that speaks proto/stepd/v1 and knows no policy.

The answer to the i-th step of a session (the first is 0) is arithmetic:
action i % NUM_ACTIONS, log-probability -i / 8, output "dqn" i + [0, 1, 2, 3].
"""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from numpy.typing import NDArray

from stepd.v1 import policy_service_pb2 as pb

NUM_ACTIONS = 4
DESCRIPTION = pb.DescribeResponse(
    summary="arithmetic",
    fields=[
        pb.Field(name="action", dtype=pb.DATA_TYPE_INT64, required=True, min=0, max=3),
        pb.Field(name="obs", dtype=pb.DATA_TYPE_FLOAT32, shape=[3], required=True),
        pb.Field(name="reward", dtype=pb.DATA_TYPE_FLOAT32),
        pb.Field(name="words", dtype=pb.DATA_TYPE_INT64, shape=[-1, 2]),
    ],
    session_inputs=[pb.Field(name="map", dtype=pb.DATA_TYPE_FLOAT32, shape=[2])],
    outputs=[pb.Output(name="dqn", shape=[NUM_ACTIONS])],
    action_head="dqn",
    num_actions=NUM_ACTIONS,
    min_tokens_per_step=1,
    max_tokens_per_step=2,
    kv_bytes_per_token=512,
    num_parameters=1000,
    limits=pb.Limits(
        max_message_bytes=1 << 20,
        max_steps_per_call=64,
        max_actors_per_batch=32,
        max_sessions=100,
        max_steps_per_session=1000,
    ),
    model_version=7,
    server_version="fake",
    device="cpu",
)


def error_status(
    code: grpc.StatusCode,
    reason: str = "",
    message: str = "",
    retry_after: float | None = None,
    domain: str = "stepd",
    **metadata: str,
) -> status_pb2.Status:
    """A status as the daemon writes it."""
    status = status_pb2.Status(code=code.value[0], message=message)
    if reason:
        status.details.add().Pack(
            error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)
        )
    if retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(int(retry_after * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def dqn_row(index: int) -> NDArray[np.float32]:
    """Output "dqn" of the step of this index."""
    return np.arange(index, index + NUM_ACTIONS, dtype=np.float32)


class FakeService:
    """The service, and what tests look at and set.

    requests   every Step, StepBatch and Reset so far
    fail_next  the status that ends the next unary call
    fail_actor the status by actor that a step of the actor gets
    hold       Steps wait until it is set
    """

    def __init__(self) -> None:
        self.target = ""  # where it listens, once started
        self.requests: list[Any] = []
        self.fail_next: status_pb2.Status | None = None
        self.fail_actor: dict[str, status_pb2.Status] = {}
        self.hold = threading.Event()
        self.hold.set()
        self.num_describes = 0
        self._lock = threading.Lock()
        self._num_steps: dict[str, int] = {}

    def handlers(self) -> grpc.GenericRpcHandler:
        """The methods, for grpc.Server.add_generic_rpc_handlers()."""

        def unary(method: Callable[..., Any], request: type[Any]) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                method,
                request_deserializer=request.FromString,
                response_serializer=lambda reply: reply.SerializeToString(),
            )

        return grpc.method_handlers_generic_handler(
            "stepd.v1.PolicyService",
            {
                "Step": unary(self.step, pb.StepRequest),
                "StepBatch": unary(self.step_batch, pb.StepBatchRequest),
                "Reset": unary(self.reset, pb.ResetRequest),
                "Describe": unary(self.describe, pb.DescribeRequest),
                "StepStream": grpc.stream_stream_rpc_method_handler(
                    self.step_stream,
                    request_deserializer=pb.StepStreamRequest.FromString,
                    response_serializer=pb.StepStreamResponse.SerializeToString,
                ),
            },
        )

    def start(self, credentials: grpc.ServerCredentials | None = None) -> Any:
        """Returns the running server, and its port."""
        server = grpc.server(futures.ThreadPoolExecutor(16))
        server.add_generic_rpc_handlers((self.handlers(),))
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        return server, port

    # The methods.

    def describe(self, _: pb.DescribeRequest, context: Any) -> pb.DescribeResponse:
        self._maybe_fail(context)
        self.num_describes += 1
        return DESCRIPTION

    def reset(self, request: pb.ResetRequest, context: Any) -> pb.ResetResponse:
        self._maybe_fail(context)
        self.requests.append(request)
        self._num_steps.pop(request.actor_id, None)
        return pb.ResetResponse()

    def step(self, request: pb.StepRequest, context: Any) -> pb.StepResponse:
        self._maybe_fail(context)
        answer = self._answer_step(request)
        if isinstance(answer, status_pb2.Status):
            _abort(context, answer)
        return answer

    def step_batch(
        self, request: pb.StepBatchRequest, context: Any
    ) -> pb.StepBatchResponse:
        self._maybe_fail(context)
        return self._answer_batch(request)

    def step_stream(
        self, requests: Iterator[pb.StepStreamRequest], context: Any
    ) -> Iterator[pb.StepStreamResponse]:
        for request in requests:
            self._maybe_fail(context)
            response = pb.StepStreamResponse(request_id=request.request_id)
            kind = request.WhichOneof("request")
            if kind == "step":
                answer = self._answer_step(request.step)
                if isinstance(answer, status_pb2.Status):
                    response.error.CopyFrom(answer)
                else:
                    response.step.CopyFrom(answer)
            elif kind == "step_batch":
                response.step_batch.CopyFrom(self._answer_batch(request.step_batch))
            else:
                response.reset.CopyFrom(self.reset(request.reset, context))
            yield response

    # Their parts.

    def _answer_step(self, request: pb.StepRequest) -> pb.StepResponse | Any:
        assert self.hold.wait(timeout=60)
        with self._lock:
            self.requests.append(request)
            if request.actor_id in self.fail_actor:
                return self.fail_actor[request.actor_id]
            count = request.inputs[0].shape[0]
            begin = self._num_steps.get(request.actor_id, 0)
            self._num_steps[request.actor_id] = begin + count
        steps = list(range(begin, begin + count))
        if request.answered_steps == pb.ANSWERED_STEPS_LAST:
            steps = steps[-1:]
        elif request.answered_steps == pb.ANSWERED_STEPS_NONE:
            steps = []
        response = pb.StepResponse(
            actions=[i % NUM_ACTIONS for i in steps],
            log_probs=[-i / 8 for i in steps],
            step_index=begin + count,
            model_version=7,
        )
        if "dqn" in request.outputs:
            response.outputs.append(_tensor("dqn", [dqn_row(i) for i in steps]))
        return response

    def _answer_batch(self, request: pb.StepBatchRequest) -> pb.StepBatchResponse:
        self.requests.append(request)
        response = pb.StepBatchResponse(model_version=7)
        rows = []
        for row, actor in enumerate(request.actor_ids):
            index = self._num_steps.get(actor, 0)
            if actor in self.fail_actor:
                response.errors.add(row=row, status=self.fail_actor[actor])
                index = 0
            else:
                self._num_steps[actor] = index + 1
            response.actions.append(index % NUM_ACTIONS)
            response.log_probs.append(-index / 8)
            response.step_indices.append(self._num_steps.get(actor, 0))
            rows.append(dqn_row(index))
        if "dqn" in request.outputs:
            response.outputs.append(_tensor("dqn", rows))
        return response

    def _maybe_fail(self, context: Any) -> None:
        status, self.fail_next = self.fail_next, None
        if status is not None:
            _abort(context, status)


def _tensor(name: str, rows: list[NDArray[np.float32]]) -> pb.Tensor:
    array = np.stack(rows)
    return pb.Tensor(
        name=name,
        dtype=pb.DATA_TYPE_FLOAT32,
        shape=array.shape,
        data=array.tobytes(),
    )


def _abort(context: Any, status: status_pb2.Status) -> None:
    details = ("grpc-status-details-bin", status.SerializeToString())
    context.set_trailing_metadata((details,))
    codes = {code.value[0]: code for code in grpc.StatusCode}
    context.abort(codes[status.code], status.message)
