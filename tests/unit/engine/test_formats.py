# SPDX-License-Identifier: GPL-3.0-or-later
"""What converts to what."""

from __future__ import annotations

import pytest

from conversion import CONVERTER_REVISION, __version__, formats
from conversion.errors import InputError


def test_pairs() -> None:
    assert [form.name for form in formats.pair("STEP", "Stl")] == ["step", "stl"]
    assert [form.name for form in formats.pair("stp", "brep")] == ["step", "brep"]
    assert [form.name for form in formats.pair("igs", "3mf")] == ["iges", "3mf"]
    assert formats.pair("glb", "glb")[1].media_type == "model/gltf-binary"


@pytest.mark.parametrize(
    ("source", "output", "words"),
    [("dwg", "stl", "one of step, iges, brep, stl, obj, ply, glb, gltf, 3mf, off"), ("stl", "dwg", "one of"),
     ("stl", "step", "exact surfaces"), ("3mf", "brep", "exact surfaces"), ("stl", "off", "Nothing converts to OFF"),
     ("step", "iges", "Nothing converts to IGES"), ("x" * 500, "stl", "'" + "x" * 32 + "'")],
)  # fmt: skip
def test_no_such_pair(source: str, output: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        formats.pair(source, output)
    assert refusal.value.status == 400


def chosen(source: str, output: str, **given: str) -> dict[str, formats.Option]:
    return formats.options(formats.FORMATS[source], formats.RESULTS[output], given)


def test_options_have_defaults() -> None:
    assert chosen("step", "stl") == {
        "up": "z", "relative_deflection": 0.0005, "angle": 15.0, "output_up": "z", "storage": "binary",
    }  # fmt: skip
    assert chosen("glb", "obj") == {"up": "y", "output_up": "z"}
    assert chosen("stl", "glb", units="IN") == {"units": "in", "up": "z", "output_up": "y"}
    assert chosen("step", "brep") == {"up": "z", "output_up": "z"}
    assert chosen("step", "volume") == {"up": "z", "output_unit": "mm3"}
    assert chosen("stl", "mass", material_density="7850")["output_unit"] == "kg"
    assert chosen("step", "png")["background"] == "ffffff"


def test_an_absolute_deflection_takes_the_place_of_the_relative_one() -> None:
    found = chosen("step", "stl", deflection="0.02")
    assert found["deflection"] == 0.02
    assert "relative_deflection" not in found


@pytest.mark.parametrize(
    ("source", "output", "given", "words"),
    [
        ("step", "stl", {"angle": "60.1"}, "from 1 to 60"),
        ("step", "stl", {"angle": "nan"}, "from 1 to 60"),
        ("step", "stl", {"angle": ""}, "from 1 to 60"),
        ("step", "stl", {"deflection": "0"}, "from 1e-06 to 1000"),
        ("step", "stl", {"deflection": "1", "relative_deflection": "0.1"}, "exclude each other"),
        ("step", "stl", {"units": "furlong"}, "one of mm, cm, m, in, ft, yd"),
        ("step", "stl", {"up": "x"}, "one of y, z"),
        ("step", "stl", {"defelction": "1"}, "'defelction' is unknown: did you mean deflection"),
        ("stl", "obj", {"unit": "in"}, "did you mean units"),
        ("stl", "obj", {"output-unit": "in"}, "did you mean output_units"),
        ("stl", "obj", {"angle": "5"}, "'angle' is unknown for STL, which holds triangles already"),
        ("stl", "obj", {"storage": "ascii"}, "'storage' is unknown for results in OBJ"),
        ("step", "brep", {"angle": "5"}, "'angle' is unknown for results in BREP"),
        ("step", "mass", {}, "material_density is missing"),
        ("step", "volume", {"output_unit": "kg"}, "one of mm3"),
        ("step", "png", {"width": "5000"}, "whole number from 16 to 2048"),
        ("step", "png", {"width": "99.5"}, "whole number"),
        ("step", "png", {"background": "red"}, "six hexadecimal digits"),
        ("step", "png", {"view": "below"}, "one of iso, front, top, right"),
        ("step", "png", {"x" * 99: ""}, "'x{32}' is unknown"),
    ],
)
def test_wrong_options_are_told(source: str, output: str, given: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        chosen(source, output, **given)
    assert refusal.value.status == 400


def test_what_an_operation_is_called() -> None:
    names = {name: formats.operation_type(form) for name, form in formats.RESULTS.items()}
    assert (names["stl"], names["png"]) == ("file_conversion", "file_preview")
    assert (names["mass"], names["center-of-mass"]) == ("file_mass", "file_center_of_mass")


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
    assert all(f":{__version__}.{CONVERTER_REVISION}:" in key for key in keys)


@pytest.mark.parametrize(
    ("form", "head", "good"),
    [("step", b"ISO-10303-21;", True), ("step", b"\xef\xbb\xbf\r\n ISO-10303-21;", True), ("step", b"solid", False),
     ("glb", b"glTF\2\0\0\0", True), ("glb", b"{}", False), ("ply", b"ply\n", True), ("ply", b"", False),
     ("stl", b"anything", True), ("obj", b"anything", True), ("3mf", b"PK", True), ("3mf", b"{", False),
     ("gltf", b" {", True), ("gltf", b"glTF", False), ("brep", b"\nDBRep_DrawableShape", True), ("brep", b"solid", False)],
)  # fmt: skip
def test_first_bytes(form: str, head: bytes, good: bool) -> None:
    if good:
        formats.check_head(formats.FORMATS[form], head)
    else:
        with pytest.raises(InputError) as refusal:
            formats.check_head(formats.FORMATS[form], head)
        assert refusal.value.status == 422
