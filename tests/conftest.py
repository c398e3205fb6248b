# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures for every Python test: the daemon's binary, and daemons that run."""

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from daemon import Daemon

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden"

# The same examples in every run; what is cached, where build outputs are.
set_hypothesis_home_dir(ROOT / ".out/hypothesis")
hypothesis.settings.register_profile(
    "stepd", derandomize=True, database=None, deadline=None
)
hypothesis.settings.load_profile("stepd")

StartDaemon = Callable[..., Daemon]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of tests that can be made longer."""
    parser.addoption(
        "--kills", type=int, default=3, help="how often a daemon is killed"
    )


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of recorded cases."""
    return GOLDEN


@pytest.fixture(scope="session")
def stepd_binary() -> Path:
    """$STEPD_BINARY, or else what Bazel builds (with $BAZEL, as tools/test)."""
    given = os.environ.get("STEPD_BINARY")
    if given is not None:
        return Path(given)
    bazel = shlex.split(os.environ.get("BAZEL", "bazel"))
    subprocess.run(
        [
            *(*bazel, "build", "--experimental_convenience_symlinks=ignore"),
            "//server:stepd",
        ],
        cwd=ROOT,
        check=True,
    )
    info = subprocess.run(
        [*bazel, "info", "bazel-bin"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(info.stdout.strip()) / "server/stepd"


@pytest.fixture(scope="module")
def start_daemon(stepd_binary: Path) -> Iterator[StartDaemon]:
    """start_daemon(model, *flags) -> a Daemon that serves.

    At the end of the module every daemon still running has to drain and exit 0.
    """
    started: list[Daemon] = []

    def start(model: Path, *flags: str) -> Daemon:
        daemon = Daemon(stepd_binary, model, *flags)
        started.append(daemon)
        return daemon.wait_ready()

    yield start
    exit_codes = []
    for daemon in started:
        if daemon.process.poll() is None:
            exit_codes.append(daemon.stop())
            print(daemon.log)  # Shown where this fails.
        daemon.close()
    assert exit_codes == [0] * len(exit_codes)
