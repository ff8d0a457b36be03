# SPDX-License-Identifier: GPL-3.0-or-later
"""The base role on real hosts."""

import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

Change = Callable[..., Any]


def test_no_unit_failed(host: Host) -> None:
    assert host.check_output("systemctl list-units --failed --no-legend") == ""


def test_only_keys_and_never_root(host: Host) -> None:
    settings = host.check_output("/usr/sbin/sshd -T").splitlines()
    assert {"passwordauthentication no", "permitrootlogin no", "kbdinteractiveauthentication no"} <= set(settings)


def test_running_sshd_offers_no_password(address: str) -> None:
    """Asked of the daemon itself, from outside: the file alone would not prove that it was reloaded."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=10")
    refusal = subprocess.run(
        ["ssh", *(f"-o{option}" for option in options), "-oPreferredAuthentications=none", f"root@{address}", "true"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert refusal.returncode == 255
    assert "(publickey)" in refusal.stderr


def test_sshd_forwards_nothing_and_takes_only_what_is_listed(host: Host) -> None:
    settings = set(host.check_output("/usr/sbin/sshd -T").splitlines())
    assert {
        "allowtcpforwarding no",
        "allowstreamlocalforwarding no",
        "allowagentforwarding no",
        "permittunnel no",
        "gatewayports no",
        "x11forwarding no",
        "loglevel VERBOSE",
        "ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr",
        "macs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com",
        "kexalgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org",
    } <= settings


@pytest.mark.parametrize(
    ("option", "refused"),
    [("MACs=hmac-sha1", True), ("Ciphers=aes128-cbc", True), ("KexAlgorithms=diffie-hellman-group14-sha256", True), ("Port=22", False)],
)  # fmt: skip
def test_running_sshd_refuses_what_is_not_listed(address: str, option: str, refused: bool) -> None:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=10", option)
    if option.startswith("MACs"):
        options = (*options, "Ciphers=aes128-ctr")  # the others bring their own
    said = subprocess.run(
        ["ssh", *(f"-o{one}" for one in options), f"nobody@{address}", "true"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert said.returncode == 255
    assert ("no matching" in said.stderr) == refused, said.stderr


def test_sshd_does_not_tell_its_package(address: str) -> None:
    with socket.create_connection((address, 22), timeout=10) as connection:
        banner = connection.recv(200)
    assert banner.startswith(b"SSH-2.0-OpenSSH_")
    assert b"Debian" not in banner


def test_the_kernel_is_made_stricter_at_boot(host: Host) -> None:
    """The file alone: a test host may not change the kernel of the machine, so systemd-sysctl does nothing in it."""
    lines = host.file("/etc/sysctl.d/60-boring-fleet.conf").content_string.splitlines()
    assert {
        "kernel.yama.ptrace_scope = 2",
        "kernel.kptr_restrict = 2",
        "net.ipv4.conf.*.rp_filter = 1",
        "net.ipv4.conf.all.rp_filter = 1",
        "net.ipv4.conf.all.accept_redirects = 0",
    } <= set(lines)
    last = host.check_output("systemd-analyze cat-config sysctl.d")
    assert last.rindex("kernel.kptr_restrict") > last.rindex("60-boring-fleet.conf")
    assert last.rindex("net.ipv4.conf.*.rp_filter = 1") == last.rindex("net.ipv4.conf.*.rp_filter")


def test_switches_reach_their_files_and_what_is_wrong_is_refused(everywhere: dict[str, Host], change: Change) -> None:
    switched = {
        "base_ptrace_scope": 1,
        "base_reverse_path": "loose",
        "base_sysctl": {"net.core.somaxconn": 4096, "kernel.sysrq": 176},
        "base_ssh_forwarding": "local",
        "base_ssh_agent_forwarding": True,
        "base_ssh_macs": ["hmac-sha2-256"],
        "base_ssh_kex": [],
    }
    changed = change(**switched)
    assert changed.ok, changed.output
    proven = change(entry="verify", **switched)
    assert proven.ok, proven.output
    assert not change(entry="verify", limit="debian-13").ok
    for host in everywhere.values():
        settings = host.check_output("/usr/sbin/sshd -T").splitlines()
        assert {"allowtcpforwarding local", "allowagentforwarding yes", "macs hmac-sha2-256"} <= set(settings)
        assert "KexAlgorithms" not in host.file("/etc/ssh/sshd_config.d/10-boring-fleet.conf").content_string
        lines = host.file("/etc/sysctl.d/60-boring-fleet.conf").content_string.splitlines()
        assert {
            "kernel.yama.ptrace_scope = 1",
            "net.ipv4.conf.all.rp_filter = 2",
            "kernel.sysrq = 176",
            "net.core.somaxconn = 4096",
        } <= set(lines)

    wrong: list[tuple[dict[str, object], str]] = [
        ({"base_ssh_macs": ["hmac-none"]}, "Bad SSH2 mac spec"),
        ({"base_sysctl": {"kernel sysrq": 1}}, "base_sysctl has"),
        ({"base_sysctl": {"kernel.sysrq": "1\nkernel.x = 2"}}, "a value on one line"),
        ({"base_reverse_path": "tight"}, "base_reverse_path"),
        ({"base_ssh_forwarding": "some"}, "base_ssh_forwarding"),
    ]
    for variables, words in wrong:
        refused = change(limit="debian-13", **variables)
        assert not refused.ok
        assert words in refused.output, refused.output
    assert "macs hmac-sha2-256" in everywhere["debian-13"].check_output("/usr/sbin/sshd -T").splitlines()
    assert change().ok


def test_nothing_changes_packages_on_its_own(host: Host) -> None:
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert host.run("systemctl is-active " + timer).stdout.strip() == "inactive"
        assert host.run("systemctl is-enabled " + timer).stdout.strip() == "disabled"
    assert not host.package("unattended-upgrades").is_installed
    assert host.check_output("apt-config shell x APT::Periodic::Enable") == "x='0'"


def test_journal_is_kept_and_bounded(host: Host) -> None:
    assert host.file("/var/log/journal").is_directory
    merged = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    assert "SystemMaxUse=500M" in merged
