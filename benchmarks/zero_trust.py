#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What zero trust costs and what it keeps closed, on the hosts of the Molecule scenario `tailscale`.

Redis and NATS over the tailnet against the same two over the plain network, in turns, in the same run; then a search of every host
for keys and passwords in clear, a connection to each of the 65,535 TCP ports of every host from outside the tailnet, and a search of a
finished image that is built in a local cloud meanwhile.
For the plain half the ports are opened for the moment and closed again; the ports are looked at afterwards, when SSH is closed too.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import finished_image  # noqa: E402
from localcloud.hosts.podman import HostError  # noqa: E402
from localcloud.scratch import ProgramError  # noqa: E402

HOME = Path(os.environ.get("ANSIBLE_HOME", ROOT / "build" / "ansible"))  # molecule keeps a scenario's files below it
MOLECULE = Path(sys.executable).parent / "molecule"
PASSWORD = "correct-horse-battery-staple-app"  # noqa: S105 - molecule/tailscale/vars/scenario.yml
ROUNDS = 3
PORTS = range(1, 65536)
CLOSED = [22, 4222, 6379]  # but to the tailnet
CANARY = "/root/a-secret-that-must-be-found"
# Runs on the client: two addresses, one after the other in turns. Plain sockets, so that the network is what is measured.
CLIENT = r"""
import json, socket, sys, time
spec = json.loads(sys.stdin.readline())

class Line:
    def __init__(self, address, port):
        self.socket = socket.create_connection((address, port), 20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
    def ask(self, data):
        self.socket.sendall(data)
        return self.file.readline()

def redis(address):
    line = Line(address, 6379)
    assert line.ask(b"AUTH app %s\r\n" % spec["password"].encode()) == b"+OK\r\n"
    command = b"*3\r\n$3\r\nSET\r\n$5\r\nbench\r\n$1024\r\n" + b"x" * 1024 + b"\r\n"
    return measure(lambda: line.ask(b"PING\r\n"), lambda: batch(line, command * 100, 100))

def batch(line, data, answers):
    line.socket.sendall(data)
    for _ in range(answers):
        assert line.file.readline()[:1] != b"-"

def nats(address):
    line = Line(address, 4222)
    line.file.readline()
    login = json.dumps({"verbose": False, "user": "app", "pass": spec["password"]}).encode()
    ping = lambda: line.ask(b"PING\r\n")
    assert line.ask(b"CONNECT " + login + b"\r\nPING\r\n") == b"PONG\r\n"
    message = (b"PUB bench 1024\r\n" + b"x" * 1024 + b"\r\n") * 100
    return measure(ping, lambda: (line.socket.sendall(message), ping()))

def measure(once, hundred, seconds=3.0):
    for _ in range(50):
        once()
    times = []
    for _ in range(1000):
        began = time.perf_counter()
        once()
        times.append((time.perf_counter() - began) * 1e6)
    times.sort()
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        hundred()
        done += 100
    return {"p50": times[500], "p99": times[990], "rate": done / (time.perf_counter() - began)}

found = []
for _ in range(spec["rounds"]):
    for way, address in spec["ways"].items():
        for service, run in (("redis", redis), ("nats", nats)):
            found.append({"way": way, "service": service, **run(address)})
print(json.dumps(found))
"""


