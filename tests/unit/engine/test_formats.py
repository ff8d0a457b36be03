# SPDX-License-Identifier: GPL-3.0-or-later
"""What converts to what."""

from __future__ import annotations

import pytest

from conversion import formats
from conversion.errors import InputError


def test_pairs() -> None:
    assert [form.name for form in formats.pair("STEP", "Stl")] == ["step", "stl"]
    assert formats.pair("glb", "glb")[1].media_type == "model/gltf-binary"


@pytest.mark.parametrize(
    ("source", "output", "words"),
    [("dwg", "stl", "one of step, stl, obj, ply, glb"), ("stl", "dwg", "one of"), ("stl", "step", "exact surfaces"),
     ("x" * 500, "stl", "'" + "x" * 32 + "'")],
)  # fmt: skip
def test_no_such_pair(source: str, output: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        formats.pair(source, output)
    assert refusal.value.status == 400


def test_options_have_defaults_and_bounds() -> None:
    step, mesh = formats.FORMATS["step"], formats.FORMATS["stl"]
    assert formats.options(step, {}) == {"deflection": 0.1, "angle": 15.0}
    assert formats.options(step, {"angle": "60"})["angle"] == 60.0
    assert formats.options(mesh, {}) == {}
    for given in ({"angle": "60.1"}, {"angle": "nan"}, {"angle": ""}, {"deflection": "0"}, {"color": "red"}):
        with pytest.raises(InputError):
            formats.options(step, given)
    with pytest.raises(InputError, match="triangles already"):
        formats.options(mesh, {"angle": "5"})


def test_cache_key_names_the_whole_conversion() -> None:
    base = ("aa", "step", "stl", {"deflection": 0.1, "angle": 15.0})
    others = [
        ("ab", *base[1:]),
        (*base[:2], "obj", base[3]),
        (*base[:3], {"deflection": 0.2, "angle": 15.0}),
    ]
    keys = {formats.cache_key(*one) for one in (base, *others)}
    assert len(keys) == 4
    assert formats.cache_key("aa", "step", "stl", {"angle": 15.0, "deflection": 0.1}) == formats.cache_key(*base)
    assert all(key.startswith("conversion:") for key in keys)  # what Redis's ACL lets us touch


@pytest.mark.parametrize(
    ("form", "head", "good"),
    [("step", b"ISO-10303-21;", True), ("step", b"\xef\xbb\xbf\r\n ISO-10303-21;", True), ("step", b"solid", False),
     ("glb", b"glTF\2\0\0\0", True), ("glb", b"{}", False), ("ply", b"ply\n", True), ("ply", b"", False),
     ("stl", b"anything", True), ("obj", b"anything", True)],
)  # fmt: skip
def test_first_bytes(form: str, head: bytes, good: bool) -> None:
    if good:
        formats.check_head(formats.FORMATS[form], head)
    else:
        with pytest.raises(InputError) as refusal:
            formats.check_head(formats.FORMATS[form], head)
        assert refusal.value.status == 422
