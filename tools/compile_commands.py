# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Writes compile_commands.json for clang-tidy and editors.

    python3 tools/compile_commands.py [--output FILE] [TARGET_PATTERN...]

The flags are Bazel's own (`bazel aquery`). Paths that Bazel keeps relative to
its execution root become absolute, so that a tool sees the files of this
checkout and can run from any folder. Generated headers and the wheels' headers
must have been built once. BAZEL in the environment replaces `bazel`.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
SEARCH_PATH_FLAGS = ("-iquote", "-isystem", "-I")
# What only makes outputs: of no use to a reader of the source.
DROPPED_WITH_VALUE = ("-MF", "-o")
DROPPED = ("-MD",)


def _bazel(*arguments: str) -> str:
    command = shlex.split(os.environ.get("BAZEL", "bazel"))
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def _absolute(path: str, execution_root: pathlib.Path) -> str:
    if pathlib.PurePath(path).is_absolute():
        return path
    top = pathlib.PurePath(path).parts[:1]
    if top == ("external",):
        # The output base has every external repository; the execution root
        # only those that the last build needed.
        return str(execution_root.parents[1] / path)
    if top == ("bazel-out",):
        return str(execution_root / path)
    return str(ROOT / path)


def rewrite(arguments: list[str], execution_root: pathlib.Path) -> list[str]:
    """Returns a compiler command line with absolute paths and no outputs."""
    out: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in DROPPED_WITH_VALUE:
            next(rest)
        elif argument in DROPPED:
            continue
        elif argument in SEARCH_PATH_FLAGS or argument == "-c":
            out += [argument, _absolute(next(rest), execution_root)]
        else:
            out.append(argument)
    return out


def _source_of(arguments: list[str]) -> str | None:
    if "-c" not in arguments:
        return None
    return arguments[arguments.index("-c") + 1]


def entries(
    actions: Iterable[dict[str, Any]], execution_root: pathlib.Path
) -> Iterator[dict[str, Any]]:
    """Yields one entry per source file of this checkout."""
    seen: set[str] = set()
    for action in actions:
        arguments = action.get("arguments", [])
        source = _source_of(arguments)
        if source is None or source in seen:
            continue
        if not (ROOT / source).is_file():  # Generated, or a wheel's.
            continue
        seen.add(source)
        yield {
            "directory": str(ROOT),
            "file": str(ROOT / source),
            "arguments": rewrite(arguments, execution_root),
        }


def main(arguments: list[str]) -> int:
    """Writes the file and says how many sources it covers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default=".out/compile_commands.json")
    parser.add_argument("targets", nargs="*", default=["//..."])
    options = parser.parse_args(arguments)

    execution_root = pathlib.Path(_bazel("info", "execution_root").strip())
    query = f'mnemonic("CppCompile", set({" ".join(options.targets)}))'
    graph = json.loads(_bazel("aquery", "--output=jsonproto", query))
    database = list(entries(graph.get("actions", []), execution_root))
    output = ROOT / options.output
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(database, indent=1) + "\n", encoding="utf-8")
    print(f"{output}: {len(database)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
