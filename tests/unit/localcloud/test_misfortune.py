# SPDX-License-Identifier: GPL-3.0-or-later
"""What befalls hosts: which of them, when, and that it is taken back; on a cloud whose hosts are fakes."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError

from localcloud import cloud as cloud_module
from localcloud import misfortune
from localcloud.faults import ClockFault, Faults, HostFault, NetworkFault
from localcloud.hosts.podman import HostError
from localcloud.misfortune import Misfortune, network_rules
from localcloud.misfortune import _do as misfortune_do
from localcloud.misfortune import _undo as misfortune_undo
from tests.unit.localcloud import fakes
from tests.unit.localcloud.test_inside import Host, WithInside, refusal
from tests.unit.localcloud.test_server import forget_moto, until

ROLE = "meta-data/iam/security-credentials/hosts"


class Stricken(WithInside):
    """A cloud with misfortune; ``done`` is what was done to hosts, by their systemd's process."""

    done: list[tuple[str, str, int]]

    def start(self) -> None:
        super().start()
        Misfortune(self.cloud, time.time)

    def arm(self, kind: str, **fields: Any) -> dict[str, Any]:
        status, answer = self.ask("/_localcloud/faults", "POST", {"kind": kind, **fields})
        return {"status": status, **answer}

    def listed(self) -> list[dict[str, Any]]:
        return list(self.ask("/_localcloud/faults")[1]["faults"])

    def armed(self) -> list[str]:
        return [one["kind"] for one in self.listed()]

    def pid(self, host: Host) -> int:
        found = self.cloud.fleet.get(host.id)
        assert found
        return found.pid


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stricken]:
    podman, done = fakes.FakePodman(), []  # type: ignore[var-annotated]
    fakes.install(monkeypatch, podman)
    monkeypatch.setattr(cloud_module, "TICK_SECONDS", 0.05)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def do(fault: HostFault, pid: int, around: str, gateway: str) -> None:
        done.append(("do", around, pid))

    monkeypatch.setattr(misfortune, "_do", do)
    monkeypatch.setattr(misfortune, "_undo", lambda _fault, pid: done.append(("undo", "", pid)))
    forget_moto()
    running = Stricken(tmp_path, podman)
    running.done = done
    yield running
    running.end()


