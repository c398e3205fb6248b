# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""The client against the real daemon: errors by reason, order, sampling, TLS."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepd
from certificates import Authority
from daemon import Daemon
from stepd import codec

MAX_STEPS = 12
MAX_STEPS_PER_CALL = 8
MAX_ACTORS = 4

# Of the case: time, action, obs_continuous [3], reward, done; head sp, 4 actions.
CASE = "llama_sum_mha"
STEP: dict[str, Any] = {
    "time": 0,
    "action": 1,
    "obs_continuous": [0.5, -0.5, 0.25],
    "reward": 0.5,
    "done": 0,
}


def rows(count: int, **changed: Any) -> dict[str, Any]:
    return {name: [value] * count for name, value in {**STEP, **changed}.items()}


@pytest.fixture(scope="module")
def model(golden: Path) -> Path:
    return golden / "mouse_v03" / CASE / "checkpoint"


@pytest.fixture(scope="module")
def daemon(model: Path, start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon(
        model,
        *("--sessions.max_steps", str(MAX_STEPS)),
        *("--limits.max_steps_per_call", str(MAX_STEPS_PER_CALL)),
        *("--limits.max_actors_per_batch", str(MAX_ACTORS)),
    )


@pytest.fixture
def client(daemon: Daemon) -> Iterator[stepd.Client]:
    with stepd.connect(daemon.target, timeout=30) as connected:
        yield connected


def test_describe(client: stepd.Client, golden: Path) -> None:
    episode = json.loads((golden / "mouse_v03" / CASE / "episode.json").read_text())

    answer = client.describe()

    got = {f.name: (f.dtype.name, list(f.shape)) for f in answer.fields}
    want = {k: (v["dtype"], v["shape"]) for k, v in episode["fields"].items()}
    assert got == want
    assert all(field.required for field in answer.fields)
    assert (answer.action_head, answer.num_actions) == (episode["action_head"], 4)
    assert {"sp", "scores", "hidden"} <= {output.name for output in answer.outputs}
    assert answer.limits.max_steps_per_session == MAX_STEPS
    assert answer.limits.max_steps_per_call == MAX_STEPS_PER_CALL
    assert answer.limits.max_actors_per_batch == MAX_ACTORS
    assert answer.num_parameters > 0
    assert answer.kv_bytes_per_token > 0


@dataclass
class Refused:
    name: str
    reason: str
    changed: dict[str, Any]  # fields
    options: dict[str, Any]  # arguments of step()
    field: str


def refused(
    name: str,
    reason: str,
    field: str,
    options: Any = None,
    **changed: Any,
) -> Refused:
    return Refused(name, reason, changed, options or {}, field)


REFUSED = [
    refused("index_too_large", "FIELD_RANGE", "action", action=99),
    refused("index_negative", "FIELD_RANGE", "action", action=-1),
    refused("nan", "FIELD_RANGE", "reward", reward=math.nan),
    refused("infinity", "FIELD_RANGE", "obs_continuous", obs_continuous=[0, 0, 1e300]),
    refused("unknown_output", "OUTPUT_UNKNOWN", "outputs", {"outputs": ["dqm"]}),
    refused(
        "negative_temperature", "SAMPLING", "sampling.temperature", {"temperature": -1}
    ),
    refused("no_actions", "SAMPLING", "sampling.num_actions", {"num_actions": 0}),
    refused("more_actions", "SAMPLING", "sampling.num_actions", {"num_actions": 5}),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_refused_step_leaves_the_session_as_it_was(
    client: stepd.Client, actor: str, case: Refused
) -> None:
    session = client.session(actor)
    session.step(STEP)

    with pytest.raises(stepd.InvalidRequest) as caught:
        session.step({**STEP, **case.changed}, **case.options)

    assert (caught.value.reason, caught.value.field) == (case.reason, case.field)
    control = client.session(f"{actor} control")
    control.step(STEP)
    want = control.step(STEP, outputs=["scores"])
    got = session.step(STEP, outputs=["scores"])
    assert got.step_index == want.step_index == 2
    np.testing.assert_array_equal(got.outputs["scores"], want.outputs["scores"])


def test_actor_ids_are_1_to_256_bytes(client: stepd.Client) -> None:
    for actor in ("", "x" * 257, "ü" * 129):
        with pytest.raises(stepd.InvalidRequest) as caught:
            client.session(actor).step(STEP)
        assert caught.value.reason == "ACTOR_ID"
    assert client.session("ü" * 128).step(STEP).step_index == 1


def test_limits_of_a_call(client: stepd.Client, actor: str) -> None:
    with pytest.raises(stepd.InvalidRequest) as caught:
        client.session(actor).steps(rows(MAX_STEPS_PER_CALL + 1))
    assert caught.value.reason == "LIMIT"

    actors = [f"{actor} {i}" for i in range(MAX_ACTORS + 1)]
    with pytest.raises(stepd.InvalidRequest) as caught:
        client.step_batch(actors, rows(len(actors)))
    assert caught.value.reason == "LIMIT"


def test_a_full_context_says_so_until_reset(client: stepd.Client, actor: str) -> None:
    session = client.session(actor)
    session.steps(rows(8))

    with pytest.raises(stepd.ContextFull):
        session.steps(rows(5))
    assert session.steps(rows(4)).step_index == MAX_STEPS
    with pytest.raises(stepd.ContextFull):
        session.step(STEP)
    session.reset()
    assert session.step(STEP).step_index == 1


def test_a_row_that_fails_fails_alone(client: stepd.Client, actor: str) -> None:
    actors = [f"{actor} {i}" for i in range(3)]

    answer = client.step_batch(actors, {**rows(3), "action": [0, 99, 0]})

    assert answer.step_indices.tolist() == [1, 0, 1]
    assert [answer.errors[1].reason, answer.errors[1].field] == [
        "FIELD_RANGE",
        "action",
    ]
    assert client.session(actors[1]).step(STEP).step_index == 1


# Wrong inputs, and the fields (dtype and shape) of a policy that would take them.
WRONG: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "unknown": ({**STEP, "rewards": 0.0}, {"rewards": ("f4", ())}),
    "missing": ({k: v for k, v in STEP.items() if k != "done"}, {"done": None}),
    "bool_as_real": ({**STEP, "reward": True}, {"reward": ("?", ())}),
    "bool_as_index": ({**STEP, "action": False}, {"action": ("?", ())}),
    "real_as_index": ({**STEP, "action": 0.0}, {"action": ("f4", ())}),
    "vector_as_scalar": ({**STEP, "reward": [0.0]}, {"reward": ("f4", (1,))}),
    "too_long": ({**STEP, "obs_continuous": [0] * 4}, {"obs_continuous": ("f4", (4,))}),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_client_refuses_as_the_daemon_does(
    client: stepd.Client, actor: str, case: str
) -> None:
    """The same reason and field, whether the request is sent or not."""
    inputs, lenient = WRONG[case]
    description = client.describe()
    fields = {field.name: field for field in description.fields}
    for name, spec in lenient.items():
        fields.pop(name, None)
        if spec is not None:
            dtype, shape = spec
            fields[name] = stepd.Field(name, np.dtype(dtype), shape, None, None, True)
    policy = dataclasses.replace(description, fields=tuple(fields.values()))
    request = codec.Codec(policy).step(codec.step_head(actor), inputs, b"")

    with pytest.raises(stepd.FieldError) as theirs:
        client._call(client._step, request, None, again=False)
    with pytest.raises(stepd.FieldError) as ours:
        client.session(actor).step(inputs)

    assert ours.value.reason == theirs.value.reason
    assert ours.value.field == theirs.value.field in (*lenient, *STEP)


def test_draws_depend_on_seed_actor_and_step_only(
    client: stepd.Client, actor: str
) -> None:
    def draw(name: str, seed: int) -> list[int | None]:
        session = client.session(name)
        session.reset()
        return [
            session.step(STEP, temperature=5.0, seed=seed).action
            for _ in range(MAX_STEPS)
        ]

    assert draw(actor, 1) == draw(actor, 1)
    assert draw(actor, 1) != draw(actor, 2)
    assert draw(actor, 1) != draw(f"{actor} too", 1)


def test_threads_share_a_client(client: stepd.Client, actor: str) -> None:
    def play(index: int) -> list[int]:
        with client.session(f"{actor} {index}") as session:
            return [session.step(STEP).step_index for _ in range(MAX_STEPS)]

    with ThreadPoolExecutor(16) as threads:
        played = list(threads.map(play, range(48)))

    assert played == [list(range(1, MAX_STEPS + 1))] * 48


def test_steps_in_one_call_equal_steps_one_by_one(
    client: stepd.Client, actor: str
) -> None:
    together = client.session(actor).steps(rows(5), answer="all", outputs=["hidden"])
    one_by_one = client.session(f"{actor} one by one")

    for row in range(5):
        single = one_by_one.step(STEP, outputs=["hidden"]).outputs["hidden"]
        np.testing.assert_allclose(together.outputs["hidden"][row], single, atol=1e-5)


def test_a_stopped_daemon_is_unavailable(
    model: Path, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(model)
    with stepd.connect(daemon.target) as client:
        client.session("a").step(STEP)
        assert daemon.stop() == 0

        with pytest.raises(stepd.Unavailable):
            client.session("a").step(STEP)


def test_mutual_tls(model: Path, stepd_binary: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("localhost")
    client_cert, client_key = authority.issue("actor.test")
    ours = stepd.Tls(authority.ca_file, client_cert, client_key, "localhost")
    flags = (
        *("--tls.cert", str(cert)),
        *("--tls.key", str(key)),
        *("--tls.client_ca", str(authority.ca_file)),
    )
    with Daemon(stepd_binary, model, *flags) as daemon:
        daemon.wait_ready(credentials=ours.credentials())
        with stepd.connect(daemon.target, tls=ours) as client:
            assert client.session("a").step(STEP).step_index == 1
        with (
            stepd.connect(
                daemon.target,
                tls=stepd.Tls(authority.ca_file, server_name="localhost"),
            ) as client,
            pytest.raises(stepd.Unavailable),
        ):
            client.describe()
        assert daemon.stop() == 0
