# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Counts single tests over Bazel's and pytest's results (used by tools/test).

Bazel's build events name the result file of every test target of this run,
also of those whose result came from a cache; stale files of other runs are
never read. The last line printed is "N passed, M failed, K skipped".
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import pathlib
import sys
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any


@dataclasses.dataclass
class Tally:
    """Names of the tests by outcome; skipped ones with their reason."""

    passed: list[str] = dataclasses.field(default_factory=list)
    failed: list[str] = dataclasses.field(default_factory=list)
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def summary(self) -> str:
        """Returns the line that the run ends with."""
        return (
            f"{len(self.passed)} passed, {len(self.failed)} failed, "
            f"{len(self.skipped)} skipped"
        )


def _reason(element: ET.Element) -> str:
    text = element.get("message") or element.text or "no reason given"
    lines = [line.strip() for line in text.strip().splitlines()]
    # GoogleTest puts "file:line" before the message.
    return lines[-1] if lines else "no reason given"


def _count_case(case: ET.Element, prefix: str, tally: Tally) -> None:
    suite, name = case.get("classname"), case.get("name", "?")
    full_name = prefix + (f"{suite}.{name}" if suite else name)
    if case.find("failure") is not None or case.find("error") is not None:
        tally.failed.append(full_name)
        return
    skip = case.find("skipped")
    if skip is not None:
        tally.skipped.append((full_name, _reason(skip)))
    elif case.get("status") == "notrun":
        tally.skipped.append((full_name, "disabled"))
    else:
        tally.passed.append(full_name)


def count_xml(path: pathlib.Path, prefix: str, tally: Tally) -> None:
    """Adds every test case of a JUnit file, GoogleTest's dialect or pytest's."""
    for case in ET.parse(path).getroot().iter("testcase"):
        _count_case(case, prefix, tally)


def _events(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _xml_of(result: dict[str, Any]) -> pathlib.Path | None:
    for output in result.get("testActionOutput", []):
        if output.get("name") == "test.xml":
            url = urllib.parse.urlparse(output.get("uri", ""))
            path = pathlib.Path(urllib.parse.unquote(url.path))
            return path if path.is_file() else None
    return None


def _count_result(label: str, result: dict[str, Any], tally: Tally) -> None:
    failed_before = len(tally.failed)
    seen_before = len(tally.passed) + len(tally.skipped)
    path = _xml_of(result)
    if path is not None:
        # A test that died while writing is judged by its status below.
        with contextlib.suppress(ET.ParseError):
            count_xml(path, f"{label} ", tally)
    status = result.get("status", "NO_STATUS")
    if status != "PASSED" and len(tally.failed) == failed_before:
        tally.failed.append(f"{label} ({status.lower()})")
    elif status == "PASSED" and len(tally.passed) + len(tally.skipped) == seen_before:
        tally.failed.append(f"{label} (ran no test)")


def count_bazel(events: pathlib.Path, exit_code: int, tally: Tally) -> None:
    """Adds the tests of one `bazel test`, and targets that did not build."""
    failed_before = len(tally.failed)
    results: dict[tuple[str, int, int], tuple[int, dict[str, Any]]] = {}
    for event in _events(events) if events.is_file() else ():
        identity = event.get("id", {})
        if "testResult" in identity and "testResult" in event:
            which = identity["testResult"]
            key = (which["label"], which.get("run", 1), which.get("shard", 1))
            attempt = which.get("attempt", 1)
            if key not in results or results[key][0] < attempt:
                results[key] = (attempt, event["testResult"])
        elif "targetCompleted" in identity and not event.get("completed", {}).get(
            "success"
        ):
            label = identity["targetCompleted"]["label"]
            tally.failed.append(f"{label} (does not build)")
    for (label, _, _), (_, result) in sorted(results.items()):
        _count_result(label, result, tally)
    # An exit code that no test explains; 4, nothing to test, is no pass either.
    if exit_code != 0 and len(tally.failed) == failed_before:
        tally.failed.append(f"bazel test (exit code {exit_code})")


def count_pytest(junit: pathlib.Path, exit_code: int, tally: Tally) -> None:
    """Adds the tests of one pytest run."""
    failed_before = len(tally.failed)
    if junit.is_file():
        count_xml(junit, "", tally)
    if exit_code != 0 and len(tally.failed) == failed_before:
        tally.failed.append(f"pytest (exit code {exit_code})")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=pathlib.Path)
    parser.add_argument("--bazel-exit", type=int, default=0)
    parser.add_argument("--junit", type=pathlib.Path)
    parser.add_argument("--pytest-exit", type=int, default=0)
    parser.add_argument(
        "--not-run",
        nargs=2,
        action="append",
        default=[],
        metavar=("FILE", "REASON"),
        help="a file of test targets, one per line, that were left out",
    )
    parser.add_argument("--failure", action="append", default=[])
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Prints what failed, what was skipped and the counts."""
    options = _parse(arguments)
    tally = Tally()
    if options.events:
        count_bazel(options.events, options.bazel_exit, tally)
    if options.junit:
        count_pytest(options.junit, options.pytest_exit, tally)
    for targets, reason in options.not_run:
        for label in pathlib.Path(targets).read_text(encoding="utf-8").split():
            tally.skipped.append((label, reason))
    tally.failed.extend(options.failure)

    print()
    for name, reason in tally.skipped:
        print(f"SKIPPED {name}: {reason}")
    for name in tally.failed:
        print(f"FAILED {name}")
    print(tally.summary())
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
