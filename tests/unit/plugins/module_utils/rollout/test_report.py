# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of real (simulated) rolls, told as a story and drawn."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.rollout.events import EventFile
from ansible_collections.boring.fleet.plugins.module_utils.rollout.model import RolloutError
from ansible_collections.boring.fleet.plugins.module_utils.rollout.page import differs, make_page, read_probes
from ansible_collections.boring.fleet.plugins.module_utils.rollout.report import render_report
from ansible_collections.boring.fleet.plugins.module_utils.rollout.story import tell


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def _outline(html: str) -> _Outline:
    outline = _Outline()
    outline.feed(html)
    return outline


def _svg(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])  # noqa: S314 - our own


def test_the_story_of_a_roll(world: Any) -> None:
    w = world(3)
    result = w.roll()
    (story,) = tell(w.events)
    assert (story.group, story.state, story.failed) == ("web", "completed", False)
    assert len(story.lives) == 6
    for pair in result.replaced:
        phases = [span.phase for span in story.lives[pair.new].spans(story.end)]
        assert phases == ["booting", "warming", "serving"]
        old = [span.phase for span in story.lives[pair.old].spans(story.end)]
        assert old[:2] == ["serving", "draining"]
        names = [life.name for life in story.rows()]
        assert names.index(pair.new) == names.index(pair.old) + 1, "a successor stands below whom it replaced"
    booting = story.lives[result.replaced[1].new].spans(story.end)[0]
    assert 80 <= booting.end - booting.start <= 110, "a boot begins when it was set off, not when it was first seen"
    assert min(serving for _, serving, _ in story.capacity) == 3
    assert story.calls == dict(result.api_calls)


def test_every_event_is_a_line_for_somebody(world: Any) -> None:
    w = world(2)
    w.roll()
    messages = [event["message"] for event in w.events if event.get("message")]
    assert len(messages) == len(set(messages)), "a change is told once"
    assert all("\n" not in message for message in messages)
    assert all({"time", "group", "event"} <= set(event) for event in w.events)
    json.dumps(w.events)


def test_the_page_is_one_file_with_a_well_formed_picture(world: Any) -> None:
    w = world(3)
    w.roll()
    start = w.events[0]["time"]
    probes = [(start + n, n != 7) for n in range(200)]
    html = render_report(w.events, title="A <title> & more", probes=probes)
    outline = _outline(html)
    assert outline.links == []
    assert "script" not in outline.tags
    assert "http" not in html.replace("http://www.w3.org", "")
    assert "A &lt;title&gt; &amp; more" in html
    picture = _svg(html)
    assert len(picture.findall("g")) == 6
    assert len(picture.findall(".//rect[@class='error']")) == 1
    assert "prefers-color-scheme:dark" in html


def test_a_failure_stands_on_top(world: Any) -> None:
    w = world(3)
    w.cloud.faults.add({"kind": "target", "outcome": "unhealthy", "times": None})
    result = w.roll(max_failures=0, batch_timeout=100.0)
    html = render_report(w.events, title="x")
    assert html.index('class="why"') < html.index("<svg")
    assert result.failures[0].instance_id in html
    assert len(_svg(html).findall(".//rect[@class='failed']")) == 1


def test_what_comes_from_outside_is_escaped() -> None:
    bad = "<script>alert(1)</script>"
    events = [
        {"time": 1.0, "group": bad, "event": "plan", "target": bad},
        {
            "time": 1.0,
            "group": bad,
            "event": "instance",
            "instance_id": bad,
            "phase": "serving",
            "zone": bad,
            "role": bad,
        },
        {"time": 9.0, "group": bad, "event": "finish", "message": bad, "failed": True, "state": bad, "result": {}},
    ]
    assert "script" not in _outline(render_report(events, title=bad)).tags


def test_a_big_group_is_a_page_too(world: Any) -> None:
    w = world(300)
    w.roll(batch_size="25%")
    html = render_report(w.events, title="x")
    assert len(_svg(html).findall("g")) == 400
    assert "more instances are not drawn" in html
    assert len(html) < 1_500_000


def test_nothing_is_a_page(tmp_path: Path) -> None:
    assert "Nothing was rolled" in render_report([], title="x")


def test_files_in_page_out(world: Any, tmp_path: Path) -> None:
    w = world(1)
    w.roll()
    events, probes, dest = tmp_path / "e.jsonl", tmp_path / "p.jsonl", tmp_path / "r.html"
    with EventFile(str(events)) as file:
        for event in w.events:
            file.emit(event)
    events.write_text(events.read_text() + '{"torn', encoding="utf-8")
    probes.write_text('{"time": 1.5, "ok": true}\n[2, false]\n')
    assert list(read_probes(str(probes))) == [(1.5, True), (2.0, False)]
    page, groups = make_page([str(events)], "t", str(probes))
    assert groups == ["web"]
    assert differs(page, str(dest))
    page.write(str(dest), lambda source, to: Path(source).rename(to))
    assert not differs(page, str(dest))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.jsonl", "p.jsonl", "r.html"]


@pytest.mark.parametrize("path", ["missing.jsonl", "."])
def test_files_that_cannot_be_read_are_named(path: str, tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match="events"):
        make_page([str(tmp_path / path)], "t", None)
    with pytest.raises(RolloutError, match="events_path"):
        EventFile(str(tmp_path / "no" / "such" / "place"))
