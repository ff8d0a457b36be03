# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
from pathlib import Path

import pytest

from localcloud import scratch
from localcloud.scratch import ProgramError, ScratchCloud, run


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been run, without it."""
    made: list[list[str]] = []
    monkeypatch.setattr(scratch, "run", lambda what, argv, seconds, **dummy: made.append([str(word) for word in argv]))
    monkeypatch.setattr(scratch, "environment", lambda state_dir, name: {"AWS_ENDPOINT_URL": f"{name}'s"})
    return made


def cloud(folder: Path) -> ScratchCloud:
    return ScratchCloud("trial", port=4999, subnet="172.24.0.0/16", folder=folder)


def test_a_program_says_what_it_printed() -> None:
    assert run("the greeting", [sys.executable, "-c", "print(input())"], 20, given="hello") == "hello\n"


def test_what_failed_says_how_it_ended_and_keeps_all_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scratch, "FAILED", tmp_path / "failed")
    script = "import sys; print(*range(100), 'no voice', sep='\\n'); sys.exit(3)"
    with pytest.raises(
        ProgramError, match=r"(?s)the greeting failed with 3; .*the-greeting.log has all of it.*no voice"
    ):
        run("the greeting", [sys.executable, "-c", script], 20)
    assert (tmp_path / "failed" / "the-greeting.log").read_text().startswith("0\n1\n")


def test_a_program_that_does_not_end_is_ended() -> None:
    with pytest.raises(ProgramError, match=r"the sleep could not be run: .*timed out after 0.5 seconds"):
        run("the sleep", ["sleep", "20"], 0.5)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ProgramError, match=r"the ghost could not be run: .*no-such-program"):
        run("the ghost", ["no-such-program"], 5)


def test_the_user_s_own_account_and_settings_stay_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, calls: list[list[str]]
) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "ANSIBLE_CONFIG", "PKR_VAR_region"):
        monkeypatch.setenv(name, "production")
    with cloud(tmp_path) as up:
        assert "production" not in up.environment.values()
        assert up.environment["AWS_ENDPOINT_URL"] == "trial's"


def test_the_cloud_goes_when_the_work_in_it_fails(calls: list[list[str]], tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), cloud(tmp_path):
        _ = 1 / 0
    assert [call[3] for call in calls] == ["up", "down"]


def test_a_cloud_that_does_not_come_up_is_taken_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[str] = []

    def fail_to_come_up(what: str, argv: list[str], seconds: float) -> str:
        made.append(argv[3])
        if argv[3] == "up":
            raise ProgramError(what)
        return ""

    monkeypatch.setattr(scratch, "run", fail_to_come_up)
    with pytest.raises(ProgramError, match=r"the local cloud"), cloud(tmp_path):
        pass
    assert made == ["up", "down"]
