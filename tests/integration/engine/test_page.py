# SPDX-License-Identifier: GPL-3.0-or-later
"""The page at / in a real browser: drop, see, numbers, convert, download; by keyboard, on a phone, in the dark."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conversion_stack import SAMPLES, TORUS, Server, Stack, eventually, request

from conversion.api.keys import made as made_key
from conversion.checks import triangles
from tests.browser import Browser, browser

DRAWS = ("--enable-unsafe-swiftshader", "--use-angle=swiftshader")  # WebGL without a GPU
READY = "document.getElementById('state').textContent.endsWith(%s)"


@pytest.fixture
def api(stack: Stack) -> Server:
    made = stack.service("api", NATS_URL="", REDIS_URL="", WAIT=1, JOB_SECONDS=120)
    made.argv.append("--standalone")
    made.start()
    eventually(lambda: made.ready)
    return made


@pytest.fixture
def page(tmp_path: Path, api: Server) -> Iterator[Browser]:
    with browser(tmp_path / "profile", *DRAWS) as found:
        found.visit(f"http://127.0.0.1:{api.port}/")
        yield found


def shown(page: Browser, name: str) -> str:
    return str(page.evaluate(f"document.getElementById('{name}').innerText"))


def drop(page: Browser, path: Path, name: str = "") -> None:
    """As a person drops a file onto the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    page.evaluate(
        f"(() => {{ const d = new DataTransfer(); const b = Uint8Array.from(atob('{data}'), c => c.charCodeAt(0));"
        f"d.items.add(new File([b], {json.dumps(name or path.name)}));"
        "document.getElementById('drop').dispatchEvent(new DragEvent('drop', {dataTransfer: d, bubbles: true, cancelable: true})); })()"
    )


def ready(page: Browser, words: str) -> None:
    page.until(READY % json.dumps(words))


def foreign(page: Browser, api: Server) -> list[str]:
    """What the browser found wrong, beside what the page asks its own server for."""
    own = (f"fetches http://127.0.0.1:{api.port}/", "fetches blob:", "fetches data:")
    # That drawing without a GPU is slow is no fault of the page
    return [one for one in page.complaints() if not one.startswith(own) and "ReadPixels" not in one]


def test_drop_see_convert_and_download(page: Browser, api: Server, tmp_path: Path) -> None:
    drop(page, SAMPLES / "bracket.step")
    ready(page, "bracket.step is read.")
    assert shown(page, "name") == "bracket.step"
    assert "420" in shown(page, "statistics") and "mm³" in shown(page, "statistics")
    assert (
        page.evaluate("!document.getElementById('canvas').hidden && document.getElementById('canvas').viewer.count")
        == 420 * 3
    )

    def pixels() -> str:
        return hashlib.sha256(
            str(
                page.evaluate("(c => { c.viewer.draw(); return c.toDataURL(); })(document.getElementById('canvas'))")
            ).encode()
        ).hexdigest()

    seen = {pixels()}
    for view in ("front", "right", "top"):
        page.evaluate(f"document.querySelector('[data-view={view}]').click()")
        seen.add(pixels())
        assert page.evaluate(f"document.querySelector('[data-view={view}]').getAttribute('aria-pressed')") == "true"
    page.evaluate("document.getElementById('canvas').focus()")
    page.press("ArrowLeft")
    seen.add(pixels())
    assert len(seen) == 5
    page.picture(tmp_path / "seen.png")

    page.evaluate("document.getElementById('output').value = 'glb'")
    page.evaluate("document.querySelector('#convert button').click()")
    ready(page, "bracket.glb is ready.")
    assert page.evaluate("document.getElementById('download').download") == "bracket.glb"
    assert shown(page, "download").startswith("Download bracket.glb (")
    assert foreign(page, api) == []


def test_what_is_downloaded_is_the_result(page: Browser, api: Server, tmp_path: Path) -> None:
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "down"))
    page.choose("#file", SAMPLES / "box.stl")
    ready(page, "box.stl is read.")
    assert "taken as millimetres" in shown(page, "warnings")
    page.evaluate("document.getElementById('units').value = 'in'")
    page.evaluate("document.getElementById('output').value = 'ply'")
    page.evaluate("document.querySelector('#convert button').click()")
    ready(page, "box.ply is ready.")
    assert "millimetres" not in shown(page, "result_warnings")
    page.evaluate("document.getElementById('download').click()")
    target = tmp_path / "down" / "box.ply"
    eventually(lambda: target.exists() and target.stat().st_size > 0)
    assert triangles(target.read_bytes(), "ply") == 12
    # From triangles there is no way back to exact shapes
    assert page.evaluate(
        "[...document.getElementById('output').options].filter(o => o.disabled).map(o => o.value)"
    ) == ["step", "brep"]
    assert foreign(page, api) == []


