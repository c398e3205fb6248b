# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""`stepd sessions` against a daemon."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import stepd
from daemon import Daemon

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def daemon(golden: Path, start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon(golden / "mouse_v03/llama_sum_mha/checkpoint")


@pytest.fixture
def sessions(stepd_binary: Path, daemon: Daemon) -> Run:
    """sessions(*arguments) runs the command."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [stepd_binary, "sessions", "--address", daemon.target, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def step(daemon: Daemon, *actors: str) -> None:
    with stepd.connect(daemon.target, timeout=30) as client:
        fields = client.describe().fields
        rows = {f.name: np.zeros((len(actors), *f.shape), f.dtype) for f in fields}
        client.step_batch(actors, rows)


def test_sessions_are_listed_closed_and_told_of(daemon: Daemon, sessions: Run) -> None:
    step(daemon, "left", "right", "other")

    table = sessions()
    assert table.returncode == 0, table.stderr
    assert all(actor in table.stdout for actor in ("left", "right", "other"))
    assert "3 of 3 sessions" in table.stdout

    assert sessions("close", "left").returncode == 0
    answer = json.loads(sessions("--json", "--prefix", "l").stdout)
    assert answer["sessions"] == []
    assert answer["num_sessions"] == 2
    assert [(e["actor_id"], e["end"]) for e in answer["ended"]] == [("left", "closed")]
    ended = sessions("--ended").stdout
    assert "closed" in ended
    assert "left" in ended
    (right,) = json.loads(sessions("--json", "--prefix", "right").stdout)["sessions"]
    assert (right["steps"], right["tier"], right["busy"]) == (1, "cache", False)


def test_what_cannot_be_asked_is_said(stepd_binary: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        address = f"unix:{tmp_path}/nobody"
        return subprocess.run(
            [stepd_binary, "sessions", "--address", address, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    silent = run()
    no_file = run("--tls.ca", f"{tmp_path}/none.pem")

    assert silent.returncode == 1
    assert silent.stderr
    assert no_file.returncode == 2
    assert "--tls.ca" in no_file.stderr
