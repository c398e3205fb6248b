# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions of the client against real daemons that die and connections that break.

Whatever happens, an episode's actions are those of an undisturbed one.
"""

import re
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepd
from cutting_proxy import CuttingProxy
from daemon import Daemon
from fake_service import FakeService
from stepd import codec, options
from stepd.v1 import policy_service_pb2 as pb
from wait_until import wait_until

SAMPLING = stepd.Sampling(temperature=1.0, epsilon=0.1, seed=5)
MAX_STEPS_PER_CALL = 8


@pytest.fixture(scope="module")
def model(golden: Path) -> Path:
    return golden / "mouse_v03/llama_sum_mha/checkpoint"


@pytest.fixture(scope="module")
def daemon(model: Path, start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon(model, "--limits.max_steps_per_call", str(MAX_STEPS_PER_CALL))


def step_at(index: int, action: int | None = None) -> dict[str, Any]:
    """What the actor sees at this step, and did before."""
    return {
        "time": index % 8,
        "action": action or 0,
        "obs_continuous": [np.sin(index), np.cos(index), 0.25],
        "reward": index / 100,
        "done": 0,
    }


@dataclass
class Episode:
    """The answers so far."""

    actions: list[int | None] = field(default_factory=list)
    log_probs: list[float | None] = field(default_factory=list)

    def add(self, result: stepd.StepResult) -> None:
        self.actions.append(result.action)
        self.log_probs.append(result.log_prob)


def play(session: stepd.Session, first: int, end: int, episode: Episode) -> None:
    """Steps [first, end); an action is told with the next step."""
    for i in range(first, end):
        before = episode.actions[-1] if episode.actions else None
        episode.add(session.step(step_at(i, before), sampling=SAMPLING))


def undisturbed(daemon: Daemon, actor: str, num_steps: int) -> Episode:
    episode = Episode()
    with (
        stepd.connect(daemon.target, timeout=30) as client,
        client.session(actor) as session,
    ):
        play(session, 0, num_steps, episode)
    return episode


@pytest.mark.parametrize("seed", range(3))
def test_no_step_is_lost_or_taken_twice_when_connections_break(
    daemon: Daemon, actor: str, seed: int
) -> None:
    num_steps = 120
    want = undisturbed(daemon, actor, num_steps)
    retry = stepd.Retry(first=0.001, longest=0.05)
    episode = Episode()
    with (
        CuttingProxy(daemon.target, cut_after=(600, 6000), seed=seed) as proxy,
        stepd.connect(proxy.target, timeout=60, retry=retry) as client,
    ):
        session = client.session(actor)
        play(session, 0, num_steps, episode)

        assert proxy.num_cuts > 10
        assert session.step_index == num_steps
    assert episode == want


def test_a_daemon_that_was_killed_gets_its_sessions_again(
    model: Path, start_daemon: Callable[..., Daemon], actor: str
) -> None:
    limit = ("--limits.max_steps_per_call", str(MAX_STEPS_PER_CALL))
    first = start_daemon(model, *limit)
    want = undisturbed(first, actor, 30)
    episode = Episode()
    with (
        CuttingProxy(first.target) as proxy,
        stepd.connect(proxy.target, timeout=60) as client,
    ):
        session = client.session(actor)
        play(session, 0, 17, episode)
        # The same address, and a process that knows nothing.
        first.process.kill()
        first.process.wait()
        proxy.backend = start_daemon(model, *limit).target
        play(session, 17, 30, episode)

        assert session.step_index == 30
    assert episode == want


def test_an_actor_waits_for_the_daemon_to_come_back(
    model: Path, stepd_binary: Path, actor: str
) -> None:
    """It is gone while the actor steps, and comes back on the same port."""
    with Daemon(stepd_binary, model) as daemon, ThreadPoolExecutor(1) as threads:
        target = daemon.wait_ready().target
        want = undisturbed(daemon, actor, 6)
        with stepd.connect(target, timeout=60) as client:
            session = client.session(actor)
            episode = Episode()
            play(session, 0, 5, episode)
            daemon.process.kill()
            daemon.process.wait()
            last = threads.submit(play, session, 5, 6, episode)
            with Daemon(stepd_binary, model, address=target) as again:
                again.wait_ready()
                last.result(timeout=60)
                assert again.stop() == 0
    assert episode == want


def test_a_session_that_expired_is_sent_again(
    model: Path, start_daemon: Callable[..., Daemon], actor: str
) -> None:
    # What is sent again must not expire before the step that follows it.
    daemon = start_daemon(model, "--sessions.idle_timeout", "200ms")

    def num_sessions() -> int:
        with urllib.request.urlopen(f"{daemon.metrics_url}/metrics") as reply:
            metrics = reply.read().decode()
        numbers = re.findall(r"^stepd_sessions\S* (\d+)", metrics, re.MULTILINE)
        assert numbers
        return sum(int(number) for number in numbers)

    episode = Episode()
    with stepd.connect(daemon.target, timeout=30) as client:
        session = client.session(actor)
        for first in (0, 20):
            play(session, first, first + 20, episode)
            wait_until(lambda: num_sessions() == 0)
        play(session, 40, 41, episode)
        assert session.step_index == 41

    assert episode == undisturbed(start_daemon(model), actor, 41)


def test_the_same_request_again_gets_the_same_bytes(daemon: Daemon, actor: str) -> None:
    with stepd.connect(daemon.target, timeout=30) as client:
        encoder = client._ready_codec()
        order = pb.StepRequest(step_index=0, epoch=7).SerializeToString()
        tail = options.plain_options(("probs", "hidden"), SAMPLING) + order
        request = encoder.step(codec.step_head(actor), step_at(0), tail)

        first = client._call(client._step, request, None, again=False)
        again = client._call(client._step, request, None, again=False)

    assert first.SerializeToString() == again.SerializeToString()


def test_calls_of_many_steps_boundaries_and_resets_heal_too(
    daemon: Daemon, model: Path, start_daemon: Callable[..., Daemon], actor: str
) -> None:
    def rows(first: int, end: int) -> dict[str, Any]:
        steps = [step_at(i) for i in range(first, end)]
        return {name: [step[name] for step in steps] for name in steps[0]}

    def begin(session: stepd.Session) -> None:
        session.step(step_at(99))
        session.reset()  # what was before it is not sent again
        session.steps(rows(0, 7))
        session.step(step_at(7), boundary="task")
        session.steps(rows(8, 10), boundary="episode")

    def end(session: stepd.Session) -> stepd.StepResult:
        return session.step(step_at(10), sampling=SAMPLING, outputs=["hidden"])

    with stepd.connect(daemon.target, timeout=30) as client:
        session = client.session(actor)
        begin(session)
        want = end(session)

    first = start_daemon(model)
    with (
        CuttingProxy(first.target) as proxy,
        stepd.connect(proxy.target, timeout=30) as client,
    ):
        session = client.session(actor)
        begin(session)
        proxy.backend = start_daemon(
            model, "--limits.max_steps_per_call", str(MAX_STEPS_PER_CALL)
        ).target
        proxy.cut()
        got = end(session)

    assert (got.action, got.step_index) == (want.action, 11)
    np.testing.assert_array_equal(got.outputs["hidden"], want.outputs["hidden"])


def test_a_batch_of_sessions_heals_row_by_row(
    model: Path, start_daemon: Callable[..., Daemon], actor: str
) -> None:
    first, second = start_daemon(model), start_daemon(model)
    ids = [f"{actor} {i}" for i in range(4)]

    def rows(index: int) -> dict[str, Any]:
        step = step_at(index)
        return {name: [value] * len(ids) for name, value in step.items()}

    def play_all(client: stepd.Client, between: Callable[[], object]) -> list[Any]:
        sessions = [client.session(name) for name in ids]
        answers = []
        for index in range(6):
            if index == 3:
                sessions[0].reset()  # has nothing to send again
                between()
            result = client.step_batch(
                sessions, rows(index), sampling=SAMPLING, seed=range(4)
            )
            result.raise_errors()
            answers.append((result.actions.tolist(), result.log_probs.tolist()))
        assert [s.step_index for s in sessions] == [3, 6, 6, 6]
        return answers

    with stepd.connect(first.target, timeout=30) as client:
        want = play_all(client, lambda: None)
    with (
        CuttingProxy(first.target) as proxy,
        stepd.connect(proxy.target, timeout=30) as client,
    ):

        def move() -> None:
            proxy.backend = second.target
            proxy.cut()

        assert play_all(client, move) == want


def test_steps_of_sessions_survive_a_broken_stream(
    model: Path, start_daemon: Callable[..., Daemon], actor: str
) -> None:
    first, second = start_daemon(model), start_daemon(model)
    ids = [f"{actor} {i}" for i in range(3)]
    want = [undisturbed(first, name, 12) for name in ids]
    got = [Episode() for _ in ids]
    with (
        CuttingProxy(first.target) as proxy,
        stepd.connect(proxy.target, timeout=60) as client,
        client.stream() as stream,
    ):
        sessions = [client.session(name) for name in ids]
        for i in range(12):
            if i == 7:
                proxy.backend = second.target
                proxy.cut()
            futures = []
            for session, episode in zip(sessions, got, strict=True):
                before = episode.actions[-1] if episode.actions else None
                step = step_at(i, before)
                futures.append(stream.step(session, step, sampling=SAMPLING))
            for episode, future in zip(got, futures, strict=True):
                episode.add(future.result(timeout=60))
        assert [session.step_index for session in sessions] == [12] * 3
    assert got == want


def test_a_session_has_one_step_on_a_stream_at_a_time(
    service: FakeService, client: stepd.Client
) -> None:
    client.describe()
    service.hold.clear()
    inputs = {"action": 0, "obs": [0.0, 0.5, 1.0]}
    with client.stream() as stream:
        session = client.session("a")
        first = stream.step(session, inputs)
        with pytest.raises(RuntimeError):
            stream.step(session, inputs)
        service.hold.set()
        assert first.result(timeout=30).step_index == 1
        assert stream.step(session, inputs).result(timeout=30).step_index == 2


def test_a_log_that_grew_too_long_is_given_up(
    daemon: Daemon, model: Path, start_daemon: Callable[..., Daemon], actor: str
) -> None:
    with (
        CuttingProxy(daemon.target) as proxy,
        stepd.connect(proxy.target, timeout=30, max_log_bytes=200) as client,
    ):
        session = client.session(actor)
        play(session, 0, 10, Episode())
        proxy.backend = start_daemon(model).target
        proxy.cut()

        with pytest.raises(stepd.SessionUnknown):
            session.step(step_at(10))
        session.reset()
        assert session.step(step_at(0)).step_index == 1


def test_who_does_not_number_steps_does_not_try_again(
    daemon: Daemon, actor: str
) -> None:
    with (
        CuttingProxy(daemon.target) as proxy,
        stepd.connect(proxy.target, timeout=30, exactly_once=False) as client,
    ):
        session = client.session(actor)
        session.step(step_at(0))
        proxy.backend = "127.0.0.1:1"
        proxy.cut()

        with pytest.raises(stepd.Unavailable):
            session.step(step_at(1))


def test_another_client_takes_the_actor_over(daemon: Daemon, actor: str) -> None:
    with stepd.connect(daemon.target, timeout=30) as client:
        old = client.session(actor)
        old.step(step_at(0))
        new = client.session(actor)
        assert new.step(step_at(0)).step_index == 1

        with pytest.raises(stepd.OutOfOrder):
            old.step(step_at(1))
        assert new.step(step_at(1)).step_index == 2


@pytest.fixture
def clients(daemon: Daemon) -> Iterator[stepd.Client]:
    with stepd.connect(daemon.target, timeout=30) as connected:
        yield connected


def test_ephemeral_steps_begin_anew(clients: stepd.Client, actor: str) -> None:
    session = clients.session(actor)
    assert session.step(step_at(0)).step_index == 1
    assert session.step(step_at(1), ephemeral=True).step_index == 2
    assert session.step(step_at(0)).step_index == 1
