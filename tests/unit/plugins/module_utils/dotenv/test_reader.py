# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening both kinds of file, and why one cannot be opened."""

import re
import traceback

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.dotenv import vault
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.keys import keys_in_file, keys_in_variables, read_keys
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.reader import key_variables, open_file
from tests.unit.plugins import dotenv_vectors as known

GOOD = known.uri(known.PRODUCTION_KEY)
OTHER = known.uri(known.OTHER_KEY)


def opened(key: object, environment: str = "", text: str = known.VAULT, file: str = ".env.vault") -> dict[str, str]:
    return dict(open_file(text, file, environment, read_keys(key, "the option key")).values)


@pytest.mark.parametrize(
    ("key", "environment", "expected"),
    [
        (GOOD, "", {"HELLO": "Production"}),
        (known.uri(known.DEVELOPMENT_KEY, "development"), "", {"ALPHA": "zeta"}),
        (GOOD, "production", {"HELLO": "Production"}),
        (GOOD, "PRODUCTION", {"HELLO": "Production"}),
        (known.uri(known.PRODUCTION_KEY, "development"), "production", {"HELLO": "Production"}),
        (known.PRODUCTION_KEY, "production", {"HELLO": "Production"}),
        (f"{OTHER},{GOOD}", "", {"HELLO": "Production"}),
        (f" {OTHER} , {known.uri(known.DEVELOPMENT_KEY, 'development')},", "", {"ALPHA": "zeta"}),
        ([OTHER, GOOD], "", {"HELLO": "Production"}),
        (f"{known.uri(known.OTHER_KEY, 'staging')},{GOOD}", "", {"HELLO": "Production"}),
        (f"{known.OTHER_KEY},{GOOD}", "", {"HELLO": "Production"}),
        (GOOD.upper().replace("DOTENV://", "dotenv://").replace("ENVIRONMENT=PRODUCTION", "environment=production"), "", {"HELLO": "Production"}),
    ],
)  # fmt: skip
def test_the_public_vectors(key: object, environment: str, expected: dict[str, str]) -> None:
    assert opened(key, environment) == expected


@pytest.mark.parametrize(
    ("key", "environment", "words"),
    [
        ("", "", r"\.env\.vault cannot be decrypted: there is no key"),
        ("", "staging", r"for the environment staging: there is no key"),
        (OTHER, "", r"\.env\.vault cannot be decrypted for the environment production: the key does not fit"),
        (f"{OTHER},{OTHER}", "", "for the environment production: none of 2 keys fits"),
        (known.uri(known.PRODUCTION_KEY, "staging"), "", r"\.env\.vault has no environment staging; it has .*development or production"),
        (GOOD, "nowhere", r"\.env\.vault has no environment nowhere"),
        (GOOD, "broken", r"the environment broken of \.env\.vault is malformed"),
        (GOOD, "short", r"the environment short of \.env\.vault is malformed"),
        (known.PRODUCTION_KEY, "", "the key names no environment"),
        (GOOD.split("?")[0], "", "the key names no environment"),
        (GOOD, "pro duction", "letters, digits"),
    ],
)  # fmt: skip
def test_why_a_vault_cannot_be_opened(key: object, environment: str, words: str) -> None:
    with pytest.raises(DotenvError, match=words) as refusal:
        opened(key, environment)
    nothing_shown(refusal)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("dotenv://dotenv.org/vault/.env.vault?environment=production", "key 1 of 1 in the option key .* no key part"),
        (f"{GOOD},hunter2hunter2hunter2", "key 2 of 2 in the option key is no DOTENV_KEY"),
        (known.uri("zz" * 32), "must end in 64 hexadecimal digits"),
        (known.uri("ab" * 31), "must end in 64 hexadecimal digits"),
        ("dotenv://[:hunter2hunter2", "no DOTENV_KEY"),
        (known.PRODUCTION_KEY + "ab", "no DOTENV_KEY"),
        ({"hunter2": 1}, "must be text"),
        ([GOOD, 7], "must be text"),
    ],
)
def test_what_is_no_key(key: object, words: str) -> None:
    with pytest.raises(DotenvError, match=words) as refusal:
        read_keys(key, "the option key")
    nothing_shown(refusal)


def nothing_shown(refusal: pytest.ExceptionInfo[BaseException]) -> None:
    """Neither in the message, nor in what it was raised from, nor in a repr of what the frames hold of keys."""
    text = "".join(traceback.format_exception(refusal.value))
    assert not re.search("[0-9a-fA-F]{32}|hunter2|Production|World", str(refusal.value))
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None, "a chained exception may hold what it choked on"
    assert "hunter2" not in text.replace('"hunter2', "").replace("hunter2hunter2'", "")


def test_a_key_is_in_no_repr() -> None:
    (key,) = read_keys(GOOD, "here")
    assert "6456" not in repr(key)
    assert key.secret.hex() == known.PRODUCTION_KEY


