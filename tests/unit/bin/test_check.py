# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs beside what, and that no failure is lost."""

from __future__ import annotations

import json
import re
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
import yaml

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


def test_what_mostly_waits_runs_beside_the_others(check: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def note(name: str, seconds: float) -> tuple[str, ...]:
        return ("sh", "-c", f"echo +{name} >> {log}; sleep {seconds}; echo -{name} >> {log}")

    work = check.Part(60, [note("work", 1), note("work", 0.1)], at_once=2)
    check.run_all({"work": work, "waits": check.Part(60, [note("waits", 0.3)], waits=True)}, 1)
    assert log.read_text().split()[2:] == ["-waits", "-work", "+work", "-work"]


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
    assert check.main(["molecule/nonsense"]) == 2
    assert check.main(["--nonsense"]) == 2
    began.clear()
    assert check.main(["molecule/tailscale", "lint"]) == 0
    assert began == ["tailnet", "base", "lint", "molecule/tailscale", "2"]


def test_every_scenario_is_in_a_change_or_in_the_night(check: ModuleType) -> None:
    there = {path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")}
    assert sorted([*check.SCENARIOS, *check.NIGHTLY, "bench_data"]) == sorted(there)


def test_all_has_the_night_too(check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    began: list[str] = []
    monkeypatch.setattr(check, "REPORTS", tmp_path)
    monkeypatch.setattr(check, "run_all", lambda parts, slots: began.extend(parts))
    assert check.main([]) == 0
    assert "nightly" not in began
    assert check.main(["--all"]) == 0
    assert began[-1] == "nightly"


def test_what_runs_side_by_side_is_everything(check: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """The workflow asks for this list: each command of `make test` is in exactly one of its jobs."""
    assert check.main(["--list"]) == 0
    of_a_change = json.loads(capsys.readouterr().out)
    assert check.main(["--list", "--all"]) == 0
    of_the_night = json.loads(capsys.readouterr().out)
    assert set(of_a_change) < set(of_the_night)
    for names, parts in ((of_a_change, check.PARTS), (of_the_night, {**check.PARTS, **check.NIGHT})):
        jobs = [check.parts_named([name])[name] for name in names]
        needed = {need for part in parts.values() for need in part.needs}
        commands = [command for name, part in parts.items() if name not in needed for command in part.commands]
        assert sorted(command for job in jobs for command in job.commands) == sorted(commands)


def test_each_part_leaves_a_report(check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(check, "REPORTS", tmp_path / "reports")
    (tmp_path / "test_one.py").write_text("def test_one():\n    pass\n")
    quiet = ("-q", "-p", "no:cacheprovider", str(tmp_path / "test_one.py"))
    commands = [("sh", "-c", "printf 'the \\033[31mreason\\n'; exit 3"), check.tool("python", "-m", "pytest", *quiet)]
    monkeypatch.setattr(check, "PARTS", {"bad": check.Part(60, commands), "good": check.Part(60, [("true",)])})
    assert check.main([]) == 1
    suite = ElementTree.parse(tmp_path / "reports" / "check-bad.xml").getroot()  # noqa: S314
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("bad", "2", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert (failure.get("message"), "reason" in str(failure.text)) == ("ended with 3", True)
    assert 'failures="0"' in (tmp_path / "reports" / "check-good.xml").read_text()
    own = tmp_path / "reports" / f"pytest-{re.sub('[^a-z0-9_]+', '-', str(tmp_path / 'test_one.py'))}.xml"
    case = ElementTree.parse(own).getroot().find(".//testcase")  # noqa: S314
    assert case is not None
    assert case.get("name") == "test_one"


def test_the_workflow_pins_its_actions_and_runs_the_list(check: ModuleType) -> None:
    text = (ROOT / ".github/workflows/test.yml").read_text()
    workflow = yaml.safe_load(text)
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["part"] == "${{ fromJSON(needs.parts.outputs.parts) }}"
    assert "bin/check --list $ALL" in text
    assert workflow["on"]["schedule"]
    assert any(
        "upload-artifact" in step.get("uses", "") and step["if"] == "always()"
        for step in workflow["jobs"]["test"]["steps"]
    )
