# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's steps over a fake podman and a virtual clock."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from localcloud.clock import VirtualClock
from localcloud.hosts.fleet import BOOT_SECONDS, Fleet, Goal, Host, Observer, Phase
from localcloud.hosts.podman import STOP_SECONDS, HostError
from tests.unit.localcloud import fakes

NAME = "lc-test-i-1"


class Heard(Observer):
    """Writes down what the cloud would be told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def came_up(self, host: Host) -> None:
        self.events.append(f"{host.id} up")

    def impaired(self, host: Host) -> None:
        self.events.append(f"{host.id} impaired")

    def stopped(self, host: Host) -> None:
        self.events.append(f"{host.id} stopped")

    def died(self, host: Host) -> None:
        self.events.append(f"{host.id} died")

    def gone(self, host: Host) -> None:
        self.events.append(f"{host.id} gone")

    def failed(self, host: Host, reason: str) -> None:
        self.events.append(f"{host.id} failed: {reason}")


class Bench:
    """A fleet with one host called i-1."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.podman = fakes.FakePodman()
        fakes.install(monkeypatch, self.podman)
        self.path, self.clock, self.heard = path, VirtualClock(), Heard()
        self.fleet = self.make()

    def make(self) -> Fleet:
        fleet = Fleet("test", self.path, self.podman, clock=self.clock, lock=threading.RLock(), workers=fakes.AtOnce())
        fleet.observer = self.heard
        return fleet

    def launch(self, **fields: Any) -> Host:
        host = Host("i-1", "image", "172.31.0.4", "ip-172-31-0-4", **fields)
        self.fleet.seed_directory(host.id).mkdir(parents=True)
        self.fleet.launch(host)
        return host

    def up(self) -> Host:
        host = self.launch()
        self.turns()
        self.podman.boot()
        self.turns()
        assert host.phase is Phase.UP
        return host

    def turns(self, number: int = 4) -> None:
        for _ in range(number):
            self.fleet.observe()
            self.clock.advance(0.25)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_host_is_pending_until_its_systemd_is_done(bench: Bench) -> None:
    host = bench.launch()
    bench.turns()
    assert (host.phase, bench.heard.events) == (Phase.BOOTING, [])
    assert not bench.fleet.settled()
    bench.podman.boot()
    bench.turns()
    assert (host.phase, bench.heard.events) == (Phase.UP, ["i-1 up"])
    assert bench.fleet.settled()


def test_the_container_gets_the_address_that_the_api_promised_and_its_seed(bench: Bench) -> None:
    bench.up()
    spec = bench.podman.containers_[NAME].spec
    assert (spec.network, spec.address, spec.hostname) == ("lc-test", "172.31.0.4", "ip-172-31-0-4")
    assert spec.seed == bench.path / "i-1"
    assert spec.labels == {"localcloud": "test", "instance": "i-1"}


def test_termination_asks_systemd_first_then_removes(bench: Bench) -> None:
    bench.up()
    bench.podman.calls.clear()
    bench.fleet.terminate("i-1")
    bench.turns()
    assert bench.podman.calls == [f"kill --signal=RTMIN+3 {NAME}", f"remove {NAME}"]
    assert bench.heard.events[-1] == "i-1 gone"
    assert bench.fleet.get("i-1") is None
    assert not (bench.path / "i-1").exists(), "the seed may hold secrets"


def test_a_host_that_will_not_stop_is_killed_after_the_deadline(bench: Bench) -> None:
    host = bench.up()
    bench.podman.containers_[NAME].ignores_stop = True
    bench.fleet.terminate("i-1")
    bench.turns()
    bench.clock.advance(STOP_SECONDS - 2)
    bench.turns()
    assert host.phase is Phase.ENDING
    bench.clock.advance(2)
    bench.turns()
    assert f"kill --signal=KILL {NAME}" in bench.podman.calls
    assert bench.heard.events[-1] == "i-1 gone"


