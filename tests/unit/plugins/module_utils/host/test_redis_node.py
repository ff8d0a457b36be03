# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Redis node decides, with stand-ins for the others; and what it writes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.host import peers, redis_config, responder
from ansible_collections.boring.fleet.plugins.module_utils.host.aws import Instance
from ansible_collections.boring.fleet.plugins.module_utils.host.redis_node import RedisNode
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told, User
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import RedisError

TOLD = Told(
    "shop", "store", "redis", "eu-central-1", "shop-store", "", "enter", "leave", 120, 3, "store", False, "store.shop.fleet.internal", 0, "", False,
    "shop-store", {}, {"admin": "/a"}, (User("web", "/v", {"rules": ["~*", "+@all"]}),),
)  # fmt: skip
PASSWORDS = redis_config.Passwords("admin-password", "replica-password", "sentinel-password", "responder-password")


def managed(told: Told, passwords: redis_config.Passwords = PASSWORDS) -> str:
    """managed.conf."""
    return redis_config.files(redis_config.wanted(told, "10.0.0.1", {"web": "a" * 64}, passwords))[redis_config.CONFIG]


class World:
    """Nodes by number; `says` is what the Sentinel of each answers, `roles` what its Redis is."""

    def __init__(
        self, me: int, states: Sequence[str], says: dict[int, str] | None = None, roles: dict[int, str] | None = None
    ) -> None:
        self.found = [
            Instance(f"i-{number}", f"10.0.0.{number}", "running", f"2026-11-30T10:00:0{number}Z", state)
            for number, state in enumerate(states, 1)
        ]
        self.says, self.roles = says or {}, roles or {}
        self.files: dict[str, str] = {}
        there: Any = self
        self.node = RedisNode(
            TOLD,
            f"i-{me}",
            there,
            there,
            self.connect,
            lambda: self.now,
            self.sleep,
            lambda _: None,
            0.0,
        )
        self.now, self.master_flags, self.master_ip = 0.0, "master", "10.0.0.2"
        self.sentinels: dict[int, str] = {}
        self.gone = dict.fromkeys(range(1, 10), "10.0.0.9")  # whom each Sentinel still counts
        self.replicas = [1, 3]  # that follow the master
        self.slow = False  # a Sentinel that forgets takes a while to know the others again
        self.unit = "active"
        self.loading = 0
        self.follows = "x"  # the master of all replicas
        self.ran: list[str] = []
        self.openssl = (0, "")
        self.sent: list[tuple[str, ...]] = []

    def connect(self, node: Instance, port: int, password: str) -> Any:
        number = int(node.id[2:])
        if number not in (self.says if port == 26379 else self.roles):
            raise RedisError(f"{node.address} does not answer")

        class Connection:
            def __call__(inner, *words: str) -> Any:  # noqa: N805
                self.sent.append((node.id, *words))
                if words[0] == "INFO":
                    return (
                        f"role:{self.roles[number]}\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\n"
                        f"master_host:{self.follows}\r\n"
                        f"loading:{int(self.loading == number)}\r\n"
                    )
                if words[1] == "GET-MASTER-ADDR-BY-NAME":
                    return [self.says[number], "6379"]
                if words[1] == "MASTER":
                    return ["flags", self.master_flags, "ip", self.master_ip]
                if words[1] == "SENTINELS":
                    return [["ip", f"10.0.0.{other}", "flags", flags] for other, flags in self.sentinels.items()]
                if words[1] == "RESET":
                    self.gone.pop(number)
                    self.slow = True
                if words[1] == "REPLICAS":
                    down = self.gone.get(number)
                    known = [] if self.slow else [["ip", f"10.0.0.{one}", "flags", "slave"] for one in self.replicas]
                    return known + ([["ip", down, "flags", "s_down,slave,disconnected"]] if down else [])
                return []

            def close(inner) -> None:  # noqa: N805
                pass

        return Connection()

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slow = False

    def instances(self, fleet: str, service: str) -> list[Instance]:
        return self.found

    def parameters(self, names: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(names, "password")

    def read(self, path: str) -> str:
        return self.files.get(path, "")

    def exists(self, path: str) -> bool:
        return path in self.files

    def overwrite(self, path: str, text: str) -> None:
        self.files[path] = text

    def run(self, argv: Sequence[str], seconds: float = 30) -> tuple[int, str]:
        """systemctl or openssl."""
        if argv[0] == "openssl":
            return self.openssl
        if argv[1] == "is-active":
            return 0 if self.unit == "active" else 3, f"{self.unit}\n"
        self.ran.append(" ".join(argv[1:]))
        return 0, ""

    def register(self, target_group: str, instance: str, *, away: bool = False) -> None:
        self.ran.append("away")

    def master(self) -> str:
        there: Any = self
        return self.node._master(peers.look(there, TOLD, self.node.me), "password")


NEW = ["Pending:Wait"] * 3


def test_the_oldest_of_a_new_set_is_its_first_master() -> None:
    assert World(1, NEW).master() == "10.0.0.1"
    with pytest.raises(HostError, match="waiting for i-1, the oldest node of this new set"):
        World(2, NEW).master()


def test_a_new_set_begins_only_when_all_are_there() -> None:
    with pytest.raises(HostError, match="2 of 3 nodes of a new set are there"):
        World(1, NEW[:2]).master()


def test_others_that_are_in_service_and_do_not_answer_are_waited_for() -> None:
    with pytest.raises(HostError, match="would be a second master without data"):
        World(3, ["InService", "InService", "Pending:Wait"]).master()


def test_it_follows_whom_the_sentinels_name_if_that_is_the_master() -> None:
    says = {1: "10.0.0.2", 2: "10.0.0.2"}
    assert World(3, NEW, says, {1: "slave", 2: "master"}).master() == "10.0.0.2"
    with pytest.raises(HostError, match="it is none now: waiting until they fail over"):
        World(3, NEW, says, {1: "slave"}).master()
    with pytest.raises(HostError, match="it is none now"):
        World(3, NEW, says, {2: "slave"}).master()
    with pytest.raises(HostError, match="do not agree on the master"):
        World(3, NEW, {1: "10.0.0.1", 2: "10.0.0.2"}, {1: "master", 2: "master"}).master()
    with pytest.raises(HostError, match="take this host for the master, and it has no data"):
        World(3, NEW, {1: "10.0.0.3"}, {}).master()


STOPPED = ["away", "stop redis-sentinel.service", "stop redis-server.service"]
SERVING = ["InService"] * 3


@pytest.mark.parametrize("unit", ["active", "activating", "reloading", "deactivating", "failed", "inactive", ""])
def test_a_node_with_data_stays_while_the_others_have_not_all_of_it(unit: str) -> None:
    """Whatever its unit does: a large file is loaded for minutes, in which the unit is not active yet."""
    world = World(1, SERVING, roles={1: "slave", 2: "master"})
    world.files = {redis_config.CONFIG: "", redis_config.JOINED: ""}
    world.unit = unit
    with pytest.raises(HostError, match="1 other nodes hold all data, and 1 are not in step; 2 must"):
        world.node.leave()
    assert world.ran == []


def test_a_master_that_loads_its_data_does_not_go_without_a_word() -> None:
    world = World(1, SERVING, roles={2: "master", 3: "slave"})
    world.files = {redis_config.CONFIG: "", redis_config.JOINED: ""}
    world.unit = "activating"
    with pytest.raises(HostError, match=r"whether this node is the master is not known: 10.0.0.1 does not answer"):
        world.node.leave()
    assert world.ran == []


@pytest.mark.parametrize("unit", ["active", "activating", "failed", "inactive"])
def test_a_replica_goes_when_the_others_have_all_data(unit: str) -> None:
    world = World(1, SERVING, roles={1: "slave", 2: "master", 3: "slave"})
    world.files = {redis_config.CONFIG: "", redis_config.JOINED: ""}
    world.unit = unit
    world.node.leave()
    assert world.ran == STOPPED
    world.roles = {}  # another step failed, and all of them run again
    world.node.leave()
    assert world.ran == [*STOPPED, *STOPPED[1:]]


@pytest.mark.parametrize(("joined", "purpose"), [(False, "store"), (True, "cache")])
def test_a_node_that_failed_goes_when_nothing_is_lost_with_it(joined: bool, purpose: str) -> None:
    world = World(1, SERVING)
    world.files = {redis_config.CONFIG: "", **({redis_config.JOINED: ""} if joined else {})}
    world.node.told = replace(TOLD, purpose=purpose)
    world.unit = "failed"
    world.node.leave()
    assert world.ran == STOPPED


def test_the_master_lets_one_sentinel_after_the_other_forget() -> None:
    for me in (1, 2, 3):
        world = World(me, ["InService"] * 3, {1: "x", 2: "x", 3: "x"}, {1: "slave", 2: "master", 3: "slave"})
        world.node.told = replace(TOLD, plaintext=True)
        world.node.keep()
        resets = [place for place, words in enumerate(world.sent) if words[2] == "RESET"]
        assert [world.sent[place][0] for place in resets] == (["i-1", "i-2", "i-3"] if me == 2 else [])
        for place in resets:  # the next one's turn is when it knows the others again
            assert [words[0] for words in world.sent[place + 1 : place + 5]] == [world.sent[place][0]] * 4


def test_nobody_is_forgotten_while_a_node_does_not_follow_the_master() -> None:
    """A master that was failed over, and is back: Sentinels would forget it, and nobody make it a replica."""
    world = World(2, ["InService"] * 3, {1: "x", 2: "x", 3: "x"}, {1: "slave", 2: "master", 3: "slave"})
    world.node.told = replace(TOLD, plaintext=True)
    world.replicas = [1]
    world.node.keep()
    assert not any(words[2] == "RESET" for words in world.sent)


ALL = {1: "10.0.0.2", 2: "10.0.0.2", 3: "10.0.0.2"}
FOLLOW = ("i-1", "REPLICAOF", "10.0.0.2", "6379")


@pytest.mark.parametrize(
    ("says", "roles", "follows", "steps_down"),
    [
        (ALL, {1: "master", 2: "master", 3: "slave"}, "10.0.0.2", True),  # a second master
        (ALL, {1: "slave", 2: "master", 3: "slave"}, "10.0.0.9", True),  # the replica of one that is none any more
        (ALL, {1: "slave", 2: "master", 3: "slave"}, "10.0.0.2", False),
        (ALL, {1: "master", 2: "slave", 3: "slave"}, "10.0.0.1", False),  # being promoted: they do not say it yet
        ({1: "10.0.0.1", 2: "10.0.0.2"}, {1: "master", 2: "master", 3: "slave"}, "", False),  # no majority
        ({2: "10.0.0.2"}, {1: "master", 2: "master", 3: "slave"}, "", False),
        (dict.fromkeys(ALL, "10.0.0.1"), {1: "master", 2: "master", 3: "slave"}, "", False),
        (dict.fromkeys(ALL, "10.0.0.8"), {1: "master", 2: "slave", 3: "slave"}, "", False),  # gone
    ],
)
def test_who_is_not_part_of_the_set_follows_the_master_that_most_sentinels_name(
    says: dict[int, str], roles: dict[int, str], follows: str, steps_down: bool
) -> None:
    world = World(1, SERVING, says, roles)
    world.node.told = replace(TOLD, plaintext=True)
    world.follows, world.gone = follows, {}
    with suppress(HostError):  # Sentinels that do not answer
        world.node.keep()
    assert (FOLLOW in world.sent) == steps_down
    assert (("i-1", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") in world.sent) == steps_down


def test_what_is_over_in_some_seconds_is_left_to_the_sentinels() -> None:
    world = World(1, SERVING, ALL, {1: "master", 2: "master", 3: "slave"})
    world.node.told = replace(TOLD, plaintext=True)
    world.node.sleep = lambda _: world.roles.update({1: "slave"}) or setattr(world, "follows", "10.0.0.2")  # type: ignore[func-returns-value]
    world.node.keep()
    assert FOLLOW not in world.sent


def test_a_replica_that_no_sentinel_knows_is_not_in_service() -> None:
    world = World(3, ["InService", "InService", "Pending:Wait"], ALL, {1: "slave", 2: "master", 3: "slave"})
    found = peers.look(world, TOLD, "i-3")  # type: ignore[arg-type]
    world.node._until_known(found, "password")
    world.replicas, world.follows = [1], "10.0.0.2"
    with pytest.raises(HostError, match="the Sentinel of i-1 does not know this replica yet"):
        world.node._until_known(found, "password")
    world.follows = "10.0.0.1"  # they failed over meanwhile: it has to begin again, and need not wait for that
    with pytest.raises(HostError, match=r"it follows 10\.0\.0\.1, and the Sentinels name 10\.0\.0\.2 by now"):
        world.node._until_known(found, "password")
    world.says = {}  # none answers: nothing more can be known
    world.node._until_known(found, "password")


def test_a_sentinel_that_knows_the_others_no_more_is_the_last_that_forgets() -> None:
    world = World(2, ["InService"] * 3, {1: "x", 2: "x", 3: "x"}, {1: "slave", 2: "master", 3: "slave"})
    world.sleep = lambda seconds: setattr(world, "now", world.now + seconds)  # type: ignore[method-assign]
    world.node.sleep = world.sleep
    with pytest.raises(HostError, match="the Sentinel of i-1 does not know all others again"):
        world.node.keep()
    assert [words[0] for words in world.sent if words[2] == "RESET"] == ["i-1"]


def test_nobody_is_forgotten_while_the_master_is_away() -> None:
    world = World(2, ["InService"] * 3, {1: "x", 2: "x", 3: "x"}, {1: "slave", 2: "master", 3: "slave"})
    world.master_flags = "master,s_down"
    world.node.told = replace(TOLD, plaintext=True)
    world.node.keep()
    assert not any(words[2] == "RESET" for words in world.sent)


@pytest.mark.parametrize(
    ("me", "changes", "decides"),
    [
        (1, {}, True),
        (3, {}, False),  # the first decides, and nobody else
        (1, {"master_flags": "master"}, False),
        (1, {"master_flags": "s_down,o_down,master,failover_in_progress"}, False),
        (1, {"master_ip": "10.0.0.2"}, False),  # AWS has it: it may come back
        (1, {"sentinels": {3: "sentinel", 8: "s_down,sentinel"}}, False),  # two of three agree by themselves
    ],
)
def test_the_first_decides_when_those_that_are_left_cannot_agree(
    me: int, changes: dict[str, Any], decides: bool
) -> None:
    world = World(me, ["InService", "Pending:Wait", "InService"], {1: "x", 3: "x"}, {1: "slave", 3: "slave"})
    world.node.told = replace(TOLD, plaintext=True)
    world.master_flags, world.master_ip = "s_down,o_down,master", "10.0.0.9"
    world.sentinels = {3: "sentinel", 8: "s_down,sentinel", 9: "s_down,sentinel"}
    vars(world).update(changes)
    world.node.keep()
    assert ((f"i-{me}", "SENTINEL", "FAILOVER", "main") in world.sent) == decides


@pytest.mark.parametrize("nodes", [1, 3])
def test_the_end_of_the_certificate_is_said(nodes: int) -> None:
    world = World(1, SERVING[:nodes], {1: "x", 2: "x", 3: "x"}, {1: "slave", 2: "master", 3: "slave"})
    world.node.told = replace(TOLD, nodes=nodes)
    world.openssl = (1, "notAfter=Dec 14 00:00:00 2026 GMT\nCertificate will expire\n")
    with pytest.raises(HostError, match="the certificate ends at Dec 14 00:00:00 2026 GMT: renew it"):
        world.node.keep()
    world.openssl = (0, "notAfter=Dec 14 00:00:00 2027 GMT\nCertificate will not expire\n")
    world.node.keep()


@given(
    st.text(
        st.characters(min_codepoint=32, exclude_categories=["C", "Zl", "Zp"], exclude_characters="\xa0"), min_size=1
    )
)
def test_a_hostile_password_comes_out_as_it_went_in(password: str) -> None:
    """Redis's own quoting: in double quotes a backslash stands before a quote and a backslash."""
    if not password.isprintable():
        return
    text = managed(TOLD, replace(PASSWORDS, replica=password))
    (line,) = [line for line in text.splitlines() if line.startswith("masterauth ")]
    assert shlex.split(line)[1] == password


@pytest.mark.parametrize("password", ["two\nlines", "a\0b", "a\x1b[31m"])
def test_control_characters_are_refused(password: str) -> None:
    with pytest.raises(HostError, match=r"redis_replica_password holds .*, which no configuration file can hold"):
        managed(TOLD, replace(PASSWORDS, replica=password))


def test_the_acl_has_hashes_only_and_closes_the_rest() -> None:
    files = redis_config.files(redis_config.wanted(TOLD, "10.0.0.1", {"web": "a" * 64}, PASSWORDS))
    text = files[redis_config.ACL]
    assert "user default reset off\n" in text
    assert f"user web reset on #{'a' * 64} ~* +@all\n" in text
    assert "user web" not in files[redis_config.SENTINEL_ACL]
    for password in ("admin-password", "replica-password", "sentinel-password", "responder-password"):
        assert password not in text
    with pytest.raises(HostError, match="the parameter /v is no SHA-256"):
        redis_config.wanted(TOLD, "10.0.0.1", {"web": "nopass"}, PASSWORDS)


@pytest.mark.parametrize("password", ["with space", 'a"b', "a'b"])
def test_a_password_that_a_sentinel_cannot_keep_is_refused(password: str) -> None:
    with pytest.raises(HostError, match="with which a Sentinel spoils its own file"):
        managed(TOLD, replace(PASSWORDS, sentinel=password))


@pytest.mark.parametrize("rule", [">password", "nopass", "on", "+@all\nuser evil"])
def test_rules_that_switch_a_user_are_refused(rule: str) -> None:
    told = replace(TOLD, users=(User("web", "/v", {"rules": ["~*", rule]}),))
    with pytest.raises(HostError, match=r"Redis user web: .* Correct the fleet's file"):
        managed(told, PASSWORDS)


@pytest.mark.parametrize(
    ("text", "size"), [("256MB", 256 << 20), ("1g", 10**9), ("2 GB", 2 << 30), ("1048576", 1 << 20)]
)
def test_memory_is_counted_as_redis_does(text: str, size: int) -> None:
    told = replace(TOLD, limits={"redis_maxmemory": text})
    assert f"maxmemory {size}\n" in managed(told)


def test_a_size_that_is_none_is_a_sentence() -> None:
    with pytest.raises(HostError, match=r"redis_maxmemory '256 monkeys' is no size"):
        managed(replace(TOLD, limits={"redis_maxmemory": "256 monkeys"}))


def test_a_store_keeps_and_a_cache_forgets() -> None:
    store, cache = (managed(replace(TOLD, purpose=purpose)).splitlines() for purpose in ("store", "cache"))
    for line in ("appendonly yes", "maxmemory-policy noeviction", "min-replicas-to-write 1", "port 0"):
        assert line in store
    for line in ("appendonly no", "maxmemory-policy allkeys-lru", "min-replicas-to-write 0"):
        assert line in cache


def test_a_set_in_the_clear_has_sentinels_in_the_clear() -> None:
    """The fleet's file must allow it."""
    wanted = redis_config.wanted(replace(TOLD, plaintext=True), "10.0.0.1", {"web": "a" * 64}, PASSWORDS)
    lines = redis_config.files(wanted)[redis_config.SENTINEL_CONFIG].splitlines()
    assert "port 26379" in lines
    assert not [line for line in lines if line.startswith("tls-")]


@pytest.mark.parametrize(
    ("info", "replicas", "why"),
    [
        ({"role": "master", "min_slaves_good_slaves": "2"}, 1, ""),
        ({"role": "master", "connected_slaves": "0"}, 0, ""),
        ({"role": "master", "min_slaves_good_slaves": "0"}, 1, "a master with 0 of 1 replicas"),
        ({"role": "slave", "master_host": "10.0.0.2"}, 1, "a replica of 10.0.0.2"),
        ({}, 1, "a replica of nobody"),
    ],
)
def test_only_the_master_that_takes_writes_serves(info: dict[str, str], replicas: int, why: str) -> None:
    assert responder.judge(info, replicas) == why


def test_a_master_that_its_sentinel_does_not_name_serves_no_more() -> None:
    info = {"role": "master", "min_slaves_good_slaves": "1"}
    assert responder.judge(info, 1, "10.0.0.2", "10.0.0.1") == "no master any more: the Sentinel names 10.0.0.2"
    assert responder.judge(info, 1, "10.0.0.1", "10.0.0.1") == ""
    assert responder.judge(info, 1, "", "10.0.0.1") == ""
