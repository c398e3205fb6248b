# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""The number of loops of a looped policy, set at load instead of in its config."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

# Recorded with a number of loops other than the checkpoint was trained with.
CASES = ["gqa_loops_beyond_trained", "gqa_mqa_loops_fewer_nohalt"]


@pytest.fixture
def run(stepd_binary: Path) -> Run:
    def run(
        *arguments: str | Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [stepd_binary, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, golden: Path, tmp_path: Path) -> Path:
    """The recorded case, with a config that does not say the number of loops."""
    folder = tmp_path / request.param
    shutil.copytree(golden / "open_mythos" / request.param, folder)
    path = folder / "checkpoint/config.json"
    config = json.loads(path.read_text())
    (folder / "loops").write_text(str(config["n_loops"]))
    config["n_loops"] = None
    path.write_text(json.dumps(config))
    return folder


def test_the_recorded_number_of_loops_gives_the_recorded_answers(
    run: Run, case: Path
) -> None:
    loops = (case / "loops").read_text()

    as_recorded = run("verify", case, "--model.n_loops", loops)
    as_trained = run("verify", case)

    assert as_recorded.returncode == 0, as_recorded.stdout
    assert as_trained.returncode == 1, as_trained.stdout


def test_inspect_shows_and_counts_the_visits(run: Run, case: Path) -> None:
    loops = (case / "loops").read_text()

    answer = run("inspect", case / "checkpoint", "--json", "--model.n_loops", loops)

    layers = json.loads(answer.stdout)["layers"]
    assert [layer["visits"] for layer in layers] == [1, int(loops), 1]
    of_one_visit = layers[0]["kv_bytes_per_token"]
    assert layers[1]["kv_bytes_per_token"] == int(loops) * of_one_visit


def test_serve_takes_the_number_from_the_environment_too(
    run: Run, golden: Path
) -> None:
    """A number that is refused shows that it arrived."""
    checkpoint = golden / "open_mythos/gqa_basic/checkpoint"

    answer = run("serve", "--model", checkpoint, STEPD_MODEL_N_LOOPS="5000")

    assert answer.returncode == 2
    assert "n_loops: of 5000 was asked for; must be from 1 to 4096" in answer.stderr


def test_a_policy_without_loops_refuses_a_number(run: Run, golden: Path) -> None:
    checkpoint = golden / "mouse_v1/step_llama_sum/checkpoint"

    answer = run("serve", "--model", checkpoint, "--model.n_loops", "2")

    assert answer.returncode == 2
    assert (
        "n_loops is given, but a checkpoint of MOUSE v1 has no loops" in answer.stderr
    )
