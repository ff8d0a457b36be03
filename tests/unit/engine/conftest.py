# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's unit tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from conversion.settings import Settings, load

SAMPLES = Path(__file__).resolve().parents[3] / "engine" / "samples"


@pytest.fixture
def samples() -> Path:
    return SAMPLES


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine to its end, within 30 s."""

    async def bounded(work: Coroutine[Any, Any, Any]) -> Any:
        async with asyncio.timeout(30):
            return await work

    return lambda work: asyncio.run(bounded(work))


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings with some changed, by their names in the environment."""

    def make(**changes: object) -> Settings:
        env = {"WORK_DIR": tmp_path, "LISTEN_PORT": 0, "WAIT": 0.3, "LAME_DUCK": 0, **changes}
        return load({f"CONVERSION_{name}": str(value) for name, value in env.items()}, port=8080)

    return make


@pytest.fixture
def plain_options() -> Callable[..., dict[str, float | str]]:
    """Options of a conversion with nothing special about it."""

    def make(source: str, output: str) -> dict[str, float | str]:
        up = {"glb": "y"}
        made: dict[str, float | str] = {
            "up": up.get(source, "z"),
            "output_up": up.get(output, "z"),
            "storage": "binary",
        }
        return made | ({"deflection": 0.1, "angle": 15.0} if source == "step" else {})

    return make
