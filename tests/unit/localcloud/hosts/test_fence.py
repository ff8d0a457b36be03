# SPDX-License-Identifier: GPL-3.0-or-later
"""The packet filter's rules as text; tests/contract/localcloud/test_fence.py tries them from a host."""

from __future__ import annotations

import subprocess

import pytest

from localcloud.hosts import fence as fence_module
from localcloud.hosts.fence import Fence
from localcloud.hosts.podman import HostError

FENCE = Fence("my-cloud", "podman7", "172.31.0.1", 4577)


def test_this_machine_s_networks_are_closed_and_its_name_servers_are_asked_for_names_only() -> None:
    rules = FENCE.rules(["203.0.113.0/24", "127.0.0.0/8", "10.1.0.0/16"], ["198.18.0.53", "fd00::53"])
    assert "ip daddr 198.18.0.53" not in rules
    assert "ip daddr { 198.18.0.53 } meta l4proto { tcp, udp } th dport 53 accept" in rules
    closed = next(line for line in rules.splitlines() if "203.0.113.0/24" in line)
    assert closed.strip().endswith("reject")
    assert "10.1.0.0/16" not in closed, "it is in 10.0.0.0/8, and nft refuses sets that overlap"
    for network in ("10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8"):
        assert network in closed


def test_what_the_user_opens_comes_before_what_is_closed() -> None:
    rules = Fence("c", "podman7", "172.31.0.1", 4577, ("192.168.7.0/24",)).rules([], []).splitlines()
    opened = next(number for number, line in enumerate(rules) if "192.168.7.0/24" in line)
    closed = next(number for number, line in enumerate(rules) if "192.168.0.0/16" in line)
    assert opened < closed
    assert not any("dport 53" in line and "daddr {" in line for line in rules), "there is no name server"


def test_a_second_one_takes_the_place_of_the_first() -> None:
    lines = FENCE.rules([], []).splitlines()
    assert lines[:3] == ["table inet lc_my_cloud", "delete table inet lc_my_cloud", "table inet lc_my_cloud {"]


def test_nft_missing_and_nft_s_refusal_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(fence_module, "_attached", list)
    monkeypatch.setattr(subprocess, "run", missing)
    with pytest.raises(HostError, match="apt-get install nftables"):
        FENCE.up()
    refused = subprocess.CompletedProcess([], 1, "", "Operation not permitted (you must be root)\nnetlink: no\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(HostError, match=r"to hosts: Operation not permitted \(you must be root\)\.$"):
        FENCE.up()
    FENCE.down()
