# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts in a real tailnet: who reaches what over which address, and how nodes come and go with their hosts.

The control plane is a headscale on this machine, whose policy our access_policy made: api reaches redis and nats, web does not.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml
from testinfra.host import Host

from localcloud.hosts.podman import HostSpec, Podman, boot_state
from tests.tailnet.control import PROGRAMS, Headscale, Node, wait_for

FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
TAILNET = FOLDER / "tailnet"
PORTS = (6379, 4222)


# A host that is in no tailnet, as the access file has it: two ports, of which one is allowed. It says who it thinks is asking.
DATABASE, ALLOWED, NOT_ALLOWED = "10.9.4.7", 5432, 5433
ROUTERS = {"10.9.4.11": "router-1", "10.9.4.12": "router-2"}
ANSWERS = f"""
import socketserver, threading
class Who(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(self.client_address[0].encode())
for port in ({ALLOWED}, {NOT_ALLOWED}):
    threading.Thread(target=socketserver.ThreadingTCPServer(("{DATABASE}", port), Who).serve_forever).start()
"""


class Device(HostSpec):
    """A host that may have an interface of its own, as a virtual machine has."""

    def options(self) -> list[str]:
        return [*super().options(), "--device=/dev/net/tun", "--cap-add=NET_RAW"]


@pytest.fixture(scope="session")
def control() -> Headscale:
    return Headscale(TAILNET)


def tailnet_address(host: Host) -> str:
    """A node has its address a moment after the control plane has the node."""
    found = wait_for("its address", lambda: json.loads(host.check_output("tailnet-cli status --json"))["TailscaleIPs"])
    return str(found[0])


# What a service says to who connects, or to an unknown who asks. There are networks in which somebody answers for any address.
SAYS = {6379: "-NOAUTH", 4222: "INFO {", 22: "SSH-2.0"}


def reaches(host: Host, address: str, port: int) -> bool:
    """Whether the service answers the host, which may need some seconds the first time."""
    script = (
        f"import socket; s = socket.create_connection(('{address}', {port}), 3); s.settimeout(3); "
        f"{port} == 6379 and s.sendall(b'PING\\r\\n'); print(s.recv(99))"
    )
    done = host.run(f'python3 -c "{script}"')
    return done.rc == 0 and SAYS[port] in done.stdout