def inside(container: str, *argv: str, given: str = "", seconds: int = 120) -> str:
    """What a command on a host prints."""
    done = subprocess.run(
        ["podman", "exec", "--interactive", container, *argv], input=given, capture_output=True, text=True, timeout=seconds
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(
            f"bench-zero-trust: '{' '.join(argv)[:60]}' on {container} failed: {done.stderr.strip()[-300:]}"
        )
    return done.stdout


def speed(hosts: dict[str, dict[str, str]]) -> dict[str, float]:
    """Print the table; service -> rate over the tailnet as a share of plain."""
    data, api = hosts["data"]["container"], hosts["api"]["container"]
    address = json.loads(inside(data, "tailnet-cli", "status", "--json"))["TailscaleIPs"][0]
    spec = {
        "password": PASSWORD, "rounds": ROUNDS, "ways": {"plain": hosts["data"]["address"], "tailnet": address},
    }  # fmt: skip
    inside(data, "nft", "flush", "table", "inet", "tailnet_only")
    try:
        found = json.loads(inside(api, "python3", "-c", CLIENT, given=json.dumps(spec) + "\n", seconds=300))
    finally:
        inside(data, "systemctl", "reload", "tailnet-ports")
    print(
        f"\n{'':8} {'way':8} {'1 KiB writes/s':>15} {'p50 us':>8} {'p99 us':>8}   (median of {ROUNDS} rounds, one connection)"
    )
    share: dict[str, float] = {}
    for service in ("redis", "nats"):
        rates = {}
        for way in spec["ways"]:
            rows = [row for row in found if (row["service"], row["way"]) == (service, way)]
            middle = {key: statistics.median(row[key] for row in rows) for key in ("rate", "p50", "p99")}
            rates[way] = middle["rate"]
            print(f"{service:8} {way:8} {middle['rate']:15,.0f} {middle['p50']:8.0f} {middle['p99']:8.0f}")
        share[service] = rates["tailnet"] / rates["plain"]
    print(f"the price: redis {1 - share['redis']:.0%}, nats {1 - share['nats']:.0%} of the writes of one connection\n")
    return share


def known_secrets(tailnet: Path) -> list[str]:
    return [PASSWORD, *(file.read_text().strip() for file in tailnet.glob("*.key") if file.name != "noise.key")]


def leaks(hosts: dict[str, dict[str, str]], secrets: list[str]) -> int:
    """Files on hosts that hold a key or a password in clear, and a state of the tailnet's in what an image is made of."""
    # The patterns come by standard input into memory, or they would be what is found. The journal is binary: all is looked at.
    look = (
        f"umask 077; cat > /dev/shm/patterns; echo {PASSWORD} > {CANARY}; "
        f"grep -rlFf /dev/shm/patterns --devices=skip / --exclude-dir={{proc,sys,dev}}; rm /dev/shm/patterns {CANARY}"
    )
    count = 0
    for name, host in hosts.items():
        found = inside(host["container"], "bash", "-c", look, given="\n".join(secrets), seconds=300).split()
        if CANARY not in found:
            raise SystemExit(f"bench-zero-trust: the search on {name} did not find {CANARY}, so it sees nothing")
        found.remove(CANARY)
        if name == "image":
            state = "find /var/lib/tailscale -name '*.state' 2>/dev/null || true"
            found += inside(host["container"], "bash", "-c", state).split()
        print(f"{name}: {', '.join(found) or 'no key, no password, no identity'}")
        count += len(found)
    return count


async def open_ports(address: str) -> list[int]:
    limit = asyncio.Semaphore(400)

    async def look(port: int) -> int:
        async with limit:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 5)
            except (OSError, TimeoutError):
                return 0
            writer.close()
            return port

    return sorted(port for port in await asyncio.gather(*(look(port) for port in PORTS)) if port)


def molecule(verb: str, *words: str, seconds: int, check: bool = True) -> None:
    subprocess.run([MOLECULE, verb, "-s", "tailscale", *words], cwd=ROOT, check=check, timeout=seconds)


def main() -> int:
    # Optimized, or the compiler would be what is measured
    subprocess.run([sys.executable, ROOT / "bin" / "build-tailnet", "--optimize"], check=True, timeout=1900)
    try:
        molecule("converge", seconds=1800)
        folder = max(HOME.glob("tmp/molecule.*.tailscale"), key=lambda path: path.stat().st_mtime)
        known = yaml.safe_load((folder / "instance_config.yml").read_text())
        hosts = {one["instance"]: one for one in known}
        share = speed(hosts)
        secrets = known_secrets(folder / "tailnet")
        leaked = leaks(hosts, secrets)
        # Molecule comes in over SSH from outside. Who runs hosts need not, so that closes last: this run of the role is the last to come in.
        molecule("converge", "--", "--extra-vars", json.dumps({"tailscale_only_ports": CLOSED}), seconds=900)
        total = 0
        for name, host in hosts.items():
            found = asyncio.run(open_ports(host["address"]))
            total += len(found)
            print(f"{name}: of 65,535 ports open from outside the tailnet: {found or 'none'}")
        leaked += finished_image.leaks(folder / "tailnet" / "tailscale.tgz", secrets)
    except (finished_image.SearchError, ProgramError, HostError) as exc:
        raise SystemExit(f"bench-zero-trust: {exc}") from exc
    finally:
        molecule("destroy", seconds=300, check=False)
    print(f"bench-zero-trust: redis {share['redis']:.2f} of plain, leaked secrets {leaked}, open ports {total}")
    return 1 if leaked or total else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
