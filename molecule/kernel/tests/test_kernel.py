# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel role and dkms_module: one kernel, and a module for it that is proven."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from testinfra.host import Host

Change = Callable[..., Any]


def release(host: Host) -> str:
    """The only kernel of the image."""
    (found,) = host.check_output("ls /boot/vmlinuz-*").split()
    return found.removeprefix("/boot/vmlinuz-")


def test_the_kernel_is_not_the_running_one(host: Host) -> None:
    assert release(host) != host.check_output("uname -r")
    assert host.file(f"/boot/initrd.img-{release(host)}").size > 0


def test_held_and_pinned_and_nothing_else_is(host: Host) -> None:
    kernel = release(host)
    assert set(host.check_output("apt-mark showhold").split()) == {f"linux-image-{kernel}", f"linux-headers-{kernel}"}
    policy = host.check_output("apt-cache policy linux-image-cloud-amd64")
    assert "Candidate: (none)" in policy
    assert "linux-image-cloud-amd64" not in host.check_output("dpkg-query -W -f '${Package} '").split()


def test_an_upgrade_to_another_kernel_is_refused(host: Host) -> None:
    """The metapackage would bring another one; apt cannot choose it."""
    refused = host.run("apt-get --simulate install linux-image-cloud-amd64")
    assert refused.rc != 0
    assert "no installation candidate" in refused.stderr


def test_the_module_is_for_this_kernel_and_signed(host: Host) -> None:
    kernel = release(host)
    assert host.check_output(f"modinfo -k {kernel} -F vermagic probe").split()[0] == kernel
    assert host.check_output(f"modinfo -k {kernel} -F signer probe") == "boring.fleet test"
    assert f"/lib/modules/{kernel}/updates/dkms/probe.ko" in host.check_output(f"modinfo -k {kernel} -n probe")


def test_dkms_made_no_key_of_its_own(host: Host) -> None:
    assert not host.file("/var/lib/dkms/mok.key").exists
    assert not host.file("/etc/dkms/framework.conf.d/zz-boring-fleet.conf").exists


def test_faults_of_a_build_are_told(change: Change, everywhere: dict[str, Host]) -> None:
    """One play each on both hosts: what breaks says why, and leaves nothing that looks built."""
    kernels = {name: release(host) for name, host in everywhere.items()}
    for kernel in set(kernels.values()):
        broken = change(module={"name": "broken", "version": "1.0", "kernel": kernel, "signed": False})
        assert not broken.ok
        assert "broken.c:12:16: error: too few arguments to function" in " ".join(broken.output.split())
    for host in everywhere.values():
        assert host.run(f"modinfo -k {release(host)} broken").rc != 0
        assert not host.file("/var/lib/dkms/mok.key").exists
    missing = change(module={"name": "probe", "version": "1.0", "kernel": "6.99.0-1-cloud-amd64", "signed": False})
    assert not missing.ok
    assert missing.output.count("install linux-headers-6.99.0-1-cloud-amd64") >= len(everywhere)


def test_an_unsigned_module_is_a_failure(change: Change, everywhere: dict[str, Host]) -> None:
    """sign-file away: dkms says that the module is not signed, and ends well."""
    for each in everywhere.values():
        each.check_output("for f in /usr/lib/linux-kbuild-*/scripts/sign-file; do mv $f $f.away; done")
    try:
        for kernel in {release(each) for each in everywhere.values()}:
            played = change(
                module={
                    "name": "probe", "version": "1.0", "kernel": kernel, "signer": "another",
                    "signing_key": "/run/probe.pem", "signing_certificate": "/run/probe.der",
                }
            )  # fmt: skip
            assert not played.ok
            assert "is not signed" in " ".join(played.output.split())
    finally:
        for each in everywhere.values():
            each.check_output("for f in /usr/lib/linux-kbuild-*/scripts/sign-file.away; do mv $f ${f%.away}; done")
