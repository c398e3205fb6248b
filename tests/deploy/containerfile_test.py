# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""deploy/Containerfile: what it promises, and that the binary fits into it."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import pathlib
import shlex
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


@dataclasses.dataclass(frozen=True)
class Instruction:
    word: str
    rest: str


def instructions() -> list[Instruction]:
    """Parses the file: comments dropped, continued lines joined."""
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = text.replace("\\\n", " ")
    return [
        Instruction(*line.split(maxsplit=1))
        for line in joined.splitlines()
        if line.strip()
    ]


def stages() -> list[list[Instruction]]:
    found: list[list[Instruction]] = []
    for instruction in instructions():
        if instruction.word == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found


def last(word: str) -> str:
    """Returns an instruction of the image that is shipped."""
    (rest,) = [entry.rest for entry in stages()[-1] if entry.word == word]
    return rest


def test_the_image_is_built_in_one_stage_and_shipped_in_another() -> None:
    build, ship = stages()

    assert build[0].rest == "debian:12 AS build"
    # The same release: its libraries are those the binary was linked with.
    assert ship[0].rest == "debian:12-slim"
    copies = [entry.rest for entry in ship if entry.word == "COPY"]
    assert copies
    assert all(copy.startswith("--from=build /opt/stepd/") for copy in copies)


def test_nothing_but_packages_comes_from_the_network() -> None:
    for entry in instructions():
        assert entry.word != "ADD"
        assert "://" not in entry.rest
        assert "curl" not in entry.rest
        assert "wget" not in entry.rest


def test_the_daemon_runs_as_nobody_in_particular() -> None:
    user, _, group = last("USER").partition(":")

    assert int(user) > 0
    assert int(group) > 0
    words = [entry.word for entry in stages()[-1]]
    assert "RUN" not in words[words.index("USER") :]


def test_user_and_ports_are_those_of_the_pod() -> None:
    stateful_set = yaml.safe_load(
        (DEPLOY / "kubernetes/base/statefulset.yaml").read_text()
    )
    pod = stateful_set["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    security = pod["securityContext"]

    assert last("USER") == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert [int(port) for port in last("EXPOSE").split()] == [
        port["containerPort"] for port in container["ports"]
    ]
    assert container["args"] == json.loads(last("CMD"))


def test_the_command_is_one_the_binary_knows(flags: frozenset[str]) -> None:
    assert json.loads(last("ENTRYPOINT")) == ["/opt/stepd/bin/stepd"]
    command, *arguments = json.loads(last("CMD"))

    assert command == "serve"
    assert {word for word in arguments if word.startswith("--")} <= flags


def included(path: str) -> bool:
    """Whether the ignore file lets `path` into the build's context."""
    lines = (DEPLOY / "Containerfile.dockerignore").read_text().split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    return any(
        fnmatch.fnmatch(part, rule.removeprefix("!"))
        for rule in rules[1:]
        for part in (path, *map(str, pathlib.PurePath(path).parents))
    )


def test_the_build_gets_what_it_reads_and_no_secrets() -> None:
    build = stages()[0]
    named = [
        word
        for entry in build
        for word in shlex.split(entry.rest)
        if (ROOT / word).is_file()
    ]

    assert {"tools/setup", "deploy/collect_runtime"} <= set(named)
    needed = ["WORKSPACE", ".bazelrc", "server/BUILD.bazel", "tools/requirements.txt"]
    assert [path for path in (*named, *needed) if not included(path)] == []
    left_out = [".git/config", ".stepd.bazelrc", ".out/env", "tests/golden", "key.pem"]
    assert [path for path in left_out if included(path)] == []


@pytest.fixture(scope="module")
def runtime(stepd_binary: pathlib.Path) -> list[tuple[str, str]]:
    """Returns what the image gets: ("copy", path) and ("package", name)."""
    done = subprocess.run(
        [DEPLOY / "collect_runtime", "--list", stepd_binary],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    entries = [line.split(" ", 1) for line in done.stdout.splitlines()]
    return [(kind, what) for kind, what in entries]


def test_only_libtorch_and_its_own_are_copied(runtime: list[tuple[str, str]]) -> None:
    copied = {pathlib.Path(path).name for kind, path in runtime if kind == "copy"}

    assert {"libc10.so", "libtorch_cpu.so"} <= copied
    # LibTorch's CPU library asks for these two small ones of NVIDIA's.
    assert {name.split(".")[0] for name in copied} <= {
        "libc10",
        "libcudart",
        "libcupti",
        "libgomp",
        "libtorch_cpu",
    }


def test_the_other_libraries_are_packages_of_the_distribution(
    runtime: list[tuple[str, str]],
) -> None:
    packages = {name for kind, name in runtime if kind == "package"}

    assert {"libc6", "libgrpc++1.51", "libprotobuf32", "libyaml-cpp0.7"} <= packages
    assert not [name for name in packages if name.endswith("-dev")]


def test_a_missing_library_stops_the_build(tmp_path: pathlib.Path) -> None:
    refused = subprocess.run(
        [DEPLOY / "collect_runtime", tmp_path / "nothing", tmp_path / "image"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode != 0
    assert not (tmp_path / "image").exists()
