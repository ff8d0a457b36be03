# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a certificate out of its text, compared with a library; and texts that are none."""

from __future__ import annotations

import base64
import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.fleet.status import pem
from tests.unit.plugins.module_utils.fleet.status.certificates import certificate


@pytest.mark.parametrize(
    "until",
    [
        datetime(1950, 1, 2, tzinfo=UTC),
        datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2026, 12, 24, 18, 0, 1, tzinfo=UTC),
        datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2050, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    ],
)
@pytest.mark.parametrize("names", [1, 200])
def test_the_end(until: datetime, names: int) -> None:
    assert pem.ends(certificate(until, names)) == until.timestamp()


def test_the_first_of_a_chain_with_words_around() -> None:
    first, second = datetime(2030, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
    assert pem.ends(f"subject=x\n{certificate(first)}issuer\n{certificate(second)}") == first.timestamp()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no certificate in it"),
        ("to be made", "there is no certificate in it"),
        ("-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----", "its certificate is no base64"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "it is no X.509 certificate"),
        ("-----BEGIN CERTIFICATE-----\nMIA=\n-----END CERTIFICATE-----", "its certificate has a length that nobody writes"),
        ("-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----", "its certificate ends too early"),
    ],
)  # fmt: skip
def test_what_is_none(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pem.ends(text)


WHOLE = base64.b64decode("".join(certificate(datetime(2030, 1, 1, tzinfo=UTC) + timedelta(1)).splitlines()[1:-1]))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(WHOLE)), st.binary(max_size=4))
@example(0, b"\x30")
def test_any_damage_ends_in_a_time_or_a_ValueError(at: int, noise: bytes) -> None:  # noqa: N802
    damaged = WHOLE[:at] + noise + WHOLE[at + len(noise) + len(noise) % 2 :]
    text = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(damaged).decode()}\n-----END CERTIFICATE-----"
    with contextlib.suppress(ValueError):
        assert isinstance(pem.ends(text), float)
