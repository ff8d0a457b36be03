# SPDX-License-Identifier: GPL-3.0-or-later
"""A container out of Debian's registry as a service of systemd, on real hosts, asked from outside and from inside."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host

pytestmark = pytest.mark.timeout(900)  # a test is several playbooks
UNIT = "container-service"
WORK = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "registry"
SCENARIO = yaml.safe_load((Path(__file__).parents[1] / "vars" / "scenario.yml").read_text())
SECRET = "container-test-secret-77"
Ask = Callable[..., str]


def asked(address: str, *words: str) -> str:
    """What the program in a host's container says."""
    with urllib.request.urlopen(f"http://{address}:8000/cgi-bin/look?{'+'.join(words)}", timeout=15) as answer:
        found: bytes = answer.read()
    return found.decode()


@pytest.fixture(scope="session")
def ask(address: str) -> Ask:
    """Ask the program in the container of the host under test."""
    return lambda *words: asked(address, *words)


@pytest.fixture(scope="session")
def pushed(platform: dict[str, Any]) -> str:
    """The image by digest, as it was resolved by its tag."""
    return (WORK / platform["name"] / "image").read_text()


@pytest.fixture
def changed(change: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Change the container of all hosts, and back in the end."""
    yield change
    assert change().ok


METADATA = "169.254.169.254"


@pytest.fixture
def metadata(everywhere: dict[str, Host]) -> Iterator[str]:
    """A stand-in for instance metadata, at its address, for everybody on a host."""
    for host in everywhere.values():
        host.check_output(f"ip address add {METADATA}/32 dev lo")
        host.check_output(f"systemd-run --unit=metadata python3 -m http.server --bind {METADATA} 80")
    try:
        for host in everywhere.values():
            assert eventually(lambda host=host: host.run(f"curl -fs -m 2 http://{METADATA}/").rc == 0)  # type: ignore[misc]
        yield METADATA
    finally:
        for host in everywhere.values():
            host.run(f"systemctl stop metadata; ip address del {METADATA}/32 dev lo")


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether it holds in time; what cannot be asked yet does not hold."""

    def holds() -> bool:
        with contextlib.suppress(OSError):
            return condition()
        return False

    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.3)
    return True


def state(host: Host) -> str:
    return host.run(f"systemctl is-active {UNIT}").stdout.strip()


def test_it_is_the_image_by_digest(host: Host, pushed: str, address: str) -> None:
    assert re.fullmatch(rf"{re.escape(address)}:5000/shop/web@sha256:[0-9a-f]{{64}}", pushed)
    assert host.check_output(f"systemctl show --property=Description {UNIT}") == f"Description={pushed}"
    assert state(host) == "active"


