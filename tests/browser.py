# SPDX-License-Identifier: GPL-3.0-or-later
"""A real browser for the tests: Debian's chromium without a window, driven over two pipes, with no way to any network but loopback."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PROGRAM = "chromium"
SECONDS = 60.0  # for any answer: a machine may be busy
# The browser is told what to do on its descriptor 3, and answers on 4.
_BECOME = """
import fcntl, os, sys
told, answers = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(told, 3)
os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserError(AssertionError):
    """What the browser did not do."""


class Browser:
    """One page. Methods are those of the Chrome DevTools Protocol: https://chromedevtools.github.io/devtools-protocol/"""

    def __init__(self, out: int, into: int) -> None:
        self._out, self._into = out, into
        self._rest = b""
        self._number = 0
        self._session = ""
        self.said: list[dict[str, Any]] = []  # events so far
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, /, **params: Any) -> dict[str, Any]:
        """Do something, and the answer. Raises BrowserError."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.said.append(answer)

    def _next(self, deadline: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, dummy, dummy = select.select([self._into], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise BrowserError(f"{PROGRAM} did not answer {method} in {SECONDS:g} s")
            got = os.read(self._into, 65536)
            if not got:
                raise BrowserError(f"{PROGRAM} ended while it was asked for {method}")
            self._rest += got
        line, dummy, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def open(
        self, path: Path, *, width: int = 1200, height: int = 900, dark: bool = False, phone: bool = False
    ) -> None:
        """Show a file."""
        self.visit(path.resolve().as_uri(), width=width, height=height, dark=dark, phone=phone)

    def visit(self, url: str, *, width: int = 1200, height: int = 900, dark: bool = False, phone: bool = False) -> None:
        """Show what is at an address: of a file, or of a server on loopback."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.said.clear()
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + SECONDS
        while not self.evaluate("document.readyState === 'complete' && location.href !== 'about:blank'"):
            if time.monotonic() > deadline:
                raise BrowserError(f"{url} never loaded")
            time.sleep(0.05)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """The value of an expression as soon as it is true."""
        deadline = time.monotonic() + 2 * SECONDS
        while not (value := self.evaluate(expression)):
            if time.monotonic() > deadline:
                raise BrowserError(
                    f"{expression} never became true; the page says: {self.evaluate('document.body.innerText')}"
                )
            time.sleep(0.1)
        return value

    def choose(self, selector: str, path: Path) -> None:
        """Put a file into an input."""
        document = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def press(self, key: str) -> None:
        """A key: Tab, Enter, ArrowLeft."""
        code = {"Tab": 9, "Enter": 13, "ArrowLeft": 37}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    def picture(self, path: Path) -> bytes:
        """A screenshot of the whole page, as PNG."""
        data = b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"])
        path.write_bytes(data)
        return data

    def complaints(self) -> list[str]:
        """What the browser found wrong with the page, and what the page tried to fetch beside its own file."""
        self.call("Runtime.evaluate", expression="0")
        found = []
        for event in self.said:
            params = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"].get("text")))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
            elif event["method"] == "Network.requestWillBeSent" and params.get("type") != "Document":
                found.append(f"fetches {params['request']['url'][:200]}")
        return found


@contextmanager
def browser(profile: Path, *more: str) -> Iterator[Browser]:
    """A browser with a profile of its own and `more` arguments; it ends with all that it started."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise BrowserError(f"{PROGRAM} is not on this machine: make setup installs it (apt-get install {PROGRAM})")
    to_browser, out = os.pipe()
    into, from_browser = os.pipe()
    argv = [
        program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--force-color-profile=srgb", "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={profile}", *more, "about:blank",
    ]  # fmt: skip
    log = profile.with_suffix(".log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _BECOME, str(to_browser), str(from_browser), *argv],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, "HOME": str(profile.parent)},
        )
    os.close(to_browser)
    os.close(from_browser)
    try:
        try:
            made = Browser(out, into)
        except BrowserError as exc:
            raise BrowserError(f"{exc}: {log.read_text(errors='replace')[-2000:]}") from exc
        yield made
    finally:
        os.close(out)
        os.close(into)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
