# SPDX-License-Identifier: GPL-3.0-or-later
"""The page at /: plain HTML, CSS and JavaScript, filled in with the formats that there are. Nothing of it comes from elsewhere."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from aiohttp import web

from ... import formats

_TYPES = {"css": "text/css", "js": "text/javascript", "html": "text/html"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def render(*, keys: bool) -> str:
    """The page; `keys`: whether the API asks for one."""
    outputs = "".join(
        f'<option value="{name}" data-exact="{"yes" if name in formats.EXACT_OUTPUTS else "no"}">{escape(formats.FORMATS[name].label)}</option>'
        for name in formats.OUTPUT_FORMATS
    )
    values = {
        "accept": ",".join(f".{name}" for name in (*formats.FORMATS, *formats.ALIASES)),
        "labels": ", ".join(escape(form.label) for form in formats.FORMATS.values()),
        "outputs": outputs,
        "units": "".join(f"<option>{unit}</option>" for unit in formats.LENGTHS),
        "keys": " open" if keys else "",
    }
    text = _file("index.html")
    for name, value in values.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def routes(*, keys: bool) -> list[web.RouteDef]:
    """The page and its parts, read once."""
    parts = {"/": ("html", render(keys=keys))}
    parts |= {f"/page/{name}": (name.rpartition(".")[2], _file(name)) for name in ("page.css", "page.js", "viewer.js")}

    def serve(path: str, kind: str, text: str) -> web.RouteDef:
        async def handler(_: web.Request) -> web.Response:
            return web.Response(text=text, content_type=_TYPES[kind], charset="utf-8", headers=_HEADERS)

        return web.get(path, handler)

    return [serve(path, *part) for path, part in parts.items()]
