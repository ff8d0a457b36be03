# SPDX-License-Identifier: GPL-3.0-or-later
"""tailscale_node against a real headscale and real tailscaled, all on loopback, without root and without an interface.

Each node is a tailscaled in user space with a state and a socket of its own. What needs hosts (ports of services that are
closed elsewhere) is not looked at here.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.tailnet.boot import lay_out, run
from tests.tailnet.control import PROGRAMS, Headscale, Node, wait_for
from tests.unit.plugins.playbook_runs import run_playbook


@pytest.fixture(scope="module")
def programs() -> None:
    """headscale and Tailscale, compiled the first time; what that says is seen with -s, and here when it fails."""
    root = PROGRAMS.parents[1]
    done = subprocess.run([sys.executable, root / "bin" / "build-tailnet"], timeout=1900, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, "bin/build-tailnet says above why it could not compile them"


@pytest.fixture(scope="module")
def headscale(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headscale]:
    routers = {"tagOwners": {"tag:router": []}, "autoApprovers": {"routes": {"10.8.0.0/16": ["tag:router"]}}}
    made = Headscale.new(tmp_path_factory.mktemp("headscale"), policy={"acls": [], **routers})
    yield made
    made.stop()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Callable[[str], Node]]:
    made: list[Node] = []

    def node(name: str) -> Node:
        made.append(Node(tmp_path / name))
        return made[-1]

    yield node
    for one in made:
        one.stop()


@pytest.fixture
def play(tmp_path: Path, headscale: Headscale) -> Callable[..., str]:
    """Run the module with options, in order; gives the output of a run in which all went as `that` says."""

    def run(tasks: list[dict[str, Any]], that: list[str]) -> str:
        made: list[dict[str, Any]] = []
        for given in tasks:
            register, node = given.pop("register"), given.pop("node")
            options = {
                "login_server": headscale.url, "socket": str(node.socket), "executable": str(PROGRAMS / "tailscale"),
                "accept_dns": False, **given,
            }  # fmt: skip
            made.append(
                {
                    "boring.fleet.tailscale_node": options, "register": register, "diff": True,
                    "check_mode": register == "dry", "ignore_errors": register.startswith("not_"),
                }
            )  # fmt: skip
        made.append({"ansible.builtin.assert": {"that": that}})
        code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": made}])
        assert code == 0, output
        return output

    return run


def write(path: Path, key: str) -> str:
    path.write_text(key + "\n")
    path.chmod(0o600)
    return str(path)


def test_a_node_joins_is_changed_and_leaves(
    headscale: Headscale, nodes: Callable[[str], Node], play: Callable[..., str], tmp_path: Path
) -> None:
    node = nodes("a")
    key = headscale.key("--expiration", "1h")
    file = write(tmp_path / "key", key)
    join = {"node": node, "auth_key_file": file, "hostname": "api-1"}
    output = play(
        [
            {**join, "register": "dry"},
            {"node": node, "register": "not_keyed"},
            {**join, "register": "first"},
            {**join, "register": "again"},
            {
                "node": node,
                "register": "routed",
                "advertise_routes": ["10.9.0.0/16"],
                "accept_routes": True,
                "advertise_exit_node": True,
                "snat_subnet_routes": False,
                "stateful_filtering": True,
            },
            {
                "node": node,
                "register": "routed_again",
                "advertise_routes": ["10.9.0.0/16"],
                "accept_routes": True,
                "snat_subnet_routes": False,
                "stateful_filtering": True,
            },
            {"node": node, "register": "unrouted", "advertise_routes": [], "advertise_exit_node": False},
            {"node": node, "register": "not_elsewhere", "login_server": "http://127.0.0.1:9"},
            {"node": node, "register": "not_tagged", "tags": ["tag:api"]},
            {"node": node, "register": "down", "state": "down"},
            {"node": node, "register": "down_again", "state": "down"},
            {"node": node, "register": "up_again"},
            {"node": node, "register": "gone", "state": "absent"},
            {"node": node, "register": "gone_again", "state": "absent"},
        ],
        [
            "dry is changed and dry.steps == ['join']",
            "'is in no tailnet (it has not joined), and there is no auth_key_file' in not_keyed.msg",
            "first is changed and first.node.state == 'Running' and first.node.addresses[0] is match('100.64.')",
            "again is not changed",
            "routed is changed and routed.node.routes == ['10.9.0.0/16']",
            "'advertise-exit-node: True' in routed.diff.after",
            "'snat-subnet-routes: False' in routed.diff.after and 'stateful-filtering: True' in routed.diff.after",
            "routed_again is not changed",
            "unrouted is changed and unrouted.node.routes == []",
            "'the node belongs to " + headscale.url + ", not to http://127.0.0.1:9' in not_elsewhere.msg",
            "'the node has no tags, not tag:api, and tags are given when it joins' in not_tagged.msg",
            "down is changed and down_again is not changed",
            "up_again is changed and up_again.steps == ['bring it up']",
            "gone is changed and gone.node.state == 'NeedsLogin'",
            "gone_again is not changed",
        ],
    )
    assert key not in output, "a key is in no output, at -vvv"


def test_keys_that_let_nobody_in(
    headscale: Headscale, nodes: Callable[[str], Node], play: Callable[..., str], tmp_path: Path
) -> None:
    """Used twice, expired, unknown: each is refused in a sentence, and the node stays out."""
    once, late = headscale.key("--expiration", "1h"), headscale.key("--expiration", "1s")
    time.sleep(1.5)
    first, second = nodes("first"), nodes("second")
    keys = {name: write(tmp_path / name, key) for name, key in (("once", once), ("late", late), ("wrong", "0" * 48))}
    output = play(
        [
            {"node": first, "register": "first", "auth_key_file": keys["once"], "hostname": "once-1"},
            *(
                {
                    "node": second,
                    "register": f"not_{name}",
                    "auth_key_file": keys[name],
                    "hostname": "once-2",
                    "timeout": 4,
                }
                for name in ("once", "late", "wrong")
            ),
        ],
        [
            "first is changed",
            *(
                f"'tailscale_node: the node did not join within 4 s: ' in not_{name}.msg"
                for name in ("once", "late", "wrong")
            ),
            "'the auth key was used already: make a new one' in not_once.msg",
            "'the auth key has expired: make a new one' in not_late.msg",
            "'the control plane does not know the auth key' in not_wrong.msg",
        ],
    )
    assert "once-2" not in headscale.nodes()
    assert once not in output
    assert late not in output


def test_an_ephemeral_node_is_gone_when_it_leaves(
    headscale: Headscale, nodes: Callable[[str], Node], play: Callable[..., str], tmp_path: Path
) -> None:
    """A replaced instance's node, and two clones of one image, whose state is made anew: two nodes."""
    file = write(
        tmp_path / "key", headscale.key("--ephemeral", "--reusable", "--expiration", "1h", "--tags", "tag:api")
    )
    one, two = nodes("one"), nodes("two")
    join = {"auth_key_file": file, "hostname": "clone", "tags": ["tag:api"]}
    play(
        [
            {**join, "node": one, "register": "one"},
            {**join, "node": two, "register": "two"},
            {**join, "node": two, "register": "again"},
        ],
        [
            "one is changed and two is changed and again is not changed",
            "one.node.addresses != two.node.addresses",
            "one.node.tags == ['tag:api']",
        ],
    )
    before = [name for name in headscale.nodes() if name.startswith("clone")]
    assert len(before) == 2
    play([{"node": one, "register": "gone", "state": "absent"}], ["gone is changed"])
    wait_for("the end of the node", lambda: len([n for n in headscale.nodes() if n.startswith("clone")]) == 1, 60)


