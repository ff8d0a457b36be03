# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools that own stacks: their command lines, and one sentence for each way in which they fail."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.stack.errors import StackError
from ansible_collections.boring.fleet.plugins.module_utils.stack.outputs import NO_OUTPUTS, read_json

TOOLS: Final = ("terraform", "tofu", "pulumi")
_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# A line of `workspace list`; below it may be a sentence about TF_WORKSPACE
_WORKSPACE: Final = re.compile(r"(?P<mark>[* ]) (?P<name>[^\s{}\"]+)")
_FRAME: Final = re.compile(r"^[\s\u2502\u2577\u2575|]+")
_ERROR: Final = re.compile(r"^(?:Error|error):\s*")
_WARNING: Final = re.compile(r"[\s\u2502\u2577\u2575|]*Warning: ")
# What a tool may repeat in its error text but nobody else may read
_SECRET_NAME: Final = re.compile(r"SECRET|TOKEN|PASS|PRIVATE|KEY|CREDENTIAL|TF_VAR_|DOTENV", re.IGNORECASE)
_SECRET_WORD: Final = 6  # shorter values of such variables are words like "true"


@dataclass(frozen=True)
class Source:
    """A stack to ask: `directory` is absolute, `stack` Pulumi's, `workspace` Terraform's and OpenTofu's."""

    tool: str
    directory: str
    stack: str = ""
    workspace: str = ""
    with_secrets: bool = False  # Pulumi prints them only when asked

    def __str__(self) -> str:
        part = self.stack or self.workspace
        return f"{self.directory} ({self.tool}{' ' + part if part else ''})"

    @property
    def layout(self) -> str:
        """Which of the two layouts of JSON the tool prints."""
        return "pulumi" if self.tool == "pulumi" else "terraform"


@dataclass(frozen=True)
class Finished:
    """How a process ended."""

    code: int
    out: str
    err: str


# argv, environment, working directory, seconds -> how it ended; None when it was ended for taking too long
# pylint: disable-next=unsupported-binary-operation
Run = Callable[[list[str], Mapping[str, str], str, float], Finished | None]


def ask(source: Source, run: Run, environ: Mapping[str, str], timeout: float) -> str:
    """What the tool prints, as text of a JSON object. Raises StackError."""
    if source.tool == "pulumi":
        arguments = ["stack", "output", "--json", "--non-interactive", "-C", source.directory]
        arguments += ["--stack", source.stack] if source.stack else []
        arguments += ["--show-secrets"] if source.with_secrets else []
    else:
        arguments = [f"-chdir={source.directory}", "output", "-json"]
    done = _done(source, arguments, run, environ, timeout)
    problem = NO_OUTPUTS
    printed = done.out if source.tool == "pulumi" else _without_warning(done.out)
    try:
        if isinstance(read_json(printed), dict):
            return printed
    except StackError as exc:
        problem = str(exc)
    raise StackError(f"{source.tool} gave no outputs of {source}: what it printed {problem.removeprefix('it ')}")


def ask_known(source: Source, run: Run, environ: Mapping[str, str], timeout: float) -> str:
    """`ask`, but a workspace that does not exist is refused.

    Terraform and OpenTofu make a workspace that is named to them, also when they only print outputs, and print none.
    """
    wanted = "" if source.tool == "pulumi" else source.workspace or environ.get("TF_WORKSPACE", "")
    if wanted and wanted != "default":
        there, dummy = _workspaces(source, run, environ, timeout)
        if there and wanted not in there:
            raise StackError(f"{source} cannot be asked: there is no workspace {wanted}; there are {', '.join(there)}")
    return ask(source, run, environ, timeout)


def why_empty(source: Source, run: Run, environ: Mapping[str, str], timeout: float) -> str:
    """What to do about a stack that has no outputs at all, as the rest of a sentence. Raises StackError."""
    if source.tool == "pulumi":
        stack = f"the stack {source.stack}" if source.stack else "the selected stack"
        return f"{stack} exists and is empty, so run 'pulumi up' first, or name another stack or directory"
    try:
        there, current = _workspaces(source, run, environ, timeout)
    except StackError:  # a backend without workspaces
        there, current = [], ""
    if not current:
        return "apply it first, or name the right workspace or directory"
    others = [name for name in there if name != current]
    way = f"the right workspace (there are also {', '.join(others)}) or directory" if others else "the right directory"
    return f"nothing was applied in its workspace {current} yet, so do that first, or name {way}"


def _workspaces(source: Source, run: Run, environ: Mapping[str, str], timeout: float) -> tuple[list[str], str]:
    """The workspaces that there are, and the one that is selected; nothing where the tool lists none."""
    done = _done(source, [f"-chdir={source.directory}", "workspace", "list"], run, environ, timeout)
    lines = [line for line in _ANSI.sub("", done.out).splitlines() if line.strip()]
    listed = [found for found in map(_WORKSPACE.fullmatch, lines) if found]
    current = next((found["name"] for found in listed if found["mark"] == "*"), "")
    return [found["name"] for found in listed], current


def _done(source: Source, arguments: list[str], run: Run, environ: Mapping[str, str], timeout: float) -> Finished:
    """Run the tool; what it printed when it succeeded. Raises StackError if it did not."""
    env = {**environ, "NO_COLOR": "1"}
    if source.tool == "pulumi":
        env["PULUMI_SKIP_UPDATE_CHECK"] = "true"
    else:
        env |= {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}
        env.pop("TF_LOG", None)  # would fill the error text with traces of requests
        if source.workspace:
            env["TF_WORKSPACE"] = source.workspace
    try:
        done = run([source.tool, *arguments], env, source.directory, timeout)
    except OSError as exc:
        reason = (exc.strerror or type(exc).__name__).lower()
        done = Finished(127, "", reason)
    if done is None:
        raise StackError(
            f"{source.tool} did not give the outputs of {source} within {timeout:g} s: look at its backend, or raise timeout"
        )
    if done.code == 127 and not done.out and _absent(done.err):
        raise StackError(
            f"{source.tool} is not on this controller's PATH: install it, or save its outputs as JSON and use tool=file"
        )
    if done.code:
        raise StackError(f"{source.tool} gave no outputs of {source}: {_reason(done, environ)}")
    return done


def _without_warning(text: str) -> str:
    """Without what Terraform and OpenTofu print first when something is odd about their own configuration, to the same output."""
    begin = text.find("{")
    before = _ANSI.sub("", text[: max(begin, 0)])
    return text[begin:] if _WARNING.match(before) else text


def _absent(reason: str) -> bool:
    return reason in ("no such file or directory", "not found")


def _reason(done: Finished, environ: Mapping[str, str]) -> str:
    """The first telling line of what a tool wrote, without what its environment keeps secret."""
    lines = [line for each in _ANSI.sub("", done.err).splitlines() if (line := _FRAME.sub("", each).strip())]
    # Above its error a tool may warn, or say that there is one.
    first = next(
        (line for line in lines if _ERROR.match(line)), next(iter(lines), f"it ended with {done.code} and said nothing")
    )
    text = _ERROR.sub("", first)[:300]
    for name, value in environ.items():
        if len(value) >= _SECRET_WORD and _SECRET_NAME.search(name):
            text = text.replace(value, "***")
    return text.rstrip(".")
