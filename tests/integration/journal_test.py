# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions that outlive the daemon: kill -9, other replicas, a Redis in trouble.

Every actor's answers are compared, byte by byte, with those of a daemon that
nothing happens to. `--kills N` (default 3) says how often a daemon is killed.
"""

import random
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from daemon import Daemon
from exact_actor import ExactActor, reason_of, steps_of
from redis_server import RedisServer, SlowWay
from stepd.v1 import policy_service_pb2 as pb
from wait_until import wait_until

StartDaemon = Callable[..., Daemon]

NUM_ACTORS = 8
CONTEXT = (
    *("--sessions.max_steps", "24"),
    *("--sessions.context_policy", "rebuild"),
)


@pytest.fixture(scope="module")
def model(golden: Path) -> Path:
    return golden / "mouse_v03/llama_sum_mha/checkpoint"


def actors_at(target: Callable[[], str], **options: float) -> list[ExactActor]:
    return [ExactActor(f"actor-{i}", target, **options) for i in range(NUM_ACTORS)]


def all_live(actors: list[ExactActor], num_calls: int) -> None:
    with ThreadPoolExecutor(len(actors)) as threads:
        for done in [threads.submit(actor.live, num_calls) for actor in actors]:
            done.result()
    for actor in actors:
        actor.close()


@pytest.fixture(scope="module")
def undisturbed(
    model: Path, start_daemon: StartDaemon
) -> Callable[[int], list[list[bytes]]]:
    """undisturbed(n): every actor's answers to n calls."""
    plain = start_daemon(model, *CONTEXT)
    known: dict[int, list[list[bytes]]] = {}

    def answers(num_calls: int) -> list[list[bytes]]:
        if num_calls not in known:
            actors = actors_at(lambda: plain.target)
            for actor in actors:
                actor.epoch = 1000 * len(known) + 1
            all_live(actors, num_calls)
            known[num_calls] = [actor.answers for actor in actors]
        return known[num_calls]

    return answers


@dataclass
class Place:
    """Where a daemon is that may be started again."""

    start: Callable[[], Daemon]

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.daemon = self.start()
        self.target = self.daemon.target

    def kill(self) -> None:
        self.daemon.process.kill()
        self.daemon.wait()


# ---- RocksDB -------------------------------------------------------------------------


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sync", ["interval", "always"])
def test_no_step_is_lost_or_changed_by_kills(
    model: Path,
    start_daemon: StartDaemon,
    undisturbed: Callable[[int], list[list[bytes]]],
    tmp_path: Path,
    pytestconfig: pytest.Config,
    sync: str,
) -> None:
    num_kills = pytestconfig.getoption("--kills")
    num_calls = 150 * max(1, num_kills)
    flags = (
        *("--journal.kind", "rocksdb", "--journal.path", str(tmp_path / "journal")),
        *("--journal.sync", sync),
    )
    place = Place(lambda: start_daemon(model, *CONTEXT, *flags))
    actors = actors_at(lambda: place.target)
    draw = random.Random(sync)
    living = threading.Thread(target=all_live, args=(actors, num_calls))
    living.start()

    for _ in range(num_kills):
        living.join(timeout=draw.uniform(0.0, 0.4))
        place.kill()
        place.restart()
    living.join()

    assert [actor.answers for actor in actors] == undisturbed(num_calls)
    served_from = set.union(*(actor.served_from for actor in actors))
    assert pb.SERVED_FROM_JOURNAL in served_from


