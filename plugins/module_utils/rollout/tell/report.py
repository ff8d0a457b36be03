# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A roll as one self-contained HTML page with an SVG picture: no script, no file beside it, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from textwrap import wrap
from time import gmtime, strftime

from ansible_collections.boring.fleet.plugins.module_utils.rollout.tell.story import Life, Story, tell
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.steps import Event

Probe = tuple[float, bool]  # unix seconds, whether the request was answered well
Scale = Callable[[float], float]  # from unix seconds to the picture

_WIDTH = 1000
_LEFT = 168
_RIGHT = 16
_PLOT = _WIDTH - _LEFT - _RIGHT
_MOST_ROWS = 1200
_CHART = 96  # height of the capacity chart
_STRIP = 46  # height of the requests
_LEGEND = (
    ("booting", "booting"),
    ("warming", "being proven"),
    ("old", "in service, old"),
    ("new", "in service, new"),
    ("draining", "draining"),
    ("terminating", "terminating"),
)

_COLORS = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#5d6b7b;--line:#e3e7ec;--grid:#eceff3;
--booting:#9cc4f2;--warming:#f4c15d;--old:#a9b6c6;--new:#3fa672;--draining:#e58f65;--terminating:#d9b3a4;
--serving:#2c7be5;--desired:#8b98a8;--bad:#d03b3b;--badsoft:#fdecec;--good:#2e8b5e;--goodsoft:#e8f6ef;--ok:#9bd3b6}
@media (prefers-color-scheme:dark){:root{--page:#11161d;--card:#19212b;--ink:#e6ebf1;--soft:#93a1b1;--line:#2a3542;
--grid:#232d39;--booting:#3f6ea3;--warming:#c4912b;--old:#56657a;--new:#3a9668;--draining:#c06a3f;--terminating:#6d4c41;
--serving:#5b9df5;--desired:#6f7e90;--bad:#ff7b7b;--badsoft:#3a1f23;--good:#58c48d;--goodsoft:#17332a;--ok:#2f6b50}}
"""

_PAGE = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:36px 20px 60px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:18px;margin:0;letter-spacing:-.005em}
p{margin:0}.when{color:var(--soft);margin-bottom:22px}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:22px 24px;margin-top:18px}
.head{display:flex;gap:12px;align-items:center;flex-wrap:wrap;margin-bottom:4px}
.badge{font-size:13px;font-weight:600;padding:2px 11px;border-radius:99px;background:var(--goodsoft);color:var(--good)}
.badge.bad{background:var(--badsoft);color:var(--bad)}
.target{color:var(--soft)}
.why{border-left:4px solid var(--bad);background:var(--badsoft);padding:12px 16px;border-radius:8px;margin:14px 0 4px;
overflow-wrap:anywhere}
.figures{display:flex;flex-wrap:wrap;gap:10px 34px;margin:18px 0 20px}
.figures div{min-width:86px}.figures b{display:block;font-size:23px;font-weight:650;line-height:1.2;
font-variant-numeric:tabular-nums}.figures span{color:var(--soft);font-size:13px}.figures .bad b{color:var(--bad)}
svg{display:block;width:100%;height:auto}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin-top:12px;color:var(--soft);font-size:13px}
.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
details{margin-top:14px}summary{cursor:pointer;color:var(--soft)}
table{border-collapse:collapse;margin-top:10px;font-size:13.5px;width:100%}th{text-align:left;color:var(--soft);
font-weight:500}td,th{padding:4px 14px 4px 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
td code{white-space:nowrap}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{font:12.5px ui-monospace,Menlo,Consolas,monospace}
"""


_PICTURE = """
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
svg .name{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:10.5px;fill:var(--ink)}
svg .title{font-size:12px;font-weight:600;fill:var(--ink)}
.grid{stroke:var(--grid)}.booting{fill:var(--booting)}.warming{fill:var(--warming)}.old,.kept{fill:var(--old)}
.new{fill:var(--new)}.draining{fill:var(--draining)}.terminating{fill:var(--terminating)}
.failed{fill:none;stroke:var(--bad);stroke-width:1.5}
.serving{fill:none;stroke:var(--serving);stroke-width:2;stroke-linejoin:round}.area{fill:var(--serving);opacity:.12}
.desired{fill:none;stroke:var(--desired);stroke-width:1.4;stroke-dasharray:5 4}
.card{fill:var(--card)}.head{font-size:15px!important;font-weight:650;fill:var(--ink)!important}
.reason{fill:var(--bad)!important;font-size:12px!important}.said{font-size:12px!important}
.okay{fill:var(--ok)}.error{fill:var(--bad)}
"""


def render_report(
    events: Iterable[Event],
    *,
    title: str,
    probes: Iterable[Probe] | None = None,
    figures: Iterable[tuple[str, str]] = (),
    when: str = "",
) -> str:
    """The page. ``probes`` are a client's requests meanwhile; each group is drawn with those of its own time.

    ``figures`` are more values with their labels, shown with those of each group. ``when`` stands in for the time.
    """
    stories = tell(events)
    samples = sorted(probes) if probes is not None else None
    start = min((story.start for story in stories), default=0.0)
    more = tuple(figures)
    body = (
        "".join(_section(story, samples, more) for story in stories) or "<section><p>Nothing was rolled.</p></section>"
    )
    if stories and not when:
        when = strftime("%Y-%m-%d %H:%M:%S UTC", gmtime(start))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_COLORS}{_PAGE}{_PICTURE}</style></head>"
        f'<body><main><h1>{escape(title)}</h1><p class="when">{escape(when)}</p>{body}</main></body></html>\n'
    )


