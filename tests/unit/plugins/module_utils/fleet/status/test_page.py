# SPDX-License-Identifier: GPL-3.0-or-later
"""The page in a real browser: as it is read, on a phone, in the dark, by keyboard; and hostile names that stay text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.judge import judge
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.page import render
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import FleetStatus, Machine
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import encode
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL, Journal
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Target
from tests.browser import Browser, browser
from tests.unit.plugins.module_utils.fleet.fleets import small
from tests.unit.plugins.module_utils.fleet.status.seen import NOW, found, host, judged

MARKUP = "\"'><script>window.hacked=1</script><img src=http://127.0.0.1:9/ onerror=window.hacked=1>&amp;]]>"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser") / "profile") as made:
        yield made


def ill() -> FleetStatus:
    """A shop with one host behind, one that is not healthy, one on its way out, a roll under way, and a certificate that ends."""
    hosts = (
        host("web", 0),
        host("web", 1, version=1),
        host("web", 2, healthy=False),
        host("web", 3, state="Terminating:Wait"),
    )
    target = Target(Template("lt-thumbs", "shop-thumbs", "2"))
    rolling = {TAG_JOURNAL: encode(Journal("ann@box", NOW - 10, NOW - 60, target))}
    return judged(
        found("web", hosts=hosts),
        found("thumbs", group_tags=rolling),
        ends={"the certificate data/bus": NOW + 86400 * 3, "the fleet's authority": NOW + 86400 * 900},
        unknown=("cannot read the certificate x",),
    )


def put(folder: Path, status: FleetStatus) -> Path:
    path = folder / "status.html"
    path.write_text(render(status))
    return path


def texts(shown: Browser, selector: str) -> list[str]:
    answer = shown.evaluate(f"[...document.querySelectorAll({selector!r})].map(e => e.textContent)")
    return [str(text) for text in answer]


def test_what_is_on_it(shown: Browser, tmp_path: Path) -> None:
    shown.open(put(tmp_path, ill()))
    assert shown.complaints() == []
    assert texts(shown, "svg a .name") == ["bus", "cache", "store", "sandbox", "thumbs", "web"]
    assert texts(shown, "svg .balancer .name, svg .band + text") == ["shop", "shop-internal", "shop-data"]
    arrows = texts(shown, "svg path.use title")
    assert set(arrows) == {
        "clients reach the load balancer", "clients reach web",
        "web uses bus", "web uses cache", "web uses thumbs", "thumbs uses bus",
    }  # fmt: skip
    assert len(arrows) == 6
    assert texts(shown, "svg .box.ill ~ .name") == ["web"]
    box = texts(shown, "svg a[href='#service-web'] text")
    assert box[:3] == ["web", "1.4.2", "2 of 2 in service · 1 behind"] and box[3:] == ["1a", "1b", "1c"]
    squares = "[...document.querySelectorAll(\"svg a[href='#service-web'] .host\")].map(e => e.classList[1])"
    assert shown.evaluate(squares) == ["well", "leaving", "behind", "sick"]
    assert texts(shown, "#service-web .badge") == ["not well", "1 behind"]
    assert texts(shown, "#service-web .why") == ["i-web2 in eu-central-1c: Auto Scaling reports it as Unhealthy"]
    assert texts(shown, "#service-thumbs .badge") == ["well", "roll under way"]
    assert texts(shown, "#certificates .badge") == ["3 days", "900 days"]
    assert texts(shown, "#unknown li") == ["cannot read the certificate x"]
    assert "web is not well; 1 host is behind, roll it" in texts(shown, ".verdict")[0]


def test_no_two_boxes_overlap_and_no_arrow_crosses_one(shown: Browser, tmp_path: Path) -> None:
    given = small(
        a={"uses": ["c", "f"], "port": 1, "expose": {}},
        b={"uses": ["c"]},
        c={"uses": ["d"], "port": 1},
        d={"uses": ["f"], "port": 1},
        **{f"x{number}": {"uses": ["f"]} for number in range(9)},
        f={"port": 1},
    )
    model = lists(read_fleet(given | {"fleet_data": {"bus": {"kind": "nats"}}}))
    groups = tuple(found(one["for"], 3) for one in model["groups"])
    status = judge(replace(_nothing(), groups=groups), NOW, fleet="shop", region="r", model=model)
    shown.open(put(tmp_path, status))
    boxes = shown.evaluate(
        "[...document.querySelectorAll('svg a .box')].map(e => {const b = e.getBBox(); return [b.x, b.y, b.width, b.height]})"
    )
    assert len(boxes) == 15
    for index, (x, y, wide, tall) in enumerate(boxes):
        assert not [b for b in boxes[index + 1 :] if abs(b[0] - x) < wide and abs(b[1] - y) < tall]
    # Some sixty points of each arrow: none lies inside a box.
    points = shown.evaluate(
        "[...document.querySelectorAll('svg path.use')].map(e => [...Array(61).keys()].map(i => {"
        "const p = e.getPointAtLength(e.getTotalLength() * i / 60); return [p.x, p.y]}))"
    )
    assert len(points) == 16
    inside = [
        (x, y)
        for arrow in points
        for x, y in arrow
        for left, top, wide, tall in boxes
        if left + 1 < x < left + wide - 1 and top + 1 < y < top + tall - 1
    ]
    assert inside == []


def _nothing() -> Any:
    from tests.unit.plugins.module_utils.fleet.status.seen import seen

    return replace(seen(), balancers=())


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_readable_in_the_light_and_in_the_dark(shown: Browser, tmp_path: Path, dark: bool) -> None:
    shown.open(put(tmp_path, ill()), dark=dark)
    contrast = shown.evaluate(
        """(() => {
        const rgb = text => text.match(/[0-9.]+/g).slice(0, 3).map(Number);
        const light = text => rgb(text).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 })
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const behind = e => { for (; e; e = e.parentElement) {
            const c = getComputedStyle(e).backgroundColor; if (c !== 'rgba(0, 0, 0, 0)') return c } return 'rgb(255, 255, 255)' };
        const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05) };
        const words = [...document.querySelectorAll('h1, h2, p, dt, dd, .badge, summary, li, th, td')];
        const drawn = [...document.querySelectorAll('svg a text, svg a tspan')].map(e =>
            ratio(getComputedStyle(e).fill, getComputedStyle(e.closest('a').querySelector('.box')).fill));
        return Math.min(...drawn, ...words.map(e => ratio(getComputedStyle(e).color, behind(e)))) })()"""
    )
    assert contrast >= 4.5  # WCAG 2.1, level AA
    page = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (page == "rgb(17, 22, 29)") == dark
    assert shown.picture(tmp_path / "page.png").startswith(b"\x89PNG")


def test_a_phone_scrolls_the_picture_and_never_the_page(shown: Browser, tmp_path: Path) -> None:
    shown.open(put(tmp_path, ill()), width=360, height=740, phone=True)
    assert shown.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    assert shown.evaluate("(e => e.scrollWidth > e.clientWidth)(document.querySelector('.picture'))")
    sizes = "Math.min(...[...document.querySelectorAll('p, dd, dt, svg text')].map(e => parseFloat(getComputedStyle(e).fontSize)))"
    assert shown.evaluate(sizes) >= 12
    drawn = "(s => s.getBoundingClientRect().width / s.viewBox.baseVal.width)(document.querySelector('svg'))"
    assert shown.evaluate(drawn) == 1  # not scaled down to nothing


def test_by_keyboard(shown: Browser, tmp_path: Path) -> None:
    shown.open(put(tmp_path, ill()))
    seen = []
    for dummy in range(9):
        shown.press("Tab")
        seen.append(shown.evaluate("(e => e.getAttribute('href') || e.className || e.tagName)(document.activeElement)"))
    services = ["bus", "cache", "store", "sandbox", "thumbs", "web"]
    assert seen[:7] == ["picture", *(f"#service-{name}" for name in services)] and seen[7:] == ["SUMMARY", "SUMMARY"]
    assert shown.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert not shown.evaluate("document.activeElement.parentElement.open")
    shown.press("Enter")
    assert shown.evaluate("document.activeElement.parentElement.open")
    shown.evaluate("document.querySelector(\"svg a[href='#service-web']\").focus()")
    shown.press("Enter")
    assert (
        shown.evaluate("location.hash + ' ' + document.querySelector(':target h2').textContent") == "#service-web web"
    )


def test_markup_in_every_text_stays_text(shown: Browser, tmp_path: Path) -> None:
    hosts = (host("web", 0, zone=MARKUP, healthy=False), host("web", 1, state=MARKUP))
    tags = {"boring:service": MARKUP, "boring:version": MARKUP}
    one = found("web", hosts=hosts, group_name=MARKUP, group_tags=tags, scaling=(MARKUP,), idle=(MARKUP,))
    machines = {"i-web0": Machine(MARKUP, NOW, {"boring:version": MARKUP}, MARKUP)}
    status = judged(one, ends={MARKUP: NOW}, unknown=(MARKUP,), machines=machines)
    balancers = tuple(replace(one, address=MARKUP) for one in status.balancers)
    status = replace(status, name=MARKUP, region=MARKUP, balancers=balancers)
    shown.open(put(tmp_path, status))
    assert shown.evaluate("window.hacked") is None
    assert shown.evaluate("document.querySelectorAll('script, img, iframe, object, link, [onerror]').length") == 0
    assert shown.complaints() == []
    assert texts(shown, "h1") == [f"Fleet {MARKUP}"] and MARKUP in texts(shown, "h2")


def test_nothing_of_others_is_on_it() -> None:
    class Reader(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [
                f"{tag} {name}={value}"
                for name, value in attrs
                if name in ("src", "href") and not str(value).startswith("#")
            ]
            assert tag not in ("script", "link", "iframe", "object", "base", "form")

    reader = Reader()
    reader.feed(render(ill()))
    assert reader.found == []
    assert "url(" not in render(ill()).replace("url(#tip)", "")


def test_no_fleet_and_one_without_a_file(shown: Browser, tmp_path: Path) -> None:
    nothing = judge(replace(_nothing(), groups=()), NOW, fleet="shop", region="r", model={})
    shown.open(put(tmp_path, nothing))
    assert "has no Auto Scaling group with the tag boring:fleet=shop" in texts(shown, ".verdict")[0]
    without = judge(_nothing(), NOW, fleet="shop", region="r", model={})
    shown.open(put(tmp_path, without))
    assert texts(shown, "svg a .name") == ["bus", "cache", "sandbox", "store", "thumbs", "web"]
    assert texts(shown, "svg path.use title") == [] and texts(shown, ".verdict")[0].endswith("every group is well.")


def test_a_hundred_services(shown: Browser, tmp_path: Path) -> None:
    model = lists(read_fleet(small(**{f"s{number}": {"size": {"min": 40}} for number in range(100)})))
    groups = tuple(found(one["for"], 40) for one in model["groups"])
    shown.open(put(tmp_path, judge(replace(_nothing(), groups=groups), NOW, fleet="shop", region="r", model=model)))
    assert shown.complaints() == [] and len(texts(shown, "svg a .name")) == 100
    # Two rows of squares a zone; the others are a number.
    assert texts(shown, "svg a[href='#service-s0'] text")[-1] == "1c +5"
