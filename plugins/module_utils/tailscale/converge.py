# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a node to what is wanted of it. Each command has a deadline, and a node that does not come up says why."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.tailscale.node import (
    Node,
    TailscaleError,
    Wish,
    differences,
    flag,
    join_flags,
    read_node,
    refuse_what_only_joining_decides,
)
from ansible_collections.boring.fleet.plugins.module_utils.tailscale.reasons import explain

_PAUSE: Final = 0.5  # seconds between two looks at a node that starts
_GRACE: Final = 10.0  # what a command gets beyond the time that it gives itself
# Seconds in which others go over to another router while this one still routes. A headscale that forgets a node without having
# seen its routes taken back goes on sending everybody to it: https://github.com/juanfont/headscale/issues/3327
_HANDOVER: Final = 3.0

# argv without the program, seconds -> code, output, error text; code 124 when it was ended for taking too long
Run = Callable[[Sequence[str], float], tuple[int, str, str]]


@dataclass(frozen=True)
class Tools:
    """What a node is asked and changed with. `censor` takes secrets out of a text."""

    run: Run
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    censor: Callable[[str], str] = str


@dataclass
class Done:
    """What was done, or would be."""

    node: Node
    steps: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


def look(tools: Tools, seconds: float) -> Node:
    """What the node says of itself. Raises TailscaleError."""
    deadline = tools.clock() + seconds
    while True:
        node = read_node(_json(tools, ["status", "--json", "--peers=false"]), _json(tools, ["debug", "prefs"]))
        if node.backend not in ("Starting", "NoState") or tools.clock() >= deadline:
            return node
        tools.sleep(_PAUSE)


def converge(tools: Tools, wish: Wish, key_file: str, *, seconds: float, dry: bool = False) -> Done:
    """Bring the node to the wish. `key_file` "" where there is no key. Raises TailscaleError."""
    node = look(tools, 0.0 if dry else min(5.0, seconds))
    done = Done(node)
    if wish.state == "absent":
        if node.backend not in ("NeedsLogin", "NoState"):
            if node.routes and node.backend == "Running":
                _do(tools, done, "take back its routes", ["set", "--advertise-routes="], dry=dry, seconds=seconds)
                tools.sleep(0.0 if dry else _HANDOVER)
            _do(tools, done, "log out", ["logout"], dry=dry, seconds=seconds)
    elif wish.state == "down":
        if node.backend in ("Running", "Starting"):
            _do(tools, done, "take it down", ["down"], dry=dry, seconds=seconds)
    elif not node.joined:
        if not key_file:
            why = "its key has expired" if node.expired else "it has not joined"
            raise TailscaleError(f"the node is in no tailnet ({why}), and there is no auth_key_file to join with")
        _join(tools, done, wish, node, key_file, dry=dry, seconds=seconds)
    else:
        refuse_what_only_joining_decides(wish, node)
        if node.backend == "Stopped":
            # Without any flag, or it asks for all that were ever set; its deadline is the process's.
            _do(tools, done, "bring it up", ["up"], dry=dry, seconds=seconds)
        _set(tools, done, wish, node, dry=dry, seconds=seconds)
    if done.steps and not dry:
        done.node = look(tools, 0.0)
    return done


def _join(tools: Tools, done: Done, wish: Wish, before: Node, key_file: str, *, dry: bool, seconds: float) -> None:
    flags = join_flags(wish, key_file, seconds, again=before.has_key)
    try:
        _do(tools, done, "join", ["up", *flags], dry=dry, seconds=seconds)
    except TailscaleError:
        if not _joined_by_itself(tools, wish, before, seconds=seconds):
            raise
    done.before, done.after = {"joined": False}, {"joined": True}
    if dry:
        return
    node = look(tools, seconds)
    if node.backend != "Running":
        raise TailscaleError(
            f"the node joined and is {node.backend}, not Running: {_health(node) or 'an administrator must approve it'}"
        )
    # What a flag of `up` cannot say, such as no routes at all
    _set(tools, done, wish, node, dry=dry, seconds=seconds)


def _joined_by_itself(tools: Tools, wish: Wish, before: Node, *, seconds: float) -> bool:
    """Whether a node that could not join is in all the same.

    tailscaled goes on trying with the auth key of an attempt that failed, as where the control plane was down, and may have
    used it up a moment ago. Then the node has a key of its own, which it had not, and gets in with that one.
    """
    node = look(tools, 0.0)
    if before.has_key or not node.has_key:
        return False
    if node.backend != "Running":
        code = tools.run(["up", *join_flags(wish, "", seconds, again=False)], seconds + _GRACE)[0]
        if code:
            return False
    refuse_what_only_joining_decides(wish, look(tools, seconds))
    return True


def _set(tools: Tools, done: Done, wish: Wish, node: Node, *, dry: bool, seconds: float) -> None:
    differ = differences(wish, node)
    if differ:
        done.before |= {name: was for name, (was, dummy) in differ.items()}
        done.after |= {name: wanted for name, (dummy, wanted) in differ.items()}
        argv = ["set", *(flag(name, wanted) for name, (dummy, wanted) in differ.items())]
        _do(tools, done, "set " + ", ".join(differ), argv, dry=dry, seconds=seconds)


def _do(tools: Tools, done: Done, step: str, argv: list[str], *, dry: bool, seconds: float) -> None:
    done.steps.append(step)
    if dry:
        return
    code, out, err = tools.run(argv, seconds + _GRACE)
    if code:
        node = look(tools, 0.0)
        said = [line.strip() for line in (err or out).splitlines() if line.strip()]
        # The command's last line is often only that time is up; the node's own health has the reason.
        reason = _health(node) or (said[-1] if said else f"it ended with {code}")
        # The node's health first: a command may begin with what the attempt before left behind, which was about another key.
        sentence = explain(_health(node))[0] or explain(" ".join(said))[0]
        told = f"{sentence} ({tools.censor(reason)})" if sentence else tools.censor(reason)
        raise TailscaleError(f"the node did not {step} within {seconds:g} s: {told}")


def _health(node: Node) -> str:
    return " ".join("; ".join(node.health).split())[:400]


def _json(tools: Tools, argv: list[str]) -> dict[str, Any]:
    code, out, err = tools.run(argv, _GRACE)
    found = _load(out)
    # A node that is logged out has the code 1 and answers all the same.
    if isinstance(found, dict):
        return found
    if code == 127:
        raise TailscaleError(
            "there is no program tailscale on this host: apply the role boring.fleet.tailscale, or install it"
        )
    said = " ".join((err or out).split())[:200]
    if "failed to connect" in said or "no such file" in said or "connection refused" in said:
        raise TailscaleError("tailscaled does not run on this host: 'systemctl start tailscaled'")
    raise TailscaleError(f"'tailscale {argv[0]}' said nothing of use: {tools.censor(said) or f'it ended with {code}'}")


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