def test_stop_and_start(bench: Bench) -> None:
    bench.up()
    bench.fleet.stop("i-1")
    bench.turns()
    assert bench.heard.events == ["i-1 up", "i-1 stopped"]
    assert NAME in bench.podman.containers_
    bench.fleet.start("i-1")
    bench.turns()
    bench.podman.boot()
    bench.turns()
    assert bench.heard.events == ["i-1 up", "i-1 stopped", "i-1 up"]


def test_a_reboot_keeps_the_host_and_tells_of_no_stop(bench: Bench) -> None:
    host = bench.up()
    bench.fleet.reboot("i-1")
    bench.turns()
    bench.podman.boot()
    bench.turns()
    assert f"start {NAME}" in bench.podman.calls
    assert (host.phase, bench.heard.events) == (Phase.UP, ["i-1 up", "i-1 up"])


def test_a_reboot_from_inside_starts_it_again(bench: Bench) -> None:
    host = bench.up()
    container = bench.podman.containers_[NAME]
    container.state, container.code = "gone", 129
    bench.turns()
    assert host.phase is Phase.BOOTING
    assert "i-1 died" not in bench.heard.events


@pytest.mark.parametrize("code", [0, 130, 137])
def test_a_host_that_ends_by_itself_is_noticed(bench: Bench, code: int) -> None:
    host = bench.up()
    container = bench.podman.containers_[NAME]
    container.state, container.code = "gone", code
    bench.turns()
    assert bench.heard.events == ["i-1 up", "i-1 died"]
    assert (host.goal, host.phase) == (Goal.STOPPED, Phase.DOWN)


def test_a_container_that_was_removed_is_gone(bench: Bench) -> None:
    bench.up()
    del bench.podman.containers_[NAME]
    bench.turns()
    assert bench.heard.events == ["i-1 up", "i-1 gone"]


def test_a_launch_that_fails_says_why_and_leaves_nothing(bench: Bench) -> None:
    bench.podman.refuse["run"] = "The disk is full: free some space."
    bench.launch()
    bench.turns()
    assert bench.heard.events == ["i-1 failed: The disk is full: free some space.", "i-1 gone"]
    assert bench.fleet.hosts() == []


def test_a_host_that_cannot_be_closed_off_is_not_launched(bench: Bench) -> None:
    bench.podman.refuse["port"] = "It cannot be seen."
    bench.launch()
    bench.turns()
    assert bench.heard.events == ["i-1 failed: It cannot be seen.", "i-1 gone"]
    assert bench.podman.containers_ == {}


def test_a_host_that_cannot_be_closed_off_is_not_started(bench: Bench) -> None:
    bench.up()
    bench.fleet.stop("i-1")
    bench.turns()
    bench.podman.refuse["port"] = "It cannot be seen."
    bench.fleet.start("i-1")
    bench.turns()
    assert bench.heard.events[-1] == "i-1 died"
    assert bench.podman.containers_[NAME].state == "gone"


def test_a_host_that_ends_while_it_is_looked_at_has_died(bench: Bench) -> None:
    host = bench.launch(boot_fault="")
    run = bench.podman.run

    def die(spec: Any) -> None:
        run(spec)
        bench.podman.containers_[NAME].state = "gone"
        bench.podman.refuse["port"] = "It cannot be seen."

    bench.podman.run = die  # type: ignore[method-assign]
    bench.turns()
    assert (bench.heard.events, host.port) == (["i-1 died"], 0)


def test_the_port_of_a_host_that_runs_on_is_kept_and_of_another_it_must_be_seen(bench: Bench) -> None:
    host = bench.up()
    dump = bench.fleet.dump()
    bench.podman.refuse["port"] = "It cannot be seen."
    again = bench.make()
    again.load(dump)
    found = again.get("i-1")
    assert found
    assert found.port == host.port > 0
    bench.podman.containers_[NAME].pid += 1
    with pytest.raises(HostError, match="cannot be seen"):
        bench.make().load(dump)


