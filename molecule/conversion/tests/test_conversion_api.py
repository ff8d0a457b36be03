# SPDX-License-Identifier: GPL-3.0-or-later
"""The API on real hosts, asked from outside, with a real NATS, a real Redis and the engine beside it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "engine" / "samples"
UNIT = "conversion-api"
ENV_FILE = f"/etc/{UNIT}/{UNIT}.env"
KEY = "molecule-api-key-5d0b"
SECRETS = ("7f3a9c04", "redis-test-password-91c2", KEY)
PROBES = "http://127.0.0.1:8082"


@pytest.fixture(scope="session")
def url(address: str) -> str:
    return f"http://{address}:8080"


def ask(url: str, data: bytes | None = None, timeout: float = 60, key: str = KEY) -> tuple[int, Any]:
    headers = {"Content-Type": "application/octet-stream", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310 - ours
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.loads(refusal.read())


def wait_ready(host: Host, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while host.run("curl -fs -m 3 http://127.0.0.1:8080/readyz").rc != 0:
        assert time.monotonic() < until
        time.sleep(0.5)


def test_step_becomes_stl(url: str) -> None:
    status, answer = ask(f"{url}/file/conversion/step/stl", (SAMPLES / "box.step").read_bytes())
    assert status == 201
    assert answer["status"] == "completed"
    result = base64.b64decode(answer["outputs"]["output.stl"])
    assert len(result) == 84 + 12 * 50  # a box is twelve triangles
    again, record = ask(f"{url}/async/operations/{answer['id']}")
    assert (again, record["outputs"]) == (200, answer["outputs"])


def test_same_file_again_comes_from_the_cache(url: str) -> None:
    part = (SAMPLES / "bracket.obj").read_bytes() + f"\n# {time.time()}\n".encode()
    assert ask(f"{url}/file/conversion/obj/ply", part)[1]["cached"] is False
    assert ask(f"{url}/file/conversion/obj/ply", part)[1]["cached"] is True


def test_works_without_redis(host: Host, url: str) -> None:
    host.check_output("systemctl stop redis-server")
    try:
        for turn in range(3):
            part = (SAMPLES / "box.obj").read_bytes() + f"\n# {time.time()} {turn}\n".encode()
            status, answer = ask(f"{url}/file/conversion/obj/glb", part)
            assert (status, answer["status"]) == (201, "completed")
        assert host.run("curl -fs -m 5 http://127.0.0.1:8080/readyz").rc == 0
    finally:
        host.check_output("systemctl start redis-server")


@pytest.mark.parametrize(
    ("path", "data", "status", "words"),
    [
        ("dwg/stl", b"x", 400, "step, iges, brep, stl, obj"),
        ("stl/step", b"x", 400, "STEP"),
        ("step/stl", b"", 400, "empty"),
        ("step/stl", b"garbage", 422, "STEP"),
        ("step/stl", (SAMPLES / "box.step").read_bytes()[:4000], 422, "damaged"),
        ("step/stl?deflection=no", b"x", 400, "deflection"),
        ("stl/obj", b"x" * (5 << 20), 413, "4 MiB"),
    ],
)
def test_bad_input_gets_one_sentence(url: str, path: str, data: bytes, status: int, words: str) -> None:
    got, answer = ask(f"{url}/file/conversion/{path}", data)
    assert got == status
    assert words in answer["error"]
    assert "Traceback" not in json.dumps(answer)


def test_without_nats_it_says_so_and_recovers(host: Host, url: str) -> None:
    host.check_output("systemctl stop nats-server")
    try:
        until = time.monotonic() + 10
        while ask(f"{url}/readyz")[0] != 503:
            assert time.monotonic() < until
            time.sleep(0.2)
        assert "NATS" in host.run(f"curl -s -m 5 {PROBES}/readyz").stdout
        assert host.run("curl -fs -m 5 http://127.0.0.1:8080/healthz").rc == 0
    finally:
        host.check_output("systemctl start nats-server")
    wait_ready(host)
    assert ask(f"{url}/file/conversion/step/stl", (SAMPLES / "box.step").read_bytes())[0] == 201


def test_stop_lets_requests_finish(host: Host, url: str, tmp_path: Path) -> None:
    """While it stops: unready at once, serving on for the lame-duck time, and no request cut off."""
    stop, out = tmp_path / "stop", tmp_path / "samples.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "conversion.client", "load", "--url", url, "--seconds", "60", "--until", str(stop),
         "--concurrency", "2", "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src"), "CONVERSION_KEY": KEY}, stdout=subprocess.DEVNULL,
    ) as load:  # fmt: skip
        try:
            time.sleep(1)
            host.check_output(f"systemctl stop --no-block {UNIT}")
            time.sleep(0.7)
            assert host.run("curl -s -m 3 -o /dev/null -w %{http_code} http://127.0.0.1:8080/readyz").stdout == "503"
        finally:
            stop.touch()  # the client stands in for a load balancer that has seen it
            load.wait(timeout=70)
            host.check_output(f"systemctl stop {UNIT} && systemctl start {UNIT}")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) > 2
    assert [line for line in lines if not line["ok"]] == []
    assert host.check_output(f"systemctl show --property Result --value {UNIT}") == "success"
    wait_ready(host)


def test_drain_is_for_the_host_itself(host: Host, url: str) -> None:
    assert ask(f"{url}/drain", b"")[0] == 404
    assert ask(url.replace(":8080", ":8082") + "/drain", b"")[0] == 403
    assert (
        host.run(
            "curl -s -m 3 -X POST -H 'X-Forwarded-For: 1.2.3.4' -o /dev/null -w %{http_code} http://127.0.0.1:8082/drain"
        ).stdout
        == "403"
    )
    wait_ready(host, 3)


def test_secrets_are_nowhere_to_be_seen(host: Host) -> None:
    seen = [
        host.check_output("ps -eww -o args"),
        host.check_output("journalctl --no-pager -q"),
        host.check_output(f"systemctl cat {UNIT}.service"),
        host.check_output(f"systemctl show {UNIT}.service"),
        host.run(f"curl -s -m 3 {PROBES}/metrics").stdout,
    ]
    for secret in SECRETS:
        assert not any(secret in text for text in seen)
    file = host.file(ENV_FILE)
    assert (file.user, file.group, file.mode) == ("root", "root", 0o600)
    pid = host.check_output(f"systemctl show --property MainPID --value {UNIT}")
    assert host.run(f"runuser -u {UNIT} -- cat /proc/{pid}/environ").rc != 0


def test_runs_unprivileged_in_its_sandbox(host: Host) -> None:
    pid = host.check_output(f"systemctl show --property MainPID --value {UNIT}")
    status = dict(
        line.split(":", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines() if ":" in line
    )
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    host.check_output(f"systemd-analyze security --no-pager --threshold=20 {UNIT}.service")


def test_needs_no_opencascade(host: Host) -> None:
    assert host.run(f"ls /opt/{UNIT}/lib/python3*/site-packages/OCP").rc != 0


def test_needs_a_key(host: Host, url: str) -> None:
    part = (SAMPLES / "box.obj").read_bytes()
    assert ask(f"{url}/file/conversion/obj/stl", part, key="wrong")[0] == 401
    assert [ask(f"{url}/file/conversion/obj/stl", part, key=f"{KEY}-frugal")[0] for _ in range(2)] == [201, 429]
    file = host.file("/etc/conversion-api/keys.json")
    assert (file.user, file.group, file.mode) == ("root", UNIT, 0o640)
    assert KEY not in file.content_string


def test_metrics_are_on_a_port_of_their_own(host: Host, url: str) -> None:
    for path in ("metrics", "version", "drain"):
        assert host.run(f"curl -s -m 5 -o /dev/null -w %{{http_code}} http://127.0.0.1:8080/{path}").stdout == "404"
        assert host.run(f"curl -s -m 5 -o /dev/null -w %{{http_code}} {PROBES}/{path}").stdout == "200"
    assert "conversion_ready 1.0" in host.check_output(f"curl -fs -m 5 {PROBES}/metrics")
    assert json.loads(host.check_output("curl -fs -m 5 http://127.0.0.1:8080/readyz")) == {"status": "ready"}


def test_the_unit_denies_metadata(host: Host) -> None:
    shown = host.check_output(f"systemctl show --property IPAddressDeny --property LimitNOFILE {UNIT}")
    assert "169.254.0.0/16" in shown
    assert "LimitNOFILE=16384" in shown


def test_a_host_of_a_fleet_needs_no_settings_of_its_own(host: Host) -> None:
    """The same image on a host that a fleet tells what it uses, as the model of the fleet writes it."""
    kept = "/root/kept.env"
    names = r"s/^CONVERSION_NATS_\(URL\|USER\|PASSWORD\)=/BUS_\1=/p; s/^CONVERSION_REDIS_\(URL\|USER\|PASSWORD\)=/CACHE_\1=/p"
    host.check_output(f"systemctl stop {UNIT}; mv {ENV_FILE} {kept}; mkdir -p /etc/fleet")
    try:
        assert (
            host.run(f"systemctl start {UNIT}; systemctl is-active {UNIT}").stdout.strip() == "inactive"
        )  # nothing says what it is
        host.check_output("echo FLEET=conversion > /etc/fleet-release")
        host.check_output(f"sed -n '{names}' {kept} | grep -v PASSWORD > /etc/fleet/environment")
        host.check_output(f"umask 077; sed -n '{names}' {kept} | grep PASSWORD > /etc/fleet/secrets.env")
        host.check_output(f"systemctl start {UNIT}")
        wait_ready(host)
        assert "conversion_cache_up 1.0" in host.check_output(f"curl -fs -m 5 {PROBES}/metrics")
        listening = host.check_output("ss --listening --tcp --numeric --no-header")
        assert {"0.0.0.0:8080", "0.0.0.0:8082"} <= set(listening.split())
    finally:
        host.check_output(f"rm -rf /etc/fleet /etc/fleet-release; mv {kept} {ENV_FILE}; systemctl restart {UNIT}")
    wait_ready(host)
