# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Checks that dependencies point one way (docs/architecture.md).

    python3 tools/check_includes.py [ROOT]

server/ never sees LibTorch, model/ never sees the wire or the configuration,
and a checkpoint family's name appears only where its format is read, tested or
documented. Prints one line per violation; exit code 1 if there is one.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
CPP_SUFFIXES = {".cc", ".cu", ".cuh", ".h"}

# The word for a mouse pointer's events in a web page is not a family.
FAMILY = re.compile(
    r"mouse(?!down|enter|leave|move|out|over|up|wheel)"
    r"|mythos|kempner|puzzletron|noether",
    re.IGNORECASE,
)
FAMILY_PLACES = ("model/checkpoint/", "tests/", "docs/", "examples/")
# This list, and its own name for the rule.
FAMILY_FILES = ("tools/check_includes.py",)


@dataclasses.dataclass(frozen=True)
class Rule:
    """Files under `where` (but not `unless`) must not include `what`."""

    where: str
    what: str
    why: str
    unless: tuple[str, ...] = ()

    def forbids(self, file: str, include: str) -> bool:
        """Whether `file` breaks the rule with `include`."""
        return (
            file.startswith(self.where)
            and not file.startswith(self.unless or ("\0",))
            and re.match(self.what, include) is not None
        )


# What server/ sees of model/: free of LibTorch.
BOUNDARY = "(policy|policy_spec|step|loader|kv_cache/block_pool)"

RULES = (
    Rule("server/", r"(torch|ATen|c10|caffe2)/", "server/ is free of LibTorch"),
    Rule(
        "server/",
        rf"model/(?!{BOUNDARY}\.h$)",
        "server/ sees the policy, its spec, steps and the block pool only",
        unless=("server/verify/",),
    ),
    Rule(
        "server/verify/",
        rf"model/(?!({BOUNDARY}|checkpoint/(safetensors|stored_tensor))\.h$)",
        "of model/checkpoint, verify reads recorded tensors only",
    ),
    Rule(
        "server/",
        r"model/loader\.h$",
        "only main links LibTorch; it hands the loader on",
        unless=("server/main.cc",),
    ),
    Rule("model/", r"server/", "model/ does not know its server"),
    Rule(
        "model/",
        r"(grpc|grpcpp|google/protobuf|google/rpc|proto)/",
        "model/ does not know the wire",
    ),
    Rule("model/", r"(yaml-cpp|CLI)/", "model/ does not read configuration"),
    Rule("model/", r"spdlog/", "model/ does not log"),
)


def _files(root: pathlib.Path) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    names = [name for name in listed.stdout.split("\0") if name]
    return [
        name
        for name in names
        if not name.startswith("third_party/") and (root / name).is_file()
    ]


def _is_about_families(file: str) -> bool:
    return (
        file.startswith(FAMILY_PLACES) or file in FAMILY_FILES or file.endswith(".md")
    )


def violations_in(file: str, text: str) -> Iterator[str]:
    """Yields "file:line: what is wrong" for one file's text."""
    is_cpp = pathlib.PurePath(file).suffix in CPP_SUFFIXES
    names_families = _is_about_families(file)
    for number, line in enumerate(text.splitlines(), start=1):
        include = INCLUDE.match(line) if is_cpp else None
        for rule in RULES if include else ():
            if include and rule.forbids(file, include[1]):
                yield f"{file}:{number}: includes {include[1]}: {rule.why}"
        family = None if names_families else FAMILY.search(line)
        if family:
            yield (
                f"{file}:{number}: names the checkpoint family "
                f'"{family[0]}": architectures are data outside model/checkpoint/'
            )


def main(arguments: list[str]) -> int:
    """Checks every file that git knows or could know."""
    root = pathlib.Path(arguments[0] if arguments else __file__)
    root = root if arguments else root.resolve().parents[1]
    found = 0
    for file in _files(root):
        try:
            text = (root / file).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # A recorded tensor or a picture.
        for violation in violations_in(file, text):
            print(violation)
            found += 1
        family = None if _is_about_families(file) else FAMILY.search(file)
        if family:
            print(f'{file}: the path names the checkpoint family "{family[0]}"')
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
