# SPDX-License-Identifier: GPL-3.0-or-later
"""CBOR: what is written is read again, and what is none is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from localcloud import cbor


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, 23, 24, 255, 256, 65536, 2**40, -1, -500, 1.5, "", "ünïcode", b"\x00\xff", [], [1, [2, {"a": None}]],
        {"Namespace": "web", "MetricData": [{"Value": 3.0}]}, "x" * 70000, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    ],
)  # fmt: skip
def test_what_is_written_is_read_again(value: Any) -> None:
    assert cbor.decode(cbor.encode(value)) == value


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("bf6161019fff6162f5ff", None), ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}), ("7f657374726561646d696e67ff", "streaming"),
        ("f93e00", 1.5), ("fa47c35000", 100000.0), ("c11a514b67b0", datetime(2013, 3, 21, 20, 4, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_forms_that_others_write(content: str, value: Any) -> None:
    """The examples of RFC 8949, appendix A; the first one has a map whose values are not complete."""
    if value is None:
        with pytest.raises(cbor.CborError):
            cbor.decode(bytes.fromhex(content))
    else:
        assert cbor.decode(bytes.fromhex(content)) == value


@pytest.mark.parametrize(
    "content",
    [
        "",
        "ff",
        "0101",
        "61",
        "9f",
        "fc",
        "1f",
        "62c328",
        "81" * 100 + "01",
        "5b" + "ff" * 8,
        "a1a00 1".replace(" ", ""),
    ],
)
def test_what_is_none_is_refused(content: str) -> None:
    with pytest.raises(cbor.CborError):
        cbor.decode(bytes.fromhex(content))
