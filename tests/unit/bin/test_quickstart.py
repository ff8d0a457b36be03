# SPDX-License-Identifier: GPL-3.0-or-later
"""Quickstart: the certificate that it makes, the fleet that its files are, and the figures from what was seen."""

from __future__ import annotations

import json
import shlex
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from ansible_collections.boring.fleet.plugins.module_utils.fleet import certificates
from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet

ROOT = Path(__file__).resolve().parents[3]
loader = SourceFileLoader("quickstart", str(ROOT / "bin" / "quickstart"))
spec = spec_from_loader("quickstart", loader)
assert spec is not None
quickstart = module_from_spec(spec)
loader.exec_module(quickstart)


def image(number: int, *, skipped: bool) -> dict[str, Any]:
    return {"id": f"ami-{number}", "fingerprint": f"{number:064x}", "seconds": 1.5, "skipped": skipped}


def roll(replaced: int, lowest: int, calls: int) -> dict[str, Any]:
    return {
        "state": "completed",
        "replaced": [{"old": f"i-{at}", "new": f"i-9{at}", "seconds": 9.0} for at in range(replaced)],
        "lowest_in_service": lowest,
        "api_calls": {"DescribeAutoScalingGroups": calls, "TerminateInstanceInAutoScalingGroup": replaced},
        "seconds": 30.0,
        "sizes": {},
    }


def host(number: int, service: str, kind: str = "service") -> dict[str, Any]:
    tags = {"boring:service": service, "boring:kind": kind}
    return {
        "InstanceId": f"i-{number}",
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        "PrivateIpAddress": f"172.31.0.{number}",
        "Placement": {"AvailabilityZone": "eu-central-1a"},
    }


@pytest.fixture
def proof() -> dict[str, Any]:
    return {
        "changed": True,
        "images_first": {"api": image(1, skipped=False), "engine": image(2, skipped=False)},
        "images": {"api": image(1, skipped=True), "engine": image(3, skipped=False)},
        "hosts": [host(9, "cache", "data"), host(2, "api"), host(1, "api")],
        "address": "https://172.31.250.1",
        "conversions": 6,
        "rolls": {"engine": roll(2, 2, 20), "api": roll(3, 3, 30)},
        "load": {"requests": 500, "failed": 1},
        "versions": ["1.1.0"],
        "report": "/tmp/report.html",
        "status": "/tmp/status.html",
    }


def test_the_figures(proof: dict[str, Any]) -> None:
    summary = quickstart.summarise(proof, 300)
    assert summary["replaced"] == 5
    assert summary["conversions"] == 6 + 499
    assert (summary["requests"], summary["failed"]) == (500, 1)
    assert summary["lowest_in_service"] == 2
    assert summary["api_calls"] == 20 + 2 + 30 + 3
    assert summary["seconds"] == 300
    assert [(each["service"], each["id"]) for each in summary["hosts"]] == [
        ("api", "i-1"),
        ("api", "i-2"),
        ("cache", "i-9"),
    ]
    assert summary["hosts"][0] | {"kind": ""} == {
        "id": "i-1", "service": "api", "kind": "", "address": "172.31.0.1", "zone": "eu-central-1a",
    }  # fmt: skip


def test_an_image_that_the_change_left_alone_is_listed_as_it_was_built(proof: dict[str, Any]) -> None:
    summary = quickstart.summarise(proof, 300)
    assert summary["rebuilt"] == ["engine"]
    assert summary["images"]["api"]["skipped"] is False
    assert summary["images"]["engine"]["id"] == "ami-3"


def test_a_run_that_changed_nothing_skipped_every_image(proof: dict[str, Any]) -> None:
    proof |= {"changed": False, "images_first": {"api": image(1, skipped=True), "engine": image(3, skipped=True)}}
    proof |= {"images": proof["images_first"], "rolls": {}, "load": {"requests": 0, "failed": 0}}
    summary = quickstart.summarise(proof, 30)
    assert summary["rebuilt"] == []
    assert summary["lowest_in_service"] == 2, "all of the API's; hosts with data are not counted"
    assert all(entry["skipped"] for entry in summary["images"].values())


