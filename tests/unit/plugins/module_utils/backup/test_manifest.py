# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups stay, what a manifest says, and what the host's two files may not say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.backup import told
from ansible_collections.boring.fleet.plugins.module_utils.backup.manifest import (
    Found,
    Item,
    Manifest,
    Part,
    choose,
    dump,
    load,
    missing,
    new_id,
    superfluous,
    taken_at,
)
from ansible_collections.boring.fleet.plugins.module_utils.backup.state import State, late, metrics
from ansible_collections.boring.fleet.plugins.module_utils.backup.told import BackupError
from ansible_collections.boring.fleet.plugins.module_utils.nats.snapshot import mismatch

NOW, DAY = 1_800_000_000, 86400
SEAL = "a seal of 16 characters"


def manifest(days: float) -> Manifest:
    taken = int(NOW - days * DAY)
    item = Item("KEPT", {"before": {"messages": 3}}, (Part(5, "ab"), Part(2, "cd")))
    return Manifest(new_id(taken, "00000000"), "bus", "nats", "host-1", taken, (item,), ("a note",))


def test_a_manifest_comes_back_as_it_was() -> None:
    one = manifest(1)
    assert load(dump(one, SEAL), SEAL, "bus", one.id) == one
    assert one.size == 7
    assert taken_at(one.id) == one.taken
    assert taken_at("20260230T000000Z-00000000") is None
    with pytest.raises(BackupError, match="not sealed by data_backup_seal"):
        load(dump(one, "another of 16 chars"), SEAL, "bus", one.id)
    with pytest.raises(BackupError, match="somebody moved it"):
        load(dump(one, SEAL), SEAL, "store", one.id)


@given(st.data())
def test_no_change_of_a_manifest_passes(data: st.DataObject) -> None:
    one = manifest(1)
    text = dump(one, SEAL)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + bytes([data.draw(st.integers(0, 255))]) + text[at + 1 :]
    try:
        found = load(changed, SEAL, "bus", one.id)
    except BackupError:
        return
    assert found == one, "only white space may differ"


def test_parts_that_are_missing_or_short_are_named() -> None:
    one = manifest(1)
    whole = one.objects()
    assert missing(one, whole) == ""
    assert "0000.000001 is missing" in missing(one, {key: size for key, size in whole.items() if "000001" not in key})
    assert "has 4 bytes and not 5" in missing(one, whole | {f"{one.id}/0000.000000": 4})


def good(*days: float) -> Found:
    return Found(tuple(manifest(each) for each in sorted(days)), {})


def test_the_last_good_ones_stay_whatever_their_age() -> None:
    assert superfluous(good(0, 1, 13, 15, 20), NOW, 14, 3) == ([manifest(20).id, manifest(15).id], [])
    assert superfluous(good(100, 200, 300), NOW, 14, 3) == ([], [])
    assert superfluous(good(100, 200, 300), NOW, 1, 1) == ([manifest(300).id, manifest(200).id], [])
    assert superfluous(good(100), NOW, 1, 0) == ([], []), "the last one stays even if somebody asks for none"
    ids = [manifest(day).id for day in (1, 20, 30, 40)]
    looked = Found((manifest(1),), {ids[1]: "part is missing"}, (ids[2], ids[3]))
    assert superfluous(looked, NOW, 25, 1) == ([ids[3], ids[2]], []), "not all have to be looked at"
    assert superfluous(looked, NOW, 14, 2) == ([], []), "without so many good ones nothing goes"
    assert superfluous(looked, NOW, 14, 1) == ([ids[3], ids[2], ids[1]], [])
    cut = Found((manifest(0),), {}, (), (manifest(3).id, manifest(1).id))
    assert superfluous(cut, NOW, 14, 1) == ([], [manifest(3).id]), "one that is being written is not cut"


@given(st.lists(st.floats(0, 1000), max_size=20, unique=True), st.integers(1, 100), st.integers(1, 20))
def test_the_newest_is_never_superfluous(days: list[float], keep: int, least: int) -> None:
    found = good(*days)
    old, dummy = superfluous(found, NOW, keep, least)
    stay = [one for one in found.good if one.id not in old]
    assert len(stay) >= min(least, len(found.good))
    assert all(one in stay for one in found.good if one.taken >= NOW - keep * DAY)


def test_which_backup_is_meant() -> None:
    found = Found(good(1, 2).good, {manifest(0).id: "a part is missing."})
    assert choose(found, "latest", "bus") == manifest(1)
    assert choose(found, manifest(2).id, "bus") == manifest(2)
    with pytest.raises(BackupError, match="is refused: a part is missing"):
        choose(found, manifest(0).id, "bus")
    with pytest.raises(BackupError, match=f"no backup bus/yesterday; the newest are: {manifest(1).id}"):
        choose(found, "yesterday", "bus")


