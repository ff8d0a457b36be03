# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings from the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conversion import __version__
from conversion.errors import SettingsError
from conversion.settings import Settings, load, read_env_file


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WAIT", "soon", "CONVERSION_WAIT is 'soon': set it to a number from 0 to 300."),
        ("LISTEN_PORT", "65536", "CONVERSION_LISTEN_PORT"),
        ("NATS_URL", "10.0.0.5:4222", "nats://host:port"),
        ("NATS_URL", "nats://host:port", "nats://host:port"),
        ("REDIS_URL", "http://host:1", "redis://host:port"),
        ("DRAIN_ALLOW", "10.0.0.0/33", "10.0.0.0/8"),
        ("WORK_DIR", "/no/such/place", "/no/such/place is not a writable directory"),
        ("RELEASE_FILE", "/no/such/file", "/no/such/file cannot be read"),
    ],
)
def test_wrong_settings_are_named(settings: Callable[..., Settings], name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        settings(**{name: value})


def test_password_in_an_address_is_refused_without_showing_it(settings: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError, match="CONVERSION_REDIS_USER and _PASSWORD") as refusal:
        settings(REDIS_URL="redis://me:topsecret@host:6379/0")
    assert "topsecret" not in str(refusal.value)


def test_passwords_stay_out_of_repr(settings: Callable[..., Settings]) -> None:
    made = settings(NATS_PASSWORD="topsecret", REDIS_PASSWORD="topsecret")
    assert made.nats_password == "topsecret"
    assert "topsecret" not in repr(made)


def test_version_is_the_image_s_or_the_package_s(settings: Callable[..., Settings], tmp_path: Path) -> None:
    release = tmp_path / "release"
    release.write_text("7.1\n")
    assert settings(RELEASE_FILE=release).version == "7.1"
    release.write_text("\n")
    assert settings(RELEASE_FILE=release).version == __version__


def test_env_file_is_read_as_systemd_does(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text('# comment\n\nCONVERSION_NATS_PASSWORD="a\\"b\\\\c $d"\nCONVERSION_WAIT=5\n')
    assert read_env_file(path) == {"CONVERSION_NATS_PASSWORD": 'a"b\\c $d', "CONVERSION_WAIT": "5"}


def test_bad_env_file_is_told_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text('CONVERSION_WAIT=5\nCONVERSION_NATS_PASSWORD="topsecret\n')
    with pytest.raises(SettingsError, match="line 2") as refusal:
        read_env_file(path)
    assert "topsecret" not in str(refusal.value)


def test_defaults_listen_on_loopback_only(tmp_path: Path) -> None:
    made = load({"CONVERSION_WORK_DIR": str(tmp_path)}, port=8080)
    assert (made.listen_host, made.listen_port, made.max_body) == ("127.0.0.1", 8080, 100 << 20)


def test_probes_keys_and_proxies(tmp_path: Path) -> None:
    made = load({"CONVERSION_WORK_DIR": str(tmp_path)}, port=8080)
    assert (made.probe_port, made.keys_file, made.trusted_proxies) == (None, None, ())
    env = {
        "CONVERSION_WORK_DIR": str(tmp_path), "CONVERSION_LISTEN_HOST": "0.0.0.0", "CONVERSION_PROBE_PORT": "0",
        "CONVERSION_KEYS_FILE": "/keys.json", "CONVERSION_TRUSTED_PROXIES": "10.0.0.0/8",
    }  # fmt: skip
    made = load(env, port=8080)
    assert (made.probe_host, made.probe_port, str(made.keys_file)) == ("0.0.0.0", 0, "/keys.json")
    assert [str(one) for one in made.trusted_proxies] == ["10.0.0.0/8"]
