# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups as rules for nft; tests/contract/localcloud/test_security_groups.py tries them between hosts."""

from __future__ import annotations

import pytest

from localcloud.hosts import fence as fence_module
from localcloud.hosts.fence import Fence, Gate, Ground, hardware_address
from localcloud.hosts.groups import Group, Rule, chains, declarations

WEB = Group(
    "sg-1", ("10.0.0.4",), ingress=(Rule("tcp", 80, 90, network="0.0.0.0/0"),), egress=(Rule("-1", group="sg-2"),)
)
FENCE = Fence("my-cloud", "podman7", "10.0.0.1", 4577)
SETS = "inet lc_my_cloud"


def chain(groups: list[Group], name: str) -> list[str]:
    """The lines of one chain."""
    lines = [line.strip() for line in chains(groups, "unbound", "away")]
    begin = lines.index(f"chain {name} {{")
    return lines[begin + 1 : lines.index("}", begin)]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule("-1", network="0.0.0.0/0"), "accept"),
        (Rule("-1", network="10.1.0.0/16"), "ip saddr 10.1.0.0/16 accept"),
        (Rule("-1", group="sg-2"), "ip saddr @sg_2 accept"),
        (Rule("tcp", 22, 22, network="0.0.0.0/0"), "tcp dport 22 accept"),
        (Rule("udp", 100, 200, group="sg-2"), "ip saddr @sg_2 udp dport 100-200 accept"),
        (Rule("tcp", 0, 65535, group="sg-2"), "ip saddr @sg_2 meta l4proto tcp accept"),
        (Rule("tcp", -1, -1, network="0.0.0.0/0"), "meta l4proto tcp accept"),
        (Rule("tcp", 0, 0, network="0.0.0.0/0"), "tcp dport 0 accept"),
        (Rule("icmp", -1, -1, network="0.0.0.0/0"), "meta l4proto icmp accept"),
        (Rule("icmp", 8, -1, network="0.0.0.0/0"), "icmp type 8 accept"),
        (Rule("icmp", 3, 4, network="0.0.0.0/0"), "icmp type 3 icmp code 4 accept"),
        (Rule("50", network="10.1.0.0/16"), "ip saddr 10.1.0.0/16 meta l4proto 50 accept"),
    ],
)
def test_a_rule_lets_in_what_it_says_and_nothing_more(rule: Rule, text: str) -> None:
    assert chain([Group("sg-1", ingress=(rule,))], "in_sg_1") == [text]


def test_who_may_send_is_decided_before_who_may_receive() -> None:
    groups = [WEB, Group("sg-2")]
    assert chain(groups, "out_sg_1") == ["ip daddr @sg_2 goto receives"]
    assert chain(groups, "in_sg_1") == ["tcp dport 80-90 accept"]
    assert chain(groups, "in_sg_2") == []
    assert chain(groups, "sends") == [
        "ip saddr @unbound goto receives", "ip saddr @sg_1 jump out_sg_1", "ip saddr @sg_2 jump out_sg_2", "drop",
    ]  # fmt: skip
    assert chain(groups, "receives") == [
        "away goto outside", "ip daddr @unbound accept",
        "ip daddr @sg_1 jump in_sg_1", "ip daddr @sg_2 jump in_sg_2", "drop",
    ]  # fmt: skip
    assert declarations(groups) == ["    set sg_1 { type ipv4_addr; }", "    set sg_2 { type ipv4_addr; }"]


def test_every_connection_of_hosts_and_load_balancers_comes_by_the_rules() -> None:
    rules = FENCE.rules([], [], [WEB])
    chains_ = {text.split(" {", 1)[0]: text for text in rules.split("    chain ")[1:]}
    for name, decided in (
        ("to_machine", "ip daddr @balancers goto sends"),
        ("through_machine", 'iifname != "podman7" goto receives'),
        ("from_machine", "ip saddr @balancers goto sends"),
    ):
        lines = [line.strip() for line in chains_[name].splitlines()]
        assert decided in lines
        assert lines.index("ct state established,related accept") < lines.index(decided)
    assert chains_["through_machine"].split("}")[0].strip().endswith("goto sends")
    assert chains_["from_machine"].split("goto receives")[0].strip().endswith("meta l4proto icmp accept")
    assert "tcp dport 22 accept" in chains_["from_machine"], "this machine's way in"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(fence_module, "_nft", found.append)
    return found


def test_a_change_is_one_transaction_of_what_changed(scripts: list[str]) -> None:
    gate = Gate(FENCE, [], [])
    gate.apply(Ground((WEB, Group("sg-2")), ("10.0.0.200",)))
    assert len(scripts) == 1
    assert "chain in_sg_1" in scripts[0]
    assert f"add element {SETS} sg_1 {{ 10.0.0.4 }}" in scripts[0]
    gate.apply(Ground((WEB, Group("sg-2")), ("10.0.0.200",)))
    assert len(scripts) == 1, "nothing changed"
    gate.apply(Ground((WEB, Group("sg-2", ("10.0.0.5", "10.0.0.6"))), ("10.0.0.200",)))
    assert scripts[1:] == [f"flush set {SETS} sg_2\nadd element {SETS} sg_2 {{ 10.0.0.5, 10.0.0.6 }}\n"]
    gate.apply(Ground((WEB, Group("sg-2")), ("10.0.0.200",)))
    assert scripts[2:] == [f"flush set {SETS} sg_2\n"]
    gate.apply(Ground((Group("sg-1", WEB.members), Group("sg-2")), ("10.0.0.200",)))
    assert "delete table" in scripts[3], "other rules are other chains"
    assert f"add element {SETS} sg_1 {{ 10.0.0.4 }}" in scripts[3]


def test_what_nft_refused_is_tried_again(scripts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(FENCE, [], [])

    def refuse(script: str) -> None:
        raise fence_module.HostError("no")

    monkeypatch.setattr(fence_module, "_nft", refuse)
    with pytest.raises(fence_module.HostError):
        gate.apply(Ground((WEB,)))
    monkeypatch.setattr(fence_module, "_nft", scripts.append)
    gate.apply(Ground((WEB,)))
    assert "chain in_sg_1" in scripts[0]


def test_a_port_of_the_bridge_sends_under_the_address_of_its_host_only(scripts: list[str]) -> None:
    Gate(FENCE, [], []).apply(Ground(ports={7: "10.0.0.4", 9: "10.0.0.5"}))
    assert "add element bridge lc_my_cloud ports { 7, 9 }" in scripts[0]
    assert "add element bridge lc_my_cloud bound { 7 . 10.0.0.4, 9 . 10.0.0.5 }" in scripts[0]
    for line in ("ether type ip iif . ip saddr != @bound drop", "ether type arp iif . arp saddr ip != @bound drop"):
        assert f"iif @ports {line}" in scripts[0]
    assert hardware_address("10.0.0.4") == "06:6c:0a:00:00:04"
    assert "ether saddr & ff:ff:00:00:00:00 == 06:6c:00:00:00:00 drop" in scripts[0], "nor past this machine"
