# SPDX-License-Identifier: GPL-3.0-or-later
"""A module is there when modinfo says so, whatever dkms returned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import dkms
from ansible_collections.boring.fleet.plugins.module_utils.image.dkms import Dkms, Ran, Wanted
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

KERNEL = "6.12.94+deb13-cloud-amd64"
LOG = """\
make[1]: Entering directory '/usr/src/linux-headers'
  CC [M]  /var/lib/dkms/x/1/build/nv-pci.o
/var/lib/dkms/x/1/build/nv-pci.c:237:14: error: too few arguments to function 'pci_resize_resource'
/var/lib/dkms/x/1/build/nv-pci.c:300:1: error: another
make[2]: *** [nv-pci.o] Error 1
"""


class Machine:
    """dkms, depmod and modinfo of a machine, with what they may do wrong."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = ""
        self.signer = "us"
        self.vermagic = f"{KERNEL} SMP mod_unload"
        self.place = f"/lib/modules/{KERNEL}/updates/dkms/x.ko.xz"
        self.builds = True  # whether `dkms build` makes anything
        self.code = 0
        self.calls: list[str] = []
        self.config = ""
        for path in (f"lib/modules/{KERNEL}/build/Makefile", "usr/src/x-1/dkms.conf", "run/key", "run/cert"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text("x")

    @property
    def built(self) -> Path:
        return self.root / f"var/lib/dkms/x/1/{KERNEL}/x86_64/module"

    def run(self, argv: Sequence[str], seconds: float) -> Ran:
        word = argv[1] if argv[0] == "dkms" else argv[0]
        self.calls.append(word)
        drop_in = self.root / "etc/dkms/framework.conf.d/zz-boring-fleet.conf"
        if word == "status":
            return Ran(0, f"x/1, {KERNEL}, x86_64: {self.state} (WARNING! Diff)\n" if self.state else "")
        if word == "build":
            self.config = drop_in.read_text()
            if self.code:
                log = self.root / "var/lib/dkms/x/1/build/make.log"
                log.parent.mkdir(parents=True, exist_ok=True)
                log.write_text(LOG)
                return Ran(self.code, "Error! Bad return status for module build on kernel\n")
            if self.builds:
                self.built.mkdir(parents=True, exist_ok=True)
                (self.built / "x.ko.xz").touch()
            return Ran(0, "Module build was skipped since the kernel headers do not seem to be installed\n")
        if word == "install" and self.builds:
            self.state = "installed"
        if word == "remove":
            self.state = ""
        if word == "modinfo":
            said = f"filename: {self.place}\nlicense: GPL\nversion: 1\nvermagic: {self.vermagic}\n"
            return Ran(0, said + (f"sig_id: PKCS#7\nsigner: {self.signer}\n" if self.signer else ""))
        return Ran(0, "")

    def dkms(self, **more: Any) -> Dkms:
        given = {"signer": "us", "signing_key": "/run/key", "signing_certificate": "/run/cert", **more}
        return Dkms(Wanted("x", "1", KERNEL, **given), run=self.run, root=self.root)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_built_proven_and_then_left_alone(machine: Machine) -> None:
    done = machine.dkms().present()
    assert done.changed
    (built,) = done.modules
    assert (built.name, built.version, built.signer, built.license) == ("x", "1", "us", "GPL")
    assert machine.calls == ["status", "status", "status", "build", "install", "depmod", "status", "modinfo", "modinfo"]
    assert machine.config == "mok_signing_key=/run/key\nmok_certificate=/run/cert\n"
    machine.calls.clear()
    assert not machine.dkms().present().changed
    assert machine.calls == ["status", "modinfo", "modinfo"]
    assert list((machine.root / "etc/dkms/framework.conf.d").iterdir()) == []


def test_what_was_built_before_is_installed_and_needs_no_key(machine: Machine) -> None:
    """As it comes out of a cache: the key that signed it is long gone."""
    machine.state = "built"
    machine.built.mkdir(parents=True)
    (machine.built / "x.ko.xz").touch()
    (machine.root / "run/key").unlink()
    assert machine.dkms().present().changed
    assert "build" not in machine.calls
    assert "depmod" in machine.calls


def test_what_was_built_before_and_fails_the_proof_is_built_anew(machine: Machine) -> None:
    machine.state, machine.signer = "built", "somebody"
    machine.built.mkdir(parents=True)
    (machine.built / "x.ko.xz").touch()
    (machine.root / "run/key").unlink()
    with pytest.raises(ImageError, match="signing_key /run/key is not a file"):
        machine.dkms().present()
    (machine.root / "run/key").write_text("x")
    machine.state = "built"
    with pytest.raises(ImageError, match="signed by somebody, not by us"):
        machine.dkms().present()
    assert machine.calls.count("build") == 1


def test_dkms_may_not_make_a_key_of_its_own(machine: Machine) -> None:
    machine.signer = ""
    machine.dkms(signed=False, signer="", signing_key="", signing_certificate="").present()
    assert machine.config == "mok_signing_key=/dev/null/no-key\nmok_certificate=/dev/null/no-key\n"


def test_the_compilers_first_error_is_the_reason(machine: Machine) -> None:
    machine.code = 10
    with pytest.raises(ImageError) as error:
        machine.dkms().present()
    assert str(error.value) == (
        f"dkms build of x 1 for the kernel {KERNEL} failed: /var/lib/dkms/x/1/build/nv-pci.c:237:14: error: too few "
        "arguments to function 'pci_resize_resource'"
    )
    assert list((machine.root / "etc/dkms/framework.conf.d").iterdir()) == []


def test_a_build_that_was_skipped_with_status_0_is_a_failure(machine: Machine) -> None:
    machine.builds = False
    with pytest.raises(ImageError, match=r"dkms ended well, but x 1 .* is not built, not installed"):
        machine.dkms().present()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"signer": ""}, "is not signed"),
        ({"signer": "DKMS module signing key"}, "is signed by DKMS module signing key, not by us"),
        ({"vermagic": "6.1.0-1 SMP"}, "is built for another kernel: 6.1.0-1 SMP"),
        ({"place": f"/lib/modules/{KERNEL}/kernel/x.ko"}, "would load /lib/modules/.*/kernel/x.ko instead"),
    ],
)
def test_what_modinfo_says_counts(machine: Machine, wrong: dict[str, str], reason: str) -> None:
    for name, value in wrong.items():
        setattr(machine, name, value)
    with pytest.raises(ImageError, match=reason):
        machine.dkms().present()


