# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Weights that change while a daemon serves: pushed, refused, rolled back, polled."""

import hashlib
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import stepd
from daemon import Daemon
from stepd.v1 import model_service_pb2 as model_pb
from stepd.v1 import policy_service_pb2 as pb
from wait_until import wait_until

StartDaemon = Callable[..., Daemon]
Weights = dict[str, np.ndarray[Any, Any]]

NUM_STEPS = 4
POLL = ("--model.poll_interval", "50ms")


def step_inputs(k: int) -> dict[str, Any]:
    return {
        "time": k,
        "action": 1,
        "obs_continuous": [0.5 * k, -0.5, 0.25],
        "reward": 0.5,
        "done": 0,
    }


@pytest.fixture(scope="module")
def checkpoint(golden: Path) -> Path:
    return golden / "mouse_v03/llama_sum_mha/checkpoint"


@pytest.fixture(scope="module")
def weights(checkpoint: Path) -> Weights:
    return load_file(checkpoint / "model.safetensors")


def changed(weights: Weights, version: int) -> Weights:
    """Other weights for each version, all of them."""
    scale = np.float32(1 + version / 50)
    return {name: np.ascontiguousarray(w * scale) for name, w in weights.items()}


def write_checkpoint(folder: Path, checkpoint: Path, weights: Weights) -> Path:
    folder.mkdir(parents=True)
    shutil.copy(checkpoint / "config.json", folder)
    save_file(weights, folder / "model.safetensors")
    return folder


@dataclass
class Context:
    """What a step was answered, and of which weights."""

    scores: bytes
    model: int
    min: int
    max: int


class Actor:
    """One actor on the wire: the versions of its contexts are no part of results."""

    def __init__(self, channel: grpc.Channel, name: str) -> None:
        self._name = name
        self._step = channel.unary_unary(
            "/stepd.v1.PolicyService/Step",
            request_serializer=pb.StepRequest.SerializeToString,
            response_deserializer=pb.StepResponse.FromString,
        )
        self._reset = channel.unary_unary(
            "/stepd.v1.PolicyService/Reset",
            request_serializer=pb.ResetRequest.SerializeToString,
            response_deserializer=pb.ResetResponse.FromString,
        )

    def step(self, k: int, timeout: float = 30, **options: Any) -> Context:
        request = pb.StepRequest(actor_id=self._name, outputs=["scores"], **options)
        for name, value in step_inputs(k).items():
            is_index = name in ("time", "action", "done")
            array = np.array([value], np.int64 if is_index else np.float32)
            request.inputs.add(
                name=name,
                dtype=pb.DATA_TYPE_INT64 if is_index else pb.DATA_TYPE_FLOAT32,
                shape=array.shape,
                data=array.tobytes(),
            )
        try:
            reply = self._step(request, timeout=timeout)
        except grpc.RpcError as error:
            raise stepd.errors.from_rpc_error(error) from error
        return Context(
            reply.outputs[0].data,
            reply.model_version,
            reply.context_version_min,
            reply.context_version_max,
        )

    def reset(self) -> None:
        self._reset(pb.ResetRequest(actor_id=self._name), timeout=30)


@dataclass
class Served:
    """A daemon and its clients."""

    daemon: Daemon
    channel: grpc.Channel
    model: stepd.ModelClient
    num_actors: int = field(default=0)

    def actor(self) -> Actor:
        self.num_actors += 1
        return Actor(self.channel, f"actor-{self.num_actors}")

    def episode(self) -> list[Context]:
        actor = self.actor()
        return [actor.step(k) for k in range(NUM_STEPS)]


@pytest.fixture
def serve(
    start_daemon: StartDaemon, checkpoint: Path
) -> Iterator[Callable[..., Served]]:
    opened: list[Served] = []

    def serve(*flags: str | Path, model: Path | str = checkpoint) -> Served:
        daemon = start_daemon(model, *flags)
        channel = grpc.insecure_channel(daemon.target)
        served = Served(daemon, channel, stepd.connect_model(daemon.target))
        opened.append(served)
        return served

    yield serve
    for served in opened:
        served.model.close()
        served.channel.close()
        assert served.daemon.stop() == 0