def test_a_router_that_leaves_is_stood_in_for(
    headscale: Headscale, nodes: Callable[[str], Node], play: Callable[..., str], tmp_path: Path
) -> None:
    """headscale would go on sending everybody to a router that had only logged out."""
    key = headscale.key("--reusable", "--ephemeral", "--expiration", "1h", "--tags", "tag:router")
    join = {"auth_key_file": write(tmp_path / "key", key), "advertise_routes": ["10.8.0.0/16"]}

    def serving() -> list[str]:
        return [node["given_name"] for node in headscale.json("nodes", "list-routes") if node.get("subnet_routes")]

    one, two = nodes("router-1"), nodes("router-2")
    play([{"node": one, "register": "one", "hostname": "router-1", **join}], ["one is changed"])
    wait_for("its approval", lambda: serving() == ["router-1"])
    play(
        [
            {"node": two, "register": "two", "hostname": "router-2", **join},
            {"node": one, "register": "gone", "state": "absent"},
        ],
        ["gone.steps == ['take back its routes', 'log out']"],
    )
    wait_for("the other one", lambda: serving() == ["router-2"])
    assert "router-1" not in headscale.nodes()


def test_a_control_plane_that_is_down_at_boot(
    headscale: Headscale, nodes: Callable[[str], Node], play: Callable[..., str], tmp_path: Path
) -> None:
    """tailscaled goes on trying by itself and uses the key up, here at the worst moment: the module has just seen that the
    node has not joined."""
    file = write(tmp_path / "key", headscale.key("--expiration", "1h"))
    node = nodes("early")
    headscale.stop()
    try:
        play(
            [{"node": node, "register": "not_yet", "auth_key_file": file, "hostname": "early", "timeout": 4}],
            ["'the node did not join within 4 s: the control plane does not answer' in not_yet.msg"],
        )
        slow = after_it_joined_by_itself(tmp_path, headscale)
        play(
            [
                {
                    "node": node,
                    "register": "later",
                    "auth_key_file": file,
                    "hostname": "early",
                    "executable": str(slow),
                },
                {"node": node, "register": "again", "auth_key_file": file, "hostname": "early"},
            ],
            ["later is changed and later.node.state == 'Running'", "again is not changed"],
        )
    finally:
        if not headscale.runs:
            headscale.start()
    assert (tmp_path / "joined-by-itself").exists()
    assert headscale.nodes().count("early") == 1, "and it is one node"


