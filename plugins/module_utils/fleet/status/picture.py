# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet as an SVG: clients, load balancers, services and data from top to bottom, what they use as arrows. Pure.

Each service is a box with its version and its hosts, a square each, in a column a zone. A service is drawn below all that use it, data at the
bottom. Load balancers inside are bands that arrows pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.lines import why_ill
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import (
    Balancer,
    FleetStatus,
    Host,
    Status,
)

_WIDE, _TALL = 224, 118  # of a box
_GAP, _STEP = 26, 62  # between boxes, between rows
_A_ROW: Final = 5
_SQUARE: Final = 11
_LINES: Final = 2  # of squares in a box
_EDGE: Final = 30

STYLE: Final = """
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--ink)}
svg .soft{fill:var(--soft)}svg .name{font-size:15px;font-weight:650}svg .bad{fill:var(--bad)}svg .late{fill:var(--late)}
svg .box{fill:var(--card);stroke:var(--line);stroke-width:1.5}svg .box.ill{stroke:var(--bad);stroke-width:2}
svg .data{stroke-dasharray:none;fill:var(--data)}svg .band{fill:var(--band)}svg .clients{fill:var(--page);stroke:var(--soft);stroke-dasharray:5 4}
svg .use{fill:none;stroke:var(--arrow);stroke-width:1.6}svg marker path{fill:var(--arrow)}
svg .host{fill:var(--good)}svg .host.behind{fill:var(--late)}svg .host.sick{fill:var(--bad)}svg .host.leaving{fill:var(--line)}
svg a:focus{outline:none}svg a:focus .box,svg a:hover .box{stroke:var(--focus);stroke-width:3}
"""


@dataclass(frozen=True)
class _Box:
    left: float
    top: float

    @property
    def middle(self) -> float:
        return self.left + _WIDE / 2

    @property
    def bottom(self) -> float:
        return self.top + _TALL


def draw(status: FleetStatus) -> str:
    """The whole picture, with links to the parts of the page that are called after the services."""
    rows = _rows(status.services)
    wide = max((len(row) for dummy, row in rows), default=1)
    width = 2 * _EDGE + wide * _WIDE + (wide - 1) * _GAP
    parts: list[str] = []
    boxes: dict[str, _Box] = {}
    public = next((one for one in status.balancers if one.part == "public"), None)
    exposed = [one for one in status.services if one.exposed]
    top = float(_EDGE)
    if public or exposed:
        parts += _entry(public, width, top)
        top += 114 + _STEP
    entry = top - _STEP
    inside = {one.part: one for one in status.balancers if one.part != "public"}
    for depth, row in rows:
        part = "data" if row[0].kind == "data" else "internal" if depth else ""
        if part in inside:
            parts.append(_band(inside.pop(part), width, top))
            top += 26 + 34
        start = (width - len(row) * _WIDE - (len(row) - 1) * _GAP) / 2
        for place, one in enumerate(row):
            boxes[one.service] = _Box(start + place * (_WIDE + _GAP), top)
        top += _TALL + _STEP
    ways = _Ways([[boxes[one.service] for one in row] for dummy, row in rows])
    arrows = [
        ways.arrow((boxes[one.service].middle, boxes[one.service].bottom), boxes[used], f"{one.service} uses {used}")
        for one in status.services
        for used in one.uses
        if used in boxes
    ]
    arrows += [ways.arrow((width / 2, entry), boxes[one.service], f"clients reach {one.service}") for one in exposed]
    drawn = [_service(one, boxes[one.service]) for one in status.services]
    height = round(top - _STEP + _EDGE)
    words = escape(f"Picture of the fleet {status.name}: {_in_words(status)}")
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="group" aria-label="{words}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8Z"/></marker></defs>'
        f"{''.join(parts)}{''.join(arrows)}{''.join(drawn)}</svg>"
    )


def anchor(service: str) -> str:
    """The id of a service's part of the page."""
    return f"service-{service}"


def _in_words(status: FleetStatus) -> str:
    return "; ".join(
        f"{one.service} uses {', '.join(one.uses)}" if one.uses else one.service for one in status.services
    )


def _rows(services: Iterable[Status]) -> list[tuple[int, list[Status]]]:
    """By depth: services that nobody uses first, each below all that use it, data last; a row that is too long goes on below."""
    known = {one.service: one for one in services}
    deep = _depths(known)
    last = max(deep.values(), default=0) + 1
    layers: dict[int, list[Status]] = {}
    for name, one in known.items():
        layers.setdefault(last if one.kind == "data" else deep[name], []).append(one)
    return [
        (depth, layer[start : start + _A_ROW])
        for depth, layer in sorted(layers.items())
        for start in range(0, len(layer), _A_ROW)
    ]


def _depths(known: dict[str, Status]) -> dict[str, int]:
    """How many uses lead to a service at most. The names are in the order of `uses`: what is used comes before who uses it."""
    deep = dict.fromkeys(known, 0)
    for name in reversed(list(known)):
        for used in known[name].uses:
            if used in deep and known[used].kind != "data":
                deep[used] = max(deep[used], deep[name] + 1)
    return deep


def _entry(public: Balancer | None, width: float, top: float) -> list[str]:
    """Clients, and the load balancer that they reach."""
    middle = width / 2
    name = public.name if public else "load balancer"
    said = _short(public.address or public.state, 46) if public else "it is not there"
    return [
        f'<rect class="clients" x="{middle - 70:g}" y="{top:g}" width="140" height="34" rx="17"/>'
        f'<text x="{middle:g}" y="{top + 22:g}" text-anchor="middle">clients</text>',
        _path([(middle, top + 34), (middle, top + 70)], "clients reach the load balancer"),
        f'<g class="balancer"><title>{escape(f"load balancer {name}: {said}")}</title>'
        f'<rect class="box band" x="{max(_EDGE, middle - 170):g}" y="{top + 70:g}" width="{min(340, width - 2 * _EDGE):g}" height="44" rx="9"/>'
        f'<text class="name" x="{middle:g}" y="{top + 88:g}" text-anchor="middle">{escape(_short(name, 30))}</text>'
        f'<text class="soft" x="{middle:g}" y="{top + 105:g}" text-anchor="middle">{escape(said)}</text></g>',
    ]


