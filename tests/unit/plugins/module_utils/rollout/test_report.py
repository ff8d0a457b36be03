# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of real (simulated) rolls, told as a story and drawn."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.events import EventFile
from ansible_collections.boring.fleet.plugins.module_utils.rollout.tell.page import differs, draw, read_probes
from ansible_collections.boring.fleet.plugins.module_utils.rollout.tell.report import render_picture, render_report
from ansible_collections.boring.fleet.plugins.module_utils.rollout.tell.story import tell
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError


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
    w = world(700)
    w.roll(batch_size="25%")
    html = render_report(w.events, title="x")
    assert len(_svg(html).findall("g")) == 1200
    assert "200 more instances are not drawn" in html
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
    drawn, groups = draw([str(events)], "t", str(probes))
    page = drawn["dest"]
    picture = ElementTree.fromstring(drawn["picture"].html)  # noqa: S314 - our own
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert groups == ["web"]
    assert differs(page, str(dest))
    page.write(str(dest), lambda source, to: Path(source).rename(to))
    assert not differs(page, str(dest))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.jsonl", "p.jsonl", "r.html"]


@pytest.mark.parametrize("path", ["missing.jsonl", "."])
def test_files_that_cannot_be_read_are_named(path: str, tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match="events"):
        draw([str(tmp_path / path)], "t", None)
    with pytest.raises(RolloutError, match="events_path"):
        EventFile(str(tmp_path / "no" / "such" / "place"))


@pytest.mark.parametrize("time", ["1e400", "-1e400", "NaN", "-1", "253402300800", "9" * 400, '"1e400"'])
def test_a_time_that_is_none_is_a_sentence(time: str, tmp_path: Path) -> None:
    events, probes = tmp_path / "e.jsonl", tmp_path / "p.jsonl"
    for text in (
        f'{{"time": {time}, "group": "g", "event": "plan"}}',
        f'{{"time": 1, "since": {time}, "group": "g", "event": "instance"}}',
    ):
        events.write_text(text)
        with pytest.raises(
            RolloutError, match=r"events .*e\.jsonl holds a time that is none .*: it must be seconds since 1970"
        ):
            draw([str(events)], "t", None)
    events.write_text('{"time": 1, "group": "g", "event": "plan"}')
    for text in (f'{{"time": {time}, "ok": true}}', f"[{time}, true]"):
        probes.write_text(text)
        with pytest.raises(RolloutError, match=r"probes .*p\.jsonl holds a time that is none"):
            draw([str(events)], "t", str(probes))


def test_the_reason_stands_on_top_of_the_picture_too(world: Any) -> None:
    w = world(2)
    w.cloud.faults.add({"kind": "target", "outcome": "unhealthy", "times": None})
    result = w.roll(max_failures=0, batch_timeout=100.0)
    picture = ElementTree.fromstring(render_picture(w.events))  # noqa: S314 - our own
    texts = [element.text or "" for element in picture.iter() if element.tag.endswith("}text")]
    assert texts[0].startswith("web: failed")
    assert " ".join(texts[2:5]).startswith(result.message[:120])


def test_the_instance_that_follows_a_failed_one_boots_from_then_on(world: Any) -> None:
    w = world(2, HealthCheckType="ELB", HealthCheckGracePeriod=300)
    w.cloud.faults.add({"kind": "target", "outcome": "unhealthy", "times": 1})
    w.roll(max_failures=1)
    (story,) = tell(w.events)
    boots = [life.spans(story.end)[0] for life in story.lives.values() if life.role == "new"]
    assert len(boots) == 3
    assert all(boot.end - boot.start <= 120 for boot in boots), boots


def test_many_that_do_the_same_are_one_line(world: Any) -> None:
    w = world(20)
    w.roll(batch_size=10)
    messages = [event["message"] for event in w.events if event.get("message")]
    assert len(messages) < 40
    assert any(message.startswith("10 launched in") for message in messages)
    assert any("10 terminated (11 of 20)" in message for message in messages)
    assert sum(event["event"] == "terminate" for event in w.events) == 20, "the report has each of them"


def test_requests_are_told_as_a_share_that_is_never_rounded_up_to_all(world: Any) -> None:
    w = world(1)
    w.roll()
    start = w.events[0]["time"]
    fine = [(start + n / 1000, True) for n in range(100_000)]
    assert "<b>100 %</b>" in render_report(w.events, title="x", probes=fine)
    assert "<b>99.99 %</b>" in render_report(w.events, title="x", probes=[*fine, (start, False)])
