# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter bcrypt."""

import re

import bcrypt
import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.boring.fleet.plugins.filter.bcrypt import FilterModule, bcrypt_hash


def test_the_same_every_time_and_verified_by_bcrypt_itself() -> None:
    made = bcrypt_hash("secret", "app", 4)
    assert made == bcrypt_hash("secret", "app", 4)
    assert re.fullmatch(r"\$2b\$04\$[./A-Za-z0-9]{53}", made)
    assert bcrypt.checkpw(b"secret", made.encode())
    assert not bcrypt.checkpw(b"Secret", made.encode())


def test_salt_and_password_both_matter() -> None:
    assert len({bcrypt_hash(password, salt, 4) for password in ("a", "b") for salt in ("x", "y")}) == 4
    assert bcrypt_hash("a", "x", 4)[:29] == bcrypt_hash("b", "x", 4)[:29], "the salt must not come from the password"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("", "salt"), "may be empty"),
        (("secret", ""), "may be empty"),
        ((7, "salt"), "must be text"),
        (("x" * 73, "salt"), "at most 72 bytes"),
        (("\u00e9" * 37, "salt"), "at most 72 bytes"),
        (("a\0b", "salt"), "no NUL"),
        (("secret", "salt", 3), "from 4 to 16"),
        (("secret", "salt", 31), "from 4 to 16"),
    ],
)
def test_refusals_never_show_the_password(arguments: tuple[object, ...], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words) as refusal:
        bcrypt_hash(*arguments)  # type: ignore[arg-type]
    assert "secret" not in str(refusal.value)


def test_named_for_ansible() -> None:
    assert FilterModule().filters() == {"bcrypt": bcrypt_hash}
