# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs beside what, and that no failure is lost."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = SourceFileLoader("bin_check", str(ROOT / "bin" / "check"))
    module = module_from_spec(spec_from_loader("bin_check", loader))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "bin_check", module)
    loader.exec_module(module)
    return module


def test_a_part_waits_for_what_it_needs_and_no_more_run_than_may(check: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def note(name: str, seconds: float = 0.3) -> tuple[str, ...]:
        return ("sh", "-c", f"echo +{name} >> {log}; sleep {seconds}; echo -{name} >> {log}")

    check.run_all(
        {
            "house": check.Part(60, [note("house")], needs=("ground",)),
            "many": check.Part(60, [note("many") for dummy in range(4)], at_once=2),
            "ground": check.Part(60, [note("ground", 1)]),
            "single": check.Part(60, [note("single") for dummy in range(2)]),
        },
        3,
    )
    said = log.read_text().split()
    running: list[str] = []
    for word in said:
        (running.append if word[0] == "+" else running.remove)(word[1:])
        assert len(running) <= 3
        assert running.count("many") <= 2
        assert running.count("single") <= 1
    assert said.index("+house") > said.index("-ground")
    assert sorted(said) == sorted(
        f"{sign}{name}" for name in ["house", *["many"] * 4, "ground", *["single"] * 2] for sign in "+-"
    )


def test_every_failure_is_told_at_the_end_and_the_rest_still_runs(
    check: ModuleType, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {
        "bad": check.Part(60, [("sh", "-c", "echo the reason; exit 3"), ("sh", "-c", "echo went on")]),
        "late": check.Part(0, [("sleep", "30")]),
        "good": check.Part(60, [("true",)], needs=("bad",)),
    }
    monkeypatch.setattr(check, "PARTS", parts)
    assert check.main([]) == 1
    out = capfd.readouterr().out
    assert "went on" in out
    end = out[out.index("check: bad: the end of") :]
    assert "check: | the reason" in end
    assert "which failed (124)" in end
    verdicts = {
        line.split()[1]: line.split()[3] for line in end.splitlines() if "FAILED" in line or line.endswith("ok")
    }
    assert verdicts == {"bad": "FAILED:", "late": "FAILED:", "good": "ok"}


def test_a_part_by_name_brings_what_it_needs(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[str] = []
    monkeypatch.setattr(check, "run_all", lambda parts, slots: began.extend([*parts, str(slots)]))
    assert check.main(["integration"]) == 0
    assert began == ["tailnet", "base", "integration", "1"]
    assert check.main(["nonsense"]) == 2