def test_a_thousand_sessions_answer_soon_after_a_kill(
    model: Path, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    flags = ("--journal.kind", "rocksdb", "--journal.path", str(tmp_path / "journal"))
    place = Place(lambda: start_daemon(model, *CONTEXT, *flags))
    actors = [ExactActor(f"actor-{i}", lambda: place.target) for i in range(1000)]

    def all_step() -> None:
        for actor in actors:
            actor.step()

    for _ in range(2):
        all_step()
    place.kill()
    place.restart()

    start = time.monotonic()
    all_step()
    print(f"1000 sessions, one after another: {time.monotonic() - start:.2f} s")

    for actor in actors:
        actor.close()
        assert actor.served_from == {
            pb.SERVED_FROM_NEW,
            pb.SERVED_FROM_CACHE,
            pb.SERVED_FROM_JOURNAL,
        }


def test_a_drained_daemon_leaves_its_sessions_to_the_next(
    model: Path,
    start_daemon: StartDaemon,
    undisturbed: Callable[[int], list[list[bytes]]],
    tmp_path: Path,
) -> None:
    flags = ("--journal.kind", "rocksdb", "--journal.path", str(tmp_path / "journal"))
    first = start_daemon(model, *CONTEXT, *flags)
    actor = ExactActor("actor-0", lambda: first.target)
    actor.step()
    assert first.stop() == 0
    second = start_daemon(model, *CONTEXT, *flags)
    actor.target = lambda: second.target

    actor.step()

    assert actor.served_from == {pb.SERVED_FROM_NEW, pb.SERVED_FROM_JOURNAL}
    actor.close()


def test_a_reset_session_stays_reset(
    model: Path, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    flags = ("--journal.kind", "rocksdb", "--journal.path", str(tmp_path / "journal"))
    place = Place(lambda: start_daemon(model, *flags))
    actor = ExactActor("actor", lambda: place.target)
    actor.step(3)
    with grpc.insecure_channel(place.target) as channel:
        channel.unary_unary(
            "/stepd.v1.PolicyService/Reset",
            request_serializer=pb.ResetRequest.SerializeToString,
            response_deserializer=pb.ResetResponse.FromString,
        )(pb.ResetRequest(actor_id="actor"), timeout=30)
    place.kill()
    place.restart()

    with pytest.raises(grpc.RpcError) as caught:
        actor.step()

    assert reason_of(caught.value) == "SESSION_UNKNOWN"
    actor.close()


def test_a_journal_of_another_policy_is_refused(
    golden: Path, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    flags = ("--journal.kind", "rocksdb", "--journal.path", str(tmp_path / "journal"))
    steps = steps_of("actor", 0, 1)
    request = pb.StepRequest(
        actor_id="actor", inputs=[each for each in steps if each.name != "reward"]
    )

    def step(daemon: Daemon) -> pb.StepResponse:
        with grpc.insecure_channel(daemon.target) as channel:
            call = channel.unary_unary(
                "/stepd.v1.PolicyService/Step",
                request_serializer=pb.StepRequest.SerializeToString,
                response_deserializer=pb.StepResponse.FromString,
            )
            return call(request, timeout=30)

    first = start_daemon(golden / "mouse_v03/llama_multistep_calls/checkpoint", *flags)
    step(first)
    first.stop()
    # The same fields, and other outputs.
    other = start_daemon(golden / "mouse_v03/none_concat_lasttoken/checkpoint", *flags)
    with pytest.raises(grpc.RpcError) as caught:
        step(other)

    assert caught.value.code() == grpc.StatusCode.DATA_LOSS
    assert reason_of(caught.value) == "JOURNAL"


# ---- Redis ---------------------------------------------------------------------------


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


def redis_flags(address: str, on_error: str = "fail") -> tuple[str, ...]:
    return (
        *("--journal.kind", "redis", "--journal.address", address),
        *("--journal.on_error", on_error),
    )


def test_any_replica_goes_on_with_a_session(
    model: Path,
    start_daemon: StartDaemon,
    undisturbed: Callable[[int], list[list[bytes]]],
    redis: RedisServer,
) -> None:
    flags = (*CONTEXT, *redis_flags(redis.address))
    targets = [start_daemon(model, *flags).target for _ in range(2)]
    draw = random.Random(1)
    actors = actors_at(lambda: draw.choice(targets))

    all_live(actors, 100)

    assert [actor.answers for actor in actors] == undisturbed(100)


Noticed = Callable[[], None]  # Returns when the actors have met the trouble.


def restart(redis: RedisServer, way: SlowWay, noticed: Noticed) -> None:
    redis.stop()
    noticed()
    redis.start()


def empty(redis: RedisServer, way: SlowWay, noticed: Noticed) -> None:
    redis.run("FLUSHALL")


def change_type(redis: RedisServer, way: SlowWay, noticed: Noticed) -> None:
    for i in range(NUM_ACTORS):
        redis.run("SET", f"stepd:policy:actor-{i}", "somebody else's")


def delay(redis: RedisServer, way: SlowWay, noticed: Noticed) -> None:
    way.delay = 0.1  # There and back.
    noticed()
    way.delay = 0.0


def hang(redis: RedisServer, way: SlowWay, noticed: Noticed) -> None:
    redis.pause()
    noticed()
    redis.unpause()


@pytest.mark.parametrize("trouble", [restart, empty, change_type, delay, hang])
@pytest.mark.parametrize("on_error", ["fail", "degrade"])
def test_trouble_with_redis_changes_no_session(
    model: Path,
    start_daemon: StartDaemon,
    undisturbed: Callable[[int], list[list[bytes]]],
    redis: RedisServer,
    trouble: Callable[[RedisServer, SlowWay, Noticed], None],
    on_error: str,
) -> None:
    num_calls = 300
    way = SlowWay(redis.socket)
    daemon = start_daemon(model, *CONTEXT, *redis_flags(way.address, on_error))
    actors = actors_at(lambda: daemon.target)
    living = threading.Thread(target=all_live, args=(actors, num_calls))

    def num_heard() -> int:
        """Answers and refusals so far."""
        return sum(len(actor.answers) + len(actor.refusals) for actor in actors)

    def wait_for(num: int) -> None:
        wait_until(lambda: num_heard() >= num or not living.is_alive())

    living.start()
    for part in (0.1, 0.5):
        wait_for(int(part * num_calls * NUM_ACTORS))
        trouble(redis, way, lambda: wait_for(num_heard() + 3 * NUM_ACTORS))
    living.join()

    assert [actor.answers for actor in actors] == undisturbed(num_calls)
    refusals = {refusal for actor in actors for refusal in actor.refusals}
    assert refusals <= ({"JOURNAL"} if on_error == "fail" else set())
    # What a degraded journal missed is written with the next step.
    wait_until(lambda: ready_text(daemon) == "ready\n")
    for actor in actors:
        actor.step()
    # Another replica has them as they are now.
    other = start_daemon(model, *CONTEXT, *redis_flags(redis.address))
    for actor in actors:
        actor.target = lambda: other.target
        actor.step()
        assert pb.SERVED_FROM_JOURNAL in actor.served_from
        actor.close()
    way.close()


def ready_text(daemon: Daemon) -> str:
    with urllib.request.urlopen(f"{daemon.metrics_url}/readyz", timeout=30) as answer:
        return str(answer.read().decode())


def test_a_degraded_daemon_says_so(
    model: Path, start_daemon: StartDaemon, redis: RedisServer
) -> None:
    daemon = start_daemon(model, *redis_flags(redis.address, "degrade"))
    actor = ExactActor("actor", lambda: daemon.target)
    actor.step()
    assert ready_text(daemon) == "ready\n"

    redis.stop()
    actor.step()
    assert ready_text(daemon) == "ready, journal degraded\n"
    assert "degraded: steps are not journalled" in daemon.log

    redis.start()
    wait_until(lambda: ready_text(daemon) == "ready\n")
    actor.step()
    assert "steps are journalled again" in daemon.log
    assert actor.refusals == []
    actor.close()


def test_no_reply_comes_after_its_deadline(
    model: Path, start_daemon: StartDaemon, redis: RedisServer
) -> None:
    way = SlowWay(redis.socket)
    daemon = start_daemon(model, *redis_flags(way.address))
    actor = ExactActor("actor", lambda: daemon.target, timeout=0.3)
    actor.step()
    way.delay = 1.0

    start = time.monotonic()
    with pytest.raises(AssertionError):
        actor.step(patience=0.0)

    assert time.monotonic() - start < 0.9
    way.delay = 0.0
    actor.step()
    actor.step()
    actor.close()
    way.close()