def test_a_pulled_plug(cloud: Stricken) -> None:
    host = cloud.host()
    assert cloud.arm("plug", instance=host.id)["status"] == 200
    cloud.until(host.id, "stopped")
    assert cloud.instance(host.id)["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert cloud.armed() == []
    assert f"kill --signal=KILL lc-unit-{host.id}" in cloud.podman.calls


def test_a_zone_is_cut_off_with_what_is_launched_in_it_and_for_a_time(cloud: Stricken) -> None:
    here = {"Placement": {"AvailabilityZone": "eu-central-1b"}}
    host, other = cloud.host(**here), cloud.host(Placement={"AvailabilityZone": "eu-central-1a"})
    cloud.arm("network", zone="eu-central-1b", cut=True, seconds=3)
    until(lambda: bool(cloud.done))
    late = cloud.host(**here)
    until(lambda: len(cloud.done) == 2)
    around = "127.86.16.0/20"
    assert cloud.done == [("do", around, cloud.pid(host)), ("do", around, cloud.pid(late))]
    assert cloud.pid(other) not in [pid for _, _, pid in cloud.done]
    until(lambda: cloud.armed() == [])
    until(lambda: len(cloud.done) == 4)
    assert sorted(cloud.done[2:]) == sorted([("undo", "", cloud.pid(host)), ("undo", "", cloud.pid(late))])


def test_clearing_takes_it_back_and_a_reboot_does_not(cloud: Stricken) -> None:
    host = cloud.host()
    first = cloud.pid(host)
    cloud.arm("disk", instance=host.id, path="/var/log")
    until(lambda: cloud.done == [("do", "", first)])
    cloud.client("ec2").reboot_instances(InstanceIds=[host.id])
    until(lambda: cloud.pid(host) not in (0, first))
    cloud.podman.boot()
    until(lambda: cloud.done[1:] == [("do", "", cloud.pid(host))])
    cloud.ask("/_localcloud/faults", "DELETE")
    until(lambda: cloud.done[2:] == [("undo", "", cloud.pid(host))])


def test_spot_is_told_first_and_taken_then(cloud: Stricken) -> None:
    host = cloud.host(InstanceMarketOptions={"MarketType": "spot"})
    cloud.arm("spot", instance=host.id, notice=3)
    until(lambda: host.get("meta-data/spot/instance-action")[0] == 200)
    assert json.loads(host.get("meta-data/spot/instance-action")[1])["action"] == "terminate"
    assert host.get("meta-data/events/recommendations/rebalance")[0] == 200
    assert cloud.state(host.id) == "running"
    cloud.until(host.id, "terminated")
    assert cloud.instance(host.id)["StateReason"]["Code"] == "Server.SpotInstanceTermination"


def test_credentials_that_cannot_be_fetched_or_are_over(cloud: Stricken) -> None:
    cloud.profile()
    host, other = cloud.host(IamInstanceProfile={"Name": "hosts"}), cloud.host(IamInstanceProfile={"Name": "hosts"})
    cloud.client("ssm").put_parameter(Name="/main/a", Value="x", Type="String")
    cloud.arm("credentials", instance=host.id)
    assert (host.get(ROLE)[0], other.get(ROLE)[0]) == (404, 200)
    cloud.ask("/_localcloud/faults", "DELETE")
    assert host.ssm().get_parameters(Names=["/main/a"])["Parameters"]
    cloud.arm("credentials", outcome="expired")
    assert json.loads(host.get(ROLE)[1])["Expiration"] <= f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
    assert refusal(lambda: host.ssm().get_parameters(Names=["/main/a"]))[0] == "ExpiredTokenException"


def test_the_api_is_away_for_everybody_and_comes_back(cloud: Stricken) -> None:
    cloud.profile()
    host = cloud.host(IamInstanceProfile={"Name": "hosts"})
    ssm = host.ssm()
    cloud.arm("away", seconds=4)
    for call in (cloud.client("ec2").describe_instances, lambda: ssm.get_parameters(Names=["/main/a"])):
        with pytest.raises(BotoCoreError, match=r"Connection was closed|Could not connect"):
            call()
    assert host.get("meta-data/instance-id") == (200, host.id)  # metadata is no part of it
    until(lambda: cloud.armed() == [])
    cloud.client("ec2").describe_instances()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kind": "plug"}, "fault plug needs the field 'instance'"),
    ({"kind": "plug", "instance": "i-none"}, "there is no host i-none"),
    ({"kind": "plug", "instance": "HOST", "until": 1}, "has no field 'until'"),
    ({"kind": "plug", "instance": "STOPPED"}, "does not run, so there is no plug to pull: start it first"),
    ({"kind": "spot", "instance": "HOST"}, "is no Spot instance"),
    ({"kind": "network", "instance": "HOST"}, "needs one of cut, loss"),
    ({"kind": "network", "cut": True}, "needs an instance or a zone"),
    ({"kind": "network", "zone": "eu-central-1z", "cut": True}, "there is no zone eu-central-1z"),
    ({"kind": "network", "instance": "HOST", "loss": 101}, "0 to 100 percent"),
    ({"kind": "disk", "instance": "HOST", "path": "/"}, "is no directory below /"),
    ({"kind": "disk", "instance": "HOST", "path": "/a;b"}, "is no directory below /"),
    ({"kind": "clock", "instance": "HOST", "offset": 0}, "a clock that is 0 seconds ahead is right"),
    ({"kind": "credentials", "outcome": "odd"}, "there is no outcome 'odd'"),
    ({"kind": "launch", "zone": "eu-central-1z"}, "there is no zone eu-central-1z: there are eu-central-1a,"),
    (
        {"kind": "api", "operation": "DescribeInstance"},
        "an operation 'DescribeInstance' (did you mean DescribeInstances?)",
    ),
    ({"kind": "api", "operation": "Qqq"}, "an operation 'Qqq' (use a name of AWS's, or * for all)"),
]


def test_what_cannot_come_about_is_refused(cloud: Stricken) -> None:
    host, stopped = cloud.host(), cloud.host()
    cloud.client("ec2").stop_instances(InstanceIds=[stopped.id])
    cloud.until(stopped.id, "stopped")
    names = {"HOST": host.id, "STOPPED": stopped.id}
    for fault, says in REFUSED:
        answer = cloud.arm(**{key: names.get(str(value), value) for key, value in fault.items()})
        assert (fault, answer["status"]) == (fault, 400)
        assert says in answer["error"]
    assert cloud.armed() == []


def test_a_second_fault_of_a_kind_on_a_host_is_refused(cloud: Stricken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misfortune, "_faketime", lambda: Path("/library"))
    host, near = cloud.host(), cloud.host()
    far = cloud.host(Placement={"AvailabilityZone": "eu-central-1b"})
    cut: dict[str, Any] = {"kind": "network", "cut": True}
    zone = str(cloud.instance(host.id)["Placement"]["AvailabilityZone"])
    pairs: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
        ({**cut, "instance": host.id}, {**cut, "instance": host.id}, {**cut, "instance": near.id}),
        ({**cut, "instance": host.id}, {**cut, "zone": zone}, {**cut, "zone": "eu-central-1b"}),
        ({**cut, "zone": zone}, {**cut, "instance": host.id}, {**cut, "instance": far.id}),
        ({**cut, "zone": zone}, {**cut, "zone": zone}, {**cut, "zone": "eu-central-1b"}),
        *(
            (
                {"kind": kind, "instance": host.id, **more},
                {"kind": kind, "instance": host.id, **other},
                {"kind": kind, "instance": near.id, **other},
            )
            for kind, more, other in (
                ("disk", {"path": "/srv"}, {"path": "/var"}),
                ("clock", {"offset": 1}, {"offset": 2}),
                ("credentials", {}, {"outcome": "expired"}),
            )
        ),
    ]
    for first, again, elsewhere in pairs:
        assert cloud.arm(**first)["status"] == 200
        refused = cloud.arm(**again)
        assert (first, again, refused["status"]) == (first, again, 400)
        assert f"a fault {first['kind']} is armed for" in refused["error"]
        assert cloud.arm(**elsewhere)["status"] == 200
        cloud.ask("/_localcloud/faults", "DELETE")
    cloud.arm("credentials")
    assert "is armed for" in cloud.arm("credentials", instance=host.id)["error"]


