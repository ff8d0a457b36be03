# SPDX-License-Identifier: GPL-3.0-or-later
"""May a node start? By itself, and on a real set under Sentinel that loses its power and a disk."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.boring.fleet.plugins.module_utils.redis import desired as files
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Client, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.guard import (
    Around,
    Disk,
    Member,
    Verdict,
    alone,
    followed,
    following,
    look,
    main,
    prepare,
    verdict,
    wait,
)
from ansible_collections.boring.fleet.plugins.module_utils.redis.replication import Sets, wait_until_whole
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login
from tests.programs import redis_server, self_signed

MEMBER = Member("a", "/var/lib/redis", "redis", "main", ["a", "b", "c"], 6379, True, 26379, True)
EMPTY = Disk(None, False, False, False)
WITH_DATA = Disk("", True, True, False)


def around(*named: str, leads: tuple[str, ...] = ()) -> Around:
    return Around(lambda: named, lambda address: address in leads)


@pytest.mark.parametrize(
    ("disk", "others", "found"),
    [
        (WITH_DATA, around(), Verdict(True)),
        (Disk("replicaof b 6379", True, True, False), around("c", "c", leads=("c",)), Verdict(True)),
        (Disk(None, True, True, False), around("b"), Verdict(True, own="replicaof b 6379\n")),
        (Disk(None, True, True, False), around(), Verdict(True, own="")),
        (Disk(None, False, False, True), around(), Verdict(True, own="")),
        (Disk("", False, False, True), around(), Verdict(True)),
        (EMPTY, around("b", "b", leads=("b",)), Verdict(True, own="replicaof b 6379\n", source="b")),
        (Disk("maxmemory 5\n", False, False, False), around("b", leads=("b",)), Verdict(True, own="maxmemory 5\nreplicaof b 6379\n", source="b")),
        (Disk("replicaof b 6379\n", False, True, False), around("b", leads=("b",)), Verdict(True, source="b")),
        (Disk("replicaof b 6379\n", False, False, False), around(leads=("b",)), Verdict(True, source="b")),
        (Disk("replicaof b 6379\n", False, False, False), around("c", leads=("c",)), Verdict(True, own="replicaof c 6379\n", source="c")),
    ],
)  # fmt: skip
def test_a_node_with_its_data_or_behind_who_has_it_starts(disk: Disk, others: Around, found: Verdict) -> None:
    assert verdict(MEMBER, disk, others) == found


@pytest.mark.parametrize(
    ("disk", "others", "why"),
    [
        (EMPTY, around(), "no other Sentinel of it answers"),
        (Disk("", False, False, False), around(), "no other Sentinel of it answers"),
        (EMPTY, around("a", "a", leads=("a",)), "still take it for the master"),
        (EMPTY, around("b", "b"), "b, which has been named as the master, does not answer as one"),
        (Disk("replicaof b 6379", False, False, False), around(), "b, which has been named"),
        (Disk("", False, True, False), around("b", leads=("b",)), "no append-only file"),
        (Disk(None, False, True, True), around(), "no append-only file"),
    ],
)  # fmt: skip
def test_a_node_without_its_data_never_starts_as_a_master(disk: Disk, others: Around, why: str) -> None:
    found = verdict(MEMBER, disk, others)
    assert not found.start
    assert why in found.reason
    assert found.own is None


def test_without_sentinels_nobody_can_be_asked() -> None:
    member = Member("a", "/var/lib/redis", "redis", "main", ["a", "b"], 6379, False, 26379, True)
    assert verdict(member, Disk("replicaof b 6379\n", False, False, False), around()).start
    found = verdict(member, EMPTY, around("b", leads=("b",)))
    assert not found.start
    assert "REPLICAOF NO ONE" in found.reason


def test_alone_it_starts_empty_but_not_over_a_snapshot() -> None:
    assert alone("redis", EMPTY, append_only=True) == Verdict(True, own="")
    assert alone("redis", WITH_DATA, append_only=True) == Verdict(True)
    assert alone("redis", Disk("", False, True, False), append_only=False) == Verdict(True)
    found = alone("redis", Disk("", False, True, False), append_only=True)
    assert not found.start
    assert "dump.rdb" in found.reason


def test_redis_own_file_is_read_and_changed() -> None:
    own = 'masterauth "x y"\nreplicaof 10.0.0.1 6379\n\nslaveof 10.0.0.2 6379\n'
    assert followed(own) == "10.0.0.1"
    assert followed(None) == followed("# replicaof a b\n") == ""
    assert following(own, "10.0.0.3", 7000) == 'masterauth "x y"\n\nreplicaof 10.0.0.3 7000\n'


def test_a_reason_is_said_once_and_the_wait_ends() -> None:
    reasons = iter(["one", "one", "two", *["two"] * 100])
    said: list[str] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    found = wait(lambda: Verdict(False, next(reasons)), said.append, lambda: now[0], sleep)
    assert (found.start, said, now[0]) == (False, ["one", "two"], 60.0)


def test_the_word_that_a_set_is_new_is_good_once(tmp_path: Path) -> None:
    (tmp_path / "new-set").touch()
    assert look(tmp_path).new_set
    prepare(tmp_path, verdict(MEMBER, look(tmp_path), around()))
    assert look(tmp_path) == Disk("", False, False, False)
    assert (tmp_path / "redis.conf").stat().st_mode & 0o777 == 0o640
    assert not verdict(MEMBER, look(tmp_path), around()).start


def test_the_program_of_a_lone_store(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    etc, data = tmp_path / "etc", tmp_path / "data"
    etc.mkdir()
    data.mkdir()
    (etc / "managed.conf").write_text(files.config_text(files.Desired(purpose="store")))
    arguments = [getpass.getuser(), "redis-server", str(etc), str(data)]
    assert main(arguments) == 0
    assert (data / "redis.conf").read_text() == ""
    (data / "dump.rdb").touch()
    assert main(arguments) == 75
    assert "does not start: " in capfd.readouterr().err
    (etc / "managed.conf").write_text(files.config_text(files.Desired(purpose="cache")))
    assert main(arguments) == 0


def test_the_files_that_the_role_brings_are_all_that_the_program_needs(tmp_path: Path) -> None:
    tasks = yaml.safe_load((ROOT / "roles/redis/tasks/install.yml").read_text())
    brought = next(task for task in tasks if task["name"] == "Install | What the unit asks before each start")["loop"]
    base = Path("ansible_collections/boring/fleet/plugins/module_utils")
    for name in brought:
        (tmp_path / base / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "plugins/module_utils" / name, tmp_path / base / name)
    etc, data = tmp_path / "etc", tmp_path / "data"
    etc.mkdir()
    data.mkdir()
    (etc / "managed.conf").write_text("appendonly yes\n")
    module = ".".join((base / "redis/guard").parts)
    done = subprocess.run(
        [sys.executable, "-m", module, getpass.getuser(), "redis-server", etc, data],
        env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (data / "redis.conf").exists()


@pytest.mark.timeout(120)
def test_a_snapshot_becomes_an_append_only_file_as_the_docs_say(tmp_path: Path) -> None:
    program, data = redis_server(tmp_path), tmp_path / "data"
    data.mkdir()
    options = ["--port", "0", "--unixsocket", str(tmp_path / "s"), "--dir", str(data), "--save", ""]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    nobody = Login("", "", False)
    until((tmp_path / "s").exists)
    client = Client(str(tmp_path / "s"), 0, nobody)
    assert client("SET", "key", "value") == client("SAVE") == "OK"
    process.kill()
    process.wait(timeout=30)
    assert not alone("redis", look(data), append_only=True).start
    text = (ROOT / "docs" / "redis.md").read_text().split("```sh\n")[1].split("```")[0]
    for command in (
        text.replace("sudo -u redis redis-server", str(program)).replace("/var/lib/redis", str(data)).splitlines()
    ):
        done = subprocess.run(["/bin/sh", "-c", command], cwd=data, timeout=30, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
        time.sleep(1)
    assert look(data).has_data
    process = subprocess.Popen([program, *options, "--appendonly", "yes"], stdout=subprocess.DEVNULL)
    try:
        until(lambda: Client(str(tmp_path / "s"), 0, nobody)("GET", "key") == "value")
    finally:
        process.kill()
        process.wait(timeout=30)


ROOT = Path(__file__).resolve().parents[5]
ADDRESSES = ("127.0.7.1", "127.0.7.2", "127.0.7.3")
# What a person may choose, and no Sentinel spoils
HOSTILE = 'a "b" c\\d\'e #{é$x% \\'
BARE = "no-blank#but\\n-é$x%{}"


class Set:
    """Three nodes, each a Redis and a Sentinel, from the files that the role writes; started as the units start them."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.running: list[subprocess.Popen[bytes]] = []
        self.program = redis_server(folder)
        self_signed(folder, *ADDRESSES)
        for address in ADDRESSES:
            wanted = self.wanted(address)
            for name, text in (
                ("users.acl", "\n".join([*files.users(wanted), ""])),
                ("managed.conf", files.config_text(wanted)),
                ("set.json", files.member_text(wanted)),
                ("sentinel-users.acl", "\n".join([*files.sentinel_users(wanted), ""])),
                ("sentinel-managed.conf", files.sentinel_config_text(wanted)),
            ):
                self.write(address, Path("etc") / name, text)
            self.write(address, Path("data/redis.conf"), files.own_text(wanted, ADDRESSES[0]))
            self.write(address, Path("data/sentinel.conf"), files.sentinel_own_text(wanted, ADDRESSES[0]))
        (self.data(ADDRESSES[0]) / "new-set").touch()

    def wanted(self, address: str) -> files.Desired:
        return files.desired(
            {
                "purpose": "store", "bind": [address], "port": self.port, "tls": True, "tls_dir": str(self.folder),
                "nodes": list(ADDRESSES), "announce": address, "replica_password": HOSTILE, "sentinel": True,
                "sentinel_port": self.port + 1, "sentinel_password": BARE, "sentinel_down_after_seconds": 2,
                "sentinel_failover_timeout_seconds": 5, "admin_password": HOSTILE + "admin",
                "users": [{"name": "app", "password": HOSTILE + "app", "rules": ["~*", "+@all"]}],
            }
        )  # fmt: skip

    def write(self, address: str, path: Path, text: str) -> None:
        file = self.folder / address / path
        file.parent.mkdir(parents=True, exist_ok=True)
        here = str(self.folder / address)
        # a node's own directories
        text = text.replace("/etc/redis", f"{here}/etc").replace("/var/lib/redis", f"{here}/data")
        file.write_text(text.replace("disable-thp yes\n", ""))

    def data(self, address: str) -> Path:
        return self.folder / address / "data"

    def start(self) -> None:
        """All at once. A unit that fails is started again."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        module = "ansible_collections.boring.fleet.plugins.module_utils.redis.guard"
        for address in ADDRESSES:
            here = self.folder / address
            etc, data = here / "etc", here / "data"
            server = f"{self.program} {data}/redis.conf --include {etc}/managed.conf"
            sentinel = f"{self.program} {data}/sentinel.conf --include {etc}/sentinel-managed.conf --sentinel"
            guard = f"{sys.executable} -m {module} {getpass.getuser()} {self.program} {etc} {data}"
            for script in (
                f"until {guard}; do sleep 0.5; done; exec {server}",
                f"test ! -e {data}/sentinel.conf || exec {sentinel}",
            ):
                with (here / "log").open("ab") as log:
                    self.running.append(
                        subprocess.Popen(
                            ["/bin/sh", "-c", script], stdout=log, stderr=log, env=environment, start_new_session=True
                        )
                    )

    def cut_power(self) -> None:
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)
        self.running.clear()

    def client(self, address: str, user: str = "app", port: int = 0) -> Client:
        login = Login(user, HOSTILE + user, True, str(self.folder / "ca.pem"))
        return Client(address, port or self.port, login)

    def role(self, address: str) -> Any:
        return self.client(address, "admin")("ROLE")

    def wait_until_whole(self) -> str:
        """The master."""

        def redis(address: str) -> Client:
            return self.client(address, "admin")

        def sentinel(address: str) -> Client:
            return self.client(address, "admin", self.port + 1)

        return wait_until_whole(Sets(ADDRESSES, "main", redis, sentinel), 120, time.monotonic, time.sleep)

    def said(self, address: str) -> str:
        return (self.folder / address / "log").read_text(errors="replace")


def until(what: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if what():
                return
        except RedisError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Set]:
    made = Set(tmp_path, 17310)
    try:
        made.start()
        made.wait_until_whole()
        yield made
    finally:
        made.cut_power()


def confirmed(made: Set, address: str) -> int:
    """How many replicas confirm a write."""
    client = made.client(address)
    client("SET", "first", "1")
    return int(client("WAIT", "2", "1000"))


@pytest.mark.timeout(300)
def test_a_power_cut_with_the_masters_disk_lost_loses_no_key(real: Set) -> None:
    master = real.client(ADDRESSES[0])
    for number in range(500):
        master("SET", f"key:{number}", str(number))
    assert master("WAIT", "2", "5000") == 2
    # what Redis and the Sentinels wrote for themselves is read again at the next start, the passwords in it too
    for address in ADDRESSES[1:]:
        assert "replicaof" in (real.data(address) / "redis.conf").read_text()
    real.cut_power()
    for path in real.data(ADDRESSES[0]).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    real.start()
    until(lambda: any(real.role(address)[0] == "master" for address in ADDRESSES[1:]))
    until(lambda: real.role(ADDRESSES[0])[0] == "slave" and real.role(ADDRESSES[0])[3] == "connected")
    leader = next(address for address in ADDRESSES[1:] if real.role(address)[0] == "master")
    until(lambda: confirmed(real, leader) == 2)
    for address in (leader, ADDRESSES[0]):
        assert real.client(address, "admin")("DBSIZE") == 501
    assert "the Sentinels still take it for the master" in real.said(ADDRESSES[0]) or "does not answer" in real.said(
        ADDRESSES[0]
    )
    assert json.loads((real.folder / ADDRESSES[0] / "etc" / "set.json").read_text())["password"] == BARE
    for address in ADDRESSES:
        assert HOSTILE not in real.said(address)


@pytest.mark.timeout(300)
def test_a_restored_snapshot_does_not_empty_the_set(real: Set) -> None:
    """Usual guides: stop, put dump.rdb there, remove the append-only directory, start. Redis would ignore the snapshot."""
    master = real.client(ADDRESSES[0])
    master("SET", "key", "value")
    assert master("WAIT", "2", "5000") == 2
    real.client(ADDRESSES[0], "admin")("SAVE")
    real.cut_power()
    shutil.rmtree(real.data(ADDRESSES[0]) / "appendonlydir")
    real.start()
    until(lambda: any(real.role(address)[0] == "master" for address in ADDRESSES[1:]))
    time.sleep(3)
    with pytest.raises(RedisError):
        real.role(ADDRESSES[0])
    assert "dump.rdb and no append-only file" in real.said(ADDRESSES[0])
    (real.data(ADDRESSES[0]) / "dump.rdb").unlink()  # the way out that it names: to do without it
    until(lambda: real.role(ADDRESSES[0])[0] == "slave" and real.role(ADDRESSES[0])[3] == "connected")
    assert real.client(ADDRESSES[0])("GET", "key") == "value"
