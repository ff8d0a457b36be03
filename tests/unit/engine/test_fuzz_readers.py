# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that were cut, flipped and shuffled: each is converted or refused with a sentence, and the next one is converted."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conversion.operation import Operation
from conversion.worker.pool import Limits, Pool

Run = Callable[[Any], Any]
TIMES = 40


def spoiled(data: bytes, chance: random.Random) -> bytes:
    """The file after some accidents of the kinds that a disk, a network and an attacker make."""
    spoilt = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if not spoilt:
            break
        at, size = chance.randrange(len(spoilt)), chance.choice((1, 4, 32, 500))
        match chance.randrange(7):
            case 0:
                del spoilt[at:]
            case 1:
                del spoilt[at : at + size]
            case 2:
                spoilt[at : at + size] = chance.randbytes(size)
            case 3:
                spoilt[at:at] = spoilt[at : at + size] * chance.randint(1, 50)
            case 4:
                spoilt[at : at + 4] = chance.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f")
                )
            case 5:
                spoilt[at : at + 3] = chance.choice((b"1e9", b"nan", b"-1 ", b"inf", b"#1=", b"()("))
            case _:
                other = chance.randrange(len(spoilt))
                spoilt[at : at + size], spoilt[other : other + size] = (
                    spoilt[other : other + size],
                    spoilt[at : at + size],
                )
    return bytes(spoilt)


@pytest.mark.parametrize("form", ["stl", "obj", "ply", "glb", "step"])
def test_spoiled_files_end_in_a_result_or_a_sentence(
    run: Run, plain_options: Any, samples: Path, tmp_path: Path, form: str
) -> None:
    chance = random.Random(f"reader of {form}")
    data = (samples / f"box.{form}").read_bytes()
    ends: dict[str, int] = {}

    async def story() -> None:
        pool = Pool(Limits(5, 512 << 20, 64 << 20))
        try:
            for number in range(TIMES):
                directory = tmp_path / str(number)
                directory.mkdir()
                source = directory / f"source.{form}"
                source.write_bytes(spoiled(data, chance))
                operation = Operation("x", form, "obj", 1.0, "k", 1, options=plain_options(form, "obj"))
                outcome = await pool.convert(operation, directory, source)
                end = "result" if outcome.result else "error" if outcome.error else "crash"
                ends[end] = ends.get(end, 0) + 1
                if outcome.error:
                    assert outcome.error.endswith("."), outcome
                    assert "\n" not in outcome.error
                    assert str(tmp_path) not in outcome.error, "a path of the server is told"
                # C++ may die of a file, which is why it runs in a process of its own; code of ours may not
                assert end != "crash" or (form == "step" and "ended with SIG" in str(outcome.crash)), outcome
            assert ends.get("error"), ends
        finally:
            await pool.close()

    run(story())
