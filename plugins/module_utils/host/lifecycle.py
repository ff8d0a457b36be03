# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a host in its group: it enters when its steps say that it is of use, and leaves when they say that it may go.

Whoever ends it, it sees so in its metadata: a roll, an instance refresh, a scale-in, Spot, a person. What this process knows is in a file, so
that it goes on after a restart. Clock, HTTP, steps and file are passed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from ansible_collections.boring.fleet.plugins.module_utils.host.aws import AwayError, Aws, Metadata, RefusedError
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told

TAG: Final = "boring:lifecycle"
NEVER: Final = 78
"""A step ends with it when another try cannot help (EX_CONFIG)."""
_TAG_LONGEST: Final = 256
_ENTERING, _SERVING, _LEAVING, _LEFT = "entering", "serving", "leaving", "left"
_LOOK: Final = 2.0  # seconds between two looks at the metadata; Spot gives 120
_KEEP: Final = 30.0  # seconds between two rounds of keep.d
_AGAIN: Final = 10.0  # seconds before a step is tried again
_PATIENCE: Final = 1800.0  # seconds in which a host must be of use
# https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html: a hook waits 48 hours or 100 heartbeats, the less of them
_LONGEST: Final = 48 * 3600.0
_HEARTBEATS: Final = 100


@dataclass(frozen=True)
class Result:
    """How the steps of a folder ended. `step` is the one that failed, "" for none; `code` is None when it was stopped."""

    step: str = ""
    code: int | None = 0
    said: str = ""


class Steps(Protocol):
    """The executables of a folder, in order."""

    def __call__(self, folder: str, tick: Callable[[], bool]) -> Result:
        """Run them. `tick` is asked about once a second, and stops them when it says False."""


class Kept(Protocol):
    """A file."""

    def read(self) -> str:
        """Its text, "" without one."""

    def write(self, text: str) -> None:
        """Put it there in one step."""


@dataclass
class _State:
    phase: str = _ENTERING
    since: float = 0.0  # unix seconds
    boot: str = ""
    why: str = ""  # it leaves


