# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Forks, copies and lists of sessions, by the client and a real daemon."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepd
from daemon import Daemon
from stepd.v1 import session_service_pb2 as pb

EXECUTORS = 2
OUTPUTS = ("scores",)


@pytest.fixture(scope="module")
def model(golden: Path) -> Path:
    return golden / "mouse_v03/llama_sum_mha/checkpoint"


@pytest.fixture(scope="module")
def daemon(model: Path, start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon(
        model,
        *("--executors.count", str(EXECUTORS)),
        *("--limits.max_actors_per_batch", "16"),
    )


@pytest.fixture
def client(daemon: Daemon) -> Iterator[stepd.Client]:
    with stepd.connect(daemon.target, timeout=30) as connected:
        yield connected


def step_at(index: int) -> dict[str, Any]:
    return {
        "time": index % 8,
        "action": index % 4,
        "obs_continuous": [np.sin(index), np.cos(index), 0.25],
        "reward": index / 100,
        "done": 0,
    }


def play(session: stepd.Session, *indices: int) -> list[bytes]:
    """The scores of these steps, bit for bit."""
    answers = [session.step(step_at(i), outputs=OUTPUTS) for i in indices]
    return [answer.outputs["scores"].tobytes() for answer in answers]


def alone(client: stepd.Client, actor: str, *indices: int) -> list[bytes]:
    """What an actor is told that nobody forked, closed or copied."""
    with client.session(f"{actor} alone") as session:
        return play(session, *indices)


def test_forks_go_on_from_the_source_each_on_its_own(
    client: stepd.Client, actor: str
) -> None:
    source = client.session(actor)
    play(source, 0, 1, 2)

    forks = source.fork([f"{actor} {i}" for i in range(8)])

    for i, fork in enumerate(forks):
        expected = alone(client, actor, 0, 1, 2, 10 + i, 20 + i)
        assert play(fork, 10 + i, 20 + i) == expected[3:]
    assert play(source, 3) == alone(client, actor, 0, 1, 2, 3)[3:]
    # Eight of them do not all hash to the executor of the source.
    listed = client.sessions.list(f"{actor} ").sessions
    assert {info.executor for info in listed} == set(range(EXECUTORS))


def test_a_tag_keeps_forks_on_the_executor_of_their_source(
    client: stepd.Client,
) -> None:
    source = client.session("root {tree}")
    play(source, *range(70))

    source.fork([f"leaf {i} {{tree}}" for i in range(8)])

    listed = client.sessions.list("leaf ").sessions
    of_source = client.sessions.get("root {tree}")
    assert {info.executor for info in listed} == {of_source.executor}
    assert {info.shared_blocks for info in listed} == {of_source.blocks}


def test_a_fork_of_a_session_that_the_server_lost_is_made_from_the_log(
    client: stepd.Client, actor: str
) -> None:
    source = client.session(actor)
    play(source, 0, 1)
    client.sessions.close(actor)

    (fork,) = source.fork([f"{actor} fork"])
    client.sessions.close(fork.actor_id)

    assert play(fork, 2) == alone(client, actor, 0, 1, 2)[2:]
    assert fork.step_index == 3


def test_a_fork_needs_a_source_and_actors_without_a_session(
    client: stepd.Client, actor: str
) -> None:
    with pytest.raises(stepd.SessionUnknown, match=actor):
        client.session(actor).fork([f"{actor} fork"])
    source, other = client.session(actor), client.session(f"{actor} other")
    play(source, 0)
    play(other, 5)

    with pytest.raises(stepd.SessionExists, match=f"{actor} other"):
        source.fork([f"{actor} new", other.actor_id])
    with pytest.raises(stepd.InvalidRequest, match="forks"):
        source.fork([])
    with pytest.raises(stepd.InvalidRequest, match="forks"):
        source.fork([f"{actor} {i}" for i in range(17)])
    with pytest.raises(stepd.InvalidRequest, match="forks"):
        source.fork([f"{actor} twice", f"{actor} twice"])

    # None of them was made, and nobody was changed.
    assert [s.actor_id for s in client.sessions.list(f"{actor} ").sessions] == [
        other.actor_id
    ]
    assert play(source, 1) == alone(client, actor, 0, 1)[1:]


def test_a_fork_is_refused_where_another_program_has_gone_on(
    client: stepd.Client, actor: str
) -> None:
    source = client.session(actor)
    play(source, 0)
    client.step_batch([actor], {k: np.array([v]) for k, v in step_at(1).items()})

    with pytest.raises(stepd.OutOfOrder):
        source.fork([f"{actor} fork"])


def test_what_is_told_of_a_session(client: stepd.Client, actor: str) -> None:
    session = client.session(actor)
    play(session, 0, 1, 2)

    info = client.sessions.get(actor)

    assert (info.actor_id, info.steps, info.context_steps) == (actor, 3, 3)
    assert info.cached_tokens == info.context_tokens >= 3
    assert (info.blocks, info.shared_blocks) == (1, 0)
    assert (info.tier, info.busy) == ("cache", False)
    assert info.log_bytes > 0
    assert info.idle > timedelta(0)
    assert info.model_version == info.context_version_min == info.context_version_max
    with pytest.raises(stepd.SessionUnknown):
        client.sessions.get(f"{actor} nobody")


def test_ended_sessions_are_told_of(client: stepd.Client, actor: str) -> None:
    for ending in ("close", "reset"):
        session = client.session(f"{actor} {ending}")
        play(session, 0, 1)
    client.sessions.close(f"{actor} close")
    client.sessions.close(f"{actor} nobody")
    session.reset()

    answer = client.sessions.list(actor)

    ended = {e.actor_id: (e.end, e.steps) for e in answer.ended}
    assert ended == {
        f"{actor} close": ("closed", 2),
        f"{actor} reset": ("reset", 2),
    }
    assert answer.sessions == []


def test_a_list_may_be_short(client: stepd.Client, actor: str) -> None:
    for i in range(9):
        play(client.session(f"{actor} {i}"), 0)

    some = client.sessions.list(actor, max_sessions=2)

    assert 2 <= len(some.sessions) <= 2 * EXECUTORS
    assert some.num_sessions >= 9


def test_a_copy_goes_on_in_another_server(
    client: stepd.Client,
    model: Path,
    start_daemon: Callable[..., Daemon],
    actor: str,
) -> None:
    play(client.session(actor), 0, 1, 2)
    exported = client.sessions.export(actor)

    with stepd.connect(start_daemon(model).target, timeout=30) as other:
        other.sessions.load(exported, f"{actor} copy")
        inputs = {k: np.array([v]) for k, v in step_at(3).items()}
        result = other.step_batch([f"{actor} copy"], inputs, outputs=OUTPUTS)
        with pytest.raises(stepd.SessionExists):
            other.sessions.load(exported, f"{actor} copy")

    assert result.outputs["scores"][0].tobytes() == alone(client, actor, 0, 1, 2, 3)[3]


def test_a_damaged_copy_is_refused(client: stepd.Client, actor: str) -> None:
    play(client.session(actor), 0, 1)
    copy = pb.SessionCopy.FromString(client.sessions.export(actor))
    for position in range(0, len(copy.steps), 7):
        steps = bytearray(copy.steps)
        steps[position] ^= 4
        damaged = pb.SessionCopy(actor_id=actor, steps=bytes(steps))

        with pytest.raises(stepd.InvalidRequest) as error:
            client.sessions.load(damaged.SerializeToString(), f"{actor} copy")

        assert error.value.reason == "RECORD"
    short = pb.SessionCopy(actor_id=actor, steps=copy.steps[:-1])
    with pytest.raises(stepd.InvalidRequest):
        client.sessions.load(short.SerializeToString(), f"{actor} copy")
    assert client.sessions.list(f"{actor} copy").sessions == []