def after_it_joined_by_itself(folder: Path, headscale: Headscale) -> Path:
    """`tailscale`, whose first `up` lets the control plane come back and waits until tailscaled has joined by itself."""
    program = folder / "slow-tailscale"
    program.write_text(f"""#!{sys.executable}
import os, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {str(PROGRAMS.parents[1])!r})
from tests.tailnet.control import Headscale
real, mark = {str(PROGRAMS / "tailscale")!r}, Path({str(folder / "joined-by-itself")!r})
if "up" in sys.argv and not mark.exists():
    Headscale(Path({str(headscale.folder)!r})).start()
    deadline = time.monotonic() + 60
    while b'"BackendState": "Running"' not in subprocess.run([real, sys.argv[1], "status", "--json"], capture_output=True, timeout=20).stdout:
        if time.monotonic() > deadline:
            sys.exit("tailscaled did not try again by itself")
        time.sleep(0.1)
    mark.touch()
os.execv(real, [real, *sys.argv[1:]])
""")
    program.chmod(0o755)
    return program


def test_a_clock_that_is_ten_minutes_slow(tmp_path: Path, programs: None) -> None:
    """By such a clock a certificate that was made just now is not valid yet; here it is made in ten minutes."""
    key = tmp_path / "tls.key"
    private = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "control")])
    begins = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=10)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
        .serial_number(1).not_valid_before(begins).not_valid_after(begins + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )  # fmt: skip
    certificate = tmp_path / "tls.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    folder = tmp_path / "slow"
    folder.mkdir()
    control = Headscale.new(folder, tls_cert_path=str(certificate), tls_key_path=str(key))
    node = Node(tmp_path / "node", SSL_CERT_FILE=str(certificate))
    try:
        options = {
            "login_server": control.url, "socket": str(node.socket), "executable": str(PROGRAMS / "tailscale"),
            "auth_key_file": write(tmp_path / "key", control.key("--expiration", "1h")), "timeout": 5,
        }  # fmt: skip
        tasks = [
            {"boring.fleet.tailscale_node": options, "register": "slow", "ignore_errors": True},
            {"ansible.builtin.assert": {"that": ["'set the clock' in slow.msg"]}},
        ]
        code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": tasks}])
        assert code == 0, output
    finally:
        node.stop()
        control.stop()


def test_tailscaled_that_does_not_run(play: Callable[..., str], nodes: Callable[[str], Node], tmp_path: Path) -> None:
    node = nodes("dead")
    node.stop()
    play(
        [
            {"node": node, "register": "not_running"},
            {"node": node, "register": "not_there", "executable": "/nowhere/tailscale"},
        ],
        [
            "'tailscaled does not run on this host' in not_running.msg",
            "'there is no program tailscale' in not_there.msg",
        ],
    )


