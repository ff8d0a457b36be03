# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of the API, with the standard library alone.

    python -m conversion.client convert bracket.step --to stl --url http://127.0.0.1:8080 --out converted
    python -m conversion.client load --url https://api.example.org --cacert ca.pem --seconds 60 --out samples.jsonl

The key, where the API wants one, is in the environment: CONVERSION_KEY. A refusal for now (429) is asked again when it says.
`load` converts without pause and checks every result. It writes one JSON line a request (time: unix seconds of its start, ok,
status, ms, src_format, output_format, engine, error) and at its end a summary. It ends after --seconds, or as soon as
the file of --until is there, or on Ctrl-C. Its exit status is 0 when no request failed, and there was one.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import http.client
import itertools
import json
import os
import signal
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import SplitResult, urlencode, urlsplit

from .checks import CHECKED, BrokenError, triangles

FORMATS = ("step", "stl", "obj", "ply", "glb")


class ClientError(Exception):
    """One sentence about a request that did not give a valid result; `status` is the HTTP status, 0 without one."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Converted:
    """A checked result."""

    data: bytes
    triangles: int
    status: int
    engine: str | None
    cached: bool


class Client:
    """Speaks to one API. `timeout` is for a whole conversion, in seconds; `key` is by default that of the environment.

    `trust` checks the certificate of an https address; by default it is one of this machine's authorities that must have signed it.
    """

    def __init__(
        self,
        url: str,
        timeout: float = 60.0,
        pause: float = 0.2,
        key: str | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClientError(f"{url} is not an address: write it as http://host:port.")
        self._url: SplitResult = parts
        self._trust = (trust or ssl.create_default_context()) if parts.scheme == "https" else None
        self._timeout = timeout
        self._pause = pause
        self._retry_after = pause
        self._headers = {"Content-Type": "application/octet-stream"}
        if key := os.environ.get("CONVERSION_KEY", "") if key is None else key:
            self._headers["Authorization"] = f"Bearer {key}"

    def convert(
        self, data: bytes, src_format: str, output_format: str, options: dict[str, str] | None = None
    ) -> Converted:
        """Convert, wait for the end, check the result; ClientError when there is no valid one."""
        until = time.monotonic() + self._timeout
        query = f"?{urlencode(options)}" if options else ""
        path = f"/file/conversion/{src_format}/{output_format}{query}"
        while (answered := self._json("POST", path, data, until))[0] == 429 and time.monotonic() + 1 < until:
            time.sleep(max(self._pause, min(self._retry_after, until - time.monotonic() - 1)))
        status, answer = answered
        first = status
        while answer.get("status") in ("queued", "in_progress"):
            if time.monotonic() >= until:
                raise ClientError(
                    f"operation {answer['id']} is still {answer['status']} after {self._timeout:g} s", status
                )
            time.sleep(self._pause)
            status, answer = self._json("GET", f"/async/operations/{answer['id']}", None, until)
        if answer.get("status") != "completed":
            raise ClientError(str(answer.get("error") or f"HTTP {status} without a reason"), status)
        result = self._result(answer, until)
        try:
            count = triangles(result, output_format)
        except BrokenError as exc:
            raise ClientError(f"operation {answer['id']} gave a bad result: {exc}", status) from exc
        return Converted(result, count, first, answer.get("engine"), bool(answer.get("cached")))

    def _result(self, answer: dict[str, Any], until: float) -> bytes:
        outputs = answer.get("outputs")
        if not outputs:
            status, data = self._ask("GET", str(answer["output_url"]), None, until)
            if status != 200:
                raise ClientError(f"the result of {answer['id']} cannot be had: HTTP {status}", status)
            return data
        try:
            return base64.b64decode(next(iter(outputs.values())), validate=True)
        except (binascii.Error, ValueError) as exc:
            raise ClientError(f"the result of {answer['id']} is not base64: {exc}") from exc

    def _json(self, method: str, path: str, data: bytes | None, until: float) -> tuple[int, dict[str, Any]]:
        status, body = self._ask(method, path, data, until)
        try:
            answer = json.loads(body)
        except ValueError as exc:
            raise ClientError(f"HTTP {status} without JSON: {body[:80]!r}", status) from exc
        if not isinstance(answer, dict):
            raise ClientError(f"HTTP {status} with JSON that is no object", status)
        return status, answer

    def _ask(self, method: str, path: str, data: bytes | None, until: float) -> tuple[int, bytes]:
        host, port, seconds = str(self._url.hostname), self._url.port, max(0.1, until - time.monotonic())
        connection = (
            http.client.HTTPSConnection(host, port, timeout=seconds, context=self._trust)
            if self._trust
            else http.client.HTTPConnection(host, port, timeout=seconds)
        )
        try:
            connection.request(method, self._url.path.rstrip("/") + path, data, self._headers)
            response = connection.getresponse()
            after = response.headers.get("Retry-After", "")
            self._retry_after = float(after) if after.isdigit() else self._pause
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise ClientError(f"{self._url.netloc} did not answer: {exc or type(exc).__name__}") from exc
        finally:
            connection.close()


@dataclass(frozen=True)
class Sample:
    """A sample part and what it is to become."""

    src_format: str
    output_format: str
    data: bytes


def sample_files(directory: Path) -> list[Path]:
    """The sample parts of a directory, or of the checkout."""
    found = sorted(path for path in directory.glob("*.*") if path.suffix[1:] in FORMATS)
    if not found:
        raise ClientError(f"{directory} holds no sample part: name a directory that does with --samples")
    return found


def samples(directory: Path) -> Iterator[tuple[Sample, dict[str, str]]]:
    """All conversions of all sample parts, over and over. STEP gets a slightly other option each time round, so that
    it is really converted and not answered from the cache."""
    parts = [(path.suffix[1:], path.read_bytes()) for path in sample_files(directory)]
    for turn in itertools.count():
        for src_format, data in parts:
            for output_format in FORMATS[1:]:
                options = {"deflection": f"{0.1 + (turn % 9000) * 1e-5:.5f}"} if src_format == "step" else {}
                yield Sample(src_format, output_format, data), options


class Load:
    """Converts with some threads until told to stop, and keeps count."""

    def __init__(self, client: Client, source: Iterator[tuple[Sample, dict[str, str]]], out: TextIO | None) -> None:
        self._client = client
        self._source = source
        self._out = out
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._times: list[float] = []
        self._errors: Counter[str] = Counter()
        self._engines: Counter[str] = Counter()
        self._failed = 0
        self._began = time.time()

    def stop(self) -> None:
        """Begin no more requests."""
        self._stop.set()

    def run(self, concurrency: int, done: Callable[[], bool]) -> None:
        """Until `done`; requests that are under way are finished."""
        threads = [threading.Thread(target=self._loop) for _ in range(concurrency)]
        for thread in threads:
            thread.start()
        while not done() and not self._stop.is_set():
            self._stop.wait(0.1)
        self._stop.set()
        for thread in threads:
            thread.join()

    def _loop(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                sample, options = next(self._source)
            began, start = time.time(), time.monotonic()
            line: dict[str, Any] = {
                "time": round(began, 3),
                "src_format": sample.src_format,
                "output_format": sample.output_format,
            }
            try:
                got = self._client.convert(sample.data, sample.src_format, sample.output_format, options)
                line |= {"ok": True, "status": got.status, "engine": got.engine, "cached": got.cached, "error": None}
            except ClientError as exc:
                line |= {"ok": False, "status": exc.status, "engine": None, "cached": False, "error": str(exc)}
            line["ms"] = round((time.monotonic() - start) * 1000, 1)
            self._keep(line)
            if not line["ok"]:
                self._stop.wait(0.2)  # a server that is away is not helped by haste

    def _keep(self, line: dict[str, Any]) -> None:
        with self._lock:
            self._times.append(line["ms"])
            if not line["ok"]:
                self._failed += 1
                self._errors[line["error"]] += 1
            elif line["engine"]:
                self._engines[line["engine"]] += 1
            if self._out:
                self._out.write(json.dumps(line) + "\n")
                self._out.flush()

    def summary(self) -> dict[str, Any]:
        """Counts and milliseconds."""
        times = sorted(self._times)

        def percentile(share: float) -> float | None:
            return times[min(len(times) - 1, int(len(times) * share))] if times else None

        return {
            "requests": len(times),
            "failed": self._failed,
            "seconds": round(time.time() - self._began, 1),
            "p50_ms": percentile(0.5),
            "p95_ms": percentile(0.95),
            "p99_ms": percentile(0.99),
            "max_ms": times[-1] if times else None,
            "engines": dict(self._engines.most_common(50)),
            "errors": dict(self._errors.most_common(20)),
        }


def client(arguments: argparse.Namespace) -> Client:
    """The client that the command line says. ClientError for authorities that cannot be read."""
    trust = None
    if arguments.cacert:
        try:
            trust = ssl.create_default_context(cafile=arguments.cacert)
        except OSError as exc:  # ssl's own error is one
            reason = "it holds no certificate in PEM" if isinstance(exc, ssl.SSLError) else exc.strerror
            raise ClientError(f"{arguments.cacert} cannot be used: {reason}") from exc
    return Client(arguments.url, arguments.timeout, trust=trust)


def convert(arguments: argparse.Namespace) -> int:
    """Convert one file."""
    source: Path = arguments.file
    suffix = source.suffix[1:].lower()
    src_format = arguments.src_format or suffix
    try:
        data = source.read_bytes()
    except OSError as exc:
        raise ClientError(f"{source} cannot be read: {exc.strerror}") from exc
    options = dict(item.partition("=")[::2] for item in arguments.option)
    got = client(arguments).convert(data, src_format, arguments.to, options)
    target: Path = arguments.out / f"{source.stem}.{arguments.to}"
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        target.write_bytes(got.data)
    except OSError as exc:
        raise ClientError(f"{target} cannot be written: {exc.strerror}") from exc
    print(f"{target}: {got.triangles} triangles, {len(got.data)} bytes{', from the cache' if got.cached else ''}")
    return 0


def load(arguments: argparse.Namespace) -> int:
    """Convert without pause."""
    until = time.monotonic() + arguments.seconds
    stop_file: Path | None = arguments.until
    directory = arguments.samples or Path(__file__).resolve().parents[2] / "samples"
    out = arguments.out.open("w", encoding="utf-8") if arguments.out else None
    try:
        job = Load(client(arguments), samples(directory), out)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: job.stop())
        job.run(
            arguments.concurrency,
            lambda: time.monotonic() >= until or (stop_file is not None and stop_file.exists()),
        )
    finally:
        if out:
            out.close()
    summary = job.summary()
    text = json.dumps(summary, indent=2) + "\n"
    if arguments.summary:
        partial = arguments.summary.with_name(arguments.summary.name + ".part")
        partial.write_text(text, encoding="utf-8")
        partial.replace(arguments.summary)
    print(text, end="")
    return 0 if summary["requests"] and not summary["failed"] else 1


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="conversion.client", description="A client of the conversion API.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("convert", help="convert one file")
    one.add_argument("file", type=Path)
    one.add_argument("--to", required=True, choices=CHECKED)
    one.add_argument("--from", dest="src_format", help="default: by the file's name")
    one.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="such as deflection=0.05")
    one.add_argument("--out", type=Path, default=Path(), help="directory for the result (default: the current one)")
    many = commands.add_parser("load", help="convert sample parts without pause")
    many.add_argument("--seconds", type=float, default=60.0)
    many.add_argument("--until", type=Path, metavar="FILE", help="stop as soon as this file exists")
    many.add_argument("--concurrency", type=int, default=4)
    many.add_argument("--out", type=Path, metavar="FILE", help="one JSON line a request")
    many.add_argument("--summary", type=Path, metavar="FILE", help="the summary as JSON, also printed")
    many.add_argument("--samples", type=Path, metavar="DIRECTORY", help="default: engine/samples of the checkout")
    for command, run in ((one, convert), (many, load)):
        command.add_argument("--url", required=True, help="the API, as in http://127.0.0.1:8080")
        command.add_argument("--cacert", type=Path, metavar="FILE", help="authorities that certificates are checked by")
        command.add_argument("--timeout", type=float, default=60.0, help="seconds for one conversion (default 60)")
        command.set_defaults(run=run)
    arguments = parser.parse_args()
    try:
        return int(arguments.run(arguments))
    except (ClientError, OSError) as exc:
        print(f"conversion.client: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