def test_a_run_fails_for_a_request_that_failed_and_for_an_old_engine(proof: dict[str, Any]) -> None:
    summary = quickstart.summarise(proof, 300)
    with pytest.raises(quickstart.QuickstartError, match="1 requests failed"):
        quickstart.judge(summary, "1.1.0")
    summary["failed"] = 0
    quickstart.judge(summary, "1.1.0")
    with pytest.raises(quickstart.QuickstartError, match=r"engines run 1\.1\.0, and 1\.2\.0 was wanted"):
        quickstart.judge(summary, "1.2.0")


def test_rolls_are_read_from_what_the_role_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart, "REPORTS", tmp_path)
    ends = [{"event": "begin"}, {"event": "finish", "result": roll(2, 2, 20)}]
    file = tmp_path / "quickstart-engine.eu-central-1.events.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in ends))
    nothing = {"event": "finish", "result": roll(0, 1, 2)}
    (tmp_path / "quickstart-cache.eu-central-1.events.jsonl").write_text(f"{json.dumps(nothing)}\n")
    assert quickstart.rolls() == {"engine": roll(2, 2, 20)}, "a group with nothing to do is none that was rolled"


def test_it_prints_what_people_look_for(proof: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    proof["load"]["failed"] = 0
    quickstart.show(quickstart.summarise(proof, 300))
    out = capsys.readouterr().out
    assert "requests failed: 0" in out
    assert "/tmp/status.html" in out
    assert "make quickstart-down" in out
    (line,) = [line for line in out.splitlines() if line.startswith("try it ")]
    command = shlex.split(line.removeprefix("try it"))
    assert command[:3] == ["curl", "--cacert", str(quickstart.AUTHORITY)]
    assert command[-1] == "https://172.31.250.1/file/conversion/step/stl"


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(quickstart, "TLS", tmp_path / "tls")
    monkeypatch.setattr(quickstart, "AUTHORITY", tmp_path / "ca.pem")
    return tmp_path / "tls"


def test_the_certificate_is_made_anew_only_for_another_address_or_before_it_ends(
    tls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert quickstart.certify(["quickstart"])
    assert not quickstart.certify(["quickstart"])
    assert quickstart.certify(["quickstart", "172.31.250.1"])
    assert not quickstart.certify(["quickstart", "172.31.250.1"])
    certificate, authority = (tls / "certificate.pem").read_text(), quickstart.AUTHORITY.read_text()
    assert certificates.names_of(certificate) == ("172.31.250.1", "quickstart")
    now = quickstart.time.time()
    assert certificates.state_of(certificate, authority, now) == "valid"
    signed = x509.load_pem_x509_certificate(certificate.encode())
    assert signed.subject != signed.issuer, "clients take it for one that signed itself"
    assert (tls / "key.pem").stat().st_mode & 0o777 == 0o600
    assert quickstart.AUTHORITY.stat().st_mode & 0o777 == 0o644
    assert "PRIVATE KEY" not in authority + certificate
    monkeypatch.setattr(quickstart.time, "time", lambda: now + 61 * 86400)
    assert quickstart.certify(["quickstart", "172.31.250.1"])


def test_its_files_are_the_conversion_product_on_cheap_machines_behind_https() -> None:
    given: dict[str, Any] = {}
    for name in ("conversion", "quickstart"):
        text = (ROOT / f"playbooks/vars/{name}.yml").read_text()
        text = text.replace("{{ quickstart_version }}", "1.1.0").replace("{{ quickstart_tls }}", "/tls")
        given |= yaml.safe_load(text)
    found = lists(read_fleet({name: value for name, value in given.items() if name != "fleet_image_variables"}))
    sizes = {group["for"]: group["size"] for group in found["groups"]}
    assert {name: size["desired"] for name, size in sizes.items()} == {"bus": 3, "cache": 1, "api": 3, "engine": 2}
    assert found["image_layers"] == [], "no driver is compiled"
    assert {image["profile"] for image in found["images"]} == {"cpu"}
    text = json.dumps(found)
    assert "/tls/certificate.pem" in text
    assert "1.1.0" in json.dumps([one for one in found["groups"] if one["for"] == "api"]), "a change rolls the API too"
