# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line where it needs no hosts: refusals, and the directory that a server holds."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from localcloud import cli
from localcloud.hosts.base import Base
from localcloud.settings import DAEMON, Directory, Refusal, Settings

SETTINGS = Settings("main", 4577, "172.31.0.0/16", "eu-central-1", [Base("debian-13", "amd64", "20260101", "a" * 64)])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["up", "--subnet", "10.0.0.0/8"], "from /16 to /24"),
        (["up", "--subnet", "8.8.0.0/16"], "private"),
        (["up", "--subnet", "172.31.0.1/16"], "host bits"),
        (["up", "--name", "No Such Name"], "lower-case"),
        (["up", "--base", "debian-11"], "debian-12"),
        (["up", "--port", "many"], "port"),
        (["up", "--reach", "10.0.0.1/8"], "host bits"),
        (["fly"], "fly"),
    ],
)
def test_wrong_options_are_named(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert reason in capsys.readouterr().err


def test_status_of_a_cloud_that_was_never_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--json", "--state-dir", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "main", "state": "down"}


def test_logs_of_a_cloud_that_was_never_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["logs", "--state-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("There is no cloud main")


def test_podman_missing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert cli.main(["up", "--state-dir", str(tmp_path / "state")]) == 1
    error = capsys.readouterr().err
    assert "apt-get install podman" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "state").exists()


def test_a_cloud_that_is_stopped_cannot_change_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.Podman, "require", lambda _: None)
    directory = Directory(tmp_path, "main")
    directory.make()
    SETTINGS.write(directory.path)
    assert cli.main(["up", "--state-dir", str(tmp_path), "--subnet", "172.30.0.0/16"]) == 1
    assert "has the network 172.31.0.0/16; take it down" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["up", "down"])
def test_a_cloud_of_the_same_name_elsewhere_is_not_touched(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.Podman, "require", lambda _: None)
    theirs = tmp_path / "theirs" / "main"
    # Not a server, but a process that looks like one from outside: a shell that waits.
    (tmp_path / DAEMON).write_text("echo waits\nread dummy\n")
    command = ["sh", "-m", DAEMON, str(theirs)]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        try:
            # Popen returns before the kernel shows the new command line; what prints has one.
            assert other.stdout is not None
            assert other.stdout.readline() == b"waits\n"
            assert cli.main([verb, "--state-dir", str(tmp_path / "ours")]) == 1
            assert f"its files are in {theirs}" in capsys.readouterr().err
            assert cli.main(["status", "--name", "another", "--state-dir", str(tmp_path / "ours")]) == 0
        finally:
            other.kill()


def test_settings_come_back_as_they_were(tmp_path: Path) -> None:
    assert Settings.read(tmp_path) is None
    SETTINGS.write(tmp_path)
    assert Settings.read(tmp_path) == SETTINGS
    assert SETTINGS.environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4577"


def test_what_was_written_before_there_were_keys_gets_one(tmp_path: Path) -> None:
    SETTINGS.write(tmp_path)
    values = json.loads((tmp_path / "settings.json").read_text())
    del values["key"], values["reach"]
    (tmp_path / "settings.json").write_text(json.dumps(values))
    read = Settings.read(tmp_path)
    assert read is not None
    assert read.key.access_key.startswith("AKIA")


@pytest.mark.parametrize("verb", ["up", "stop", "down", "status", "env", "faults", "logs"])
@pytest.mark.parametrize("how", ["open to others", "a link", "somebody else's", "a file"])
def test_a_directory_that_others_can_get_into_is_not_touched(
    verb: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.Podman, "require", lambda _: None)
    monkeypatch.setattr(cli.os, "kill", lambda *_: pytest.fail("a process is ended that a stranger named"))
    place = tmp_path / "main"
    place.mkdir(0o700)
    (place / "server.pid").write_text("1")
    match how:
        case "open to others":
            place.chmod(0o770)
        case "a link":
            place.rename(tmp_path / "elsewhere")
            place.symlink_to(tmp_path / "elsewhere")
        case "somebody else's":
            os.chown(place, 65534, 65534)
        case "a file":
            (place / "server.pid").unlink()
            place.rmdir()
            place.write_text("")
    assert cli.main([verb, "--state-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"{place} is not a directory of yours alone" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("verb", ["env", "faults"])
def test_a_cloud_that_is_not_up_has_neither_key_nor_faults(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([verb, "--state-dir", str(tmp_path)]) == 1
    assert "Cloud main is not up: start it" in capsys.readouterr().err


class TestDirectory:
    def test_is_private(self, tmp_path: Path) -> None:
        directory = Directory(tmp_path, "main")
        directory.make()
        assert directory.path.stat().st_mode & 0o777 == 0o700

    def test_one_server_at_a_time(self, tmp_path: Path) -> None:
        directory = Directory(tmp_path, "main")
        directory.make()
        assert directory.server() == 0
        with directory.held():
            assert directory.server() == os.getpid()
            with pytest.raises(Refusal, match="running already"), Directory(tmp_path, "main").held():
                pass
        assert directory.server() == 0

    def test_a_pid_without_its_lock_is_nobody(self, tmp_path: Path) -> None:
        directory = Directory(tmp_path, "main")
        directory.make()
        (directory.path / "server.pid").write_text("1")
        (directory.path / "lock").touch()
        assert directory.server() == 0

    def test_the_last_words_are_the_last_line(self, tmp_path: Path) -> None:
        directory = Directory(tmp_path, "main")
        assert directory.last_words() == ""
        directory.make()
        directory.log.write_text("one\nPort 1 cannot be used.\n\n")
        assert directory.last_words() == "Port 1 cannot be used."