def render_picture(events: Iterable[Event], *, probes: Iterable[Probe] | None = None) -> str:
    """The pictures alone, below each other, as one SVG file."""
    samples = sorted(probes) if probes is not None else None
    parts: list[str] = []
    top = 0.0
    for story in tell(events):
        lines = [f"{story.group}: {story.state.replace('_', ' ')}{f', to {story.target}' if story.target else ''}"]
        lines.append(", ".join(f"{label} {value}" for value, label, dummy in _values(story, _own(story, samples))))
        if story.failed and story.message:
            lines += wrap(story.message, 150)
        for index, line in enumerate(lines):
            kind = "head" if index == 0 else "reason" if index > 1 else "said"
            parts.append(f'<text class="{kind}" x="16" y="{top + 26 + 18 * index:g}">{escape(line)}</text>')
        top += 34 + 18 * (len(lines) - 1)
        if story.lives:
            drawn, height = _drawing(story, _own(story, samples))
            parts.append(f'<g transform="translate(0 {top:g})">{drawn}</g>')
            top += height
        top += 18
    for index, (name, label) in enumerate(_LEGEND):
        parts.append(f'<rect class="{name}" x="{16 + 160 * index}" y="{top:g}" width="12" height="12" rx="3"/>')
        parts.append(f'<text x="{34 + 160 * index}" y="{top + 10:g}">{label}</text>')
    height = round(top + 30)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img"><style>{_COLORS}{_PICTURE}</style><rect class="card" width="{_WIDTH}" height="{height}"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _own(story: Story, samples: Sequence[Probe] | None) -> list[Probe] | None:
    """Of a client's requests those of the story's own time."""
    return None if samples is None else [sample for sample in samples if story.start <= sample[0] <= story.end]