def test_a_changed_vault_is_refused() -> None:
    changed = known.VAULT.replace(known.PRODUCTION, known.PRODUCTION.replace("OPib", "OPic"))
    with pytest.raises(DotenvError, match="does not fit, or the file was changed"):
        opened(GOOD, text=changed)


@pytest.mark.parametrize("text", ["", "HELLO=World\n", "# only a comment\n"])
def test_a_plain_file_is_no_vault(text: str) -> None:
    with pytest.raises(DotenvError, match=r"\.env is malformed: it holds neither"):
        opened(GOOD, text=text, file=".env")


def test_without_the_library_it_says_so() -> None:
    with pytest.raises(DotenvError, match="the Python library cryptography is missing"):
        vault.need_cryptography(None)


class TestDotenvx:
    """A file that dotenvx itself wrote."""

    def test_all_its_values(self) -> None:
        assert opened(known.DOTENVX_KEY, text=known.DOTENVX, file=".env.production") == known.DOTENVX_VALUES

    def test_the_environment_is_the_public_keys(self) -> None:
        found = open_file(known.DOTENVX, "x", "", read_keys(known.DOTENVX_KEY, "here"))
        assert found.environment == "production"
        without = re.sub("DOTENV_PUBLIC_KEY.*", "", known.DOTENVX)
        assert open_file(without, "a/.env.ci", "", read_keys(known.DOTENVX_KEY, "here")).environment == "ci"
        assert open_file(without, "a/env", "", read_keys(known.DOTENVX_KEY, "here")).environment == ""

    def test_several_keys(self) -> None:
        both = f"{known.OTHER_KEY},{known.DOTENVX_KEY}"
        assert opened(both, text=known.DOTENVX)["HELLO"] == "World"

    @pytest.mark.parametrize(
        ("key", "environment", "words"),
        [
            (known.OTHER_KEY, "", "for the environment production: the key does not fit the value of HELLO"),
            ("00" * 32, "", "does not fit"),
            ("", "", "for the environment production: there is no key for it; set DOTENV_PRIVATE_KEY_PRODUCTION"),
            (known.DOTENVX_KEY, "staging", "has no environment staging; it has production"),
        ],
    )
    def test_why_not(self, key: str, environment: str, words: str) -> None:
        with pytest.raises(DotenvError, match=words) as refusal:
            opened(key, environment, text=known.DOTENVX, file=".env.production")
        nothing_shown(refusal)

    @pytest.mark.parametrize("value", ["encrypted:", "encrypted:AAAA", "encrypted:%%%"])
    def test_malformed(self, value: str) -> None:
        with pytest.raises(DotenvError, match=r"the value of A in \.env is malformed") as refusal:
            opened(known.DOTENVX_KEY, text=f"A={value}", file=".env")
        nothing_shown(refusal)

    def test_no_point_of_the_curve(self) -> None:
        import base64

        value = base64.b64encode(b"\x04" + b"\x01" * 120).decode()
        with pytest.raises(DotenvError, match="does not fit the value of A") as refusal:
            opened(known.DOTENVX_KEY, text=f"A=encrypted:{value}", file=".env")
        nothing_shown(refusal)

    def test_a_key_of_another_environment_is_not_tried(self) -> None:
        keys = keys_in_variables({"DOTENV_PRIVATE_KEY_STAGING": known.DOTENVX_KEY}, "here")
        with pytest.raises(DotenvError, match="there is no key for it"):
            open_file(known.DOTENVX, ".env.production", "", keys)


def test_key_files() -> None:
    assert [key.environment for key in keys_in_file(f"# mine\n{GOOD}\n\n{OTHER}\n", "f")] == ["production"] * 2
    assert [key.secret.hex() for key in keys_in_file(f"{GOOD},{OTHER}\n", "f")] == [
        known.PRODUCTION_KEY,
        known.OTHER_KEY,
    ]
    text = f"#/ dotenvx\nDOTENV_PRIVATE_KEY_PRODUCTION={known.DOTENVX_KEY}\nDOTENV_PRIVATE_KEY_CI={known.OTHER_KEY}\n"
    assert [key.environment for key in keys_in_file(text, "f")] == ["production", "ci"]
    assert keys_in_file(f'DOTENV_KEY="{GOOD}"\n', "f")[0].environment == "production"


def test_the_variables_that_hold_keys() -> None:
    assert key_variables(known.VAULT, ".env.vault", "") == ["DOTENV_KEY"]
    assert key_variables(known.DOTENVX, "x", "") == ["DOTENV_PRIVATE_KEY", "DOTENV_PRIVATE_KEY_PRODUCTION"]
    assert key_variables("A=encrypted:x", ".env", "") == ["DOTENV_PRIVATE_KEY"]
    assert key_variables("A=encrypted:x", ".env", "ci-local") == ["DOTENV_PRIVATE_KEY", "DOTENV_PRIVATE_KEY_CI_LOCAL"]
