# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""What a learner reads of a real daemon, and that actors do not wait for it."""

import re
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepd
from cutting_proxy import CuttingProxy
from daemon import Daemon
from wait_until import wait_until

NUM_ACTORS = 8
NUM_STEPS = 40

# A step as it was told or answered: epoch, index, observation, action,
# log-probability, version.
Told = tuple[int, int, list[float], int, float, int]


@pytest.fixture(scope="module")
def model(golden: Path) -> Path:
    return golden / "mouse_v03/llama_sum_mha/checkpoint"


@pytest.fixture
def daemon(model: Path, start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon(model)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[stepd.Client]:
    with stepd.connect(daemon.target, timeout=30) as connected:
        yield connected


def observation(actor: int, index: int) -> list[float]:
    return [actor / 8, index / 64, 0.25]


def step_of(actor: int, index: int) -> dict[str, Any]:
    return {
        "time": index % 8,
        "action": index % 4,
        "obs_continuous": observation(actor, index),
        "reward": 0.5,
        "done": 0,
    }


def rows(count: int) -> dict[str, Any]:
    return {name: [value] * count for name, value in step_of(0, 0).items()}


def play(
    client: stepd.Client, actor: int, num_steps: int = NUM_STEPS, first: int = 0
) -> list[Told]:
    """Steps of a new session of this actor, and what it was answered."""
    session = client.session(f"actor-{actor}")
    answers = []
    for index in range(first, first + num_steps):
        result = session.step(step_of(actor, index), temperature=1.0, seed=actor)
        assert result.action is not None and result.log_prob is not None
        answers.append(
            (
                session._epoch,
                index - first,
                observation(actor, index),
                result.action,
                result.log_prob,
                result.model_version,
            )
        )
    return answers


def add_to(read: dict[str, list[Told]], steps: stepd.FinishedSteps) -> None:
    observations = steps.inputs["obs_continuous"]
    for row, actor_id in enumerate(steps.actor_ids):
        assert steps.answered[row]
        read[actor_id].append(
            (
                int(steps.epochs[row]),
                int(steps.step_indices[row]),
                observations[row].tolist(),  # type: ignore[union-attr]
                int(steps.actions[row]),
                float(steps.log_probs[row]),
                int(steps.model_versions[row]),
            )
        )


def read_until(
    reader: stepd.TrajectoryReader,
    sequence: int,
    after_each: Callable[[], None] = lambda: None,
) -> tuple[dict[str, list[Told]], int]:
    """Everything up to this step of the stream, and how much was dropped."""
    read: dict[str, list[Told]] = defaultdict(list)
    num_dropped = 0
    while reader.place.sequence < sequence:
        steps = next(reader)
        add_to(read, steps)
        num_dropped += steps.dropped
        after_each()
    return read, num_dropped


def metric(daemon: Daemon, name: str) -> float:
    with urllib.request.urlopen(f"{daemon.metrics_url}/metrics") as reply:
        found = re.search(rf"^{name} (\S+)", reply.read().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_every_step_is_read_once_in_its_actors_order(client: stepd.Client) -> None:
    with client.trajectories() as reader, ThreadPoolExecutor(NUM_ACTORS) as actors:
        futures = [actors.submit(play, client, actor) for actor in range(NUM_ACTORS)]
        read, num_dropped = read_until(reader, NUM_ACTORS * NUM_STEPS)

    want = {f"actor-{i}": future.result() for i, future in enumerate(futures)}
    assert num_dropped == 0
    assert read == want


def test_nothing_is_missed_or_read_twice_when_connections_break(
    daemon: Daemon, client: stepd.Client
) -> None:
    retry = stepd.Retry(first=0.001, longest=0.02)
    with (
        CuttingProxy(daemon.target) as proxy,
        stepd.connect(proxy.target, timeout=30, retry=retry) as learner,
        learner.trajectories() as reader,
        ThreadPoolExecutor(NUM_ACTORS) as actors,
    ):
        futures = [actors.submit(play, client, actor) for actor in range(NUM_ACTORS)]
        read, num_dropped = read_until(reader, NUM_ACTORS * NUM_STEPS, proxy.cut)

    assert num_dropped == 0
    assert read == {f"actor-{i}": future.result() for i, future in enumerate(futures)}


def test_another_reader_goes_on_where_one_has_ended(client: stepd.Client) -> None:
    with client.trajectories() as first:
        before = play(client, 0, 5)
        read, _ = read_until(first, 5)
        place = first.place
    unread = play(client, 1, 5)

    with client.trajectories(after=place) as second:
        after = play(client, 2, 5)
        rest, num_dropped = read_until(second, 15)

    assert (read, num_dropped) == ({"actor-0": before}, 0)
    assert rest == {"actor-1": unread, "actor-2": after}


def test_steps_go_on_without_a_slow_reader_and_it_counts_what_it_missed(
    model: Path, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(model, "--trajectories.max_steps", "64")
    total = NUM_ACTORS * 1000
    # What the connection itself can hold stays small.
    window = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65535)]
    with (
        stepd.connect(daemon.target, timeout=30) as client,
        stepd.connect(daemon.target, timeout=30, options=window) as learner,
        learner.trajectories() as reader,
    ):
        for actor in range(NUM_ACTORS):
            session = client.session(f"actor-{actor}")
            for _ in range(20):
                session.steps(rows(50), outputs=["hidden"])
            assert session.step_index == 1000

        num_read = num_dropped = 0
        last: dict[str, int] = {}
        while reader.place.sequence < total:
            steps = next(reader)
            num_read += len(steps)
            num_dropped += steps.dropped
            for actor_id, index in zip(
                steps.actor_ids, steps.step_indices, strict=True
            ):
                assert index > last.get(actor_id, -1)
                last[actor_id] = int(index)

    assert num_read + num_dropped == total
    assert num_dropped > 0
    assert metric(daemon, "stepd_trajectory_steps_total") == num_read
    assert metric(daemon, "stepd_trajectory_dropped_steps_total") == num_dropped


def test_a_reader_learns_that_the_server_is_another(
    model: Path, start_daemon: Callable[..., Daemon]
) -> None:
    first = start_daemon(model)
    with (
        CuttingProxy(first.target) as proxy,
        stepd.connect(proxy.target, timeout=60) as learner,
        learner.trajectories() as reader,
    ):
        with stepd.connect(first.target) as client:
            play(client, 0, 3)
        steps = [next(reader)]
        while reader.place.sequence < 3:
            steps.append(next(reader))
        assert not any(part.is_new_stream for part in steps)
        old = reader.place

        first.process.kill()
        first.process.wait()
        second = start_daemon(model)
        proxy.backend = second.target
        again: list[stepd.FinishedSteps] = []
        thread = threading.Thread(target=lambda: again.append(next(reader)))
        thread.start()
        wait_until(lambda: metric(second, "stepd_trajectory_readers") == 1)
        with stepd.connect(second.target) as client:
            play(client, 1, 1)
        thread.join(timeout=60)

    (part,) = again
    assert part.is_new_stream
    assert part.place.stream_id != old.stream_id
    assert (part.place.sequence, part.dropped) == (1, 0)
    assert part.actor_ids == ["actor-1"]


def test_steps_that_are_sent_again_have_no_answer(
    model: Path, start_daemon: Callable[..., Daemon]
) -> None:
    first, second = start_daemon(model), start_daemon(model)
    with (
        CuttingProxy(first.target) as proxy,
        stepd.connect(proxy.target, timeout=60) as client,
        stepd.connect(second.target, timeout=60) as learner,
        learner.trajectories() as reader,
    ):
        session = client.session("a")
        for index in range(5):
            session.step(step_of(0, index))
        proxy.backend = second.target
        proxy.cut()
        last = session.step(step_of(0, 5))
        answered: list[bool] = []
        while len(answered) < 6:
            steps = next(reader)
            answered += steps.answered.tolist()

    assert answered == [False] * 5 + [True]
    assert steps.actions[-1] == last.action


def test_a_stream_that_nobody_reads_ends(
    model: Path, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(model, "--trajectories.linger", "1ms")
    with stepd.connect(daemon.target, timeout=30) as client:
        with client.trajectories() as reader:
            play(client, 0, 2)
            read_until(reader, 2)
            place = reader.place

        def is_over() -> bool:
            with client.trajectories(after=place) as another:
                return another.place.stream_id != place.stream_id

        wait_until(is_over)


def test_what_opens_a_session_and_boundaries_are_told(client: stepd.Client) -> None:
    with client.trajectories() as reader:
        session = client.session("a")
        session.steps(rows(3), boundary="task")
        result = session.step(step_of(0, 3), boundary="episode")
        steps = [next(reader)]
        while reader.place.sequence < 4:
            steps.append(next(reader))

    boundaries = [boundary for part in steps for boundary in part.boundaries]
    answered = np.concatenate([part.answered for part in steps])
    assert boundaries == ["task", "none", "none", "episode"]
    assert answered.tolist() == [False, False, True, True]
    assert steps[-1].actions[-1] == result.action
    assert all(part.session_inputs == {} for part in steps)


def test_fields_that_a_step_lacks_are_none(
    golden: Path, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(golden / "mouse_v1/numeric_llama_skip_optional/checkpoint")
    with (
        stepd.connect(daemon.target, timeout=30) as client,
        client.trajectories() as reader,
    ):
        fields = client.describe().fields
        (optional, *_) = [f for f in fields if not f.required]
        session = client.session("a")
        full = {f.name: np.zeros(f.shape, f.dtype) for f in fields}
        session.step(full)
        session.step({k: v for k, v in full.items() if k != optional.name})
        steps = [next(reader)]
        while reader.place.sequence < 2:
            steps.append(next(reader))

    column = [row for part in steps for row in part.inputs.get(optional.name, [None])]
    np.testing.assert_array_equal(column[0], full[optional.name])
    assert column[1] is None


def test_readers_may_be_refused(
    model: Path, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(model, "--trajectories.readers", "refuse")
    with (
        stepd.connect(daemon.target, timeout=30) as client,
        pytest.raises(stepd.NotAllowed) as caught,
    ):
        client.trajectories()

    assert caught.value.reason == "READERS_REFUSED"


def test_a_step_that_has_not_been_is_refused(client: stepd.Client) -> None:
    with (
        client.trajectories() as reader,
        pytest.raises(stepd.FieldError) as caught,
    ):
        client.trajectories(after=stepd.Place(reader.place.stream_id, 1))

    assert (caught.value.reason, caught.value.field) == ("FIELD_RANGE", "sequence")


def test_a_server_that_drains_sends_what_it_has_and_ends_the_call(
    model: Path, stepd_binary: Path
) -> None:
    with Daemon(stepd_binary, model) as daemon:
        daemon.wait_ready()
        with (
            stepd.connect(daemon.target, timeout=30, retry=None) as client,
            client.trajectories() as reader,
        ):
            play(client, 0, 3)
            assert daemon.stop() == 0
            read, _ = read_until(reader, 3)
            with pytest.raises(stepd.Draining):
                next(reader)
    assert len(read["actor-0"]) == 3