def test_with_the_keyboard_alone(page: Browser) -> None:
    page.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    assert page.evaluate("getComputedStyle(document.getElementById('drop')).outlineStyle") == "solid"
    page.choose("#file", SAMPLES / "box.step")
    ready(page, "box.step is read.")
    reached = []
    for _ in range(14):
        page.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.dataset.view || document.activeElement.type"
            )
        )
        if reached[-1] == "submit":
            break
    assert reached == ["canvas", "iso", "front", "right", "top", "output", "units", "output_units", "submit"]
    page.press("Enter")
    ready(page, "box.stl is ready.")
    assert page.evaluate("document.activeElement.id") == "download"


def test_on_a_phone_and_in_the_dark(page: Browser, api: Server, tmp_path: Path) -> None:
    grounds = set()
    for dark, width, phone in ((False, 1200, False), (True, 1200, False), (True, 360, True)):
        page.visit(f"http://127.0.0.1:{api.port}/", width=width, dark=dark, phone=phone)
        drop(page, SAMPLES / "bracket.glb", "a_very_long_name_" * 8 + ".glb")
        ready(page, ".glb is read.")
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        small = (
            "[...document.querySelectorAll('button, select')].filter(b => b.offsetHeight && b.offsetHeight < 44).length"
        )
        assert page.evaluate(small) == 0
        page.picture(tmp_path / f"page-{width}-{dark}.png")
    assert len(grounds) == 2


def test_a_browser_that_cannot_draw_gets_pictures(api: Server, tmp_path: Path) -> None:
    with browser(tmp_path / "profile", "--disable-3d-apis") as page:
        page.visit(f"http://127.0.0.1:{api.port}/")
        drop(page, SAMPLES / "box.step")
        ready(page, "box.step is read.")
        assert page.evaluate("document.getElementById('canvas').hidden")
        first = page.until(
            "document.getElementById('picture').naturalWidth === 800 && document.getElementById('picture').src"
        )
        page.evaluate("document.querySelector('[data-view=top]').click()")
        page.until(f"document.getElementById('picture').src !== {json.dumps(first)}")
        assert page.evaluate("document.getElementById('picture').alt") == "box.step, top"
        assert foreign(page, api) == []


def test_refusals_are_said_in_the_service_s_words(page: Browser, tmp_path: Path) -> None:
    (tmp_path / "x.stl").write_bytes(bytes(100))
    for path, name, words in (
        (tmp_path / "x.stl", "", "STL file"),
        (tmp_path / "x.stl", "part.dwg", "part.dwg is of no known format: its name should end in one of .step, .iges"),
        (
            tmp_path / "x.stl",
            "<img src=x onerror=alert(1)>.doc",
            "<img src=x onerror=alert(1)>.doc is of no known format",
        ),
    ):
        drop(page, path, name)
        page.until(f"document.getElementById('error').textContent.includes({json.dumps(words)})")
        assert page.evaluate("document.getElementById('part').hidden && document.getElementById('going').hidden")


def test_progress_and_cancel(page: Browser, api: Server) -> None:
    page.choose("#file", SAMPLES / "box.stl")
    ready(page, "box.stl is read.")
    drop(page, TORUS)
    page.until("!document.getElementById('going').hidden")
    page.evaluate("document.getElementById('cancel').click()")
    page.until("document.getElementById('error').textContent === 'Cancelled.'")
    assert page.evaluate("document.getElementById('going').hidden")

    def over() -> bool:
        items = json.loads(api.get("/async/operations")[1])["items"]
        return all(one["status"] in ("completed", "cancelled", "failed") for one in items)

    eventually(over, 120)


def test_with_a_key(stack: Stack, tmp_path: Path) -> None:
    key, entry = made_key("acme")
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [json.loads(entry)]}))
    api = stack.service("api", NATS_URL="", REDIS_URL="", KEYS_FILE=tmp_path / "keys.json")
    api.argv.append("--standalone")
    api.start()
    eventually(lambda: api.ready)
    with browser(tmp_path / "profile") as page:
        page.visit(f"http://127.0.0.1:{api.port}/")
        assert page.evaluate("document.getElementById('keys').open")
        drop(page, SAMPLES / "box.step")
        page.until("document.getElementById('error').textContent.includes('key')")
        page.evaluate(f"document.getElementById('key').value = {json.dumps(key)}")
        drop(page, SAMPLES / "box.step")
        ready(page, "box.step is read.")
    assert key not in api.log.read_text()


def test_nothing_of_the_page_comes_from_elsewhere(api: Server) -> None:
    for path in ("/", "/page/page.css", "/page/page.js", "/page/viewer.js"):
        status, body = request(api.port, "GET", path)
        assert status == 200
        assert b"http" not in body
        assert b"{{" not in body