@pytest.fixture(scope="module")
def expected(
    start_daemon: StartDaemon,
    checkpoint: Path,
    weights: Weights,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[int, list[bytes]]:
    """An episode's answers by version, from daemons that know no other weights."""
    answers = {}
    for version in range(1, 7):
        folder = checkpoint
        if version > 1:
            folder = write_checkpoint(
                tmp_path_factory.mktemp("version") / "checkpoint",
                checkpoint,
                changed(weights, version),
            )
        daemon = start_daemon(folder)
        with grpc.insecure_channel(daemon.target) as channel:
            actor = Actor(channel, "a")
            answers[version] = [actor.step(k).scores for k in range(NUM_STEPS)]
        assert daemon.stop() == 0
    assert len({steps[0] for steps in answers.values()}) == len(answers)
    return answers


# ---- Pushes ------------------------------------------------------------------------


def test_no_step_fails_and_every_answer_is_its_versions_while_weights_are_pushed(
    serve: Callable[..., Served], weights: Weights, expected: dict[int, list[bytes]]
) -> None:
    served = serve("--executors.count", "2")
    stop = threading.Event()
    seen: list[tuple[int, Context]] = []
    errors: list[Exception] = []

    def play(actor: Actor) -> None:
        try:
            while not stop.is_set():
                for k in range(NUM_STEPS):
                    seen.append((k, actor.step(k)))
                actor.reset()
        except Exception as error:  # Anything is a failed step.
            errors.append(error)

    threads = [threading.Thread(target=play, args=(served.actor(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    names = sorted(weights)
    third = changed(weights, 3)
    assert served.model.push_weights(changed(weights, 2)) == 2
    # In two halves, of which the first is never stable.
    half = {name: third[name] for name in names[::2]}
    assert served.model.push_weights(half, partial=True, label="half") == 3
    rest = {name: third[name] for name in names[1::2]}
    assert served.model.push_weights(rest, partial=True, base_version=3) == 4
    assert served.model.push_weights(changed(weights, 5)) == 5
    play_on = len(seen) + 200
    wait_until(lambda: len(seen) >= play_on or bool(errors))
    stop.set()
    for thread in threads:
        thread.join()

    assert errors == []
    weights_of = {1: 1, 2: 2, 4: 3, 5: 5}
    assert {context.model for _, context in seen} == set(weights_of)
    for k, context in seen:
        assert context.scores == expected[weights_of[context.model]][k]
        assert context.min == context.max == context.model


def test_weights_of_half_the_precision_are_accepted(
    serve: Callable[..., Served], weights: Weights
) -> None:
    served = serve()
    before = served.episode()
    halves = {name: w.astype(np.float16) for name, w in weights.items()}

    assert served.model.push_weights(halves) == 2

    after = served.episode()
    assert [context.model for context in after] == [2] * NUM_STEPS
    for old, new in zip(before, after, strict=True):
        assert old.scores != new.scores
        np.testing.assert_allclose(
            np.frombuffer(old.scores, np.float32),
            np.frombuffer(new.scores, np.float32),
            atol=0.02,
        )


def test_a_file_is_pushed_as_it_is(
    serve: Callable[..., Served],
    weights: Weights,
    expected: dict[int, list[bytes]],
    tmp_path: Path,
) -> None:
    served = serve()
    save_file(changed(weights, 3), tmp_path / "new.safetensors")

    assert served.model.push_weights(tmp_path / "new.safetensors", version=7) == 7

    assert [context.scores for context in served.episode()] == expected[3]


# ---- Refusals ----------------------------------------------------------------------


def encoded(weights: Weights) -> bytes:
    return b"".join(stepd.weights_file.WeightsFile(weights).chunks(1 << 20))


def push_raw(
    served: Served, parts: list[dict[str, Any]]
) -> model_pb.PushWeightsResponse:
    method = served.channel.stream_unary(
        "/stepd.v1.ModelService/PushWeights",
        request_serializer=model_pb.PushWeightsRequest.SerializeToString,
        response_deserializer=model_pb.PushWeightsResponse.FromString,
    )
    try:
        return method(
            iter([model_pb.PushWeightsRequest(**part) for part in parts]), timeout=30
        )
    except grpc.RpcError as error:
        raise stepd.errors.from_rpc_error(error) from error


def header(data: bytes, **changes: Any) -> dict[str, Any]:
    fields = {"num_bytes": len(data), "sha256": hashlib.sha256(data).digest()}
    return {"header": model_pb.PushWeightsHeader(**{**fields, **changes})}


def with_nan(weights: Weights) -> Weights:
    name = sorted(weights)[3]
    array = weights[name].copy()
    array.flat[array.size // 2] = np.nan
    return {**weights, name: array}


def with_shape(weights: Weights) -> Weights:
    name = sorted(weights)[3]
    return {**weights, name: np.zeros((7, 7), np.float32)}


def without_one(weights: Weights) -> Weights:
    return dict(sorted(weights.items())[1:])


def as_integers(weights: Weights) -> Weights:
    name = sorted(weights)[3]
    return {**weights, name: weights[name].astype(np.int32)}


BAD_FILES = {
    "holds NaN or an infinity": with_nan,
    "has shape [7, 7]": with_shape,
    "is missing": without_one,
    "'unheard_of' is not in the checkpoint": lambda w: {
        **w,
        "unheard_of": np.zeros(3, np.float32),
    },
    "has dtype I32": as_integers,
}


@pytest.fixture(scope="module")
def refusing(start_daemon: StartDaemon, checkpoint: Path) -> Iterator[Served]:
    daemon = start_daemon(checkpoint, "--limits.max_push_bytes", "1MiB")
    channel = grpc.insecure_channel(daemon.target)
    served = Served(daemon, channel, stepd.connect_model(daemon.target))
    yield served
    # Whatever was tried, the first version goes on, and takes new ones.
    assert [v.version for v in served.model.versions()] == [1]
    assert {context.model for context in served.episode()} == {1}
    served.model.close()
    channel.close()


@pytest.mark.parametrize("message", BAD_FILES)
def test_a_file_that_does_not_fit_is_refused_by_the_tensors_name(
    refusing: Served, weights: Weights, message: str
) -> None:
    with pytest.raises(stepd.WeightsRefused) as refused:
        refusing.model.push_weights(BAD_FILES[message](changed(weights, 2)))

    assert refused.value.reason == "WEIGHTS"
    assert refused.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert message in refused.value.message


def test_a_file_that_is_no_weights_file_is_refused(refusing: Served) -> None:
    data = b"no weights at all"
    with pytest.raises(stepd.WeightsRefused, match="WEIGHTS: the pushed weights"):
        push_raw(refusing, [header(data), {"chunk": data}])


def test_a_corrupted_chunk_is_refused(refusing: Served, weights: Weights) -> None:
    data = encoded(weights)
    bad = bytearray(data)
    bad[len(bad) // 2] ^= 1
    with pytest.raises(stepd.WeightsRefused) as refused:
        push_raw(refusing, [header(data), {"chunk": bytes(bad)}])

    assert refused.value.reason == "WEIGHTS_DIGEST"
    assert refused.value.metadata["want"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": b"\0" * 32}, "WEIGHTS_DIGEST"),
        ({"sha256": b"short"}, "WEIGHTS_DIGEST"),
        ({"num_bytes": 10}, "WEIGHTS_DIGEST"),
        ({"num_bytes": 900_000}, "WEIGHTS_DIGEST"),
        ({"num_bytes": 0}, "WEIGHTS_DIGEST"),
        ({"num_bytes": 2**63}, "LIMIT"),
        ({"label": "latest"}, "FIELD_RANGE"),
        ({"label": "x" * 65}, "FIELD_RANGE"),
        ({"label": "canary"}, "FIELD_RANGE"),
        ({"label": "canary", "canary_share": 1.5}, "FIELD_RANGE"),
        ({"canary_share": 0.5}, "FIELD_RANGE"),
        ({"version": 1}, "MODEL_VERSION"),
        ({"base_version": 9}, "MODEL_VERSION"),
    ],
)
def test_a_header_that_means_nothing_is_refused(
    refusing: Served, weights: Weights, changes: dict[str, Any], reason: str
) -> None:
    data = encoded(weights)
    with pytest.raises(stepd.StepdError) as refused:
        push_raw(refusing, [header(data, **changes), {"chunk": data}])

    assert refused.value.reason == reason


@pytest.mark.parametrize("order", ["chunk first", "two headers", "nothing", "empty"])
def test_parts_in_another_order_are_refused(refusing: Served, order: str) -> None:
    data = b"data"
    parts = {
        "chunk first": [{"chunk": data}, header(data)],
        "two headers": [header(data), header(data)],
        "nothing": [],
        "empty": [header(data), {}],
    }[order]
    with pytest.raises(stepd.InvalidRequest) as refused:
        push_raw(refusing, parts)

    assert refused.value.reason == "MESSAGE"


def test_one_push_at_a_time_and_an_abandoned_one_leaves_nothing(
    refusing: Served, weights: Weights
) -> None:
    data = encoded(weights)
    sent = threading.Event()
    go_on = threading.Event()

    def parts() -> Iterator[model_pb.PushWeightsRequest]:
        yield model_pb.PushWeightsRequest(**header(data))
        sent.set()
        go_on.wait(30)

    method = refusing.channel.stream_unary(
        "/stepd.v1.ModelService/PushWeights",
        request_serializer=model_pb.PushWeightsRequest.SerializeToString,
        response_deserializer=model_pb.PushWeightsResponse.FromString,
    )
    call = method.future(parts(), timeout=30)
    sent.wait(30)
    with pytest.raises(stepd.WeightsBusy):
        while True:  # Until the header has arrived.
            push_raw(refusing, [header(b"no weights"), {"chunk": b"no weights"}])
    call.cancel()
    go_on.set()
    while True:  # Until the cancellation has arrived.
        try:
            push_raw(refusing, [header(b"no weights"), {"chunk": b"no weights"}])
        except stepd.WeightsBusy:
            continue
        except stepd.WeightsRefused:
            break


def test_a_server_that_takes_no_changes_says_so(
    serve: Callable[..., Served], weights: Weights
) -> None:
    served = serve("--model.changes", "refuse")
    for change in (
        lambda: served.model.push_weights(weights),
        lambda: served.model.set_label("stable", 1),
        served.model.rollback,
    ):
        with pytest.raises(stepd.NotAllowed) as refused:
            change()
        assert refused.value.reason == "CHANGES_REFUSED"
    assert [v.version for v in served.model.versions()] == [1]


# ---- What becomes of sessions ------------------------------------------------------


@pytest.mark.parametrize("kv_policy", ["pin", "keep", "recompute"])
def test_a_session_follows_the_kv_policy(
    serve: Callable[..., Served],
    weights: Weights,
    expected: dict[int, list[bytes]],
    kv_policy: str,
) -> None:
    served = serve("--sessions.kv_policy", kv_policy)
    actor = served.actor()
    for k in range(2):
        assert actor.step(k).scores == expected[1][k]
    served.model.push_weights(changed(weights, 2))

    third = actor.step(2)
    actor.reset()
    first = actor.step(0)

    made = (third.model, third.min, third.max)
    assert (
        made == {"pin": (1, 1, 1), "keep": (2, 1, 2), "recompute": (2, 2, 2)}[kv_policy]
    )
    if kv_policy == "keep":
        assert third.scores not in (expected[1][2], expected[2][2])
    else:
        assert third.scores == expected[third.model][2]
    assert (first.scores, first.model) == (expected[2][0], 2)


def test_the_memory_of_a_version_is_given_back_when_its_last_session_ends(
    serve: Callable[..., Served], weights: Weights
) -> None:
    served = serve()
    pinned = served.actor()
    pinned.step(0)
    served.model.push_weights(changed(weights, 2))

    def loaded() -> dict[int, int]:
        versions = served.model.versions()
        return {v.version: v.sessions for v in versions if v.loaded}

    assert loaded() == {2: 0, 1: 1}
    pinned.reset()
    wait_until(lambda: loaded() == {2: 0})


def test_more_versions_than_allowed_are_refused(
    serve: Callable[..., Served], weights: Weights
) -> None:
    served = serve("--limits.max_versions", "2")
    served.actor().step(0)
    served.model.push_weights(changed(weights, 2))
    with pytest.raises(stepd.WeightsRefused) as refused:
        served.model.push_weights(changed(weights, 3))
    assert refused.value.reason == "WEIGHTS_MEMORY"
    assert "versions 1, 2 are in memory" in refused.value.message


# ---- Which version -----------------------------------------------------------------


def test_a_step_waits_for_the_version_it_wants(
    serve: Callable[..., Served], weights: Weights
) -> None:
    served = serve()
    answers: list[Context] = []
    waiting = threading.Thread(
        target=lambda: answers.append(served.actor().step(0, min_model_version=2))
    )
    waiting.start()
    served.model.push_weights(changed(weights, 2))
    waiting.join(30)
    assert [context.model for context in answers] == [2]


def test_a_step_is_told_that_no_version_came(serve: Callable[..., Served]) -> None:
    served = serve()
    actor = served.actor()
    with pytest.raises(stepd.VersionUnavailable) as refused:
        actor.step(0, timeout=0.5, min_model_version=2)
    assert refused.value.code == grpc.StatusCode.FAILED_PRECONDITION
    assert actor.step(0).model == 1


def test_one_call_rolls_back(
    serve: Callable[..., Served], weights: Weights, expected: dict[int, list[bytes]]
) -> None:
    served = serve()
    with pytest.raises(stepd.VersionUnavailable):
        served.model.rollback()
    served.model.push_weights(changed(weights, 2))
    served.model.push_weights(changed(weights, 3))

    assert served.model.rollback() == 2
    assert [context.scores for context in served.episode()] == expected[2]
    assert served.model.rollback() == 3
    assert [context.scores for context in served.episode()] == expected[3]
    assert served.model.push_weights(changed(weights, 4)) == 4


def test_a_canary_gets_its_share_of_the_actors_and_can_become_stable(
    serve: Callable[..., Served], weights: Weights
) -> None:
    served = serve()
    served.model.push_weights(changed(weights, 2), label="canary", canary_share=0.3)
    actors = [served.actor() for _ in range(200)]

    first = [actor.step(0).model for actor in actors]
    for actor in actors:
        actor.reset()
    second = [actor.step(0).model for actor in actors]

    assert first == second
    assert 35 <= first.count(2) <= 85
    assert served.model.versions()[0].canary_share == 0.3
    served.model.set_label("stable", 2)
    served.model.set_label("canary", 0)
    for actor in actors:
        actor.reset()
    assert {actor.step(0).model for actor in actors} == {2}


def test_a_step_can_ask_for_a_label(
    serve: Callable[..., Served], weights: Weights, expected: dict[int, list[bytes]]
) -> None:
    served = serve()
    served.model.push_weights(changed(weights, 2), label="best")
    assert served.actor().step(0).model == 1
    for label in ("best", "latest"):
        best = served.actor().step(0, model_label=label)
        assert (best.model, best.scores) == (2, expected[2][0])
    assert served.actor().step(0, model_label="stable").model == 1
    with pytest.raises(stepd.VersionUnavailable):
        served.actor().step(0, model_label="worst")


# ---- A repository ------------------------------------------------------------------


def wait_for_version(served: Served, version: int) -> None:
    wait_until(lambda: served.actor().step(0).model == version)


def test_versions_of_a_repository_are_served_once_they_are_whole(
    serve: Callable[..., Served],
    checkpoint: Path,
    weights: Weights,
    expected: dict[int, list[bytes]],
    tmp_path: Path,
) -> None:
    versions = tmp_path / "walker"
    write_checkpoint(versions / "2", checkpoint, changed(weights, 2))
    flags = ("--model.repository", tmp_path, "--model.name", "walker", *POLL)
    served = serve(*flags, model="")
    assert [context.scores for context in served.episode()] == expected[2]

    # Written in place, slowly: a part of a file is refused and waited for.
    new = write_checkpoint(tmp_path / "new", checkpoint, changed(weights, 3))
    data = (new / "model.safetensors").read_bytes()
    (versions / "3").mkdir()
    shutil.copy(new / "config.json", versions / "3")
    (versions / "3/model.safetensors").write_bytes(data[: len(data) // 2])

    def is_refused() -> bool:
        assert served.actor().step(0).model == 2
        return "was refused" in served.daemon.log

    wait_until(is_refused)
    (versions / "3/model.safetensors").write_bytes(data)

    wait_for_version(served, 3)
    assert [context.scores for context in served.episode()] == expected[3]
    # Renamed into place, after a rollback: it is there, but not by itself.
    assert served.model.rollback() == 2
    write_checkpoint(tmp_path / "newer", checkpoint, changed(weights, 4))
    (tmp_path / "newer").rename(versions / "4")
    wait_until(lambda: served.model.versions()[0].version == 4)
    assert {context.model for context in served.episode()} == {2}
    served.model.set_label("stable", 0)
    assert [context.scores for context in served.episode()] == expected[4]


def test_a_checkpoint_of_another_architecture_is_refused(
    serve: Callable[..., Served], checkpoint: Path, golden: Path, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint, tmp_path / "policy/1")
    served = serve("--model.repository", tmp_path, *POLL, model="")
    other = golden / "mouse_v03/none_sum_all/checkpoint"
    shutil.copytree(other, tmp_path / "policy/2")

    wait_until(lambda: "was refused" in served.daemon.log)
    assert "another architecture" in served.daemon.log
    assert {context.model for context in served.episode()} == {1}
    with pytest.raises(stepd.WeightsRefused) as refused:
        served.model.set_label("stable", 2)
    assert refused.value.reason == "WEIGHTS"


def test_metrics_tell_the_versions(
    serve: Callable[..., Served], weights: Weights
) -> None:
    served = serve()
    actor = served.actor()
    actor.step(0)
    served.model.push_weights(changed(weights, 2))
    with pytest.raises(stepd.WeightsRefused):
        served.model.push_weights(with_nan(weights))

    def metrics() -> str:
        with urllib.request.urlopen(served.daemon.metrics_url + "/metrics") as answer:
            text: str = answer.read().decode()
            return text

    wanted = [
        "stepd_model_version 2",
        'stepd_version_sessions{version="1"} 1',
        "stepd_rollout_seconds_count 1",
        'stepd_weights_refused_total{reason="WEIGHTS"} 1',
    ]
    wait_until(lambda: all(line in metrics() for line in wanted))
