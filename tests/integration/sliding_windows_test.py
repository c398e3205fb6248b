# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Sliding windows: as wide as an episode they change nothing, narrower they do."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import stepd
from daemon import Daemon

# The longest recorded episode has so many tokens.
EPISODE = 9


def with_windows(golden: Path, folder: Path, kinds: list[str], window: int) -> Path:
    """A copy of a case whose layers have attention of these kinds, in turns."""
    case = folder / "case"
    shutil.copytree(golden / "puzzletron/qwen3_hetero_tied", case)
    path = case / "checkpoint/config.json"
    config = json.loads(path.read_text())
    num_layers = config["num_hidden_layers"]
    config["use_sliding_window"] = True
    config["sliding_window"] = window
    config["layer_types"] = (kinds * num_layers)[:num_layers]
    path.write_text(json.dumps(config))
    return case


@pytest.mark.parametrize(("window", "exit_code"), [(EPISODE, 0), (EPISODE - 1, 1)])
def test_a_window_hides_what_is_left_of_it(
    stepd_binary: Path, golden: Path, tmp_path: Path, window: int, exit_code: int
) -> None:
    case = with_windows(golden, tmp_path, ["sliding_attention"], window)

    verify = subprocess.run(
        [stepd_binary, "verify", case], capture_output=True, text=True, check=False
    )

    assert verify.returncode == exit_code, verify.stdout + verify.stderr


def reach(stepd_binary: Path, checkpoint: Path) -> int:
    """How far back a token sees through all layers."""
    text = subprocess.run(
        [stepd_binary, "inspect", "--json", checkpoint],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sum(
        layer["visits"] * layer["window"] for layer in json.loads(text)["layers"]
    )


def test_a_session_of_sliding_windows_has_no_end(
    stepd_binary: Path,
    golden: Path,
    tmp_path: Path,
    start_daemon: Callable[..., Daemon],
) -> None:
    checkpoint = with_windows(golden, tmp_path, ["sliding_attention"], 3) / "checkpoint"
    keep = 1 + reach(stepd_binary, checkpoint)
    assert keep > 1
    max_steps = keep + 4
    endless = start_daemon(
        checkpoint,
        *("--sessions.context_policy", "window"),
        *("--sessions.max_steps", str(max_steps)),
    )
    whole = start_daemon(checkpoint)

    with (
        stepd.connect(endless.target, timeout=30) as client,
        stepd.connect(whole.target, timeout=30) as reference,
    ):
        ours, theirs = client.session("a"), reference.session("a")
        for i in range(4 * max_steps):
            inputs = {"tokens": 7 * i % 53}
            got = ours.step(inputs, outputs=["scores"]).outputs["scores"]
            want = theirs.step(inputs, outputs=["scores"]).outputs["scores"]
            np.testing.assert_allclose(got, want, atol=2e-5, err_msg=f"step {i}")
        info = client.sessions.get("a")

    assert info.steps == 4 * max_steps
    assert keep <= info.context_steps <= max_steps


@pytest.mark.parametrize(
    ("kinds", "flags", "message"),
    [
        (["sliding_attention", "full_attention"], (), "sees its whole context"),
        (["sliding_attention"], ("--sessions.max_steps", "3"), "sessions.max_steps"),
        (["sliding_attention"], ("--sessions.keep_steps", "3"), "sessions.keep_steps"),
    ],
)
def test_a_window_that_would_hide_something_is_refused(
    stepd_binary: Path,
    golden: Path,
    tmp_path: Path,
    kinds: list[str],
    flags: tuple[str, ...],
    message: str,
) -> None:
    checkpoint = with_windows(golden, tmp_path, kinds, 4) / "checkpoint"

    serve = subprocess.run(
        [
            *(stepd_binary, "serve", "--model", checkpoint),
            *("--server.address", "127.0.0.1:0", "--server.metrics_address", ""),
            *("--sessions.context_policy", "window", *flags),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert serve.returncode == 2, serve.stdout + serve.stderr
    assert message in serve.stderr
