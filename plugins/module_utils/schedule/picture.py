# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as a picture, SVG, and as a page around it: no script, nothing beside it, dark and light. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.schedule.plan import Plan, instances, window
from ansible_collections.boring.fleet.plugins.module_utils.schedule.values import Needs

_WIDE: Final = 1160
_LONGEST: Final = 40  # letters of a name
_LEFT, _RIGHT, _TOP, _TALL, _ROW = 56, 16, 18, 260, 24
_COLORS: Final = """
:root,svg{--page:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#566475;--line:#ccd4dd;--area:#cfe0fb;--edge:#1f6fe0;--event:#20764a;--lead:#a9d3bd;--focus:#2c7be5}
@media (prefers-color-scheme:dark){:root,svg{--page:#11161d;--card:#19212b;--ink:#e6ebf1;--soft:#9aa8b8;--line:#354250;--area:#223a5e;--edge:#6aa5ff;
--event:#58c48d;--lead:#2b5a45;--focus:#5b9df5}}
svg{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}svg text{fill:var(--ink)}svg .soft{fill:var(--soft)}
svg .grid{stroke:var(--line)}svg .area{fill:var(--area)}svg .edge{fill:none;stroke:var(--edge);stroke-width:2}svg .event{fill:var(--event)}
svg .lead{fill:var(--lead)}
"""
_STYLE: Final = """:root{color-scheme:light dark}*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1240px;margin:0 auto;padding:28px 18px 60px}h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:22px 0 6px}.soft{color:var(--soft)}
.picture,.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:14px;padding:12px}.picture svg{display:block;max-width:none}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:10px;margin:16px 0}dl div{background:var(--card);border:1px solid var(--line);
border-radius:12px;padding:10px 14px}dt{color:var(--soft)}dd{margin:0;font-size:20px}table{border-collapse:collapse;width:100%}
th{text-align:left;color:var(--soft);font-weight:500}td,th{padding:4px 12px 4px 0;border-bottom:1px solid var(--line)}td.n,th.n{text-align:right}
:focus-visible{outline:3px solid var(--focus);outline-offset:2px;border-radius:6px}
"""


