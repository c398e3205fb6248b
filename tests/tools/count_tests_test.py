# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""tools/count_tests.py: every outcome of Bazel and pytest is counted once."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]

GTEST = """<?xml version="1.0"?>
<testsuites><testsuite name="A">
<testcase name="One" status="run" result="completed" classname="A" />
<testcase name="Bad" status="run" result="completed" classname="A">
<failure message="a"/><failure message="b"/></testcase>
<testcase name="Skips" status="run" result="skipped" classname="A">
<skipped message="a.cc:4&#x0A;not today"/></testcase>
<testcase name="DISABLED_X" status="notrun" result="suppressed" classname="A" />
</testsuite></testsuites>
"""
PYTEST = """<?xml version="1.0"?>
<testsuites><testsuite name="pytest">
<testcase classname="m" name="one"/><testcase classname="m" name="two"/>
<testcase classname="m" name="broken"><error message="setup"/></testcase>
<testcase classname="m" name="gpu"><skipped message="no GPU"/></testcase>
</testsuite></testsuites>
"""


def run(*arguments: object) -> tuple[int, list[str]]:
    """Returns exit code and printed lines."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools/count_tests.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.strip().splitlines()


def result(
    label: str, status: str, xml: pathlib.Path | None, attempt: int = 1
) -> dict[str, Any]:
    outputs = [{"name": "test.xml", "uri": xml.as_uri()}] if xml else []
    return {
        "id": {"testResult": {"label": label, "run": 1, "attempt": attempt}},
        "testResult": {"status": status, "testActionOutput": outputs},
    }


def write_events(folder: pathlib.Path, *events: dict[str, Any]) -> pathlib.Path:
    path = folder / "events.json"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def write(path: pathlib.Path, text: str) -> pathlib.Path:
    path.write_text(text)
    return path


def test_counts_single_cases_of_googletest(tmp_path: pathlib.Path) -> None:
    xml = write(tmp_path / "test.xml", GTEST)
    events = write_events(tmp_path, result("//a:a_test", "FAILED", xml))

    code, lines = run("--events", events, "--bazel-exit", 3)

    assert code == 1
    assert lines == [
        "SKIPPED //a:a_test A.Skips: not today",
        "SKIPPED //a:a_test A.DISABLED_X: disabled",
        "FAILED //a:a_test A.Bad",
        "1 passed, 1 failed, 2 skipped",
    ]


def test_counts_single_cases_of_pytest(tmp_path: pathlib.Path) -> None:
    junit = write(tmp_path / "python.xml", PYTEST)

    code, lines = run("--junit", junit, "--pytest-exit", 1)

    assert code == 1
    assert lines == [
        "SKIPPED m.gpu: no GPU",
        "FAILED m.broken",
        "2 passed, 1 failed, 1 skipped",
    ]


def test_only_the_last_attempt_of_a_test_counts(tmp_path: pathlib.Path) -> None:
    bad = write(tmp_path / "bad.xml", GTEST)
    good = write(tmp_path / "good.xml", PYTEST.replace("error", "properties"))
    events = write_events(
        tmp_path,
        result("//a:a_test", "FAILED", bad, attempt=1),
        result("//a:a_test", "PASSED", good, attempt=2),
    )

    code, lines = run("--events", events)

    assert (code, lines[-1]) == (0, "3 passed, 0 failed, 1 skipped")


def test_a_target_that_leaves_no_case_is_a_failure(tmp_path: pathlib.Path) -> None:
    empty = write(tmp_path / "test.xml", "<testsuites></testsuites>")
    events = write_events(
        tmp_path,
        result("//a:killed_test", "TIMEOUT", None),
        result("//a:empty_test", "PASSED", empty),
        {"id": {"targetCompleted": {"label": "//a:broken"}}, "completed": {}},
        {
            "id": {"targetCompleted": {"label": "//a:fine"}},
            "completed": {"success": True},
        },
    )

    code, lines = run("--events", events, "--bazel-exit", 1)

    assert code == 1
    assert set(lines[:-1]) == {
        "FAILED //a:broken (does not build)",
        "FAILED //a:killed_test (timeout)",
        "FAILED //a:empty_test (ran no test)",
    }
    assert lines[-1] == "0 passed, 3 failed, 0 skipped"


def test_a_run_that_broke_without_a_result_is_a_failure(
    tmp_path: pathlib.Path,
) -> None:
    nowhere = tmp_path / "nothing"

    for arguments in (
        ("--events", nowhere, "--bazel-exit", 1),
        ("--junit", nowhere, "--pytest-exit", 5),
        ("--failure", "tools/setup"),
    ):
        code, lines = run(*arguments)
        assert code == 1, arguments
        assert lines[-1] == "0 passed, 1 failed, 0 skipped"


def test_targets_left_out_are_skipped_with_the_reason(
    tmp_path: pathlib.Path,
) -> None:
    left_out = write(tmp_path / "gpu.txt", "//a:x_test\n//a:y_test\n")

    not_built = write(tmp_path / "cuda.txt", "//b:z.so\n")

    code, lines = run(
        "--not-run", left_out, "no GPU", "--not-run", not_built, "no nvcc"
    )

    assert code == 0
    assert lines == [
        "SKIPPED //a:x_test: no GPU",
        "SKIPPED //a:y_test: no GPU",
        "SKIPPED //b:z.so: no nvcc",
        "0 passed, 0 failed, 3 skipped",
    ]