def test_it_runs_as_its_own_user_without_any_right(host: Host, ask: Ask) -> None:
    facts = dict(line.split(":", 1) for line in ask("status").splitlines())
    own = host.check_output(f"id -u {UNIT}")
    assert facts["Uid"].split() == [own] * 4
    assert own != "0"
    assert {int(facts[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (facts["NoNewPrivs"].strip(), facts["Seccomp"].strip()) == ("1", "2")
    assert host.check_output(f"find /var/lib/{UNIT} -perm /6000") == ""
    assert host.check_output(f"stat -c %U /var/lib/{UNIT}/root/bin/busybox") == UNIT
    assert host.check_output(f"stat -c %a /var/lib/{UNIT}") == "700"


def test_it_sees_nothing_of_the_host_and_writes_only_where_it_may(host: Host, ask: Ask) -> None:
    assert ask("write").split() == ["/tmp/x", "/var/tmp/x", "/run/x", "/data/x"]
    seen = ask("see").split()
    assert "home" not in seen
    assert not {"mem", "kmsg", "fuse", "loop0"} & set(seen)
    running = [name for name in seen if name.isdigit()]
    assert 0 < len(running) < 10  # its own processes
    assert not host.file("/data").exists


def test_the_sandbox_is_as_tight_as_that_of_other_services(host: Host) -> None:
    for unit, most in ((UNIT, 1.3), (f"{UNIT}-network", 1.6)):
        said = host.check_output(f"systemd-analyze security --no-pager {unit} | tail -1")
        assert float(re.search(r": ([0-9.]+) ", said)[1]) <= most, said  # type: ignore[index]


def test_the_environment_arrives_as_the_fleet_file_says(ask: Ask) -> None:
    pairs = base64.b64decode(ask("environment")).decode().rstrip("\0").split("\0")
    found = dict(pair.split("=", 1) for pair in pairs)
    for name, value in SCENARIO["hostile_environment"].items():
        assert found[name] == value, name
    assert (found["SECRET_KEY"], found["FROM_IMAGE"], found["HOME"]) == (SECRET, "a$b", "/data")


def test_secrets_are_for_the_process_alone(host: Host) -> None:
    assert SECRET not in host.check_output("ps axww -o args")
    assert SECRET not in host.check_output(
        f"systemctl show {UNIT}; systemctl cat {UNIT}; journalctl -u {UNIT} --no-pager"
    )
    main = host.check_output(f"systemctl show --value --property=MainPID {UNIT}")
    assert SECRET in host.check_output(f"cat /proc/{main}/environ").replace("\0", "\n")
    assert host.run(f"setpriv --reuid=admin --clear-groups cat /proc/{main}/environ").rc != 0
    assert host.run("setpriv --reuid=admin --clear-groups cat /etc/fleet/secrets.env").rc != 0
    assert host.run(f"setpriv --reuid=admin --clear-groups ls /var/lib/{UNIT}/root").rc != 0


def test_what_it_says_is_in_the_journal(host: Host) -> None:
    own = host.check_output(f"id -u {UNIT}")
    assert f"hello as {own}" in host.check_output(f"journalctl -u {UNIT} -o cat --no-pager")


def test_a_second_run_changes_nothing_with_the_registry_away(
    everywhere: dict[str, Host], change: Callable[..., Any]
) -> None:
    for host in everywhere.values():
        host.check_output(f"systemctl stop test-registry; systemctl restart {UNIT}")
        assert state(host) == "active"
    try:
        done = change()
        assert done.ok, done.output
        assert set(done.changed.values()) == {0}
    finally:
        for host in everywhere.values():
            host.check_output("systemctl start test-registry")


def test_it_finishes_what_is_in_hand(host: Host, ask: Ask) -> None:
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(ask("slow")))
    asking.start()
    time.sleep(0.3)
    began = time.monotonic()
    host.check_output(f"systemctl stop {UNIT}")
    asking.join(15)
    try:
        assert answers == ["done\n"]
        assert 1.5 < time.monotonic() - began < 15
        assert host.check_output(f"journalctl -u {UNIT} -o cat --no-pager").count("drained") >= 1
        assert "Result=success" in host.check_output(f"systemctl show {UNIT}")
    finally:
        host.check_output(f"systemctl start {UNIT}")


def test_it_is_started_anew_when_it_dies(host: Host, address: str) -> None:
    before = host.check_output(f"systemctl show --value --property=MainPID {UNIT}")
    host.check_output(f"systemctl kill --kill-who=main --signal=KILL {UNIT}")
    assert eventually(
        lambda: (
            state(host) == "active" and host.check_output(f"systemctl show --value --property=MainPID {UNIT}") != before
        )
    )
    with urllib.request.urlopen(f"http://{address}:8000/up", timeout=5) as answer:
        assert answer.status == 200


def test_it_is_not_ready_with_a_dead_health(everywhere: dict[str, Host], changed: Callable[..., Any]) -> None:
    done = changed(container_service_command=["/dead"], container_service_start_seconds=3)
    assert not done.ok
    for host in everywhere.values():
        assert state(host) in {"activating", "failed"}
        said = host.check_output(f"journalctl -u {UNIT} -o cat --no-pager -n 60")
        assert "http://127.0.0.1:8000/up is not ready after 3 s: it answers 404" in said


def test_an_isolated_one_reaches_only_what_is_listed(
    everywhere: dict[str, Host], addresses: dict[str, str], metadata: str, changed: Callable[..., Any]
) -> None:
    def reached(name: str) -> list[str]:
        """Ports of the other host, of its own and metadata, from inside."""
        own, other = addresses[name], next(each for key, each in addresses.items() if key != name)
        places = [(other, 22), (other, 8000), (other, 5000), (own, 5000), ("127.0.0.1", 22), (metadata, 80)]
        return [asked(own, "reach", place, str(port)).strip() for place, port in places]

    # What every container reaches: all but metadata
    assert {name: reached(name) for name in everywhere} == dict.fromkeys(everywhere, ["yes"] * 5 + ["no"])
    assert changed(container_service_isolated=True).ok
    assert {name: reached(name) for name in everywhere} == dict.fromkeys(everywhere, ["no"] * 6)
    for name, host in everywhere.items():  # the host itself may
        other = next(each for key, each in addresses.items() if key != name)
        assert host.run(f"timeout 5 bash -c 'read -r line < /dev/tcp/{other}/22 && echo $line'").stdout.startswith(
            "SSH"
        )
    listed = [f"{address}/32:20-22" for address in addresses.values()]
    assert changed(container_service_isolated=True, container_service_egress=[*listed, "[2001:db8::/32]:443"]).ok
    assert {name: reached(name) for name in everywhere} == dict.fromkeys(everywhere, ["yes"] + ["no"] * 5)


def test_a_port_inside_may_be_another(
    everywhere: dict[str, Host], addresses: dict[str, str], changed: Callable[..., Any]
) -> None:
    done = changed(container_service_command=["/www", "80"], container_service_container_port=80)
    assert done.ok, done.output
    for name, host in everywhere.items():
        assert f"Uid:\t{host.check_output(f'id -u {UNIT}')}" in asked(addresses[name], "status")


def test_one_that_serves_https_can_read_its_key(
    everywhere: dict[str, Host], addresses: dict[str, str], changed: Callable[..., Any]
) -> None:
    for host in everywhere.values():
        host.check_output("cd /etc/fleet; umask 077; echo certificate > certificate.pem; echo key > key.pem")
    # busybox serves no HTTPS, so that it will not be ready: it is asked while systemd waits
    assert not changed(container_service_tls=True, container_service_start_seconds=4).ok
    for name, host in everywhere.items():
        assert eventually(lambda name=name: asked(addresses[name], "key") == "key\n")  # type: ignore[misc]
        assert host.check_output("stat -c '%U %a' /etc/fleet/key.pem") == "root 600"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"container_service_image": "registry.example.org/web:1"},
            "which can be another image tomorrow; name it by digest",
        ),
        (
            {"container_service_isolated": True, "container_service_egress": ["example.org:443"]},
            "container_service_egress holds example.org:443",
        ),
        ({"container_service_egress": ["192.0.2.0/24:443"]}, "is for an isolated container"),
        ({"container_service_user": "nobody"}, "the image has no user nobody: it has app, root"),
    ],
)
def test_mistakes_are_refused_in_a_sentence(change: Callable[..., Any], options: dict[str, Any], words: str) -> None:
    done = change(limit="debian-13", **options)
    assert not done.ok
    assert words in " ".join(done.output.split())


def test_the_registry_is_asked_by_the_controller(platform: dict[str, Any], pushed: str) -> None:
    """No such tag, another architecture, no login and a wrong one, at a real registry."""
    work, registry = WORK / platform["name"], pushed.partition("/")[0]
    nobody, wrong = work / "nobody.json", work / "wrong.json"
    nobody.write_text("{}")
    auth = base64.b64encode(b"clerk:wrong-password-x").decode()
    wrong.write_text(json.dumps({"auths": {registry: {"auth": auth}}}))

    def said(image: str, login: Path = work / "auth.json") -> str:
        options = f"image={registry}/{image} ca_file={work / 'ca.pem'} timeout=10"
        done = subprocess.run(
            ["ansible", "localhost", "-m", "boring.fleet.container_image", "-a", options],
            capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "REGISTRY_AUTH_FILE": str(login)},
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr
        assert "wrong-password-x" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    assert pushed.partition("@")[2] in said("shop/web:1")
    assert f"there is no {registry}/shop/web:2" in said("shop/web:2")
    assert "is not built for linux/amd64, but for linux/arm64" in said("shop/arm:1")
    assert "asks who you are" in said("shop/web:1", nobody)
    assert "refuses your login" in said("shop/web:1", wrong)