def time_words(at: float) -> str:
    """A time for people."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"


def money(hours: float, price: float) -> str:
    """What hours of instances cost; hours where no price is known."""
    return f"{hours * price:,.2f}" if price else f"{hours:,.1f} instance hours"


def svg(plan: Plan, needs: Needs, group: str) -> str:
    """Capacity over time, and below it when each event is, with its lead."""
    tall = _TOP + _TALL + 30 + _ROW * len(plan.events) + 8
    top = max(plan.peak, plan.size.max if plan.size.max <= 2 * plan.peak else plan.peak)

    def x(at: float) -> float:
        share = (min(max(at, plan.start), plan.end) - plan.start) / (plan.end - plan.start)
        return round(_LEFT + share * (_WIDE - _LEFT - _RIGHT), 1)

    def y(count: float) -> float:
        return round(_TOP + _TALL * (1 - count / top), 1)

    points = [(x(at), y(step.min)) for begin, end, step in plan.spans() for at in (begin, end)]
    edge = " ".join(f"{a},{b}" for a, b in points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDE}" height="{tall}" viewBox="0 0 {_WIDE} {tall}" role="img" '
        f'aria-label="{escape(f"Planned capacity of {group}: from {min(s.min for s in plan.steps)} to {plan.peak} instances")}">',
        f"<style>{_COLORS}</style>",
        *(_level(count, y(count)) for count in _levels(top)),
        *(_day(at, x(at), tall) for at in _days(plan)),
        f'<polygon class="area" points="{x(plan.start)},{y(0)} {edge} {x(plan.end)},{y(0)}"/><polyline class="edge" points="{edge}"/>',
    ]
    for begin, end, step in plan.spans():
        if x(end) - x(begin) > 24:
            parts.append(
                f'<text x="{(x(begin) + x(end)) / 2:.1f}" y="{y(step.min) - 5}" text-anchor="middle">{step.min}</text>'
            )
    for row, event in enumerate(plan.events):
        begin, end = window(event, needs)
        line = _TOP + _TALL + 30 + _ROW * row
        shape = f'y="{line}" height="12" rx="3"'
        name = event.name if len(event.name) <= _LONGEST else event.name[: _LONGEST - 1] + "…"
        shown = f"{name}, load {event.load:g}: {instances(event.load, needs)} instances"
        at_right = x(end) > _WIDE - 430
        place = f'x="{x(begin) - 6}" text-anchor="end"' if at_right else f'x="{x(end) + 6}"'
        parts.append(
            f'<rect class="lead" x="{x(begin)}" width="{max(1.0, x(end) - x(begin)):.1f}" {shape}/>'
            f'<rect class="event" x="{x(event.start)}" width="{max(1.0, x(event.end) - x(event.start)):.1f}" {shape}/>'
            f'<text {place} y="{line + 10}">{escape(shown)}</text>'
        )
    return "".join(parts) + "</svg>"


def _levels(top: int) -> list[int]:
    step = next(size * 10**power for power in range(9) for size in (1, 2, 5) if top / (size * 10**power) <= 6)
    return list(range(0, top + 1, step))


def _level(count: int, at: float) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{at}" y2="{at}"/>'
        f'<text class="soft" x="{_LEFT - 8}" y="{at + 4}" text-anchor="end">{count}</text>'
    )


def _days(plan: Plan) -> list[float]:
    """Midnights, at most some twenty of them."""
    every = 86400 * max(1, round((plan.end - plan.start) / 86400 / 16))
    first = (plan.start // 86400 + 1) * 86400
    return (
        [first + number * every for number in range(int((plan.end - first) // every) + 1)] if plan.end > first else []
    )


def _day(at: float, x: float, tall: int) -> str:
    label = f'<text class="soft" x="{x + 4}" y="{_TOP + _TALL + 18}">{datetime.fromtimestamp(at, UTC):%d %b}</text>'
    line = f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{tall - 4}"/>'
    return line + (label if x < _WIDE - 60 else "")


def page(plan: Plan, needs: Needs, group: str, *, price: float, currency: str) -> str:
    """The picture, what it costs, and a table of events."""
    unit = f" {escape(currency)}" if price else ""
    facts = (
        ("planned", money(plan.hours(), price) + unit),
        ("without events", money(plan.hours_at(plan.size.min), price) + unit),
        ("at the peak all the time", money(plan.hours_at(plan.peak), price) + unit),
        ("most instances", str(plan.peak)),
    )
    rows = "".join(
        f"<tr><td>{escape(event.name)}</td><td>{time_words(window(event, needs)[0])}</td><td>{time_words(event.start)}</td>"
        f'<td>{time_words(event.end)}</td><td class="n">{event.load:g}</td><td class="n">{instances(event.load, needs)}</td></tr>'
        for event in plan.events
    )
    table = (
        '<h2>Events</h2><div class="scroll" tabindex="0" role="region" aria-label="Events"><table><tr><th>event<th>capacity from<th>begins<th>ends'
        f'<th class="n">load<th class="n">instances</tr>{rows}</table></div>'
        if rows
        else "<p>No event begins in this time.</p>"
    )
    title = escape(f"Capacity of {group}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_COLORS}{_STYLE}</style></head><body><main><h1>{title}</h1>"
        f'<p class="soft">{time_words(plan.start)} to {time_words(plan.end)} UTC; ordinary sizes: min {plan.size.min}, max {plan.size.max}, '
        f"desired {plan.size.desired}</p>"
        f"<dl>{''.join(f'<div><dt>{name}</dt><dd>{value}</dd></div>' for name, value in facts)}</dl>"
        f'<div class="picture" tabindex="0" role="region" aria-label="Planned capacity">{svg(plan, needs, group)}</div>{table}</main></body></html>\n'
    )