def test_a_failed_removal_is_tried_again_later(bench: Bench) -> None:
    bench.up()
    bench.podman.refuse["remove"] = "podman is busy."
    bench.fleet.terminate("i-1")
    bench.turns()
    assert bench.fleet.get("i-1") is not None
    bench.clock.advance(5)
    bench.turns()
    assert bench.heard.events[-1] == "i-1 gone"


def test_a_boot_that_hangs_makes_the_host_impaired(bench: Bench) -> None:
    host = bench.launch(boot_fault="hang")
    bench.turns()
    bench.podman.boot()
    bench.turns()
    assert host.phase is Phase.BOOTING
    bench.clock.advance(BOOT_SECONDS)
    bench.turns()
    assert (host.phase, bench.heard.events) == (Phase.IMPAIRED, ["i-1 impaired"])


def test_a_slow_boot_is_impaired_until_it_is_done(bench: Bench) -> None:
    host = bench.launch()
    bench.turns()
    bench.clock.advance(BOOT_SECONDS)
    bench.turns()
    bench.podman.boot()
    bench.turns()
    assert (host.phase, bench.heard.events) == (Phase.UP, ["i-1 impaired", "i-1 up"])


def test_a_host_can_die_in_its_boot(bench: Bench) -> None:
    bench.launch(boot_fault="die")
    bench.turns()
    assert bench.heard.events == ["i-1 died"]


def test_termination_of_a_host_that_was_never_made(bench: Bench) -> None:
    bench.launch()
    bench.fleet.terminate("i-1")
    bench.turns()
    assert bench.podman.calls == []
    assert bench.heard.events == ["i-1 gone"]


def test_nothing_brings_back_a_host_that_is_being_terminated(bench: Bench) -> None:
    host = bench.up()
    bench.fleet.terminate("i-1")
    bench.fleet.start("i-1")
    assert host.goal is Goal.GONE


class TestComingBack:
    def test_running_hosts_go_on(self, bench: Bench) -> None:
        bench.up()
        dump, bench.fleet = bench.fleet.dump(), bench.make()
        bench.fleet.load(dump)
        assert bench.fleet.settled()
        assert "start" not in " ".join(bench.podman.calls)

    def test_hosts_that_went_down_are_started_again(self, bench: Bench) -> None:
        bench.up()
        bench.podman.containers_[NAME].state = "gone"
        dump, bench.fleet = bench.fleet.dump(), bench.make()
        bench.fleet.load(dump)
        bench.turns()
        bench.podman.boot()
        bench.turns()
        assert bench.fleet.settled()
        assert "i-1 died" not in bench.heard.events

    def test_stopped_hosts_stay_stopped(self, bench: Bench) -> None:
        bench.up()
        bench.fleet.stop("i-1")
        bench.turns()
        dump, bench.fleet = bench.fleet.dump(), bench.make()
        bench.fleet.load(dump)
        bench.turns()
        assert bench.podman.containers_[NAME].state == "gone"

    def test_hosts_without_a_container_are_gone(self, bench: Bench) -> None:
        bench.up()
        bench.podman.containers_.clear()
        dump, bench.fleet = bench.fleet.dump(), bench.make()
        bench.fleet.load(dump)
        bench.turns()
        assert bench.heard.events[-1] == "i-1 gone"

    def test_a_launch_that_was_under_way_goes_on(self, bench: Bench) -> None:
        bench.launch()
        dump, bench.fleet = bench.fleet.dump(), bench.make()
        bench.fleet.load(dump)
        bench.turns()
        assert NAME in bench.podman.containers_

    def test_containers_that_nobody_knows_are_removed(self, bench: Bench) -> None:
        bench.up()
        bench.fleet = bench.make()
        bench.fleet.load([])
        assert bench.podman.containers_ == {}
