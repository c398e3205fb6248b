# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""The wire as any gRPC client sees it: every error with code, reason and details.

Requests are built by hand, so that they can be wrong in ways in which the client
library never is.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from daemon import Daemon
from stepd.v1 import policy_service_pb2 as pb

ROOT = Path(__file__).parents[2]
MAX_STEPS = 4
MAX_ACTORS = 3

INT32, INT64 = pb.DATA_TYPE_INT32, pb.DATA_TYPE_INT64
FLOAT32, FLOAT64 = pb.DATA_TYPE_FLOAT32, pb.DATA_TYPE_FLOAT64
FORMATS = {INT32: "i", INT64: "q", FLOAT32: "f", FLOAT64: "d", pb.DATA_TYPE_BOOL: "?"}


def tensor(
    name: str, dtype: pb.DataType, shape: list[int], *values: float
) -> pb.Tensor:
    data = struct.pack(f"<{len(values)}{FORMATS[dtype]}", *values)
    return pb.Tensor(name=name, dtype=dtype, shape=shape, data=data)


def inputs(rows: int = 1) -> dict[str, pb.Tensor]:
    """Good inputs of the case llama_sum_mha."""
    return {
        "time": tensor("time", INT64, [rows], *[0] * rows),
        "action": tensor("action", INT64, [rows], *[1] * rows),
        "obs_continuous": tensor(
            "obs_continuous", FLOAT32, [rows, 3], *[0.5, -0.5, 0.25] * rows
        ),
        "reward": tensor("reward", FLOAT32, [rows], *[0.5] * rows),
        "done": tensor("done", INT64, [rows], *[0] * rows),
    }


def request(actor: str, rows: int = 1, /, **changed: Any) -> pb.StepRequest:
    """A good Step; `changed` replaces inputs (None: leaves one out)."""
    tensors = {**inputs(rows), **changed}
    kept = [value for value in tensors.values() if value is not None]
    return pb.StepRequest(actor_id=actor, inputs=kept)


class Stub:
    """The methods of the service over `channel`."""

    def __init__(self, channel: grpc.Channel) -> None:
        def unary(name: str, reply: Any) -> Any:
            return channel.unary_unary(
                f"/stepd.v1.PolicyService/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=reply.FromString,
            )

        self.step = unary("Step", pb.StepResponse)
        self.step_batch = unary("StepBatch", pb.StepBatchResponse)
        self.reset = unary("Reset", pb.ResetResponse)
        self.step_stream = channel.stream_stream(
            "/stepd.v1.PolicyService/StepStream",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=pb.StepStreamResponse.FromString,
        )


@dataclass
class Failure:
    """What the details of an error say."""

    code: grpc.StatusCode
    reason: str
    domain: str
    metadata: dict[str, str]
    retry_after: float | None


def failure_of(error: grpc.RpcError) -> Failure:
    details = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    assert details is not None, error
    status = status_pb2.Status.FromString(details)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    return decode(status, error.code())


def decode(status: status_pb2.Status, code: grpc.StatusCode) -> Failure:
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    has_retry = False
    for detail in status.details:
        detail.Unpack(info)
        has_retry = detail.Unpack(retry) or has_retry
    delay = retry.retry_delay
    seconds = delay.seconds + delay.nanos / 1e9 if has_retry else None
    return Failure(code, info.reason, info.domain, dict(info.metadata), seconds)


@pytest.fixture(scope="module")
def model(golden: Path) -> Path:
    return golden / "mouse_v03/llama_sum_mha/checkpoint"


@pytest.fixture(scope="module")
def daemon(model: Path, start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon(
        model,
        *("--sessions.max_steps", str(MAX_STEPS)),
        *("--limits.max_steps_per_call", str(MAX_STEPS - 1)),
        *("--limits.max_actors_per_batch", str(MAX_ACTORS)),
        *("--server.max_message_bytes", "64KiB"),
    )


@pytest.fixture
def stub(daemon: Daemon) -> Iterator[Stub]:
    with grpc.insecure_channel(daemon.target) as channel:
        yield Stub(channel)


def refused(call: Callable[..., Any], message: Any) -> Failure:
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=30)
    return failure_of(caught.value)


