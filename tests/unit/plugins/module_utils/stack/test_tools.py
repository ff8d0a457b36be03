# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines of the tools, what they are told, and one sentence for each way in which they fail."""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.stack.errors import StackError
from ansible_collections.boring.fleet.plugins.module_utils.stack.store import Store
from ansible_collections.boring.fleet.plugins.module_utils.stack.tools import (
    Finished,
    Source,
    ask,
    ask_known,
    why_empty,
)


class Recorder:
    """A process runner that notes what it was given and answers as it was told."""

    def __init__(self, answer: Finished | OSError | None) -> None:
        self.answer = answer
        self.calls: list[tuple[list[str], dict[str, str], str, float]] = []

    def __call__(self, argv: list[str], env: Mapping[str, str], directory: str, timeout: float) -> Finished | None:
        self.calls.append((argv, dict(env), directory, timeout))
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


OK = Finished(0, "{}", "")


@pytest.mark.parametrize(
    ("source", "argv", "extra"),
    [
        (Source("tofu", "/i"), ["tofu", "-chdir=/i", "output", "-json"], {"TF_INPUT": "0"}),
        (
            Source("terraform", "/i", workspace="w"),
            ["terraform", "-chdir=/i", "output", "-json"],
            {"TF_WORKSPACE": "w"},
        ),
        (
            Source("pulumi", "/i", stack="o/p/s"),
            ["pulumi", "stack", "output", "--json", "--non-interactive", "-C", "/i", "--stack", "o/p/s"],
            {"PULUMI_SKIP_UPDATE_CHECK": "true"},
        ),
        (
            Source("pulumi", "/i", with_secrets=True),
            ["pulumi", "stack", "output", "--json", "--non-interactive", "-C", "/i", "--show-secrets"],
            {},
        ),
    ],
)
def test_command_lines(source: Source, argv: list[str], extra: dict[str, str]) -> None:
    runner = Recorder(OK)
    assert ask(source, runner, {"PATH": "/bin", "TF_LOG": "TRACE", "AWS_PROFILE": "p"}, 7) == "{}"
    ((given, env, directory, timeout),) = runner.calls
    assert (given, directory, timeout) == (argv, "/i", 7)
    assert env["AWS_PROFILE"] == "p"
    assert env.items() >= extra.items()
    assert source.tool == "pulumi" or "TF_LOG" not in env


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            FileNotFoundError(2, "No such file or directory"),
            "tofu is not on this controller's PATH: install it, or save",
        ),
        (PermissionError(13, "Permission denied"), "tofu gave no outputs of /i .tofu w.: permission denied"),
        (None, "tofu did not give the outputs of /i .tofu w. within 7 s: look at its backend, or raise timeout"),
        (
            Finished(
                1,
                "",
                "\x1b[31m╷\x1b[0m\n\x1b[31m│\x1b[0m \x1b[1mError: \x1b[0mBackend initialization required.\n│ more",
            ),
            "no outputs of /i .tofu w.: Backend initialization required$",
        ),
        # As OpenTofu 1.12 prints it where TF_CLI_CONFIG_FILE names a file that is not there
        (
            Finished(
                1,
                "\nWarning: Unable to open CLI configuration file\n",
                'There are some problems with the CLI configuration:\n\nError: Backend initialization required, please run "tofu init"\n',
            ),
            'no outputs of /i .tofu w.: Backend initialization required, please run "tofu init"$',
        ),
        (Finished(3, "", ""), "it ended with 3 and said nothing"),
        (Finished(1, "hunter2hunter2", "error: token hunter2hunter2 is not valid"), r"token \*\*\* is not valid"),
        (Finished(0, "hunter2hunter2", ""), "what it printed is not a JSON object"),
        (Finished(0, "[]", ""), "what it printed is not a JSON object"),
        (Finished(0, "[command]/opt/tofu output -json\n{}", ""), r"what it printed begins with '\[command\]', a line"),
        (Finished(0, '{"a": "\udce9"}', ""), "what it printed holds bytes that are not UTF-8"),
    ],
)
def test_failures(answer: Finished | OSError | None, words: str) -> None:
    with pytest.raises(StackError, match=words) as refusal:
        ask(Source("tofu", "/i", workspace="w"), Recorder(answer), {"PULUMI_ACCESS_TOKEN": "hunter2hunter2"}, 7)
    assert "hunter2" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


class Scripted(Recorder):
    """A tool with workspaces: `answers` by the arguments after -chdir."""

    def __init__(self, **answers: Finished) -> None:
        super().__init__(OK)
        self.answers = answers

    def __call__(self, argv: list[str], env: Mapping[str, str], directory: str, timeout: float) -> Finished | None:
        self.answer = self.answers[argv[2]]
        return super().__call__(argv, env, directory, timeout)


# What Terraform 1.11 prints; no star where the selected one does not exist
LISTED = Finished(0, "* default\n  prod\n\n", "")
OVERRIDDEN = Finished(
    0,
    "  default\n  prod\n\n\n\nThe active workspace is being overridden using the TF_WORKSPACE environment\nvariable.\n",
    "",
)


