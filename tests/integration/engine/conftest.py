# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: a stack of its own for each test, and loads that end with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from conversion_stack import PASSWORD, ROOT, Load, Server, Stack, eventually


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """NATS and Redis are up; what a test starts ends with it."""
    made = Stack(tmp_path)
    try:
        made.nats.start()
        made.redis.start()
        yield made
    finally:
        for server in reversed(made.servers):
            server.stop()
    text = made.logs()
    assert "Traceback" not in text, text
    assert PASSWORD not in text


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[[Server], Load]]:
    """Starts loads; each ends with the test."""
    running: list[Load] = []

    def start(api: Server, concurrency: int = 4) -> Load:
        out, stop = tmp_path / f"load-{len(running)}.jsonl", tmp_path / f"load-{len(running)}.stop"
        process = subprocess.Popen(
            [sys.executable, "-m", "conversion.client", "load", "--url", f"http://127.0.0.1:{api.port}",
             "--seconds", "120", "--concurrency", str(concurrency), "--until", str(stop), "--out", str(out)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "engine" / "src")}, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        running.append(Load(process, out, stop))
        eventually(lambda: out.exists() and out.stat().st_size > 0)
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(timeout=20)
