# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Runs clang-tidy (.clang-tidy) with Bazel's flags on what changed.

    python3 tools/tidy.py                 sources that differ from HEAD
    python3 tools/tidy.py --base COMMIT   sources that differ from COMMIT
    python3 tools/tidy.py --all           every source
    python3 tools/tidy.py FILE...         these

A changed header is checked through its own source, or through the first source
that includes it. What cannot be checked is said. Everything must have been
built once (tools/check does that before).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATABASE = ROOT / ".out/compile_commands.json"
OURS = ("client", "model", "server", "tests", "tools")
CLANG_TIDY = "clang-tidy-14"
# Lines that say nothing about the file: warnings that were not shown.
NOISE = re.compile(r"^(\d+ warnings?( and \d+ errors?)? generated\.|Suppressed |Use )")


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.splitlines()


def changed_since(commit: str) -> list[str]:
    """Returns files that differ from `commit`, also those git does not know."""
    return [
        *_git("diff", "--name-only", "--diff-filter=d", commit),
        *_git("ls-files", "--others", "--exclude-standard"),
    ]


def sources_for(files: Iterable[str], known: set[str]) -> tuple[set[str], list[str]]:
    """Maps changed files to sources with known flags; also what has none."""
    sources: set[str] = set()
    uncovered: list[str] = []
    for file in files:
        path = pathlib.PurePath(file)
        if path.parts[0] not in OURS or path.suffix not in (".cc", ".h"):
            continue
        own = str(path.with_suffix(".cc"))
        if own in known:
            sources.add(own)
            continue
        includers = _includers(file, known) if path.suffix == ".h" else ()
        if includers:
            sources.add(min(includers))
        else:
            uncovered.append(file)
    return sources, uncovered


def _includers(header: str, known: set[str]) -> list[str]:
    line = f'#include "{header}"'
    return [file for file in known if line in (ROOT / file).read_text()]


def _tidy(file: str) -> tuple[int, str]:
    done = subprocess.run(
        [
            CLANG_TIDY,
            "--quiet",
            "-p",
            DATABASE.parent,
            f"--header-filter=^{re.escape(str(ROOT))}/({'|'.join(OURS)})/",
            file,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if not NOISE.match(line)]
    return done.returncode, "\n".join(lines)


def _known_sources() -> set[str]:
    compile_commands = ROOT / "tools/compile_commands.py"
    subprocess.run([sys.executable, compile_commands, "--output", DATABASE], check=True)
    database = json.loads(DATABASE.read_text(encoding="utf-8"))
    return {os.path.relpath(entry["file"], ROOT) for entry in database}


def main(arguments: list[str]) -> int:
    """Prints each finding once; exit code 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="HEAD")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args(arguments)

    known = _known_sources()
    sources, uncovered = known, list[str]()
    if not options.all:
        files = options.files or changed_since(options.base)
        sources, uncovered = sources_for(files, known)
    failures = 0
    shown: set[str] = set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for code, output in pool.map(_tidy, sorted(sources)):
            failures += code != 0
            if output and output not in shown:
                print(output, flush=True)
                shown.add(output)
    for file in uncovered:
        print(f"not checked, no build target compiles it: {file}")
    print(f"{len(sources)} sources checked, {failures} with findings")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