def test_a_workspace_that_does_not_exist_is_refused_before_the_tool_makes_it() -> None:
    runner = Scripted(workspace=OVERRIDDEN, output=OK)
    with pytest.raises(
        StackError, match=r"/i \(tofu prd\) cannot be asked: there is no workspace prd; there are default, prod"
    ):
        ask_known(Source("tofu", "/i", workspace="prd"), runner, {}, 7)
    with pytest.raises(StackError, match="there is no workspace prd"):
        ask_known(Source("tofu", "/i"), runner, {"TF_WORKSPACE": "prd"}, 7)
    assert {argv[2] for argv, *dummy in runner.calls} == {"workspace"}, "'output' would have made it"
    assert ask_known(Source("tofu", "/i", workspace="prod"), runner, {}, 7) == "{}"
    assert ask_known(Source("pulumi", "/i"), Recorder(OK), {"TF_WORKSPACE": "prd"}, 7) == "{}"
    unlisted = Scripted(workspace=Finished(0, '{"a": 1}', ""), output=OK)
    assert ask_known(Source("tofu", "/i", workspace="prd"), unlisted, {}, 7) == "{}", "a tool that lists none"


@pytest.mark.parametrize(
    ("source", "listed", "words"),
    [
        (Source("tofu", "/i"), LISTED, r"nothing was applied in its workspace default yet, .* workspace \(there are also prod\)"),
        (Source("tofu", "/i"), Finished(0, "* default\n", ""), "in its workspace default yet, .* or name the right directory"),
        (Source("tofu", "/i"), Finished(1, "", "workspaces not supported"), "apply it first, or name the right workspace"),
        (Source("pulumi", "/i", stack="o/p/s"), LISTED, "the stack o/p/s exists and is empty, so run 'pulumi up' first"),
        (Source("pulumi", "/i"), LISTED, "the selected stack exists and is empty"),
    ],
)  # fmt: skip
def test_an_empty_stack_is_told_from_a_wrong_one(source: Source, listed: Finished, words: str) -> None:
    assert re.search(words, why_empty(source, Scripted(workspace=listed), {}, 7))


def _asks(folder: str, key: bytes, started: Any) -> None:
    started.wait()

    def work() -> str:
        with (Path(folder) / "runs").open("a") as file:
            file.write("x")
        return '{"a": "hunter2"}'

    assert Store(Path(folder), key).once("stack", work, 30) == '{"a": "hunter2"}'


def test_many_processes_share_one_run(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    started = context.Event()
    key = os.urandom(32)
    processes = [context.Process(target=_asks, args=(str(tmp_path), key, started)) for dummy in range(8)]
    for process in processes:
        process.start()
    started.set()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 8
    assert (tmp_path / "runs").read_text() == "x"
    (kept,) = tmp_path.glob("boring-fleet-stack-*")
    assert b"hunter2" not in kept.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert Store(tmp_path, os.urandom(32)).once("stack", lambda: "mine", 1) == "mine", "another run's key opens nothing"


def test_failures_are_shared_and_names_are_apart(tmp_path: Path) -> None:
    store = Store(tmp_path, b"k" * 32)
    runs: list[str] = []

    def fail() -> str:
        runs.append("x")
        raise StackError("no backend")

    for dummy in range(3):
        with pytest.raises(StackError, match="no backend"):
            store.once("a", fail, 1)
    assert runs == ["x"]
    assert store.once("b", lambda: "other", 1) == "other"


def test_waiting_for_another_ends(tmp_path: Path) -> None:
    store = Store(tmp_path, b"k" * 32)
    busy, done = threading.Event(), threading.Event()

    def slow() -> str:
        busy.set()
        done.wait(30)
        return "{}"

    thread = threading.Thread(target=store.once, args=("a", slow, 1))
    thread.start()
    busy.wait(30)
    now = [0.0]
    impatient = Store(
        tmp_path, b"k" * 32, clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    try:
        with pytest.raises(
            StackError, match="another task has been asking for the same outputs for 70 s: raise timeout"
        ):
            impatient.once("a", lambda: "never", 70)
    finally:
        done.set()
        thread.join(30)


@pytest.mark.parametrize("frame", ["", "\u2577\n\u2502 ", "\x1b[33m\u2577\x1b[0m\n\x1b[33m\u2502\x1b[0m "])
def test_a_warning_that_opentofu_prints_before_the_outputs_is_passed_over(frame: str) -> None:
    """As OpenTofu 1.12 prints it, where TF_CLI_CONFIG_FILE names a file that is not there."""
    warning = f'\n{frame}Warning: Unable to open CLI configuration file\n\nThe CLI configuration file at "/x" does not exist.\n'
    source = Source("tofu", "/i")
    assert ask(source, Recorder(Finished(0, f"{warning}{OK.out}", "")), {}, 7) == OK.out
    with pytest.raises(StackError, match="has other text before"):
        ask(source, Recorder(Finished(0, f"a log\n{OK.out}", "")), {}, 7)
    with pytest.raises(StackError, match="has other text before"):
        ask(Source("pulumi", "/i"), Recorder(Finished(0, f"{warning}{OK.out}", "")), {}, 7)
