# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded cases through a running daemon: it computes what the originals do.

All actors of a case play at once, in calls of the recorded sizes. Every recorded
output of every step has to come back within TOLERANCE * max(1, |recorded|).
"""

import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

import stepd
from daemon import Daemon, DaemonFailed

TOLERANCE = 1e-4
GOLDEN = Path(__file__).parents[1] / "golden"
FAMILIES = (
    "kempner_forge",
    "mouse_v03",
    "mouse_v1",
    "noether_untied",
    "open_mythos",
    "puzzletron",
)
CASES = [
    path
    for family in FAMILIES
    for path in sorted((GOLDEN / family).glob("*/episode.json"))
]
# Experts' capacity counts the tokens of a call: other calls, other answers.
DEPENDS_ON_CALLS = ("moe_capacity_relu",)
# Recorded, but no output of the daemon.
NOT_OUTPUTS = ("greedy_action", "action_probs_t1", "action_probs_t0.5", "token_hidden")

Array = NDArray[Any]


@dataclass
class Actor:
    name: str
    calls: list[int]  # steps in each
    session_inputs: dict[str, Array]
    steps: list[dict[str, Any]]
    expected: dict[str, Array]  # [steps, ...]; outputs, and NOT_OUTPUTS

    def session_inputs_at(self, index: int) -> dict[str, Array] | None:
        """They go with the first step, and only with it."""
        return self.session_inputs if index == 0 else None

    @property
    def outputs(self) -> dict[str, Array]:
        """What a step can be asked for."""
        return {k: v for k, v in self.expected.items() if k not in NOT_OUTPUTS}


@dataclass
class Case:
    folder: Path
    num_actions: int | None
    optional: bool
    flags: list[str]  # of the daemon
    actors: list[Actor]

    @property
    def has_actions(self) -> bool:
        recorded = self.actors[0].expected
        return "greedy_action" in recorded or "logits" in recorded


def of_actor(tensors: dict[str, Array], actor: str) -> dict[str, Array]:
    prefix = actor + "/"
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix) and not name.startswith(prefix + "trace/")
    }


def load(folder: Path) -> Case:
    """Steps are in the episode itself, or in tensors of one row per step.

    Of typed tokens the episode has the types, and the tensor a row per token.
    """
    episode = json.loads((folder / "episode.json").read_text())
    expected = load_file(folder / "expected.safetensors")
    inputs_file = folder / "inputs.safetensors"
    inputs = load_file(inputs_file) if inputs_file.exists() else {}
    actors = []
    for actor in episode["actors"]:
        name = actor["name"]
        session_inputs = of_actor(inputs, f"{name}/session")
        fields = {
            field: tensor
            for field, tensor in of_actor(inputs, name).items()
            if not field.startswith("session/")
        }
        steps = actor.get("steps") or [
            {field: tensor[i] for field, tensor in fields.items()}
            for i in range(sum(actor["calls"]))
        ]
        if all("token_types" in step for step in steps):
            ends = np.cumsum([len(step["token_types"]) for step in steps])
            split = np.split(fields["tokens"], ends[:-1])
            for step, tokens in zip(steps, split, strict=True):
                step["tokens"] = tokens
        outputs = of_actor(expected, name)
        actors.append(Actor(name, actor["calls"], session_inputs, steps, outputs))
    flags = ["--model.device", "cpu"]
    if policy := episode.get("kv_policy"):
        flags += ["--sessions.context_policy", "rebuild"]
        flags += ["--sessions.max_steps", str(policy["max_cache"])]
        flags += ["--sessions.keep_steps", str(policy["start_cache"])]
    return Case(folder, episode.get("num_actions"), episode["optional"], flags, actors)


@pytest.fixture(
    scope="module",
    params=CASES,
    ids=lambda path: f"{path.parent.parent.name}/{path.parent.name}",
)
def case(request: pytest.FixtureRequest) -> Case:
    return load(request.param.parent)


@pytest.fixture(scope="module")
def client(
    case: Case, start_daemon: Callable[..., Daemon]
) -> Iterator[stepd.Client | None]:
    """A client of a daemon that serves the case; None if it may refuse, and did."""
    try:
        daemon = start_daemon(case.folder / "checkpoint", *case.flags)
    except DaemonFailed as refusal:
        if not case.optional:
            raise
        # A refusal is a clean exit that says why.
        assert refusal.exit_code == 2, refusal.log
        assert "dynamic" in refusal.log
        yield None
        return
    with stepd.connect(daemon.target, timeout=60) as connected:
        yield connected


def for_all_actors(case: Case, play: Callable[[Actor], None]) -> None:
    """Runs play() for every actor at once; raises the first failure."""
    with ThreadPoolExecutor(len(case.actors)) as threads:
        for done in [threads.submit(play, actor) for actor in case.actors]:
            done.result()


def stack(steps: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """By field; None where a step does not have it."""
    fields = {name: None for step in steps for name in step}
    return {name: [step.get(name) for step in steps] for name in fields}


def check(what: str, got: Array, want: Array) -> None:
    assert got.shape == want.shape, what
    error = np.abs(got - want) / np.maximum(1, np.abs(want))
    assert error.max() <= TOLERANCE, f"{what}: off by {error.max()}"


def check_step(
    actor: Actor, index: int, action: int | None, outputs: dict[str, Array]
) -> None:
    where = f"{actor.name}, step {index}"
    for name, want in actor.outputs.items():
        check(f"{where}, {name}", outputs[name], want[index])
    if "greedy_action" in actor.expected:
        assert action == actor.expected["greedy_action"][index], where
    elif "logits" in actor.expected:
        assert action == actor.expected["logits"][index].argmax(), where
    else:
        assert action is None, where


def play_as_recorded(case: Case, client: stepd.Client) -> None:
    def play(actor: Actor) -> None:
        session = client.session(actor.name)
        first = 0
        for size in actor.calls:
            answer = session.steps(
                stack(actor.steps[first : first + size]),
                session_inputs=actor.session_inputs_at(first),
                answer="all",
                outputs=list(actor.outputs),
                num_actions=case.num_actions,
            )
            assert answer.step_index == first + size
            assert len(answer.actions) == (size if case.has_actions else 0)
            assert not answer.log_probs.any()  # Of the greedy choice.
            for row in range(size):
                outputs = {name: out[row] for name, out in answer.outputs.items()}
                action = int(answer.actions[row]) if case.has_actions else None
                check_step(actor, first + row, action, outputs)
            first += size
        assert first == len(actor.steps)

    for_all_actors(case, play)


def test_steps_as_recorded(case: Case, client: stepd.Client | None) -> None:
    if client is not None:
        play_as_recorded(case, client)


@pytest.mark.skipif(
    not list(Path("/dev").glob("nvidia[0-9]*")), reason="no GPU on this machine"
)
def test_steps_as_recorded_on_cuda(
    case: Case, start_daemon: Callable[..., Daemon]
) -> None:
    if case.optional:
        return
    daemon = start_daemon(case.folder / "checkpoint", "--model.device", "cuda")
    with stepd.connect(daemon.target, timeout=60) as client:
        assert client.describe().device.startswith("cuda")
        play_as_recorded(case, client)
    assert daemon.stop() == 0


def softmax(scores: Array) -> Array:
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize(
    ("temperature", "probabilities"),
    [(1.0, "action_probs_t1"), (0.5, "action_probs_t0.5")],
)
def test_log_probs_are_of_the_recorded_distribution(
    case: Case, client: stepd.Client | None, temperature: float, probabilities: str
) -> None:
    if client is None or case.folder.name in DEPENDS_ON_CALLS:
        return
    if not case.has_actions:
        return

    def play(actor: Actor) -> None:
        session = client.session(f"{actor.name} at {temperature}")
        distributions = actor.expected.get(probabilities)
        if distributions is None:
            distributions = softmax(actor.expected["logits"] / temperature)
        steps = enumerate(zip(actor.steps, distributions, strict=True))
        for index, (step, want) in steps:
            answer = session.step(
                step,
                session_inputs=actor.session_inputs_at(index),
                temperature=temperature,
                num_actions=case.num_actions,
                seed=1,
            )
            assert answer.log_prob is not None
            probability = math.exp(answer.log_prob)
            assert abs(probability - want[answer.action]) <= TOLERANCE

    for_all_actors(case, play)


def test_batches(case: Case, client: stepd.Client | None) -> None:
    """All actors in one StepBatch; those with fewer steps leave earlier."""
    if client is None or case.folder.name in DEPENDS_ON_CALLS:
        return
    for index in range(max(len(actor.steps) for actor in case.actors)):
        playing = [actor for actor in case.actors if index < len(actor.steps)]
        answer = client.step_batch(
            [f"{actor.name} in batches" for actor in playing],
            stack([actor.steps[index] for actor in playing]),
            session_inputs=stack([actor.session_inputs for actor in playing])
            if index == 0
            else None,
            outputs=sorted({name for actor in playing for name in actor.outputs}),
            num_actions=case.num_actions,
        )
        answer.raise_errors()
        for row, actor in enumerate(playing):
            outputs = {name: out[row] for name, out in answer.outputs.items()}
            action = int(answer.actions[row]) if case.has_actions else None
            check_step(actor, index, action, outputs)


def test_stream(case: Case, client: stepd.Client | None) -> None:
    """Every step of every actor is on its way before the first answer."""
    if client is None or case.folder.name in DEPENDS_ON_CALLS:
        return
    futures: list[tuple[Actor, int, Future[stepd.StepResult]]] = []
    with client.stream() as stream:
        for index in range(max(len(actor.steps) for actor in case.actors)):
            for actor in case.actors:
                if index < len(actor.steps):
                    future = stream.step(
                        f"{actor.name} in a stream",
                        actor.steps[index],
                        session_inputs=actor.session_inputs_at(index),
                        outputs=list(actor.outputs),
                        num_actions=case.num_actions,
                    )
                    futures.append((actor, index, future))
    for actor, index, future in futures:
        answer = future.result(timeout=0)
        check_step(actor, index, answer.action, answer.outputs)
