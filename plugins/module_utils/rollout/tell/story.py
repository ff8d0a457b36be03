# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of a roll as a story to be drawn: who was in which phase when, how much served, how it ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import Event

_LEAVING = ("draining", "terminating")


@dataclass(frozen=True, slots=True)
class Span:
    """One phase of an instance."""

    phase: str
    start: float
    end: float


@dataclass
class Life:
    """An instance, as far as the roll saw it."""

    name: str
    zone: str = ""
    role: str = ""  # old, new, kept
    template: str = ""
    moves: list[tuple[float, str]] = field(default_factory=list)
    failed: str = ""  # why

    def spans(self, end: float) -> list[Span]:
        found: list[Span] = []
        for index, (start, phase) in enumerate(self.moves):
            if phase == "gone":
                break
            until = self.moves[index + 1][0] if index + 1 < len(self.moves) else end
            if found and found[-1].phase == phase:
                found[-1] = Span(phase, found[-1].start, until)
            elif until > start:
                found.append(Span(phase, start, until))
        return found


@dataclass
class Story:
    """One group's rolls, in the order of their events."""

    group: str
    start: float
    end: float = 0.0
    target: str = ""
    lives: dict[str, Life] = field(default_factory=dict)
    capacity: list[tuple[float, int, int]] = field(default_factory=list)  # time, serving, desired
    slack: int = 0
    state: str = "under way"
    failed: bool = False
    message: str = ""
    replaced: list[Mapping[str, Any]] = field(default_factory=list)
    failures: list[Mapping[str, Any]] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    lowest: int | None = None
    sizes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def rows(self) -> list[Life]:
        """Instances in the order in which they are best looked at: each old one above its successor."""
        successors = {str(pair["old"]): str(pair["new"]) for pair in self.replaced}
        lives = self.lives
        taken: set[str] = set()
        rows: list[Life] = []
        leaving = sorted(
            (life for life in lives.values() if life.role != "new"),
            key=lambda life: (next((at for at, phase in life.moves if phase in _LEAVING), float("inf")), life.name),
        )
        for life in leaving:
            for name in (life.name, successors.get(life.name, "")):
                if name in lives and name not in taken:
                    taken.add(name)
                    rows.append(lives[name])
        rest = sorted((life for life in lives.values() if life.name not in taken), key=lambda life: life.moves[0][0])
        return rows + rest


def tell(events: Iterable[Event]) -> list[Story]:
    """Stories by group, in the order of their first event. Events that it does not know are passed over."""
    stories: dict[str, Story] = {}
    for event in events:
        try:
            at, group, kind = float(event["time"]), str(event["group"]), str(event["event"])
        except (KeyError, TypeError, ValueError):
            continue
        story = stories.setdefault(group, Story(group, at, at))
        story.end = max(story.end, at)
        if kind == "plan":
            story.target = str(event.get("target", ""))
            story.slack = int(event.get("max_unavailable", 0))
            story.state, story.failed, story.message = "under way", False, ""
        elif kind == "instance":
            name = str(event["instance_id"])
            life = story.lives.setdefault(name, Life(name))
            life.zone = str(event.get("zone") or life.zone)
            life.role = str(event.get("role") or life.role)
            life.template = str(event.get("template") or life.template)
            life.moves.append((min(at, float(event.get("since", at))), str(event["phase"])))
        elif kind == "capacity":
            story.capacity.append((at, int(event["serving"]), int(event["desired"])))
        elif kind == "finish":
            _finish(story, event)
    for story in stories.values():
        for failure in story.failures:
            if failure.get("instance_id") in story.lives:
                story.lives[str(failure["instance_id"])].failed = str(failure.get("reason", ""))
    return list(stories.values())


def _finish(story: Story, event: Event) -> None:
    result = event.get("result") or {}
    story.state = str(event.get("state") or result.get("state") or "")
    story.failed = bool(event.get("failed"))
    story.message = str(event.get("message") or "")
    story.replaced.extend(result.get("replaced") or ())
    story.failures.extend(result.get("failures") or ())
    for name, count in (result.get("api_calls") or {}).items():
        story.calls[name] = story.calls.get(name, 0) + int(count)
    lowest = result.get("lowest_in_service")
    if lowest is not None:
        story.lowest = lowest if story.lowest is None else min(story.lowest, lowest)
    story.sizes = result.get("sizes") or story.sizes