def state(messages: int, first: int, last: int, size: int = 100) -> dict[str, int]:
    return {"messages": messages, "bytes": size, "first_seq": first, "last_seq": last}


def test_a_restored_stream_must_be_of_when_it_was_saved() -> None:
    quiet = state(10, 1, 10)
    assert mismatch(quiet, quiet, quiet) == ""
    assert "bytes 99 in place of 100" in mismatch(quiet, quiet, state(10, 1, 10, 99))
    assert "messages 9 in place of 10" in mismatch(quiet, quiet, state(9, 1, 10))
    # 5 more were written meanwhile, and 3 were taken away
    busy = state(12, 4, 15)
    for fine in (quiet, busy, state(13, 1, 13)):
        assert mismatch(quiet, busy, fine) == ""
    assert "last_seq 16, which is not from 10 to 15" in mismatch(quiet, busy, state(12, 4, 16))
    assert "messages 6, which is not from 7 to 15" in mismatch(quiet, busy, state(6, 4, 10))


def test_a_backup_that_is_too_old_is_said() -> None:
    fresh = State("bus", 3600, NOW - 9000, NOW, "id", NOW - 3600, 7, 1)
    assert late(fresh, NOW) == ""
    assert "is 2 hours old" in late(fresh, NOW + 3700)
    assert "no whole backup of bus" in late(State("bus", 3600), NOW)
    assert late(State("bus", 3600, NOW - 7000), NOW) == "", "the first one has its time"
    assert late(State("bus", 3600, empty=True), NOW) == ""
    assert f'data_backup_last_good_timestamp_seconds{{source="bus"}} {NOW - 3600}\n' in metrics({"bus": fresh})


CONFIG: dict[str, Any] = {
    "target": {"directory": "/srv"},
    "recipients": ["age1" + "q" * 58],
    "sources": [{"name": "bus", "kind": "nats", "user": "backup"}],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": {}}, "either a directory or a bucket"),
        ({"target": {"directory": "/a", "bucket": "b12"}}, "either a directory or a bucket"),
        ({"target": {"directory": "here"}}, "does not begin with a slash"),
        ({"target": {"bucket": "No_Bucket"}}, "'No_Bucket' is no name of a bucket"),
        ({"target": {"bucket": "b12", "prefix": "../x/"}}, "the prefix '../x/' is not as in"),
        ({"target": {"bucket": "b12", "endpoint": "s3.example.org"}}, "is not as in 'https://s3.example.org'"),
        ({"target": {"bucket": "b12", "access_key": "AK"}}, "has no s3_secret_key"),
        ({"recipients": []}, "has no recipients"),
        ({"recipients": ["AGE-SECRET-KEY-1"]}, "one of the recipients is no public key of age"),
        ({"every": 1}, "every is 1, and 300 is the least"),
        ({"keep_least": 0}, "keep_least is 0, and 1 is the least"),
        ({"sources": [{"name": "a/b", "kind": "nats", "user": "x"}]}, "'a/b' is not named with small letters"),
        ({"sources": [{"name": "a", "kind": "mysql", "user": "x"}]}, "of the kind 'mysql', and there are nats and redis"),
        ({"sources": [{"name": "a", "kind": "nats"}]}, "'user' is missing"),
        ({"sources": CONFIG["sources"] * 2}, "two sources of one name"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_said(change: dict[str, Any], said: str) -> None:
    secrets = json.dumps({"seal": SEAL})
    assert told.read(json.dumps(CONFIG), secrets).source("bus").port == 4222
    with pytest.raises(BackupError) as raised:
        told.read(json.dumps(CONFIG | change), secrets)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "SECRET" not in str(raised.value)


def test_secrets_are_needed_and_never_shown() -> None:
    text = json.dumps(CONFIG)
    for secrets, said in (("{", "no JSON"), ("[]", "no mapping"), ('{"seal": "short"}', "no seal of 16")):
        with pytest.raises(BackupError, match=said):
            told.read(text, secrets)
    shown = repr(told.read(text, json.dumps({"seal": SEAL, "passwords": {"bus": "hidden"}, "s3_secret_key": "hidden"})))
    assert "hidden" not in shown
    assert SEAL not in shown
    with pytest.raises(BackupError, match=r"There is no source store; .* has bus"):
        told.read(text, json.dumps({"seal": SEAL})).source("store")