@dataclass
class Lifecycle:
    """One host. `now` is the wall clock in unix seconds; `boot` differs from boot to boot."""

    told: Told
    metadata: Metadata
    aws: Aws
    steps: Steps
    kept: Kept
    boot: str
    now: Callable[[], float]
    sleep: Callable[[float], None]
    say: Callable[[str], None]
    _state: _State = field(default_factory=_State)
    _me: str = ""
    _said: dict[str, str] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _tagged: str = ""

    def run(self) -> None:
        """Until the host has left."""
        self._begin()
        if self._state.phase == _ENTERING:
            self._enter()
        while self._state.phase == _SERVING:
            self._serve()
        if self._state.phase == _LEAVING:
            self._leave()
        self._complete_leave()

    # -- phases ----------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        try:
            raw: dict[str, Any] = json.loads(self.kept.read() or "{}")
            known = _State(str(raw["phase"]), float(raw["since"]), str(raw["boot"]), str(raw["why"]))
        except (ValueError, KeyError, TypeError):
            known = _State(since=self.now(), boot=self.boot)
        self._me = self._patiently("who this is", lambda: self.metadata.need("instance-id"))
        if known.boot != self.boot:  # it was switched off and on: what runs must be brought in order first
            known = _State(since=self.now(), boot=self.boot)
        self._state = known
        self._save()

    def _enter(self) -> None:
        self.say(f"{self._me} enters {self.told.group or 'no group'}")
        hook = self.told.enter_hook
        deadline = self._state.since + min(_PATIENCE, self._longest())
        while True:
            result = self.steps("enter.d", lambda: self._beat(hook) and not self._asked_to_go())
            if self._asked_to_go():
                self._phase(_LEAVING)
                return
            if not result.step:
                break
            why = _because(result)
            self._tag(f"entering: {why}")
            if result.code == NEVER or self.now() >= deadline:
                self._abandon(why)
                return
            self._note("enter", f"not of use yet: {why}")
            self._pause(_AGAIN, hook)
        self._complete_enter(deadline)

    def _complete_enter(self, deadline: float) -> None:
        """In service, if the group waits for that."""
        while self.told.enter_hook and not self._asked_to_go():
            state = self._where()
            if state.endswith("Pending:Wait") and self._complete(self.told.enter_hook, "CONTINUE"):
                break
            if state == "InService":
                self.say(
                    f"the group {self.told.group} waits for no {self.told.enter_hook}: somebody deleted the lifecycle hook; deploy makes it again"
                )
                break
            if state == "none":
                self.say("this host is in no Auto Scaling group: nobody waits for it")
                break
            if self.now() >= deadline:
                self.say(f"the group {self.told.group} could not be asked in {_PATIENCE:.0f} s: going on")
                break
            self._pause(_LOOK, self.told.enter_hook)
        if self._asked_to_go():
            self._phase(_LEAVING)
        else:
            self.say(f"{self._me} is of use")
            self._phase(_SERVING)
            self._tag("in service")

    def _abandon(self, why: str) -> None:
        """Another one is launched in its place; this one ends."""
        self.say(f"this host is of no use: {why}; it gives itself up")
        while self.told.enter_hook and not self._asked_to_go():
            state = self._where()
            if state.endswith("Pending:Wait") and self._complete(self.told.enter_hook, "ABANDON"):
                break
            if state in ("InService", "none"):
                self._note(
                    "abandon",
                    "no lifecycle hook waits for this host, so that it stays as it is: look at it, and terminate it",
                )
            self._pause(_AGAIN, self.told.enter_hook)
        while not self._asked_to_go():
            self.sleep(_LOOK)
        self._phase(_LEAVING)

    def _serve(self) -> None:
        if self._asked_to_go():
            self._phase(_LEAVING)
            return
        if self._every("keep", _KEEP):
            result = self.steps("keep.d", lambda: not self._asked_to_go())
            if result.step and result.code is not None:
                why = _because(result)
                self._note("keep", why)
                self._tag(f"in service: {why}")
            elif not result.step:
                self._said.pop("keep", "")
                self._tag("in service")
        self.sleep(_LOOK)

    def _leave(self) -> None:
        """Until the steps say that it may go. The group's own time for that ends some day, and it takes the host as it is."""
        self.say(f"{self._me} leaves: {self._state.why}")
        deadline = self._state.since + self._longest()
        while True:
            result = self.steps("leave.d", lambda: self._beat(self.told.leave_hook))
            if not result.step:
                break
            why = _because(result)
            self._tag(f"leaving: {why}")
            if self.now() >= deadline:
                kept = "what it holds may be lost with it" if self.told.kept else "what it does is cut off"
                self.say(f"the time to leave is over, and {why}; {kept}")
                deadline = float("inf")  # it goes on trying for as long as it lives
            self._note("leave", f"cannot leave yet: {why}")
            self._pause(_AGAIN, self.told.leave_hook)
        self.say(f"{self._me} has left")
        self._phase(_LEFT)
        self._tag("left")

    def _complete_leave(self) -> None:
        """Tell the group that it may end the host. Nothing else is left to do, so it tries until the host is gone."""
        while self.told.leave_hook:
            state = self._where()
            if state == "Terminating:Wait" and self._complete(self.told.leave_hook, "CONTINUE"):
                return
            if state in ("none", "Terminating:Proceed", "Terminated"):
                self.say("no lifecycle hook waits for this host to leave: nothing to complete")
                return
            self._pause(_LOOK, "")

    # -- what all of them do -----------------------------------------------------------------------------------------------

    def _asked_to_go(self) -> bool:
        """Whether the group, Spot or a person ends this host. Remembers why."""
        if self._state.phase in (_LEAVING, _LEFT) or self._state.why:
            return True
        if not self._every("look", _LOOK / 2):
            return False
        try:
            if self.metadata.get("autoscaling/target-lifecycle-state") == "Terminated":
                self._state.why = "its group ends it"
            elif action := self.metadata.get("spot/instance-action"):
                self._state.why = f"Spot takes it back ({_spot(action)})"
            elif self.metadata.get("events/recommendations/rebalance"):
                self._note(
                    "rebalance",
                    "AWS expects to take this Spot instance back before long; the group decides when it goes",
                )
            self._said.pop("metadata", "")
        except AwayError as exc:
            self._note("metadata", str(exc))
        return bool(self._state.why)

    def _where(self) -> str:
        """The state in the group; "none" without one, "" when it is not known now."""
        try:
            found = self.aws.lifecycle_states([self._me]).get(self._me, "none")
        except HostError as exc:
            self._note("where", f"{exc}; trying again")
            return ""
        self._said.pop("where", "")
        return found

    def _complete(self, hook: str, result: str) -> bool:
        try:
            self.aws.complete(self.told.group, hook, self._me, result)
        except HostError as exc:
            self._note("complete", f"{exc}; trying again")
            return False
        self.say(f"completed the lifecycle action {hook} with {result}")
        return True

    def _beat(self, hook: str) -> bool:
        """Keep the hook waiting."""
        if hook and self._every("beat", self.told.heartbeat / 3):
            try:
                self.aws.heartbeat(self.told.group, hook, self._me)
                self._said.pop("beat", "")
            except RefusedError as exc:
                # without a hook, or before it began to wait: `_complete` finds out
                if exc.code != "ValidationError":
                    self._note("beat", str(exc))
            except HostError as exc:
                self._note("beat", str(exc))
        return True

    def _tag(self, text: str) -> None:
        """Where a person sees it. What cannot be written is in the journal all the same."""
        shown = text if len(text) <= _TAG_LONGEST else f"{text[: _TAG_LONGEST - 3]}..."
        if shown == self._tagged or not self.told.leave_hook:
            return
        try:
            self.aws.tag(self._me, TAG, shown)
            self._tagged = shown
        except HostError as exc:
            self._note("tag", str(exc))
            if isinstance(exc, RefusedError):
                self._tagged = shown

    def _longest(self) -> float:
        return min(_LONGEST, float(_HEARTBEATS * self.told.heartbeat))

    def _pause(self, seconds: float, hook: str) -> None:
        until = self.now() + seconds
        while self.now() < until:
            self._beat(hook)
            self.sleep(min(1.0, seconds))
            if self._state.phase == _ENTERING and self._asked_to_go():
                return

    def _every(self, what: str, seconds: float) -> bool:
        now = self.now()
        if 0 < self._due.get(what, now) - now <= seconds:  # a clock that was set back does not stop it
            return False
        self._due[what] = now + seconds
        return True

    def _patiently(self, what: str, ask: Callable[[], str]) -> str:
        while True:
            try:
                return ask()
            except AwayError as exc:
                self._note(what, f"{exc}; waiting for it")
                self.sleep(_LOOK)

    def _phase(self, phase: str) -> None:
        self._state.phase = phase
        self._state.since = self.now()
        self._due.clear()
        self._save()

    def _save(self) -> None:
        self.kept.write(json.dumps(asdict(self._state)))

    def _note(self, what: str, sentence: str) -> None:
        """Say it once, until it changes."""
        if self._said.get(what) != sentence:
            self._said[what] = sentence
            self.say(sentence)


def _because(result: Result) -> str:
    ended = "was stopped" if result.code is None else f"ended with {result.code}"
    return result.said or f"{result.step} {ended} without a word"


def _spot(action: str) -> str:
    try:
        found = json.loads(action)
        return f"{found['action']} at {found['time']}"
    except (ValueError, KeyError, TypeError):
        return "it does not say when"
