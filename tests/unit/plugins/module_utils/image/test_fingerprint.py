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
from ansible_collections.boring.fleet.plugins.module_utils.image.inputs import Read

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
    return Inputs(files=fingerprint.gather(root / "packer", [f"{root}/{entry}" for entry in chosen]).files, **others)


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
        '{"builds":[],"facts":{},"files":{"a":["0600","'
        + "0" * 64
        + '"]},"lock":null,"schema":2,"source_images":{},"tools":{},'
        '"var_files":[],"variables":{"\\u00e9":[1,null,{"b":"c"}]}}'
    )
    assert inputs.fingerprint() == "015fcb302e10f43d5742bc7fb6a677310342d3e40f92d2c1e5d3d81477114ee4"


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
        ("~nobody-of-this-name/x", "the input .*nobody-of-this-name/x does not exist"),
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
    assert list(fingerprint.gather(tmp_path / "it" / "packer", []).files) == ["it.pkr.hcl"]


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
    files = fingerprint.gather(
        tmp_path / "packer", [f"{tmp_path}/roles"], ignore=[tmp_path / "packer" / "out.json"]
    ).files
    assert sorted(files) == ["../roles/main.yml", "it.pkr.hcl"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    write(tmp_path, {"a/main.yml": (b"x", 0o644)})
    (tmp_path / "roles" / "a" / "loop").symlink_to(tmp_path / "roles")
    (tmp_path / "roles" / "b.yml").symlink_to("a/main.yml")
    files = inputs_of(tmp_path).files
    assert files["../roles/b.yml"] == files["../roles/a/main.yml"]
    assert files["../roles/a/loop"].mode == "link"
    assert len(files) == 4


def test_a_checkout_behind_a_link_is_the_same(tmp_path: Path) -> None:
    write(tmp_path / "real", {"a.yml": (b"x", 0o644)})
    (tmp_path / "link").symlink_to("real")
    mixed = fingerprint.gather(tmp_path / "link" / "packer", [f"{tmp_path}/real/roles"]).files
    assert mixed == fingerprint.gather(tmp_path / "real" / "packer", [f"{tmp_path}/link/roles"]).files


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


def link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def test_a_link_whose_target_changes(tmp_path: Path) -> None:
    """A directory that a link names may be walked under its own name first: the link still counts by what it names."""
    write(tmp_path, {"a1/x": (b"one", 0o644), "b2/x": (b"two", 0o644), "c3": (b"three", 0o644), "d4": (b"four", 0o644)})
    roles = tmp_path / "roles"
    for name, first, second in (("current", "a1", "b2"), ("0current", "a1", "b2"), ("file", "c3", "d4")):
        link(roles / name, first)
        before = inputs_of(tmp_path).fingerprint()
        link(roles / name, second)
        assert inputs_of(tmp_path).fingerprint() != before, name


def test_what_is_really_uploaded_counts_whatever_it_is_called(tmp_path: Path) -> None:
    """What an editor leaves does not count, unless somebody names it or it is where roles upload from."""
    write(tmp_path, {"web/tasks/main.yml": (b"x", 0o644), "web/files/a": (b"x", 0o644)})
    (tmp_path / "packer" / "named.lock.json").write_text("{}")
    (tmp_path / "packer" / "named.orig").write_text("x")
    (tmp_path / "packer" / "upload").mkdir()
    reads = Read(
        paths={tmp_path / "packer" / name: "it" for name in ("named.lock.json", "named.orig", "upload")},
        sources={tmp_path / "roles" / "web": "the role"},
    )

    def now() -> dict[str, fingerprint.File]:
        return fingerprint.gather(tmp_path / "packer", [], reads=reads).files

    assert {"named.lock.json", "named.orig"} <= set(now())
    for name, counts in (
        ("packer/other.orig", False),
        ("packer/other.lock.json", False),
        ("roles/web/tasks/main.yml~", False),
        ("roles/web/tasks/.main.yml.swp", False),
        ("roles/web/files/a~", True),
        ("roles/web/templates/a.j2.orig", True),
        ("roles/web/files/__pycache__/a.pyc", True),
        ("packer/upload/a~", True),
        ("packer/upload/.git/config", True),
        ("packer/upload/a.lock.json", True),
    ):
        before = now()
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        assert (now() != before) == counts, name


@pytest.mark.parametrize(
    ("pattern", "left_out"),
    [
        ("README.md", {"README.md", "docs/README.md", "../roles/web/README.md"}),
        ("./README.md", {"README.md", "docs/README.md", "../roles/web/README.md"}),
        ("docs", {"docs/README.md", "docs/a/b.txt"}),
        ("docs/**", {"docs/README.md", "docs/a/b.txt"}),
        ("**/*.md", {"README.md", "docs/README.md", "../roles/web/README.md"}),
        ("../roles/web/*.md", {"../roles/web/README.md"}),
        ("roles/web/README.md", {"../roles/web/README.md"}),
        ("nothing", set()),
    ],
)
def test_what_feeds_nothing_is_left_out(tmp_path: Path, pattern: str, left_out: set[str]) -> None:
    write(tmp_path, {"web/README.md": (b"x", 0o644), "web/tasks/main.yml": (b"x", 0o644)})
    for name in ("README.md", "docs/README.md", "docs/a/b.txt", "scripts/a.sh"):
        (tmp_path / "packer" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "packer" / name).write_text("x")
    entries = [f"{tmp_path}/roles"]
    every = set(fingerprint.gather(tmp_path / "packer", entries).files)
    assert every - set(fingerprint.gather(tmp_path / "packer", entries, exclude=[pattern]).files) == left_out


def test_a_file_that_the_template_names_cannot_be_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"a": (b"x", 0o644)})
    (tmp_path / "packer" / "a.sh").write_text("x")
    reads = Read(paths={tmp_path / "packer" / "a.sh": "provisioner"})
    assert "a.sh" in fingerprint.gather(tmp_path / "packer", [], reads=reads, exclude=["*.sh"]).files
    assert "a.sh" not in fingerprint.gather(tmp_path / "packer", [], exclude=["*.sh"]).files