def _band(balancer: Balancer, width: float, top: float) -> str:
    """A load balancer inside."""
    return (
        f'<g class="balancer"><title>{escape(f"load balancer {balancer.name}: {balancer.address}")}</title>'
        f'<rect class="box band" x="{_EDGE}" y="{top:g}" width="{width - 2 * _EDGE:g}" height="26" rx="9"/>'
        f'<text class="soft" x="{_EDGE + 12}" y="{top + 17:g}">{escape(balancer.name)}</text></g>'
    )


class _Ways:
    """Ways from box to box. One that passes a row goes through a gap in it, so that it seems to begin and end nowhere else."""

    def __init__(self, rows: list[list[_Box]]) -> None:
        self._rows = rows
        self._taken: dict[tuple[int, float], int] = {}

    def arrow(self, start: tuple[float, float], to: _Box, words: str) -> str:
        points = [start]
        for index, row in enumerate(self._rows):
            if start[1] < row[0].top < to.top:
                x = self._gap(index, points[-1][0] + (to.middle - points[-1][0]) / 2)
                points += [(x, row[0].top), (x, row[0].bottom)]
        return _path([*points, (to.middle, to.top)], words)

    def _gap(self, index: int, wanted: float) -> float:
        """The nearest gap of a row; what goes through the same one goes side by side."""
        row = self._rows[index]
        gaps = [row[0].left - _GAP / 2, *(box.left + _WIDE + _GAP / 2 for box in row)]
        gap = min(gaps, key=lambda x: abs(x - wanted))
        count = self._taken[index, gap] = self._taken.get((index, gap), -1) + 1
        return gap + (count % 5 - 2) * 4


def _path(points: list[tuple[float, float]], words: str) -> str:
    """A curve through points, upright in each; its tip is at the last one."""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    last = len(points) - 1
    for number, ((x, y), (to_x, to_y)) in enumerate(pairwise(points), 1):
        end = to_y - 2 if number == last else to_y
        bend = max(14.0, (end - y) / 2)
        path += f"L{to_x:g} {end:g}" if x == to_x else f"C{x:g} {y + bend:g} {to_x:g} {end - bend:g} {to_x:g} {end:g}"
    return f'<path class="use" d="{path}" marker-end="url(#tip)"><title>{escape(words)}</title></path>'


def _service(one: Status, at: _Box) -> str:
    """A box: name and version, hosts in service, hosts by zone."""
    x, y = at.left, at.top
    classes = f"box {'data' if one.kind == 'data' else 'service'}{' ill' if one.ill else ''}"
    state = f"{one.in_service} of {one.desired} in service" if one.group else "no group yet"
    late = f'<tspan class="late"> · {one.behind} behind</tspan>' if one.behind else ""
    marks = f"{' · isolated' if one.isolated else ''}{' · roll under way' if one.roll.state == 'under way' else ''}"
    words = f"{one.service}: {state}, {one.behind} behind. {' '.join(why_ill(one))}".strip()
    return (
        f'<a href="#{escape(anchor(one.service))}" aria-label="{escape(words)}"><title>{escape(words)}</title>'
        f'<rect class="{classes}" x="{x:g}" y="{y:g}" width="{_WIDE}" height="{_TALL}" rx="12"/>'
        f'<text class="name" x="{x + 14:g}" y="{y + 25:g}">{escape(_short(one.service, 22))}</text>'
        f'<text class="soft" x="{x + 14:g}" y="{y + 43:g}">{escape(_short(one.version or "no version", 20))}{marks}</text>'
        f'<text class="{"bad" if one.ill else "fine"}" x="{x + 14:g}" y="{y + 61:g}">{escape(state)}{late}</text>'
        f"{_hosts(one, x + 14, y + 70)}</a>"
    )


def _hosts(one: Status, left: float, top: float) -> str:
    """A square for each host, in a column a zone."""
    zones = list(one.zones)
    if not zones:
        return ""
    column = (_WIDE - 28) / len(zones)
    across = max(1, int((column - 6) // (_SQUARE + 3)))
    parts = []
    for index, zone in enumerate(zones):
        x = left + index * column
        here = [host for host in one.hosts if host.zone == zone]
        shown = here[: across * _LINES]
        for place, host in enumerate(shown):
            at_x, at_y = x + (place % across) * (_SQUARE + 3), top + (place // across) * (_SQUARE + 3)
            words = (
                f"{host.id} in {zone}: {host.why or 'in service'}{f'; behind: {host.behind}' if host.behind else ''}"
            )
            parts.append(
                f'<rect class="host {_look(host)}" x="{at_x:g}" y="{at_y:g}" width="{_SQUARE}" height="{_SQUARE}" rx="2.5">'
                f"<title>{escape(words)}</title></rect>"
            )
        more = f" +{len(here) - len(shown)}" if len(here) > len(shown) else ""
        parts.append(f'<text class="soft" x="{x:g}" y="{top + 41:g}">{escape(_zone(zone, len(zones)))}{more}</text>')
    return "".join(parts)


def _look(host: Host) -> str:
    if host.leaving:
        return "leaving"
    return "sick" if host.why else "behind" if host.behind else "well"


def _zone(zone: str, count: int) -> str:
    """Its last letters where there are many."""
    return zone if count <= 2 else zone.rpartition("-")[2]


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
