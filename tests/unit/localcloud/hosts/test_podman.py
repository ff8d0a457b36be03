# SPDX-License-Identifier: GPL-3.0-or-later
"""What podman is asked for, and what becomes of its complaints."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from localcloud.hosts import podman as podman_module
from localcloud.hosts import seed
from localcloud.hosts.podman import HostError, HostSpec, Machine, Podman, alive, entering


def test_hosts_are_not_privileged() -> None:
    options = HostSpec("name", "image", seed=Path("/seed")).options()
    assert "--privileged" not in options
    assert not any("seccomp" in option or "unmask" in option for option in options)
    assert "--cap-add=SYS_ADMIN,SYS_PTRACE,NET_ADMIN,AUDIT_WRITE,SYS_BOOT" in options
    assert "--volume=/seed:/var/lib/cloud/seed/nocloud:ro" in options


def test_a_hybrid_hierarchy_needs_runc() -> None:
    assert "--runtime=runc" in Machine(unified_cgroups=False, files=20000, processes=4096).options()
    assert not any("runtime" in o for o in Machine(unified_cgroups=True, files=20000, processes=4096).options())


def test_limits_stay_below_what_the_machine_allows() -> None:
    machine = Machine.detect()
    hard = os.sysconf("SC_OPEN_MAX")
    assert 0 < machine.files <= max(hard, 1_048_576)
    assert 0 < machine.processes <= 32_768


@pytest.fixture
def complaining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on PATH for a podman that a test writes."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "podman"


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("stderr", "sentence"),
    [
        (
            "Error: committing: write /x: no space left on device",
            "podman commit: committing: write /x: no space left on device. The disk is full: free some space "
            "(`podman image prune` helps) and try again.",
        ),
        ("Error: something odd", "podman commit failed: something odd."),
        ("", "podman commit failed: it said nothing."),
    ],
)
def test_complaints_become_one_sentence(complaining: Path, stderr: str, sentence: str) -> None:
    script(complaining, f"echo '{stderr}' >&2; exit 125")
    with pytest.raises(HostError) as error:
        Podman().commit("name", "tag")
    assert str(error.value) == sentence


def test_podman_that_hangs_is_given_up(complaining: Path) -> None:
    script(complaining, "exec sleep 60")
    with pytest.raises(HostError, match="was not done after 0 s"):
        Podman()("ps", seconds=0.2)


def test_a_missing_podman_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(HostError, match="apt-get install podman"):
        Podman().require()


def test_root_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostError, match="sudo"):
        Podman().require()


def test_what_could_not_be_started_is_taken_away(complaining: Path) -> None:
    log = complaining.with_name("log")
    script(complaining, f'echo "$1" >> {log}; [ "$1" != start ] || {{ echo "Error: no" >&2; exit 1; }}')
    with pytest.raises(HostError):
        Podman(Machine(unified_cgroups=True, files=1, processes=1)).run(HostSpec("name", "image"))
    assert log.read_text().split() == ["create", "start", "rm"]


def test_alive() -> None:
    assert alive(os.getpid())
    assert not alive(2**22 + 1)


def test_seeds_are_private_and_whole(tmp_path: Path) -> None:
    directory = tmp_path / "seeds" / "i-1"
    for secret in (b"#cloud-config\nlong secret\n", b"short"):  # written over, nothing of the old one stays
        seed.write(directory, instance_id="i-1", hostname="h", public_keys=["ssh-ed25519 AAAA"], user_data=secret)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert (directory / "user-data").read_bytes() == b"short"
    assert '"public-keys": ["ssh-ed25519 AAAA"]' in (directory / "meta-data").read_text()


def test_a_list_that_changes_while_it_is_read_is_read_again(complaining: Path) -> None:
    again = complaining.with_name("again")
    script(
        complaining, f'[ -e {again} ] || {{ touch {again}; echo "Error: image not known" >&2; exit 125; }}; echo a:b'
    )
    assert Podman().images("a") == ["a:b"]


def test_the_port_of_a_host_is_asked_for_again_and_never_guessed(
    complaining: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nsenter, again = complaining.with_name("nsenter"), complaining.with_name("again")
    monkeypatch.setattr(podman_module, "_PORT_PAUSES", (0.0,))
    script(nsenter, f"[ -e {again} ] || {{ touch {again}; exit 1; }}; echo '[{{\"link_index\": 7}}]'")
    assert Podman().port(1) == 7
    for answer, why in (
        ("echo no such device >&2; exit 1", "no such device"),
        ("echo '[{}]'", "its eth0 is of no pair"),
    ):
        script(nsenter, answer)
        with pytest.raises(HostError, match=f"cannot be closed off: {why}"):
            Podman().port(1)


def test_a_program_of_a_host_has_no_more_capabilities_than_the_host() -> None:
    command = [*entering(os.getpid()), "cat", "/proc/self/status"]
    assert command[:2] == ["setpriv", "--inh-caps=-all"]
    limits = next(one for one in command if one.startswith("--bounding-set="))
    bound = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "CapBnd" in line)
    assert sum(1 << int(one.removeprefix("+cap_")) for one in limits.split(",")[1:]) == int(bound, 16)
    with pytest.raises(HostError, match="does not run any more"):
        entering(2**22 + 1)
