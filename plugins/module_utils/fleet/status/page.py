# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status as one HTML page: picture, a part for each service, certificates. No script, nothing beside it, dark and light. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from time import gmtime, strftime
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet.status import picture
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.lines import headline, why_ill
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import (
    Certificate,
    FleetStatus,
    Host,
    Status,
)

_STYLE: Final = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#566475;--line:#ccd4dd;--band:#e9eef6;--data:#f3f0fb;
--arrow:#8796a8;--good:#20764a;--goodsoft:#e8f6ef;--late:#8f5500;--latesoft:#fdf3e0;--bad:#c62f2f;--badsoft:#fdecec;--focus:#2c7be5}
@media (prefers-color-scheme:dark){:root{--page:#11161d;--card:#19212b;--ink:#e6ebf1;--soft:#9aa8b8;--line:#354250;--band:#202b39;--data:#231f33;
--arrow:#6f7e90;--good:#58c48d;--goodsoft:#17332a;--late:#e5a84a;--latesoft:#36290f;--bad:#ff7b7b;--badsoft:#3a1f23;--focus:#5b9df5}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1320px;margin:0 auto;padding:28px 18px 60px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px}h2{font-size:18px;margin:0}
p{margin:0}.soft{color:var(--soft)}
.verdict{border-left:4px solid var(--good);background:var(--goodsoft);padding:12px 16px;border-radius:8px;margin:14px 0;overflow-wrap:anywhere}
.verdict.bad,.why{border-color:var(--bad);background:var(--badsoft)}
.picture{overflow-x:auto;background:var(--page);border:1px solid var(--line);border-radius:14px;padding:10px}
.picture svg{display:block;margin:0 auto;max-width:none}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:10px 2px;color:var(--soft);font-size:13px}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:14px;margin-top:18px}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:16px 18px;min-width:0}
section:target{outline:3px solid var(--focus)}section.wide{margin-top:18px}
.head{display:flex;gap:10px;align-items:center;flex-wrap:wrap;margin-bottom:6px}
.badge{font-size:13px;font-weight:600;padding:1px 10px;border-radius:99px;background:var(--goodsoft);color:var(--good)}
.badge.late{background:var(--latesoft);color:var(--late)}.badge.bad{background:var(--badsoft);color:var(--bad)}
.why{border-left:4px solid var(--bad);padding:8px 12px;border-radius:8px;margin:8px 0;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;margin:8px 0 0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
details{margin-top:10px}summary{cursor:pointer;color:var(--soft)}a{color:inherit}
:focus-visible{outline:3px solid var(--focus);outline-offset:2px;border-radius:6px}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:13.5px;width:100%}th{text-align:left;color:var(--soft);font-weight:500}
td,th{padding:4px 12px 4px 0;border-bottom:1px solid var(--line);vertical-align:top}code{font:12.5px ui-monospace,Menlo,Consolas,monospace}
@media (max-width:560px){main{padding:18px 10px 40px}section{padding:14px}td,th{padding-right:8px}}
"""
_LEGEND: Final = (
    ("good", "in service"),
    ("late", "in service, behind"),
    ("bad", "not well"),
    ("line", "on its way out"),
)


def render(status: FleetStatus) -> str:
    """The page."""
    title = escape(f"Fleet {status.name}")
    legend = "".join(f'<span><i style="background:var(--{name})"></i>{label}</span>' for name, label in _LEGEND)
    drawn = (
        f'<div class="picture" tabindex="0" role="region" aria-label="Picture of the fleet">{picture.draw(status)}</div>'
        f'<div class="legend">{legend}</div>'
        if status.services
        else ""
    )
    cards = "".join(map(_card, status.services))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}{picture.STYLE}</style></head><body><main><h1>{title}</h1>"
        f'<p class="verdict{"" if status.well else " bad"}">{escape(headline(status))}.</p>'
        f'{drawn}<div class="cards">{cards}</div>{_certificates(status.certificates)}{_unknown(status.unknown)}</main></body></html>\n'
    )


def _card(one: Status) -> str:
    badges = [("bad", "not well") if one.ill else ("", "well")]
    if one.behind:
        badges.append(("late", f"{one.behind} behind"))
    if one.roll.state == "under way":
        badges.append(("late", "roll under way"))
    shown = "".join(f'<span class="badge {kind}">{escape(text)}</span>' for kind, text in badges)
    why = "".join(f'<p class="why">{escape(words)}</p>' for words in why_ill(one))
    facts = "".join(f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in _facts(one) if value)
    return (
        f'<section id="{escape(picture.anchor(one.service))}"><div class="head"><h2>{escape(one.service)}</h2>{shown}</div>'
        f"{why}<dl>{facts}</dl>{_hosts(one.hosts)}</section>"
    )


def _facts(one: Status) -> Iterable[tuple[str, str]]:
    yield "version", one.version
    if one.group:
        yield "in service", f"{one.in_service} of {one.desired} (min {one.min}, max {one.max})"
        yield "group", one.group
        yield "runs", one.template
        yield "image", f"{one.image} {one.image_name}".strip()
        yield "roll", one.roll.words
        yield "zones", ", ".join(f"{zone}: {count}" for zone, count in one.zones.items())
    yield "sizes", "; ".join(one.scaling)
    yield "uses", ", ".join(one.uses)


def _hosts(hosts: tuple[Host, ...]) -> str:
    if not hosts:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(host.id)}</code></td><td>{escape(host.zone)}</td><td>{escape(host.state)}</td>"
        f"<td>{escape(host.version or '-')}</td><td>{escape(host.why or ('behind: ' + host.behind if host.behind else 'well'))}</td></tr>"
        for host in hosts
    )
    return (
        f"<details><summary>{len(hosts)} {'host' if len(hosts) == 1 else 'hosts'}</summary>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Hosts"><table><tr><th>host<th>zone<th>state<th>version<th>how it is</tr>'
        f"{rows}</table></div></details>"
    )


def _certificates(certificates: tuple[Certificate, ...]) -> str:
    if not certificates:
        return ""
    rows = "".join(
        f"<tr><td>{escape(one.name)}</td><td>{strftime('%Y-%m-%d', gmtime(one.ends))}</td>"
        f'<td><span class="badge{" bad" if one.words else ""}">{f"{one.days} days" if one.days >= 0 else "ended"}</span></td></tr>'
        for one in certificates
    )
    return (
        '<section class="wide" id="certificates"><h2>Certificates</h2><div class="scroll"><table>'
        f"<tr><th>what<th>ends<th>left</tr>{rows}</table></div></section>"
    )


def _unknown(unknown: tuple[str, ...]) -> str:
    said = "".join(f"<li>{escape(words)}</li>" for words in unknown)
    return f'<section class="wide" id="unknown"><h2>Not known</h2><ul>{said}</ul></section>' if said else ""