def test_the_policy_that_access_policy_renders_is_one_to_headscale(headscale: Headscale, tmp_path: Path) -> None:
    """The example of the module's documentation, validated by headscale itself; a broken one is not written."""
    from ansible_collections.boring.fleet.plugins.modules.access_policy import EXAMPLES

    task = yaml.safe_load(EXAMPLES)[0]
    options = task["boring.fleet.access_policy"]
    options["tailnet"] = str(tmp_path / "policy.json")
    options["validate"] = f"{PROGRAMS / 'headscale'} policy check -f %s"
    code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": [task]}])
    assert code == 0, output
    assert shutil.which("headscale", path=str(PROGRAMS))
    broken = tmp_path / "broken.json"
    broken.write_text((tmp_path / "policy.json").read_text().replace("tag:api", "tag:undeclared", 1))
    refused = subprocess.run([PROGRAMS / "headscale", "policy", "check", "-f", broken], capture_output=True, timeout=30)
    assert refused.returncode != 0


# -- what the role leaves on a host, run as at a boot ------------------------------------------------------------------


@dataclass
class Boot:
    """The program of `tailnet-join.service` over a node in user space, with what the role's user_data rendered."""

    folder: Path

    def __call__(self, action: str, jobs: str = "") -> tuple[int, str]:
        return run(self.folder, action, jobs)

    @property
    def key(self) -> Path:
        return self.folder / "key"


@pytest.fixture
def boot(tmp_path: Path, headscale: Headscale) -> Callable[..., Boot]:
    def made(node: Node, key: str, name: str, **variables: Any) -> Boot:
        folder = tmp_path / f"boot-{name}"
        folder.mkdir()
        cli = f'#!/bin/sh\nexec {PROGRAMS / "tailscale"} --socket={node.socket} "$@"\n'
        given = {
            "tailscale_login_server": headscale.url,
            "tailscale_hostname": name,
            "tailscale_timeout": 5,
            **variables,
        }
        lay_out(folder, key, cli, **given)
        return Boot(folder)

    return made


def test_a_boot_joins_once_and_forgets_the_key_and_a_power_off_leaves(
    headscale: Headscale, nodes: Callable[[str], Node], boot: Callable[..., Boot]
) -> None:
    key = headscale.key("--ephemeral", "--expiration", "1h", "--tags", "tag:api")
    node = nodes("boots")
    host = boot(
        node, key, "boots", tailscale_tags=["tag:api"], tailscale_routes=["10.9.0.0/16"], tailscale_exit_node=True
    )
    headscale.stop()
    try:
        code, said = host("join")
        assert code == 75, "systemd tries again"
        assert "did not join the tailnet: the control plane does not answer" in said
        assert host.key.exists()
        assert json.loads(node("debug", "prefs").stdout)["WantRunning"] is False, "or it uses the key up by itself"
    finally:
        headscale.start()
    code, said = host("join")
    assert code == 0, said
    assert "this host is in the tailnet as 100.64." in said
    assert not host.key.exists()
    assert "boots" in headscale.nodes()
    prefs = json.loads(node("debug", "prefs").stdout)
    assert sorted(prefs["AdvertiseRoutes"]) == ["0.0.0.0/0", "10.9.0.0/16", "::/0"]
    assert prefs["CorpDNS"] is False
    assert host("join")[0] == 0, "a reboot, without a key"
    assert host("leave", "12 reboot.target start waiting") == (0, ""), "a reboot is no end"
    assert "boots" in headscale.nodes()
    assert "the node was logged out" in host("leave", "12 poweroff.target start waiting")[1]
    wait_for("the end of the node", lambda: "boots" not in headscale.nodes(), 60)


def test_a_boot_with_a_key_that_lets_nobody_in_is_not_tried_again(
    headscale: Headscale, nodes: Callable[[str], Node], boot: Callable[..., Boot]
) -> None:
    late = headscale.key("--expiration", "1s")
    once = headscale.key("--expiration", "1h")
    first = nodes("first")
    assert boot(first, once, "first")("join")[0] == 0
    second = nodes("second")
    for key, name, sentence in (
        (late, "late", "the auth key has expired"),
        (once, "twice", "the auth key was used already"),
    ):
        code, said = boot(second, key, name)("join")
        assert (code, sentence in said) == (78, True), said
        assert key not in said
    host = boot(second, once, "none")
    host.key.unlink()
    code, said = host("join")
    assert code == 78
    assert "there is no key to join with" in said
