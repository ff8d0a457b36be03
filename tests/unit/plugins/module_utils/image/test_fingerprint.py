# SPDX-License-Identifier: GPL-3.0-or-later
"""The fingerprint: what must change it does, what must not does not."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.image import fingerprint
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.fingerprint import Inputs

NAMES = st.text("abcdef-_.é ", min_size=1, max_size=8).filter(
    lambda name: name.strip(". ") and not name.endswith((".", " "))
)
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join),
    st.tuples(st.binary(min_size=1, max_size=40), st.sampled_from([0o644, 0o755, 0o600])),
    min_size=1,
    max_size=6,
).filter(lambda tree: not any(f"{name}/" in other for name in tree for other in tree if name != other))
VARIABLES = st.dictionaries(
    NAMES, st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.lists(st.text(max_size=3))), max_size=3
)


def write(root: Path, tree: dict[str, tuple[bytes, int]]) -> None:
    (root / "packer").mkdir(parents=True)
    (root / "packer" / "it.pkr.hcl").write_text("build {}\n")
    for name, (content, mode) in tree.items():
        path = root / "roles" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)


@contextmanager
def checkout(tree: dict[str, tuple[bytes, int]]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        write(Path(directory) / "here", tree)
        yield Path(directory) / "here"


def inputs_of(root: Path, *entries: str, **others: Any) -> Inputs:
    chosen = entries or ("roles",)
    return Inputs(files=fingerprint.collect(root / "packer", [f"{root}/{entry}" for entry in chosen]), **others)


@given(TREES, VARIABLES, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_times_order_place_and_umask_do_not_count(
    tree: dict[str, tuple[bytes, int]], variables: dict[str, Any], chance: random.Random
) -> None:
    with checkout(tree) as root:
        before = inputs_of(root, variables=variables).fingerprint()

        elsewhere = root.parent / "some where" / "else"
        shutil.copytree(root, elsewhere)
        paths = [path for path in elsewhere.rglob("*") if path.is_file()]
        for path in paths:
            os.utime(path, (chance.randrange(2**31), chance.randrange(2**31)))
            path.chmod(path.stat().st_mode | 0o022)  # what a umask of 0 leaves
        entries = [str(path.relative_to(elsewhere)) for path in paths if "roles" in path.parts]
        entries += ["roles", "roles/**", "roles/*"]
        chance.shuffle(entries)
        shuffled = dict(chance.sample(list(variables.items()), len(variables)))
        assert inputs_of(elsewhere, *entries, variables=shuffled).fingerprint() == before


@given(TREES, st.data())
@settings(max_examples=60, deadline=None)
def test_one_byte_one_bit_one_name_count(tree: dict[str, tuple[bytes, int]], data: st.DataObject) -> None:
    with checkout(tree) as root:
        before = inputs_of(root)
        victim = root / "roles" / data.draw(st.sampled_from(sorted(tree)))
        change = data.draw(st.sampled_from(["byte", "longer", "mode", "rename", "remove", "add"]))
        if change == "byte":
            content = bytearray(victim.read_bytes())
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            victim.write_bytes(content)
        elif change == "longer":
            victim.write_bytes(victim.read_bytes() + b"\n")
        elif change == "mode":
            victim.chmod(victim.stat().st_mode ^ 0o100)
        elif change == "rename":
            victim.rename(victim.with_name("quite another"))
        elif change == "remove":
            assume(len(tree) > 1)
            victim.unlink()
        else:
            (root / "roles" / "new file").write_text("x")
        after = inputs_of(root)
        assert after.fingerprint() != before.fingerprint()
        said = fingerprint.changes(before.digests(), after.digests())
        assert said, change
        assert all(line.startswith("roles/") for line in said), said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"variables": {"size": "9"}}, "variable size changed"),
        ({"variables": {}}, "variable size is gone"),
        ({"variables": {"size": "8", "more": True}}, "variable more is new"),
        ({"lock": fingerprint.File("0600", "b" * 64)}, "lock changed"),
        ({"source_images": {"amazon-ebs.cpu": "ami-2"}}, "source image of amazon-ebs.cpu changed"),
        ({"tools": {"packer": "1.12.1", "amazon": "1.8.1"}}, "version of packer changed"),
        ({"tools": {"packer": "1.12.0", "amazon": "1.8.2"}}, "version of amazon changed"),
        ({"var_files": (fingerprint.File("0600", "c" * 64),)}, "variables file 1 changed"),
    ],
)
def test_every_other_input_counts_and_is_named(change: dict[str, Any], said: str) -> None:
    before = Inputs(
        files={"it.pkr.hcl": fingerprint.File("0600", "0" * 64)},
        builds=("amazon-ebs.cpu",),
        var_files=(fingerprint.File("0600", "d" * 64),),
        variables={"size": "8"},
        lock=fingerprint.File("0600", "a" * 64),
        source_images={"amazon-ebs.cpu": "ami-1"},
        tools={"packer": "1.12.0", "amazon": "1.8.1"},
    )
    after = replace(before, **change)
    assert after.fingerprint() != before.fingerprint()
    assert fingerprint.changes(before.digests(), after.digests()) == [said]


def test_known_value() -> None:
    """Another algorithm would build every image of everybody again: it takes a new SCHEMA."""
    inputs = Inputs(files={"a": fingerprint.File("0600", "0" * 64)}, variables={"é": [1, None, {"b": "c"}]})
    assert inputs.document() == (
        '{"builds":[],"files":{"a":["0600","' + "0" * 64 + '"]},"lock":null,"schema":1,"source_images":{},"tools":{},'
        '"var_files":[],"variables":{"\\u00e9":[1,null,{"b":"c"}]}}'
    )
    assert inputs.fingerprint() == "68e185ec208d6340970d21355a78b81fb2a4450623272bc0ba9a87cf6b110135"


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=30),
        st.text("0123456789abcdef", min_size=6, max_size=6),
        min_size=1,
    )
)
def test_tags_hold_the_digests(digests: dict[str, str]) -> None:
    tags = fingerprint.to_tags(digests)
    assert fingerprint.from_tags({**tags, "Name": "other"}) == digests
    assert all(len(key) <= 128 and len(value) <= 256 and value.isascii() for key, value in tags.items())


def test_too_many_files_are_told_by_directory() -> None:
    chance = random.Random(1)
    names = [f"roles/r{number % 50}/files/{chance.getrandbits(64):x}.conf" for number in range(5000)]
    before = {name: f"{chance.getrandbits(24):06x}" for name in names}
    tags = fingerprint.to_tags(before)
    assert 0 < len(tags) <= 30
    after = {**before, names[7]: "ffffff"}
    assert fingerprint.changes(fingerprint.from_tags(tags), fingerprint.from_tags(fingerprint.to_tags(after))) == [
        "roles/r7/files changed"
    ]


@pytest.mark.parametrize(
    "tags", [{}, {"boring:inputs:0": "not base64!"}, {"boring:inputs:0": "AAAA"}, {"boring:inputs:1": "eA=="}]
)
def test_tags_that_say_nothing(tags: dict[str, str]) -> None:
    assert fingerprint.from_tags(tags) == {}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("roles/absent.yml", "the input .*absent.yml does not exist"),
        ("absent/**", r"the input .*absent/\*\* names no file"),
        ("hollow", "the input .*hollow names no file"),
        ("roles/empty", "the input .*empty is empty"),
    ],
)
def test_inputs_that_feed_nothing_are_refused(tmp_path: Path, entry: str, said: str) -> None:
    write(tmp_path / "it", {"main.yml": (b"x", 0o644)})
    (tmp_path / "it" / "hollow").mkdir()
    (tmp_path / "it" / "roles" / "empty").touch()
    with pytest.raises(ImageError, match=said):
        inputs_of(tmp_path / "it", "roles/main.yml", entry)


def test_no_inputs_at_all(tmp_path: Path) -> None:
    write(tmp_path / "it", {})
    with pytest.raises(ImageError, match="inputs is empty"):
        fingerprint.collect(tmp_path / "it" / "packer", [])


def test_variables_files_and_litter_of_the_template_do_not_count(tmp_path: Path) -> None:
    root = tmp_path / "it"
    write(root, {"main.yml": (b"x", 0o644)})
    before = inputs_of(root).fingerprint()
    for name in ("services/other.pkrvars.hcl", "packer_cache/x", "__pycache__/x.pyc", "crash.log", ".it.pkr.hcl.swp"):
        path = root / "packer" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert inputs_of(root).fingerprint() == before
    (root / "packer" / "it.auto.pkrvars.hcl").write_text('family = "x"')  # Packer reads this one by itself
    assert inputs_of(root).fingerprint() != before


def test_a_manifest_from_the_last_run_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, {"main.yml": (b"x", 0o644)})
    (tmp_path / "packer" / "out.json").write_text("{}")
    files = fingerprint.collect(tmp_path / "packer", [f"{tmp_path}/roles"], ignore=[tmp_path / "packer" / "out.json"])
    assert sorted(files) == ["../roles/main.yml", "it.pkr.hcl"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    write(tmp_path, {"a/main.yml": (b"x", 0o644)})
    (tmp_path / "roles" / "a" / "loop").symlink_to(tmp_path / "roles")
    (tmp_path / "roles" / "b.yml").symlink_to("a/main.yml")
    files = inputs_of(tmp_path).files
    assert files["../roles/b.yml"] == files["../roles/a/main.yml"]
    assert len(files) == 3


def test_a_checkout_behind_a_link_is_the_same(tmp_path: Path) -> None:
    write(tmp_path / "real", {"a.yml": (b"x", 0o644)})
    (tmp_path / "link").symlink_to("real")
    mixed = fingerprint.collect(tmp_path / "link" / "packer", [f"{tmp_path}/real/roles"])
    assert mixed == fingerprint.collect(tmp_path / "real" / "packer", [f"{tmp_path}/link/roles"])


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"a.yml": (b"x", 0o644)})
    (tmp_path / "roles" / "gone").symlink_to("nowhere")
    with pytest.raises(ImageError, match="roles/gone cannot be read: No such file"):
        inputs_of(tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, {"a.yml": (b"x", 0o644)})
    os.mkfifo(tmp_path / "roles" / "pipe")
    with pytest.raises(ImageError, match="roles/pipe is not a file"):
        inputs_of(tmp_path)