WRONG: dict[str, tuple[str, str, dict[str, Any]]] = {
    "unknown": ("FIELD_UNKNOWN", "x", {"x": tensor("x", INT64, [1], 0)}),
    "missing": ("FIELD_MISSING", "done", {"done": None}),
    "float index": ("FIELD_TYPE", "time", {"time": tensor("time", FLOAT32, [1], 0)}),
    "bool index": (
        "FIELD_TYPE",
        "done",
        {"done": tensor("done", pb.DATA_TYPE_BOOL, [1], 1)},
    ),
    "no dtype": ("FIELD_TYPE", "time", {"time": pb.Tensor(name="time", shape=[1])}),
    "extra axis": (
        "FIELD_SHAPE",
        "reward",
        {"reward": tensor("reward", FLOAT32, [1, 1], 0)},
    ),
    "rows disagree": (
        "FIELD_SHAPE",
        "reward",
        {"reward": tensor("reward", FLOAT32, [2], 0, 0)},
    ),
    "torn": (
        "FIELD_SHAPE",
        "time",
        {"time": pb.Tensor(name="time", dtype=INT64, shape=[1], data=b"1234567")},
    ),
    "huge shape": (
        "FIELD_SHAPE",
        "time",
        {"time": pb.Tensor(name="time", dtype=INT64, shape=[2**61])},
    ),
    "negative shape": (
        "FIELD_SHAPE",
        "time",
        {"time": pb.Tensor(name="time", dtype=INT64, shape=[-1])},
    ),
    "lengths": (
        "FIELD_SHAPE",
        "time",
        {
            "time": pb.Tensor(
                name="time", dtype=INT64, shape=[1], data=bytes(8), lengths=[1]
            )
        },
    ),
    "index": ("FIELD_RANGE", "action", {"action": tensor("action", INT64, [1], 4)}),
    "nan": (
        "FIELD_RANGE",
        "reward",
        {"reward": tensor("reward", FLOAT32, [1], float("nan"))},
    ),
    "too large": (
        "FIELD_RANGE",
        "reward",
        {"reward": tensor("reward", FLOAT64, [1], 1e300)},
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_input_names_field_got_and_want(stub: Stub, name: str) -> None:
    reason, field, changed = WRONG[name]

    failure = refused(stub.step, request(name, **changed))

    assert (failure.code, failure.reason, failure.domain) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        reason,
        "stepd",
    )
    assert failure.metadata["field"] == field
    assert failure.metadata["got"] and failure.metadata["want"]
    assert failure.retry_after is None
    # The session was not even opened.
    assert stub.step(request(name), timeout=30).step_index == 1


def test_other_faults_of_a_step(stub: Stub) -> None:
    outputs = pb.StepRequest(actor_id="a", inputs=inputs().values(), outputs=["q"])
    sampling = request("a")
    sampling.sampling.temperature = float("inf")

    assert refused(stub.step, request("")).reason == "ACTOR_ID"
    assert refused(stub.step, request("x" * 257)).reason == "ACTOR_ID"
    assert refused(stub.step, request("a", MAX_STEPS)).reason == "LIMIT"
    assert refused(stub.step, outputs).reason == "OUTPUT_UNKNOWN"
    assert refused(stub.step, sampling).reason == "SAMPLING"
    assert refused(stub.step, pb.StepRequest(actor_id="a")).reason == "FIELD_MISSING"
    assert refused(stub.reset, pb.ResetRequest()).reason == "ACTOR_ID"


def test_real_numbers_of_other_types_are_taken(
    stub: Stub,
) -> None:
    def scores(name: str, **changed: pb.Tensor) -> bytes:
        message = request(name, **changed)
        message.outputs.append("scores")
        return bytes(stub.step(message, timeout=30).outputs[0].data)

    want = scores("plain")

    assert scores("double", reward=tensor("reward", FLOAT64, [1], 0.5)) == want
    assert scores("short", action=tensor("action", INT32, [1], 1)) == want


def test_a_full_session_is_told_apart(stub: Stub) -> None:
    stub.step(request("full", 3), timeout=30)
    stub.step(request("full"), timeout=30)

    failure = refused(stub.step, request("full"))

    assert failure.code == grpc.StatusCode.FAILED_PRECONDITION
    assert failure.reason == "CONTEXT_FULL"


def test_bytes_that_are_no_message(daemon: Daemon) -> None:
    with grpc.insecure_channel(daemon.target) as channel:
        raw = channel.unary_unary("/stepd.v1.PolicyService/Step")
        latin1 = b"\x0a\x01\xe9"  # an actor ID that is not UTF-8

        for message in (b"\xff\xff\xff", latin1):
            failure = refused(raw, message)
            assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
            assert failure.reason == "MESSAGE"
        with pytest.raises(grpc.RpcError) as caught:
            raw(bytes(64 * 1024 + 1), timeout=30)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_batch_fails_as_a_whole_or_by_row(stub: Stub) -> None:
    def batch(actors: list[str], **changed: pb.Tensor) -> pb.StepBatchRequest:
        tensors = {**inputs(len(actors)), **changed}
        return pb.StepBatchRequest(actor_ids=actors, inputs=tensors.values())

    assert refused(stub.step_batch, batch(["a", "a"])).reason == "ACTOR_ID"
    assert refused(stub.step_batch, batch([])).reason == "ACTOR_ID"
    assert refused(stub.step_batch, batch(list("abcd"))).reason == "LIMIT"
    wrong = inputs(1)["time"]
    assert refused(stub.step_batch, batch(["a", "b"], time=wrong)).reason == (
        "FIELD_SHAPE"
    )

    answer = stub.step_batch(
        batch(["row 0", "row 1"], action=tensor("action", INT64, [2], 9, 1)),
        timeout=30,
    )

    assert list(answer.step_indices) == [0, 1]
    assert [error.row for error in answer.errors] == [0]
    status = answer.errors[0].status
    failure = decode(status, grpc.StatusCode.INVALID_ARGUMENT)
    assert (failure.reason, failure.metadata["row"]) == ("FIELD_RANGE", "0")


def test_a_stream_goes_on_after_errors(stub: Stub) -> None:
    requests = [
        pb.StepStreamRequest(request_id=1, step=request("stream")),
        pb.StepStreamRequest(request_id=2, step=request("")),
        pb.StepStreamRequest(request_id=3),
        pb.StepStreamRequest(request_id=4, reset=pb.ResetRequest(actor_id="stream")),
        pb.StepStreamRequest(request_id=5, step=request("stream")),
    ]

    answers = {
        answer.request_id: answer
        for answer in stub.step_stream(iter(requests), timeout=30)
    }

    assert answers[1].step.step_index == 1
    for number, reason in ((2, "ACTOR_ID"), (3, "FIELD_MISSING")):
        failure = decode(answers[number].error, grpc.StatusCode.INVALID_ARGUMENT)
        assert failure.reason == reason
    assert answers[4].WhichOneof("response") == "reset"
    assert answers[5].step.step_index == 1


def test_sessions_and_cache_are_bounded(
    model: Path, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(
        model,
        *("--executors.count", "1"),
        *("--sessions.max_sessions", "1"),
        *("--sessions.cache_bytes", "8KiB"),  # one block of 16 tokens
    )
    with grpc.insecure_channel(daemon.target) as channel:
        stub = Stub(channel)
        stub.step(request("a"), timeout=30)

        sessions = refused(stub.step, request("b"))
        cache = refused(stub.step, request("a", 16))

        assert (sessions.code, sessions.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "SESSIONS_FULL",
        )
        assert (cache.code, cache.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "CACHE_FULL",
        )
        assert stub.step(request("a"), timeout=30).step_index == 2


def test_the_page_of_errors_has_every_reason() -> None:
    source = (ROOT / "server/common/error.h").read_text()
    page = (ROOT / "docs/errors.md").read_text()

    reasons = set(re.findall(r'string_view k\w+ =\s*"([A-Z_]+)"', source))
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))

    assert len(reasons) > 10
    assert listed == reasons