def _section(story: Story, samples: Sequence[Probe] | None, more: Sequence[tuple[str, str]]) -> str:
    own = _own(story, samples)
    good = not story.failed and story.state in ("completed", "advanced", "rolled_back", "superseded")
    parts = [
        f'<section><div class="head"><h2>{escape(story.group)}</h2>'
        f'<span class="badge{"" if good else " bad"}">{escape(story.state.replace("_", " "))}</span>'
        f'<span class="target">{f"to {escape(story.target)}" if story.target else ""}</span></div>'
    ]
    if story.failed and story.message:
        parts.append(f'<p class="why">{escape(story.message)}</p>')
    parts.append(_figures(story, own, more))
    if story.lives:
        drawn, height = _drawing(story, own)
        words = f"Timeline of the roll of {escape(story.group)}"
        parts.append(f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{words}">{drawn}</svg>')
        if hidden := len(story.lives) - _MOST_ROWS:
            parts.append(f'<p class="target">{hidden} more instances are not drawn.</p>' if hidden > 0 else "")
        parts.append(
            '<div class="legend">'
            + "".join(f'<span><i style="background:var(--{name})"></i>{label}</span>' for name, label in _LEGEND)
            + "</div>"
        )
    parts.append(_tables(story))
    return "".join(parts) + "</section>"


def _figures(story: Story, own: Sequence[Probe] | None, more: Sequence[tuple[str, str]]) -> str:
    values = [*_values(story, own), *((value, label, False) for value, label in more)]
    cells = (
        f"<div{' class=bad' if bad else ''}><b>{escape(value)}</b><span>{escape(label)}</span></div>"
        for value, label, bad in values
    )
    return f'<div class="figures">{"".join(cells)}</div>'


def _values(story: Story, own: Sequence[Probe] | None) -> list[tuple[str, str, bool]]:
    """What counts, with labels, and whether it is bad."""
    values = [
        (str(len(story.replaced)), "replaced", False),
        (_span(story.seconds), "took", False),
        ("-" if story.lowest is None else str(story.lowest), "lowest in service", False),
        (str(len(story.failures)), "failures", bool(story.failures)),
        (str(sum(story.calls.values())), "API calls", False),
    ]
    if own:
        failed = sum(not fine for dummy, fine in own)
        values += [
            (f"{len(own):,}", "requests meanwhile", False),
            (_share(len(own) - failed, len(own)), "of them answered", failed > 0),
            (f"{failed:,}", "of them failed", failed > 0),
        ]
    return values


def _share(part: int, whole: int) -> str:
    """In percent, and 100 only when it is all of it."""
    if part == whole:
        return "100 %"
    return f"{min(99.99, 100 * part / whole):.2f} %"


def _drawing(story: Story, own: Sequence[Probe] | None) -> tuple[str, int]:
    """What goes into the SVG, and its height."""
    rows = story.rows()[:_MOST_ROWS]
    pitch = max(2.0, min(20.0, 1600 / max(1, len(rows))))
    length = max(1.0, story.end - story.start)

    def x(at: float) -> float:
        return round(_LEFT + _PLOT * (min(max(at, story.start), story.end) - story.start) / length, 1)

    top = 22.0
    chart_top = top
    chart_bottom = chart_top + _CHART if story.capacity else top
    strip_top = chart_bottom + (26 if story.capacity else 0)
    strip_bottom = strip_top + _STRIP if own else strip_top
    rows_top = strip_bottom + (30 if own else 4)
    rows_bottom = rows_top + pitch * len(rows)
    height = round(rows_bottom + 26)
    marks: list[str] = []
    for at, label in _ticks(length):
        here = x(story.start + at)
        marks.append(f'<line class="grid" x1="{here}" x2="{here}" y1="{top - 6}" y2="{rows_bottom + 4}"/>')
        marks.append(f'<text x="{here}" y="{height - 6}" text-anchor="middle">{label}</text>')
    if story.capacity:
        marks.append(_capacity(story, x, chart_top, chart_bottom))
    if own:
        marks.append(_requests(own, x, strip_top, strip_bottom))
    for index, life in enumerate(rows):
        marks.append(_bar(life, story, x, rows_top + pitch * index, pitch))
    return "".join(marks), height


def _bar(life: Life, story: Story, x: Scale, y: float, pitch: float) -> str:
    thick = pitch * 0.72
    parts = ["<g>"]
    if pitch >= 11:
        parts.append(
            f'<text class="name" x="{_LEFT - 10}" y="{y + pitch * 0.62:.1f}" text-anchor="end">{escape(_short(life.name))}</text>'
        )
    spans = life.spans(story.end)
    for span in spans:
        kind = life.role if span.phase == "serving" and life.role in ("old", "new") else span.phase
        kind = "old" if kind == "serving" else kind
        words = f"{life.name} ({life.zone}, version {life.template or '?'}): {span.phase} for {_span(span.end - span.start)}"
        width = max(0.8, x(span.end) - x(span.start))
        parts.append(
            f'<rect class="{escape(kind)}" x="{x(span.start)}" y="{y:.1f}" width="{width:.1f}" height="{thick:.1f}" rx="2">'
            f"<title>{escape(words)}</title></rect>"
        )
    if life.failed and spans:
        first, last = x(spans[0].start), x(spans[-1].end)
        parts.append(
            f'<rect class="failed" x="{first}" y="{y:.1f}" width="{max(2.0, last - first):.1f}" height="{thick:.1f}" rx="2">'
            f"<title>{escape(life.name)} failed: {escape(life.failed)}</title></rect>"
        )
    return "".join(parts) + "</g>"


def _capacity(story: Story, x: Scale, top: float, bottom: float) -> str:
    highest = max(max(serving, desired) for dummy, serving, desired in story.capacity) + 1
    lowest = min(min(serving, desired) for dummy, serving, desired in story.capacity)
    floor = max(0, lowest - (highest - lowest)) if highest - lowest < lowest / 3 else 0  # a surge of 3 on 300 is seen
    base = story.capacity[0][2]

    def y(value: float) -> float:
        return round(bottom - (bottom - top - 8) * (value - floor) / (highest - floor), 1)

    def steps(pick: int) -> str:
        path, last = "", 0.0
        for index, point in enumerate(story.capacity):
            here, level = x(point[0]), y(point[pick])
            path += f"M{here} {level}" if index == 0 else f"L{here} {last}L{here} {level}"
            last = level
        return path + f"L{x(story.end)} {last}"

    serving = steps(1)
    first = x(story.capacity[0][0])
    parts = [
        f'<text class="title" x="{_LEFT - 10}" y="{top}" text-anchor="end">healthy everywhere</text>',
        f'<path class="area" d="{serving}L{x(story.end)} {bottom}L{first} {bottom}Z"/>',
        f'<path class="desired" d="{steps(2)}"><title>desired capacity, without the surge</title></path>',
        f'<path class="serving" d="{serving}"><title>in service and healthy everywhere</title></path>',
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>',
        f'<text x="{_LEFT - 10}" y="{y(base) + 4}" text-anchor="end">{base}</text>',
        f'<text x="{_LEFT - 10}" y="{bottom + 4}" text-anchor="end">{floor}</text>',
    ]
    return "".join(parts)


def _requests(own: Sequence[Probe], x: Scale, top: float, bottom: float) -> str:
    """Requests a slice of time, failed ones in front, so that a single one is seen."""
    slices: dict[int, list[int]] = {}
    for at, fine in own:
        count = slices.setdefault(min(int((x(at) - _LEFT) // 4), _PLOT // 4 - 1), [0, 0])
        count[0 if fine else 1] += 1
    highest = max(sum(count) for count in slices.values())
    parts = [
        f'<text class="title" x="{_LEFT - 10}" y="{top + 10}" text-anchor="end">requests</text>',
        f'<text x="{_LEFT - 10}" y="{top + 25}" text-anchor="end">by a client meanwhile</text>',
    ]
    for index, (good, bad) in sorted(slices.items()):
        here = _LEFT + 4 * index
        tall = (bottom - top) * (good + bad) / highest
        parts.append(
            f'<rect class="okay" x="{here}" y="{bottom - tall:.1f}" width="3" height="{tall:.1f}"><title>{good} fine</title></rect>'
        )
        if bad:
            tall = max(5.0, (bottom - top) * bad / highest)
            parts.append(
                f'<rect class="error" x="{here}" y="{bottom - tall:.1f}" width="3" height="{tall:.1f}">'
                f"<title>{bad} failed</title></rect>"
            )
    return "".join(parts)


def _tables(story: Story) -> str:
    parts = []
    if story.failures:
        rows = "".join(
            f"<tr><td><code>{escape(str(item.get('instance_id') or '-'))}</code></td><td>{escape(str(item.get('reason', '')))}</td></tr>"
            for item in story.failures
        )
        parts.append(
            f"<details open><summary>Failures</summary><table><tr><th>instance<th>reason</tr>{rows}</table></details>"
        )
    if story.replaced:
        rows = "".join(
            f"<tr><td><code>{escape(str(pair['old']))}</code></td><td><code>{escape(str(pair['new']))}</code></td>"
            f'<td class="n">{float(pair["seconds"]):.0f} s</td></tr>'
            for pair in story.replaced
        )
        parts.append(
            f'<details><summary>Replaced</summary><table><tr><th>old<th>new<th class="n">launch to hand-over</tr>{rows}</table></details>'
        )
    if story.calls:
        rows = "".join(
            f'<tr><td>{escape(name)}</td><td class="n">{count}</td></tr>' for name, count in sorted(story.calls.items())
        )
        parts.append(
            f'<details><summary>API calls</summary><table><tr><th>operation<th class="n">calls</tr>{rows}</table></details>'
        )
    return "".join(parts)


def _ticks(length: float) -> list[tuple[float, str]]:
    """Some six round moments of a time axis."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
    step = next((step for step in steps if length / step <= 9), steps[-1])
    return [(at, _span(at)) for at in range(0, int(length) + 1, step)]


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{whole // 60} min" if whole % 60 == 0 else f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def _short(name: str) -> str:
    return name if len(name) <= 21 else f"{name[:4]}…{name[-12:]}"