def test_a_fault_that_fails_says_so_and_is_not_taken_back(cloud: Stricken, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise HostError("there is no room")

    monkeypatch.setattr(misfortune, "_do", full)
    host = cloud.host()
    cloud.arm("disk", instance=host.id, path="/srv")
    until(lambda: cloud.listed()[0]["failed"] == {host.id: "there is no room"})
    cloud.ask("/_localcloud/faults", "DELETE")
    cloud.arm("plug", instance=host.id)
    cloud.until(host.id, "stopped")
    assert cloud.done == []


def test_a_plug_that_cannot_be_pulled_says_so(cloud: Stricken) -> None:
    host = cloud.host()
    cloud.podman.refuse["kill --signal=KILL"] = "podman is busy."
    cloud.arm("plug", instance=host.id)
    until(lambda: [(one["kind"], one["failed"]) for one in cloud.listed()] == [("plug", {host.id: "podman is busy."})])
    assert cloud.state(host.id) == "running"


def test_what_is_armed_again_begins_when_the_old_is_taken_back(
    cloud: Stricken, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def slowly(_fault: HostFault, pid: int) -> None:
        go_on.wait(30)
        cloud.done.append(("undo", "", pid))

    monkeypatch.setattr(misfortune, "_undo", slowly)
    host = cloud.host()
    cloud.arm("disk", instance=host.id, path="/srv")
    until(lambda: len(cloud.done) == 1)
    cloud.ask("/_localcloud/faults", "DELETE")
    cloud.arm("disk", instance=host.id, path="/srv")
    time.sleep(0.5)  # several ticks
    go_on.set()
    until(lambda: [what for what, _, _ in cloud.done] == ["do", "undo", "do"])


def test_a_wrong_clock_is_made_by_the_host_and_with_its_capabilities(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library, ran = tmp_path / "library", []  # type: ignore[var-annotated]
    library.write_bytes(b"\x7fELF")

    def run(command: list[str], **more: Any) -> Any:
        ran.append((command, more["input"]))
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(misfortune, "_faketime", lambda: library)
    monkeypatch.setattr(misfortune, "subprocess", SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired))
    fault = ClockFault(instance="i-1", offset=1234567.5)
    misfortune_do(fault, os.getpid(), "", "")
    misfortune_undo(fault, os.getpid())
    misfortune_undo(fault, 2**22 + 1)  # of a host that ended there is nothing to take back
    (first, given), (second, _) = ran
    assert (given, first[-1]) == (b"\x7fELF", "+1234567.5")
    for command in (first, second):
        assert command[:2] == ["setpriv", "--inh-caps=-all"]
        assert "--mount" in command


def test_latency_and_a_clock_are_refused_where_the_machine_cannot(
    cloud: Stricken, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = cloud.host()
    monkeypatch.setattr(misfortune, "_has_netem", lambda: False)
    monkeypatch.setattr(misfortune, "_faketime", lambda: None)
    assert "modprobe sch_netem" in cloud.arm("network", instance=host.id, latency=100)["error"]
    assert "apt-get install libfaketime" in cloud.arm("clock", instance=host.id, offset=60)["error"]


def test_without_hosts_there_are_no_faults_of_theirs() -> None:
    with pytest.raises(ValueError, match="fault plug needs real hosts"):
        Faults().add({"kind": "plug", "instance": "i-1"})


def test_rules_of_a_cut_zone_and_of_loss() -> None:
    cut = network_rules(NetworkFault(zone="z", cut=True), "172.31.0.0/20", "172.31.0.1")
    assert "ip daddr != 172.31.0.1 ip daddr 172.31.0.0/20 accept" in cut
    assert cut.count("        drop\n") == 2
    worse = network_rules(NetworkFault(instance="i", loss=2.5, rate=64), "172.31.0.0/20", "172.31.0.1")
    assert worse.count("numgen random mod 1000 < 25 drop") == worse.count("limit rate over 64 kbytes/second drop") == 2
    assert "172.31.0.0/20" not in worse
