# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's judgement of results: it must not take a broken file for a good one."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion.checks import BrokenError, triangles

FORMATS = ("stl", "obj", "ply", "glb", "3mf")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("part", "count"), [("box", 12), ("bracket", 420)])
def test_counts_triangles(samples: Path, form: str, part: str, count: int) -> None:
    assert triangles((samples / f"{part}.{form}").read_bytes(), form) == count


def test_text_stl() -> None:
    text = b"solid x\nfacet normal 0 0 1\nouter loop\nendloop\nendfacet\nendsolid x\n"
    assert triangles(text, "stl") == 1


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("spoil", ["empty", "cut", "long", "text", "other"])
def test_refuses_what_is_broken(samples: Path, form: str, spoil: str) -> None:
    data = (samples / f"box.{form}").read_bytes()
    spoilt = {
        "empty": b"",
        "cut": data[: len(data) // 2],
        "long": data + b"\nf 1 2 99\n",
        "text": b'{"error": "The service made a mistake."}' * 5,
        "other": (samples / "box.step").read_bytes(),
    }[spoil]
    if (form, spoil) == ("3mf", "long"):
        spoilt = data.replace(b"3D/3dmodel.model", b"3D/3dmodel.other")  # a zip may begin and end as it likes
    if (form, spoil) == ("obj", "cut"):
        spoilt = data[: data.index(b"f ")]  # vertices alone
    with pytest.raises(BrokenError):
        triangles(spoilt, form)


def test_does_not_know_step(samples: Path) -> None:
    with pytest.raises(BrokenError):
        triangles((samples / "box.step").read_bytes(), "step")
