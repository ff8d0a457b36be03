# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else is there, their names, and the certificate that a node takes."""

from __future__ import annotations

import getpass
import grp
import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.host import machine, peers
from ansible_collections.boring.fleet.plugins.module_utils.host.aws import Instance
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told, read
from tests.unit.plugins.module_utils.host.authority import Authority

OWN = "i-1.bus.shop.fleet.internal"
TOLD: Told = read(
    '{"fleet": "shop", "service": "bus", "kind": "nats", "region": "eu-central-1", "group": "shop-bus", "nodes": 3,'
    ' "domain": "bus.shop.fleet.internal", "parameters": {"certificate": "/c", "key": "/k", "authority": "/a", "system": "/s"}}'
)


class Ec2:
    def __init__(self, *instances: Instance) -> None:
        self.found = list(instances)

    def instances(self, fleet: str, service: str) -> list[Instance]:
        return self.found


def instance(number: int, lifecycle: str = "InService", state: str = "running") -> Instance:
    return Instance(f"i-{number}", f"10.0.0.{number}", state, f"2026-11-30T10:00:0{number}Z", lifecycle)


def look(*instances: Instance) -> peers.Peers:
    there: Any = Ec2(*instances)
    return peers.look(there, TOLD, "i-1")


def test_those_that_are_switched_off_are_known_and_are_no_nodes() -> None:
    found = look(instance(1), instance(2, "Pending:Wait"), instance(3, "InService", "stopped"))
    assert [one.id for one in found.nodes] == ["i-1", "i-2"]
    assert [one.id for one in found.others] == ["i-2"]
    assert found.known == {"i-1", "i-2", "i-3"}


@pytest.mark.parametrize(
    ("states", "formed"),
    [
        (["Pending"], False), (["Pending:Wait", "Pending:Proceed"], False), ([""], False), ([], False),
        (["InService"], True), (["Pending:Wait", "Terminating:Wait"], True), (["Standby"], True),
    ],
)  # fmt: skip
def test_a_group_is_formed_once_somebody_else_got_out_of_pending(states: list[str], formed: bool) -> None:
    others = [instance(number, state) for number, state in enumerate(states, 2)]
    assert look(instance(1, "InService"), *others).formed is formed


def test_a_host_that_ec2_does_not_list_waits() -> None:
    with pytest.raises(HostError, match="EC2 does not list i-1 among the hosts of bus of the fleet shop"):
        look(instance(2))


def test_names_stay_in_their_own_lines_of_etc_hosts() -> None:
    text = peers.with_names("127.0.0.1 localhost", TOLD, [instance(2), instance(1)], {})
    assert text.splitlines()[2:4] == [f"10.0.0.1 {OWN}", "10.0.0.2 i-2.bus.shop.fleet.internal"]
    text += "10.9.9.9 somebody-elses\n"
    again = peers.with_names(text, TOLD, [instance(3)], {f"i-1-1.{TOLD.domain}": "10.0.0.1"})
    assert "i-2" not in again
    assert again.startswith("127.0.0.1 localhost\n") and again.endswith("10.9.9.9 somebody-elses\n")
    assert peers.with_names(again, TOLD, [instance(3)], {f"i-1-1.{TOLD.domain}": "10.0.0.1"}) == again


@pytest.fixture
def authority() -> Authority:
    return Authority()


class Box(machine.Host):
    """Files of whoever runs the test."""

    def write(self, path: str, text: str, owner: str, group: str, mode: int) -> bool:
        return super().write(path, text, getpass.getuser(), grp.getgrgid(os.getgid()).gr_name, mode)


def values(authority: Authority, certificate: str, key: str) -> dict[str, str]:
    return {"/c": certificate, "/k": key, "/a": authority.certificate}


def bring(folder: Path, given: dict[str, str]) -> bool:
    return peers.write_certificate(Box(), TOLD, given, folder=str(folder), group="nats", own_name=OWN)


def test_a_certificate_that_fits_is_taken(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.sign(["*.bus.shop.fleet.internal", "bus.shop.fleet.internal"])
    given = values(authority, certificate, key.strip())
    assert bring(tmp_path, given)
    assert (tmp_path / "key.pem").read_text() == key
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}
    assert not bring(tmp_path, given), "nothing changed"
    assert not (tmp_path / ".candidate").exists()
    assert peers.ends_soon(Box(), str(tmp_path)) == ""


@pytest.mark.parametrize(
    ("names", "days", "reason"),
    [
        (["*.bus.shop.fleet.internal"], -1, r"the certificate of /c ended at .* GMT: renew it"),
        (["*.cache.shop.fleet.internal"], 60, f"the certificate of /c is not for {OWN}"),
    ],
)
def test_one_that_does_not_fit_is_a_sentence(
    tmp_path: Path, authority: Authority, names: list[str], days: int, reason: str
) -> None:
    certificate, key = authority.sign(names, days)
    with pytest.raises(HostError, match=reason) as caught:
        bring(tmp_path, values(authority, certificate, key))
    assert key.splitlines()[1] not in str(caught.value)
    assert not (tmp_path / "cert.pem").exists()


def test_one_of_another_authority_or_another_key_is_a_sentence(tmp_path: Path, authority: Authority) -> None:
    certificate, key = Authority().sign([f"*.{TOLD.domain}"])
    with pytest.raises(HostError, match="the fleet's authority did not sign the certificate of /c"):
        bring(tmp_path, values(authority, certificate, key))
    certificate, dummy = authority.sign([f"*.{TOLD.domain}"])
    with pytest.raises(HostError, match="the certificate of /c and its key do not belong together"):
        bring(tmp_path, values(authority, certificate, key))
    with pytest.raises(HostError, match="the parameter /c is no certificate"):
        bring(tmp_path, values(authority, "nonsense", key))


def test_one_that_ends_soon_is_said(tmp_path: Path, authority: Authority) -> None:
    bring(tmp_path, values(authority, *authority.sign([f"*.{TOLD.domain}"], 10)))
    assert peers.ends_soon(Box(), str(tmp_path)).startswith("the certificate ends at ")


@pytest.mark.parametrize("value", ["", "two\nlines", "a\0b"])
def test_a_password_of_several_lines_is_refused(value: str) -> None:
    with pytest.raises(HostError, match="the parameter /s is"):
        peers.secret(TOLD, {"/s": value}, "system")


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match=r"file/below cannot be written: (File exists|Not a directory); see the disk"):
        Box().write(str(tmp_path / "file" / "below"), "x", "root", "root", 0o640)
    with pytest.raises(HostError, match="nobody-of-this-name"):
        machine.Host().write(str(tmp_path / "other"), "x", "nobody-of-this-name", "root", 0o640)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"], "nothing half written stays"