def test_one_that_fails_the_proof_is_built_anew(machine: Machine) -> None:
    machine.dkms().present()
    machine.signer = "another"
    machine.calls.clear()
    with pytest.raises(ImageError, match="signed by another"):
        machine.dkms().present()
    assert machine.calls[:5] == ["status", "modinfo", "status", "status", "remove"]


def test_no_module_at_all(machine: Machine) -> None:
    machine.state = "installed"
    machine.builds = False
    with pytest.raises(ImageError, match=r"has no module|is not built"):
        machine.dkms().present()


def test_what_is_missing_is_named(machine: Machine) -> None:
    (machine.root / "run/key").unlink()
    with pytest.raises(ImageError, match="the signing_key /run/key is not a file"):
        machine.dkms().present()
    (machine.root / "run/key").touch()
    (machine.root / "usr/src/x-1/dkms.conf").unlink()
    with pytest.raises(ImageError, match="no source of x 1"):
        machine.dkms().present()
    (machine.root / f"lib/modules/{KERNEL}/build/Makefile").unlink()
    with pytest.raises(ImageError, match=f"install linux-headers-{KERNEL.replace('+', '.')}"):
        machine.dkms().present()
    assert "build" not in machine.calls


def test_check_mode_builds_nothing(machine: Machine) -> None:
    assert machine.dkms().present(check=True).changed
    assert "build" not in machine.calls


def test_absent(machine: Machine) -> None:
    assert not machine.dkms().absent().changed
    machine.dkms().present()
    assert machine.dkms().absent(check=True).changed
    assert machine.state == "installed"
    assert machine.dkms().absent().changed
    assert not machine.dkms().absent().changed


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"signing_key": ""}, "go together"),
        ({"signing_key": "", "signing_certificate": "", "signer": ""}, "needs signing_key"),
    ],
)
def test_options_that_do_not_fit(machine: Machine, given: dict[str, str], reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        machine.dkms(**given)
    with pytest.raises(ImageError, match="not the name"):
        Dkms(Wanted("-x", "1", KERNEL, signed=False), root=machine.root)


@pytest.mark.parametrize(
    ("log", "first"),
    [
        (LOG, "/var/lib/dkms/x/1/build/nv-pci.c:237:14: error: too few arguments to function 'pci_resize_resource'"),
        ("a.h:3: fatal error: b.h: No such file or directory\n", "a.h:3: fatal error: b.h: No such file or directory"),
        ('make: x\nERROR: modpost: "f" [x.ko] undefined!\n', 'ERROR: modpost: "f" [x.ko] undefined!'),
        ("make[1]: *** [Makefile:1: all] Error 2\n", "make[1]: *** [Makefile:1: all] Error 2"),
        ("all went well\n", ""),
    ],
)
def test_first_errors(log: str, first: str) -> None:
    assert dkms.first_error(log) == first
