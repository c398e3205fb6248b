# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Remote actors that play CartPole against a daemon, many in one process.

Each actor is a thread with an environment and a session of its own; the actors
of a process share a client. Python's threads take turns, so actors are spread
over several processes. What they report meanwhile goes through shared arrays
in which an actor writes its own entries only.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import RawArray
from multiprocessing.synchronize import Barrier
from typing import Any

import env as cartpole
import stepd

# Far from the seeds that the policy was trained on.
FIRST_SEED = 5_000_000


@dataclass(frozen=True)
class Plan:
    """What every actor does."""

    episodes: int
    # False: every step is sent to a fresh session.
    keep_sessions: bool


@dataclass
class Played:
    """What one actor did."""

    returns: list[float] = field(default_factory=list)  # of each episode
    latencies: list[float] = field(default_factory=list)  # of each step, seconds
    began: float = 0.0  # time.monotonic(), which all processes share
    ended: float = 0.0


class Progress:
    """What all actors did so far. Shared by processes."""

    def __init__(self, num_actors: int) -> None:
        self.steps: Any = RawArray("q", num_actors)
        self.episodes: Any = RawArray("q", num_actors)
        self.score: Any = RawArray("d", num_actors)  # of ended episodes, summed


# Of a worker process, set by start().
_client: stepd.Client
_progress: Progress


def start(target: str, progress: Progress, all_ready: Barrier) -> None:
    """Readies a worker process; returns when all of them are."""
    global _client, _progress
    _client = stepd.connect(target, timeout=30)
    _client.describe()
    _progress = progress
    all_ready.wait(timeout=60)


def play(actors: range, plan: Plan) -> list[Played]:
    """Plays all episodes of these actors, at once."""
    with ThreadPoolExecutor(len(actors)) as threads:
        return list(threads.map(lambda actor: _play(actor, plan), actors))


def _play(actor: int, plan: Plan) -> Played:
    environment = cartpole.make()
    played = Played(began=time.monotonic())
    with _client.session(f"cartpole-{actor}") as session:
        for episode in range(plan.episodes):
            session.reset()
            action = cartpole.FIRST_ACTION
            seed = FIRST_SEED + actor * plan.episodes + episode
            observation, _ = environment.reset(seed=seed)
            score, is_over = 0.0, False
            while not is_over:
                if not plan.keep_sessions:
                    session.reset()
                begin = time.perf_counter()
                answer = session.step({"action": action, "obs_continuous": observation})
                played.latencies.append(time.perf_counter() - begin)
                assert answer.action is not None
                action = answer.action
                observation, reward, died, timed_out, _ = environment.step(action)
                score += float(reward)
                is_over = died or timed_out
                _progress.steps[actor] += 1
            played.returns.append(score)
            _progress.score[actor] += score
            _progress.episodes[actor] += 1
        played.ended = time.monotonic()
    environment.close()
    return played