def greeting(node: Node, address: str, port: int, seconds: float = 5) -> bytes:
    """What a node in user space hears from the port; it has no other way for TCP than `nc`, which ends with its input."""
    with subprocess.Popen(
        [PROGRAMS / "tailscale", f"--socket={node.socket}", "nc", address, str(port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            return os.read(process.stdout.fileno(), 99) if select.select([process.stdout], [], [], seconds)[0] else b""
        finally:
            process.kill()


def containers() -> dict[str, str]:
    found = yaml.safe_load(Path(os.environ["MOLECULE_INSTANCE_CONFIG"]).read_text())
    return {one["instance"]: one["container"] for one in found}


def addresses() -> dict[str, str]:
    found = yaml.safe_load(Path(os.environ["MOLECULE_INSTANCE_CONFIG"]).read_text())
    return {one["instance"]: one["address"] for one in found}


def journal(host: Host) -> str:
    return str(host.check_output("journalctl --no-pager --output=cat --unit=tailnet-join"))


def test_services_are_reached_over_the_tailnet_only(everywhere: dict[str, Host]) -> None:
    data, api, outsider = everywhere["data"], everywhere["api"], everywhere["image"]
    inside = tailnet_address(data)
    for port in PORTS:
        wait_for(f"port {port} over the tailnet", lambda port=port: reaches(api, inside, port))  # type: ignore[misc]
        assert reaches(data, "127.0.0.1", port), "itself"
        for host in (api, outsider):
            assert not reaches(host, addresses()["data"], port), "on its other address it is closed"
        with socket.socket() as one:
            one.settimeout(3)
            assert one.connect_ex((addresses()["data"], port)) != 0, "and to this machine too"
    assert not reaches(outsider, inside, PORTS[0]), "who is in no tailnet reaches nothing"
    assert reaches(outsider, addresses()["data"], 22), "which is no fault of the network"


def test_the_access_file_decides_inside_the_tailnet(
    everywhere: dict[str, Host], control: Headscale, tmp_path: Path
) -> None:
    """A node of a class that no rule lets in, beside one that a rule lets in."""
    inside = tailnet_address(everywhere["data"])
    for name, let_in in (("api", True), ("web", False)):
        node, key = Node(tmp_path / name), tmp_path / f"{name}.key"
        key.write_text(control.key("--ephemeral", "--expiration", "1h", "--tags", f"tag:{name}"))
        try:
            joined = node("up", f"--auth-key=file:{key}", f"--login-server={control.url}", "--timeout=20s")
            assert joined.returncode == 0, joined.stderr
            if let_in:
                wait_for("NATS", lambda node=node: greeting(node, inside, 4222).startswith(b"INFO {"))  # type: ignore[misc]
            else:
                assert not greeting(node, inside, 4222).startswith(b"INFO {")
        finally:
            node("logout")
            node.stop()


def test_no_key_stays_anywhere(everywhere: dict[str, Host]) -> None:
    for name in ("data", "api"):
        key = (TAILNET / f"{name}.key").read_text().strip()
        host = everywhere[name]
        # In brackets, or sudo's note of this very search in the journal would be what is found.
        assert not host.run(f"grep -rl '{key[:-1]}[{key[-1]}]' /etc /run /var /root /home /tmp").stdout
        for command in ("ps axww", "journalctl --no-pager", "systemctl show tailnet-join tailscaled"):
            assert key not in host.run(command).stdout
        assert host.file("/var/lib/tailscale").mode == 0o700


def test_a_preference_is_changed_in_place(change: Callable[..., Any], everywhere: dict[str, Host]) -> None:
    before = tailnet_address(everywhere["api"])
    try:
        done = change(tailscale_routes=["10.77.0.0/16"])
        assert done.ok, done.output
        assert "advertise-routes" in done.output or done.changed["api"] >= 1
        prefs = json.loads(everywhere["api"].check_output("tailnet-cli debug prefs"))
        assert prefs["AdvertiseRoutes"] == ["10.77.0.0/16"]
        assert tailnet_address(everywhere["api"]) == before, "the same node"
        assert everywhere["api"].file("/etc/sysctl.d/60-tailscale.conf").contains("net.ipv4.ip_forward = 1")
    finally:
        assert change(tailscale_routes=[]).ok
    assert not everywhere["api"].file("/etc/sysctl.d/60-tailscale.conf").exists


def test_ssh_is_closed_over_ssh(change: Callable[..., Any], everywhere: dict[str, Host], podman: Podman) -> None:
    api = testinfra.get_host(f"podman://{containers()['api']}")  # the other way in
    outsider, address = everywhere["image"], addresses()["api"]
    assert reaches(outsider, address, 22)
    try:
        done = change(tailscale_only_ports=[22])
        assert done.ok, "the run comes in by the port that it closes, and stays in"
        assert not reaches(outsider, address, 22)
        assert reaches(api, "127.0.0.1", 22)
    finally:
        podman("exec", containers()["api"], "nft", "flush", "table", "inet", "tailnet_only")
        assert change(tailscale_only_ports=[]).ok
    assert reaches(outsider, address, 22)


def test_people_come_in_without_a_key_on_the_host(
    change: Callable[..., Any], everywhere: dict[str, Host], control: Headscale, tmp_path: Path
) -> None:
    """By Tailscale's own SSH, as the access file says: who, where to, and as whom."""
    address = tailnet_address(everywhere["api"])
    ana, web = Node(tmp_path / "ana"), Node(tmp_path / "web")

    def come_in(node: Node, user: str) -> str:
        options = ["BatchMode=yes", "ConnectTimeout=8", "PubkeyAuthentication=no", "StrictHostKeyChecking=no"]
        options += [
            "UserKnownHostsFile=/dev/null",
            f"ProxyCommand={PROGRAMS / 'tailscale'} --socket={node.socket} nc %h %p",
        ]
        argv = ["timeout", "20", "ssh", "-F", "none", *(word for option in options for word in ("-o", option))]
        done = subprocess.run(
            [*argv, f"{user}@{address}", "id -un"], capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout

    try:
        assert change(tailscale_ssh=True).ok
        for node, key in (
            (ana, control.key("--ephemeral", user="ana")),
            (web, control.key("--ephemeral", "--tags", "tag:web")),
        ):
            (node.folder / "key").write_text(key)
            joined = node(
                "up", f"--auth-key=file:{node.folder / 'key'}", f"--login-server={control.url}", "--timeout=20s"
            )
            assert joined.returncode == 0, joined.stderr
        assert wait_for("ana", lambda: come_in(ana, "admin")) == "admin\n"
        assert not come_in(ana, "root"), "as nobody else"
        assert not come_in(web, "admin"), "and nobody else"
    finally:
        for node in (ana, web):
            node("logout")
            node.stop()
        assert change(tailscale_ssh=False).ok


# -- hosts that boot from an image ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def podman() -> Podman:
    return Podman()


@pytest.fixture(scope="session")
def image(podman: Podman, everywhere: dict[str, Host]) -> Iterator[tuple[str, dict[str, str]]]:
    container = containers()["image"]
    label = podman("inspect", "--format", '{{index .Config.Labels "boring.fleet.molecule"}}', container).strip()
    tag = f"localhost/molecule-{label}:image"
    assert not everywhere["image"].run("ls /var/lib/tailscale/tailscaled.state").stdout, "an image has no state"
    podman.commit(container, tag)
    try:
        yield tag, {"boring.fleet.molecule": label}
    finally:
        podman.untag([tag])


@pytest.fixture(scope="session")
def boot(image: tuple[str, dict[str, str]], podman: Podman) -> Callable[..., Any]:
    """Boot a host from the image, with a key in its user data (none: with no user data); `kind` is clone or router."""

    @contextmanager
    def booted(name: str, key: str = "", kind: str = "clone") -> Iterator[Host]:
        with tempfile.TemporaryDirectory() as scratch:
            seed = Path(scratch)
            text = (FOLDER / "seed" / kind).read_text()
            (seed / "user-data").write_text(text.replace((TAILNET / f"{kind}.key").read_text().strip(), key))
            (seed / "meta-data").write_text(f"instance-id: {name}\nlocal-hostname: {name}\n")
            full = f"{containers()['image']}-{name}"
            spec = Device(full, image[0], hostname=name, seed=seed if key else None, labels=image[1])
            podman.run(spec)
            try:
                deadline = time.monotonic() + 90
                while boot_state(podman.pid(full)) not in {"running", "degraded"}:
                    assert time.monotonic() < deadline, f"{name} did not come up"
                    time.sleep(0.3)
                yield testinfra.get_host(f"podman://{full}")
            finally:
                podman.remove(full)

    return booted


def test_an_image_that_was_told_nothing_idles(boot: Callable[..., Any]) -> None:
    with boot("plain") as host:
        assert host.check_output("systemctl is-system-running") == "running"
        for unit in ("tailscaled", "tailnet-join"):
            assert host.run(f"systemctl is-active {unit}").stdout.strip() == "inactive"


def test_two_clones_are_two_nodes_and_one_that_ends_is_gone(
    boot: Callable[..., Any], control: Headscale, podman: Podman
) -> None:
    key = (TAILNET / "clone.key").read_text().strip()
    with boot("clone-1", key) as one, boot("clone-2", key) as two:
        wait_for("both clones", lambda: {"clone-1", "clone-2"} <= set(control.nodes()))
        assert tailnet_address(one) != tailnet_address(two)
        wait_for("the end of the key", lambda: not one.file("/etc/tailnet/key").exists)
        began = time.monotonic()
        podman.stop(f"{containers()['image']}-clone-1", seconds=40)
        wait_for("the end of the node", lambda: "clone-1" not in control.nodes(), 60)
        print(f"the node of a host that was powered off is gone after {time.monotonic() - began:.1f} s")
        assert "clone-2" in control.nodes()


def asked(host: Host, port: int = ALLOWED) -> str:
    """Who the database thinks is asking; "" without an answer."""
    script = f"import socket; s = socket.create_connection(('{DATABASE}', {port}), 1); s.settimeout(1); print(s.recv(99).decode())"
    return str(host.run(f'python3 -c "{script}"').stdout).strip()


def goes_over(host: Host, before: str, seconds: float = 60) -> tuple[str, float]:
    """Through which router the database is reached instead of `before`, and the seconds between the last answer and that one."""
    began = last = time.monotonic()
    while True:
        answer, now = asked(host), time.monotonic()
        if answer and answer != before:
            return answer, now - last
        if answer:
            last = now
        assert now < began + seconds, f"nobody stands in for {ROUTERS[before]} after {seconds:g} s"
        time.sleep(0.1)


def test_two_routers_stand_in_for_each_other(
    boot: Callable[..., Any],
    everywhere: dict[str, Host],
    control: Headscale,
    podman: Podman,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A database that is in no tailnet, in a network that only two routers are in. Their routes are approved by the access file."""
    api, outsider = everywhere["api"], everywhere["image"]
    key = (TAILNET / "router.key").read_text().strip()
    with (
        boot("database") as database,
        boot("router-1", key, "router") as one,
        boot("router-2", key, "router") as two,
    ):
        hosts = dict(zip(ROUTERS, (one, two), strict=True))
        for address, host in {DATABASE: database, **hosts}.items():
            host.check_output(f"ip address add {address}/24 dev eth0")
        database.check_output(f"systemd-run --quiet --unit=database python3 -c '{ANSWERS}'")
        wait_for("both routers", lambda: set(ROUTERS.values()) <= set(approved(control)))
        for host in hosts.values():
            assert host.check_output("cat /proc/sys/net/ipv4/ip_forward") == "1"
            assert host.file("/etc/sysctl.d/60-tailscale.conf").contains("net.ipv4.ip_forward = 1")
            wait_for("the database beside it", lambda host=host: asked(host, NOT_ALLOWED))  # type: ignore[misc]
        first = wait_for("the database through a router", lambda: asked(api))
        assert first in ROUTERS, "the router is who asks: the database needs no way back to the tailnet"
        assert not asked(api, NOT_ALLOWED), "the access file says which port"
        assert not asked(outsider), "who is in no tailnet has no way there"

        # A crash: killed, and not started again
        hosts[first].check_output(
            "mkdir /run/systemd/system/tailscaled.service.d && cd /run/systemd/system/tailscaled.service.d && "
            "printf '[Service]\\nRestart=no\\n' > crash.conf && systemctl daemon-reload && systemctl kill --signal=KILL tailscaled"
        )
        second, seconds = goes_over(api, first)
        assert second in ROUTERS
        with capsys.disabled():
            print(f"\na router whose tailscaled was killed was stood in for after {seconds:.1f} s")

        hosts[first].check_output("systemctl reset-failed tailscaled && systemctl start tailscaled")
        wait_for("its return", lambda: control.online(ROUTERS[first]))
        assert asked(api) == second, "who comes back waits"

        # An end: its host is powered off, as an instance that is replaced
        with ThreadPoolExecutor(1) as pool:
            end = pool.submit(podman.stop, f"{containers()['image']}-{ROUTERS[second]}", seconds=40)
            third, seconds = goes_over(api, second)
            end.result()
        assert third == first
        with capsys.disabled():
            print(f"\na router that was powered off was stood in for after {seconds:.1f} s")
        wait_for("the end of its node", lambda: ROUTERS[second] not in control.nodes())
        assert asked(api) == first


def approved(control: Headscale) -> list[str]:
    return [node["given_name"] for node in control.json("nodes", "list-routes") if node.get("approved_routes")]


def test_a_control_plane_that_is_down_at_boot(boot: Callable[..., Any], control: Headscale) -> None:
    key = (TAILNET / "clone.key").read_text().strip()
    control.stop()
    try:
        with boot("early", key) as host:
            wait_for("the reason", lambda: "the control plane does not answer" in journal(host), 60)
            assert host.check_output("systemctl is-system-running") in ("running", "starting")
            assert host.check_output("systemctl --failed --no-legend") == ""
            control.start()
            wait_for("the node", lambda: "early" in control.nodes(), 60)
            wait_for("the service", lambda: "is in the tailnet as" in journal(host))
    finally:
        control.stop()
        control.start()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [(["--expiration", "1s"], "the auth key has expired"), (["--expiration", "1h"], "the auth key was used already")],
    ids=["expired", "used"],
)
def test_a_key_that_lets_nobody_in_is_a_failed_unit_that_says_why(
    boot: Callable[..., Any], control: Headscale, tmp_path: Path, options: list[str], sentence: str
) -> None:
    key = control.key("--ephemeral", "--tags", "tag:api", *options)
    if sentence.endswith("already"):
        other = Node(tmp_path / "other")
        file = tmp_path / "key"
        file.write_text(key)
        joined = other("up", f"--auth-key=file:{file}", f"--login-server={control.url}", "--timeout=20s")
        other.stop()
        assert joined.returncode == 0, joined.stderr
    with boot("refused", key) as host:
        wait_for("the reason", lambda: sentence in journal(host), 60)
        wait_for("the verdict", lambda: host.run("systemctl is-failed tailnet-join").rc == 0)
        assert key not in host.run("journalctl --no-pager").stdout
        # The way out that the sentence names
        host.run(f"printf %s {(TAILNET / 'clone.key').read_text().strip()} > /etc/tailnet/key")
        host.check_output("systemctl reset-failed tailnet-join && systemctl restart tailnet-join")
        wait_for("the node", lambda: "refused" in control.nodes())
