# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine on real hosts, with a real NATS and a real Redis; the API beside it hands it the work."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[3]
UNIT = "conversion-engine"
ENV_FILE = f"/etc/{UNIT}/{UNIT}.env"
SECRETS = ("7f3a9c04", "redis-test-password-91c2")
KEY = "molecule-api-key-5d0b"


def client(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "conversion.client", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src"), "CONVERSION_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def wait_active(host: Host, url: str, seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while host.run("curl -fs -m 3 %s", url).rc != 0:
        assert time.monotonic() < until, host.run("curl -s -m 3 %s", url).stdout
        time.sleep(0.5)


@pytest.fixture
def api(host: Host, address: str) -> str:
    wait_active(host, "http://127.0.0.1:8080/readyz")
    return f"http://{address}:8080"


@pytest.mark.parametrize(("part", "to"), [("bracket.step", "stl"), ("box.stl", "glb"), ("bracket.glb", "ply")])
def test_converts(api: str, part: str, to: str, tmp_path: Path) -> None:
    done = client("convert", str(ROOT / "engine/samples" / part), "--to", to, "--url", api, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "triangles" in done.stdout


def test_dead_letters_are_looked_at_with_the_engine_s_settings(host: Host, api: str) -> None:
    assert host.check_output("conversion-dead list") == "There are no dead letters."


def test_works_without_its_cache(host: Host, api: str, tmp_path: Path) -> None:
    host.check_output("systemctl stop redis-server")
    try:
        for deflection in ("0.21", "0.22"):  # never asked before: not from any cache
            done = client(
                "convert", str(ROOT / "engine/samples/bracket.step"), "--to", "obj", "--url", api,
                "--option", f"deflection={deflection}", "--out", str(tmp_path),
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        assert host.run("curl -fs -m 5 http://127.0.0.1:8081/readyz").rc == 0
    finally:
        host.check_output("systemctl start redis-server")


def test_restart_under_load_loses_nothing(host: Host, api: str, tmp_path: Path) -> None:
    summary, stop = tmp_path / "load.json", tmp_path / "stop"
    with subprocess.Popen(
        [sys.executable, "-m", "conversion.client", "load", "--url", api, "--seconds", "90", "--until", str(stop),
         "--concurrency", "3", "--summary", str(summary)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src"), "CONVERSION_KEY": KEY}, stdout=subprocess.DEVNULL,
    ) as load:  # fmt: skip
        try:
            time.sleep(2)
            host.check_output(f"systemctl restart {UNIT}")
            wait_active(host, "http://127.0.0.1:8081/readyz")
            time.sleep(2)
        finally:
            stop.touch()
            load.wait(timeout=100)
    seen = json.loads(summary.read_text())
    assert seen["requests"] > 10
    assert seen["failed"] == 0, seen


def test_reports_the_version_of_the_image(host: Host) -> None:
    version = json.loads(host.check_output("curl -fs -m 5 http://127.0.0.1:8081/version"))
    assert version["name"] == "conversion-engine"
    assert version["version"] == "7.1.2-test"


def test_metrics_are_prometheus_text(host: Host, api: str) -> None:
    text = host.check_output("curl -fs -m 5 http://127.0.0.1:8081/metrics")
    assert 'conversion_info{service="conversion-engine",version="7.1.2-test"} 1.0' in text
    assert "conversion_ready 1.0" in text


def test_wrong_password_is_refused_and_told(host: Host) -> None:
    host.run("systemctl reset-failed test-wrong; systemctl stop test-wrong")
    host.check_output(
        f"systemd-run --quiet --unit=test-wrong --property=EnvironmentFile={ENV_FILE} "
        f"env CONVERSION_LISTEN_PORT=8099 CONVERSION_NATS_PASSWORD=wrong /opt/{UNIT}/bin/conversion-api"
    )
    try:
        wait_active(host, "http://127.0.0.1:8099/healthz")
        until = time.monotonic() + 20
        while "uthorization" not in (answer := host.run("curl -s -m 3 http://127.0.0.1:8099/readyz").stdout):
            assert time.monotonic() < until, answer
            time.sleep(0.5)
        assert host.run("curl -fs -m 3 http://127.0.0.1:8099/readyz").rc != 0
    finally:
        host.run("systemctl stop test-wrong")


def test_drain_is_for_the_host_itself(host: Host, address: str) -> None:
    refused = subprocess.run(
        ["curl", "-s", "-m", "5", "-X", "POST", "-w", "%{http_code}", f"http://{address}:8081/drain"],
        capture_output=True, text=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    assert refused.endswith("403"), refused
    assert host.run("curl -fs -m 5 http://127.0.0.1:8081/readyz").rc == 0


def test_secrets_are_nowhere_to_be_seen(host: Host) -> None:
    seen = [
        host.check_output("ps -eww -o args"),
        host.check_output("journalctl --no-pager -q"),
        host.check_output(f"systemctl cat {UNIT}.service"),
        host.check_output(f"systemctl show {UNIT}.service"),
    ]
    for secret in SECRETS:
        assert not any(secret in text for text in seen)
        found = host.run(f"grep -rlsF {secret} /etc /run /opt /var/lib/{UNIT} /var/cache /tmp").stdout.split()
        assert set(found) - {"/etc/nats-server.conf"} == {ENV_FILE, "/etc/conversion-api/conversion-api.env"}
    file = host.file(ENV_FILE)
    assert (file.user, file.group, file.mode) == ("root", "root", 0o600)


def test_environment_is_hidden_from_the_jobs(host: Host) -> None:
    """A job runs as the same user; it must not read the engine's passwords from /proc."""
    pid = host.check_output(f"systemctl show --property MainPID --value {UNIT}")
    assert host.run(f"runuser -u {UNIT} -- cat /proc/{pid}/environ").rc != 0
    zygote = host.check_output(f"pgrep -P {pid} -f conversion.worker.zygote").split()[0]
    environment = host.check_output(f"tr '\\0' '\\n' < /proc/{zygote}/environ")
    assert "CONVERSION_" not in environment


def test_runs_unprivileged_in_its_sandbox(host: Host) -> None:
    pid = host.check_output(f"systemctl show --property MainPID --value {UNIT}")
    status = dict(
        line.split(":", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines() if ":" in line
    )
    assert int(status["CapEff"], 16) == 0
    assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert host.check_output(f"stat -c %U /proc/{pid}/root/etc/hostname") == "root"
    assert host.check_output(f"ps -o user:32= -p {pid}").strip() == UNIT
    host.check_output(f"systemd-analyze security --no-pager --threshold=20 {UNIT}.service")


def test_unconfigured_host_has_no_failed_unit(host: Host) -> None:
    """The image carries the unit but no configuration: it waits, and is no failure."""
    host.check_output(f"systemctl stop {UNIT} && mv {ENV_FILE} {ENV_FILE}.aside")
    try:
        host.run(f"systemctl start {UNIT}")
        assert host.run(f"systemctl is-active {UNIT}").stdout.strip() == "inactive"
        assert host.run(f"systemctl is-failed {UNIT}").stdout.strip() == "inactive"
        assert host.service(UNIT).is_enabled
    finally:
        host.check_output(f"mv {ENV_FILE}.aside {ENV_FILE} && systemctl start {UNIT}")
    wait_active(host, "http://127.0.0.1:8081/readyz")


def test_a_job_is_what_the_kernel_kills_first(host: Host, api: str) -> None:
    """Out of memory: the job's process has the highest score, and systemd does not stop the service for it."""
    assert host.check_output(f"systemctl show --property OOMPolicy --value {UNIT}") == "continue"
    pid = host.check_output(f"systemctl show --property MainPID --value {UNIT}")
    zygote = host.check_output(f"pgrep -P {pid} -f conversion.worker.zygote").split()[0]
    torus = ROOT / "tests/integration/engine/torus.step"
    with subprocess.Popen(
        [sys.executable, "-m", "conversion.client", "convert", str(torus), "--to", "stl", "--url", api,
         "--option", "deflection=0.01", "--option", "angle=5", "--out", "/tmp"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src"), "CONVERSION_KEY": KEY}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as slow:  # fmt: skip
        until = time.monotonic() + 30
        while host.run(f"cat /proc/$(pgrep -P {zygote} | head -1)/oom_score_adj").stdout.strip() != "1000":
            assert time.monotonic() < until
            time.sleep(0.2)
        slow.kill()


@pytest.fixture
def hostile(host: Host) -> Iterator[None]:
    """The very unit, with a converter that every file takes over."""
    script = (ROOT / "tests" / "hostile_job.py").read_bytes()
    starter = b"""
import sys
from conversion.worker import __main__, pool
pool.ZYGOTE = (sys.executable, "-P", "/usr/local/lib/hostile_job.py")
sys.exit(__main__.main())
"""
    for name, content in (("hostile_job.py", script), ("hostile_engine.py", starter)):
        text = base64.b64encode(content).decode()
        host.check_output(f"echo {text} | base64 -d > /usr/local/lib/{name} && chmod 644 /usr/local/lib/{name}")
    drop_in = f"/etc/systemd/system/{UNIT}.service.d"
    host.check_output(
        f"mkdir -p {drop_in} && printf '[Service]\\nExecStart=\\nExecStart=/opt/{UNIT}/bin/python /usr/local/lib/hostile_engine.py\\n'"
        f" > {drop_in}/hostile.conf && systemctl daemon-reload && systemctl restart {UNIT}"
    )
    try:
        wait_active(host, "http://127.0.0.1:8081/readyz")
        yield
    finally:
        host.check_output(
            f"rm -r {drop_in} /usr/local/lib/hostile_*.py && systemctl daemon-reload && systemctl restart {UNIT}"
        )
        wait_active(host, "http://127.0.0.1:8081/readyz")


def test_a_hostile_job_gets_nowhere_in_the_unit(host: Host, api: str, hostile: None) -> None:
    neighbour = f"/var/cache/{UNIT}/neighbour"
    host.check_output(
        f"mkdir -p {neighbour} && for name in source.stl output.obj spare spare2; do echo another > {neighbour}/$name; done"
        f" && chown -R {UNIT}: {neighbour}"
    )
    try:
        about = {"neighbour": neighbour, "outside": f"/var/cache/{UNIT}/outside", "credentials": ENV_FILE}
        said = json.loads(played(api, {"act": "all", "once": str(time.time()), **about}))
        assert len(said) > 35
        assert [act for act, end in said.items() if end == "done"] == []
        assert host.check_output(f"cat {neighbour}/output.obj") == "another"
        assert host.run(f"test -e /var/cache/{UNIT}/outside").rc != 0
        assert played(api, {"act": "nothing", "once": str(time.time())}) == "honest"
    finally:
        host.check_output(f"rm -r {neighbour}")


def played(api: str, about: dict[str, str]) -> str:
    """What the job left as its result."""
    headers = {"Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"{api}/file/conversion/obj/ply", json.dumps(about).encode(), headers)  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=90) as response:  # noqa: S310 - ours
        return base64.b64decode(json.loads(response.read())["outputs"]["output.ply"]).decode()


def test_says_what_holds_its_jobs(host: Host) -> None:
    """Tried when it started, not promised: this kernel has both."""
    wait_active(host, "http://127.0.0.1:8081/readyz")
    holds = json.loads(host.check_output("curl -fs -m 5 http://127.0.0.1:8081/readyz"))["isolation"]
    assert holds["seccomp"] == 1
    assert holds["landlock"] >= 1
    assert set(holds) == {"seccomp", "landlock", "cgroup", "ports", "metadata"}
    metrics = host.check_output("curl -fs -m 5 http://127.0.0.1:8081/metrics")
    assert 'conversion_isolation{layer="seccomp"} 1.0' in metrics
    told = host.check_output(f"journalctl -q --no-pager -u {UNIT}")
    assert "jobs are isolated by seccomp=1" in told
    assert holds["metadata"] == 1 or "Instance metadata can be reached from the engine" in told
    assert holds["cgroup"] == 1 or "no control group" in told


def test_the_unit_denies_what_it_need_not_reach(host: Host) -> None:
    shown = host.check_output(
        f"systemctl show --property IPAddressDeny --property IPAddressAllow --property Delegate {UNIT}"
    )
    assert "::/0 0.0.0.0/0" in shown or "0.0.0.0/0 ::/0" in shown
    assert "169.254" not in shown
    assert "10.0.0.0/8" in shown
    assert "Delegate=yes" in shown
