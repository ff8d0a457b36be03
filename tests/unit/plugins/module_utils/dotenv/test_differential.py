# SPDX-License-Identifier: GPL-3.0-or-later
"""What we read is what the tools themselves read: npm's dotenv and @dotenvx/dotenvx, and python-dotenv.

They are installed once, pinned by hash, below build/cache.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.evaluate import Rules, evaluate, inside_of
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.grammar import assignments, parse
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.keys import read_keys
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.reader import open_file
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.readings import differing, docker, python_dotenv
from tests.unit.plugins.dotenv_texts import GROUPS, OTHERWISE, REFUSED, VALUES, Group

HERE = Path(__file__).resolve().parent / "peers"
CACHE = Path(__file__).resolve().parents[5] / "build" / "cache"
TEXTS = [text for group in GROUPS for text in group.texts]
EACH = [pytest.param(group, text, id=repr(text)[:40]) for group in GROUPS for text in group.texts]


def shell(command: str, above: Any) -> str | None:
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"PATH": os.environ["PATH"], **above},
        capture_output=True,
        text=True,
        timeout=30,
    )
    return None if done.returncode else done.stdout


ASKED = Rules("expand", "run", shell)


def installed(name: str, sources: list[Path], argv: list[str]) -> Path:
    """The folder in which `argv`, run there beside copies of `sources`, installed what they pin."""
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    folder = CACHE / f"{name}-{digest}"
    if not folder.is_dir():
        being_made = CACHE / f".{name}-{os.getpid()}"
        shutil.rmtree(being_made, ignore_errors=True)
        being_made.mkdir(parents=True)
        for source in sources:
            shutil.copy(source, being_made)
        done = subprocess.run(
            argv, cwd=being_made, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, f"{argv[0]} could not install {name}: {done.stdout}{done.stderr}"
        try:
            being_made.rename(folder)
        except OSError:  # another run was faster
            shutil.rmtree(being_made)
    return folder


@functools.cache
def node() -> dict[str, Any]:
    """What dotenv and dotenvx say, of all texts and values in one run."""
    if not (shutil.which("npm") and shutil.which("node")):
        reason = "npm and node are not on this machine, so dotenv for Node cannot be asked; Debian has them as the package npm"
        if os.environ.get("GITHUB_ACTIONS"):
            pytest.fail(reason)
        pytest.skip(reason)
    peers = installed(
        "dotenv-npm",
        [HERE / "package.json", HERE / "package-lock.json"],
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(CACHE / "npm")],
    )
    asked = {"texts": [*TEXTS, *REFUSED, *OTHERWISE], "values": list(VALUES)}
    done = subprocess.run(
        ["node", str(HERE / "read.cjs"), str(peers)],
        input=json.dumps(asked), env={"PATH": os.environ["PATH"]}, cwd=peers, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    said["texts"] = dict(zip(asked["texts"], said["texts"], strict=True))
    return said


@functools.cache
def python() -> dict[str, dict[str, Any]]:
    """What python-dotenv reads, with its variables expanded and without."""
    pin = HERE / "python-dotenv.txt"
    peers = installed(
        "python-dotenv", [pin],
        [sys.executable, "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "--target", ".", "-r", pin.name],
    )  # fmt: skip
    program = (
        "import sys, json, io; sys.path.insert(0, sys.argv[1]); from dotenv import dotenv_values as read;"
        "print(json.dumps([[read(stream=io.StringIO(text, newline=''), interpolate=way) for way in (False, True)] for text in json.load(sys.stdin)]))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, str(peers)],
        input=json.dumps(TEXTS), env={"LC_ALL": "C.UTF-8"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    plain = [
        [{name: value for name, value in read.items() if value is not None} for read in both]
        for both in json.loads(done.stdout)
    ]
    return {text: {"plain": both[0], "expanded": both[1]} for text, both in zip(TEXTS, plain, strict=True)}


def as_dotenvx(text: str, rules: Rules = ASKED) -> dict[str, str]:
    return evaluate(
        ((found.name, inside_of(found), found.quote, found.line) for found in assignments(text)), (), rules, ".env"
    )


def test_there_are_enough_texts() -> None:
    assert len(set(TEXTS)) == len(TEXTS) >= 120
    assert len(VALUES) * 4 >= 120


@pytest.mark.parametrize(("group", "text"), EACH)
def test_what_dotenv_and_dotenvx_for_node_read(group: Group, text: str) -> None:
    read = node()["texts"][text]
    assert parse(text) == read["dotenv"]
    assert as_dotenvx(text) == read["dotenvx"]
    assert (read["dotenv"] != read["dotenvx"]) == group.dotenvx, group.reason


@pytest.mark.parametrize(("group", "text"), EACH)
def test_what_python_dotenv_reads(group: Group, text: str) -> None:
    read = python()[text]
    assert python_dotenv(text) == read["plain"]
    ours = parse(text)
    assert any(read["expanded"].get(name) != value for name, value in ours.items()) == group.python, group.reason


@pytest.mark.parametrize(("group", "text"), EACH)
def test_the_warning_is_about_those_that_differ_and_no_others(group: Group, text: str) -> None:
    values = parse(text)
    said = differing(text, values, values, ("python-dotenv", "Docker"))
    assert ("python-dotenv" in said.split(":")[-1].split(";")[0]) == group.python, said
    assert ("Docker" in said) == group.docker, (group.reason, said, docker(text))
    expanded = as_dotenvx(text)
    assert bool(differing(text, expanded, expanded, ("dotenv",))) == group.dotenvx


def test_what_dotenvx_encrypted() -> None:
    said = node()
    keys = read_keys(said["privateKey"], "here")
    for made in said["encrypted"]:
        read = open_file(made["src"], ".env", "", keys, rules=ASKED)
        assert dict(read.values) == made["dotenvx"], (made["value"], made["quote"])
    assert len(said["encrypted"]) == 4 * len(VALUES)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused_on_purpose(text: str) -> None:
    with pytest.raises(DotenvError, match=REFUSED[text]):
        as_dotenvx(text)
    assert node()["texts"][text]["dotenvx"], "dotenvx reads something"


@pytest.mark.parametrize("text", OTHERWISE)
def test_what_is_read_otherwise_on_purpose(text: str) -> None:
    ours, theirs, reason = OTHERWISE[text]
    assert as_dotenvx(text)["B"] == ours
    assert node()["texts"][text]["dotenvx"]["B"] == theirs, reason
