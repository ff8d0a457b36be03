# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packer as a program: which one, which version, how it is run, ended, and what it says when it fails."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.boring.fleet.plugins.module_utils.aws.session import AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

OLDEST = (1, 12, 0)
WAY_OUT = "install Packer 1.12 or newer, or build the pinned one with bin/build-packer"
_ASKING = 30.0  # seconds that `packer version` and its like may take
_POLL = 0.2

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Packer:
    """A Packer that is new enough."""

    path: Path
    version: str


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit status, and why we ended it (`timeout`, or what `stop` said), if we did."""

    code: int
    because: str = ""


def find(given: str | None, template: Path, env: Mapping[str, str]) -> Packer:
    """The Packer to use: the given one, else the one on PATH, else the one that this project built.

    Raises ImageError when there is none that is new enough.
    """
    if given:
        path = Path(given)
        if not os.access(path, os.X_OK) or path.is_dir():
            raise ImageError(f"packer: {path} is not a program: correct the path, or {WAY_OUT}")
        return _asked(path, env)
    on_path = shutil.which("packer", path=env.get("PATH"))
    built = _of_project(template, "build/bin/packer")
    candidates = [path for path in (Path(on_path) if on_path else None, built) if path]
    if not candidates:
        raise ImageError(f"there is no packer on PATH: {WAY_OUT}")
    refusals: list[ImageError] = []
    for path in candidates:
        try:
            return _asked(path, env)
        except ImageError as exc:
            refusals.append(exc)
    raise refusals[0]


def _asked(path: Path, env: Mapping[str, str]) -> Packer:
    said = _output([str(path), "version"], env)
    found = re.search(r"(\d+)\.(\d+)\.(\d+)\S*", said)
    if not found:
        raise ImageError(f"{path} does not answer to `packer version` as Packer does: {WAY_OUT}")
    if tuple(map(int, found.groups())) < OLDEST:
        raise ImageError(f"{path} is Packer {found[0]}, which is too old: {WAY_OUT}")
    return Packer(path, found[0])


_EXACT = re.compile(r"\d+\.\d+\.\d+")


def plugins(packer: Path, wanted: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Versions of the installed plugins that a template asks for, by address; all of them when it asks for none.

    A plugin that is missing counts with its constraint: Packer says what to do about it when it builds. When every constraint
    is one exact version, nobody is asked: Packer builds with that one or not at all, and digests every plugin before it answers.
    """
    exactly = {address: constraint.strip().removeprefix("=").strip() for address, constraint in wanted.items()}
    if exactly and all(_EXACT.fullmatch(version) for version in exactly.values()):
        return exactly
    installed: dict[str, set[str]] = {}
    for line in _output([str(packer), "plugins", "installed"], env).splitlines():
        found = re.search(r"([\w.-]+/[\w.-]+/[\w.-]+)/packer-plugin-[^/]+?_v(\d[^_/]*)_x\d", line.replace(os.sep, "/"))
        if found:
            installed.setdefault(found[1], set()).add(found[2])
    versions: dict[str, str] = {}
    for address in wanted or installed:
        constraint = wanted.get(address, "").strip()
        there = installed.get(address, set())
        exact = constraint.removeprefix("=").strip()
        if exact in there:
            versions[address] = exact
        else:
            versions[address] = max(there, key=_version_key, default=f"missing, {constraint}")
    return versions


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _output(argv: Sequence[str], env: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            argv, env=dict(env), capture_output=True, text=True, errors="replace", timeout=_ASKING,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def environment(inherited: Mapping[str, str], template: Path, given: Mapping[str, str]) -> dict[str, str]:
    """What Packer and its provisioners see.

    Variables of the user's shell (PKR_VAR_*) are left out: they are not in the fingerprint. `given` are ours.
    """
    env = {name: value for name, value in inherited.items() if not name.startswith("PKR_VAR_")}
    env.update({"CHECKPOINT_DISABLE": "1", "PACKER_NO_COLOR": "1", "PWD": str(template)})
    if "PACKER_PLUGIN_PATH" not in env and (folder := _of_project(template, "build/packer-plugins")):
        env["PACKER_PLUGIN_PATH"] = str(folder)
    # ansible-playbook of the Ansible that runs us, wherever PATH leads
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    # A template in an installed collection may use that collection's roles.
    for parent in template.parents:
        if parent.name == "ansible_collections":
            there = env.get("ANSIBLE_COLLECTIONS_PATH", "")
            paths = [str(parent.parent), *filter(None, there.split(os.pathsep))]
            env["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join(dict.fromkeys(paths))
            break
    env.update(given)
    return env


def credentials(options: AwsOptions) -> dict[str, str]:
    """The module's AWS options as the environment variables that Packer's plugin reads."""
    given = {
        "AWS_REGION": options.region,
        "AWS_PROFILE": options.profile,
        "AWS_ENDPOINT_URL": options.endpoint_url,
        "AWS_ACCESS_KEY_ID": options.access_key,
        "AWS_SECRET_ACCESS_KEY": options.secret_key,
        "AWS_SESSION_TOKEN": options.session_token,
    }
    return {name: value for name, value in given.items() if value}


def _of_project(template: Path, relative: str) -> Path | None:
    """Something that the project around a template built, in the nearest directory above."""
    candidates = (parent / relative for parent in (template, *template.parents))
    return next((path for path in candidates if path.exists()), None)


def arguments(packer: Path, only: Iterable[str], var_files: Iterable[Path]) -> list[str]:
    """The command line of a build in the template's directory; values are never on it."""
    chosen = ",".join(only)
    return [
        str(packer),
        "build",
        "-color=false",
        "-on-error=cleanup",
        *([f"-only={chosen}"] if chosen else []),
        *(f"-var-file={path}" for path in var_files),
        ".",
    ]


def supervise(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    seconds: float,
    grace: float,
    stop: Callable[[], str],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Ended:
    """Run a program to its end, its output in `log`; nothing of its process group outlives this.

    After `seconds`, or once `stop` names a reason, the group gets SIGINT (Packer then cleans up, as after Ctrl-C), and
    `grace` seconds later SIGKILL. When we are killed ourselves, the kernel sends SIGTERM, which Packer takes as well.
    """
    libc = ctypes.CDLL(None)

    def in_child() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in background jobs of a shell, and inherited
        if hasattr(libc, "prctl"):
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                argv, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=in_child,  # noqa: PLW1509 (no thread is running by now)
            )  # fmt: skip
        except OSError as exc:
            raise ImageError(f"{argv[0]} cannot be started: {exc.strerror}; {WAY_OUT}") from exc
    because = ""
    end = clock() + seconds
    try:
        while process.poll() is None:
            now = clock()
            if not because:
                because = stop() or ("timeout" if now >= end else "")
                if because:
                    _signal(process.pid, signal.SIGINT)
                    end = now + grace
            elif now >= end:
                break
            sleep(_POLL)
    finally:
        _signal(process.pid, signal.SIGKILL)
        code = process.wait()
    return Ended(code, because)


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


@dataclass(frozen=True)
class Process:
    """A process by its number and start, since numbers are used again."""

    pid: int
    started: str

    def runs(self) -> bool:
        return _status(self.pid)[1] == self.started


def ancestors(word: str) -> list[Process]:
    """The processes above this one whose command line has `word` in it; none where there is no /proc."""
    found: list[Process] = []
    pid = os.getppid()
    while pid > 1:
        parent, started = _status(pid)
        with contextlib.suppress(OSError):
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(Process(pid, started))
        pid = parent
    return found


def _status(pid: int) -> tuple[int, str]:
    """A process's parent and start time; nothing of one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return int(fields[1]), "" if fields[0] == "Z" else fields[19]
    except (OSError, IndexError, ValueError):
        return 0, ""


_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PREFIX = re.compile(r"^(?:==> |    )(?P<build>[\w.-]+): ?(?P<text>.*)$")
_BEGINS = re.compile(r"^Provisioning with ")
_FAILED = re.compile(r"^(?:Provisioning step had errors|Step \"\w+\" errored|Error )")
_VERDICT = re.compile(r"^Build '(?P<build>[^']+)' errored after [^:]+: (?P<reason>.*)$")
_NOISE = re.compile(r"^(?:PLAY RECAP .*|\S+ +: ok=\d+ .*|Executing Ansible: .*|\s*)$")
_TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(?P<name>.*)\] \**$")
_FATAL = re.compile(r"^(?:fatal|failed): \[[^\]]+\](?:: \w+!|: FAILED!)? (?:\(item=.*\) )?=> (?P<result>\{.*\})$")
_LINES, _WIDTH = 12, 400


def failure(log: str, secrets: Iterable[str] = ()) -> str:
    """What went wrong, for people: the verdict, and the last lines of the provisioner that failed."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        log = log.replace(secret, "********")
    lines = [_ANSI.sub("", line.rstrip()) for line in log.splitlines()]
    verdict = next((found for line in lines if (found := _VERDICT.match(line))), None)
    said = [
        found
        for line in lines
        if (found := _PREFIX.match(line)) and (not verdict or found["build"] == verdict["build"])
    ]
    texts = [found["text"] for found in said]
    failed = next((at for at, text in enumerate(texts) if _FAILED.match(text)), len(texts))
    begun = [at for at, text in enumerate(texts[:failed]) if _BEGINS.match(text)]
    block = texts[begun[-1] + 1 : failed] if begun else texts[:failed] or lines
    tail = _of_ansible(block) or [line for line in _without_tracebacks(block) if not _NOISE.match(line)]
    head = verdict["reason"] if verdict else "no build was finished"
    where = texts[begun[-1]].removeprefix("Provisioning with ").rstrip(".") if begun else ""
    intro = (
        f"{verdict['build'] if verdict else 'Packer'} failed{f' in its provisioner {where}' if where else ''}: {head}"
    )
    return "\n".join(line[:_WIDTH] for line in [intro, *tail[-_LINES:]])


def _of_ansible(block: Sequence[str]) -> list[str]:
    """What an Ansible play failed of: the task, its message, and the last lines that its program printed."""
    said: list[str] = []
    task = ""
    for line in block:
        if found := _TASK.match(line):
            task = found["name"]
        elif found := _FATAL.match(line):
            try:
                result = json.loads(found["result"])
            except ValueError:
                continue
            said = [f"task {task}: {result.get('msg', 'it failed without a message')}"]
            for stream in ("stdout", "stderr", "module_stderr"):
                printed = _without_tracebacks(str(result.get(stream) or "").splitlines())
                said += [f"{stream}: {text}" for text in printed[-5:] if text.strip()]
    return said


def _without_tracebacks(lines: Iterable[str]) -> list[str]:
    """Of a Python traceback only the last line, which says what happened."""
    kept: list[str] = []
    inside = False
    for line in lines:
        if line.lstrip().startswith("Traceback (most recent call last)"):
            inside = True
        elif not inside or (line and not line.startswith((" ", "\t"))):
            inside = False
            kept.append(line)
    return kept
