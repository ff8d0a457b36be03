# SPDX-License-Identifier: GPL-3.0-or-later
"""The base role on real hosts."""

import subprocess

from testinfra.host import Host


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