@pytest.mark.parametrize("checkout_at", ["", "checkout", "deep/er/still/checkout"])
def test_a_role_of_the_users_own_has_the_same_name_for_everybody(
    tmp_path: Path, checkout_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    role = home / ".ansible" / "roles" / "web"
    (role / "tasks").mkdir(parents=True)
    (role / "tasks" / "main.yml").write_text("x")
    (home / "notes").write_text("x")
    monkeypatch.setenv("HOME", str(home))
    for place in (tmp_path / checkout_at, home / checkout_at):
        write(place, {"a": (b"x", 0o644)})
        (place / "packer" / "it.pkr.hcl").write_text("build {}\n")
        reads = Read(
            sources={role: "the role web"},
            roots={role: "role web"},
            paths={home / "notes": "it", Path("/etc/hostname"): "it"},
        )
        files = fingerprint.gather(place / "packer", [f"{place}/roles"], reads=reads).files
        notes = {tmp_path: "../home/notes", home: "../notes"}.get(place, "~/notes")
        assert sorted(files) == sorted(["../roles/a", "/etc/hostname", "it.pkr.hcl", "role web/tasks/main.yml", notes])


def test_what_differs_after_a_build(tmp_path: Path) -> None:
    write(tmp_path, {"a": (b"x", 0o644), "b": (b"x", 0o644)})
    (tmp_path / "packer" / "upload").mkdir()
    (tmp_path / "packer" / "upload" / "a").write_text("x")
    reads = Read(paths={tmp_path / "packer" / "upload": "provisioner file"})

    def now() -> fingerprint.Collection:
        return fingerprint.gather(tmp_path / "packer", [f"{tmp_path}/roles"], reads=reads)

    before = now()
    (tmp_path / "packer" / "what-a-build-leaves.log").write_text("x")
    assert fingerprint.changed_meanwhile(before, now()) == []
    (tmp_path / "roles" / "a").write_text("y")
    (tmp_path / "roles" / "b").unlink()
    (tmp_path / "roles" / "c").write_text("new")
    (tmp_path / "packer" / "upload" / "b").write_text("new")
    assert fingerprint.changed_meanwhile(before, now()) == ["roles/a", "roles/b", "roles/c", "upload/b"]


def test_two_roles_of_one_name_both_count(tmp_path: Path) -> None:
    write(tmp_path / "checkout", {"a": (b"x", 0o644)})
    reads = Read()
    for place in ("one", "two"):
        (tmp_path / place / "web").mkdir(parents=True)
        (tmp_path / place / "web" / "main.yml").write_text(place)
        reads.sources[tmp_path / place / "web"] = "the role web"
        reads.roots[tmp_path / place / "web"] = "role web"
    for place in ("one", "two"):
        before = fingerprint.gather(tmp_path / "checkout" / "packer", [], reads=reads).files
        (tmp_path / place / "web" / "main.yml").write_text("changed")
        assert fingerprint.gather(tmp_path / "checkout" / "packer", [], reads=reads).files != before, place
