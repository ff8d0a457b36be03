# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot work is refused before any machine starts, with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import combination, template
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

ROOT = Path(__file__).resolve().parents[5]
PACKER = ROOT / "packer"


def check(profile: str, lock: str = "", **gpu: Any) -> None:
    seen = template.read(PACKER, only=["amazon-ebs.gpu"], var_files=[PACKER / "images" / f"{profile}.pkrvars.hcl"])
    values = {**seen.values, "gpu": {**seen.values["gpu"], **gpu}}
    combination.check(replace(seen, values=values), PACKER / "locks" / lock if lock else None)


@pytest.mark.parametrize(
    ("profile", "lock"),
    [
        ("cpu", ""),
        ("cpu", "debian-13-amd64-none.lock.json"),
        ("cpu-debian-12", "debian-12-amd64-none.lock.json"),
        ("gpu", "debian-13-amd64-proprietary.lock.json"),
        ("gpu-debian-12", "debian-12-amd64-proprietary.lock.json"),
    ],
)
def test_the_profiles_fit_their_locks(profile: str, lock: str) -> None:
    check(profile, lock)
    assert not lock or (PACKER / "locks" / lock).is_file()


@pytest.mark.parametrize(
    ("profile", "lock", "gpu", "reason"),
    [
        ("gpu", "", {}, "needs a lock"),
        (
            "cpu",
            "debian-13-amd64-proprietary.lock.json",
            {},
            "holds the proprietary driver, and the profile asks for no driver",
        ),
        (
            "gpu",
            "debian-13-amd64-none.lock.json",
            {},
            "holds no driver, and the profile asks for the proprietary driver",
        ),
        ("gpu", "debian-13-amd64-proprietary.lock.json", {"driver": "open"}, "asks for the open driver"),
        ("cpu-debian-12", "debian-13-amd64-none.lock.json", {}, "is for debian-13, and the source image is debian-12"),
        (
            "gpu",
            "debian-13-amd64-proprietary.lock.json",
            {"secure_boot": True},
            "amazon-ebs.gpu cannot make an image for Secure Boot",
        ),
    ],
)
def test_what_does_not_fit(profile: str, lock: str, gpu: dict[str, Any], reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as error:
        check(profile, lock, **gpu)
    assert "\n" not in str(error.value)


def test_a_real_time_kernel_and_a_driver(tmp_path: Path) -> None:
    lock = tmp_path / "rt.lock.json"
    text = (PACKER / "locks/debian-13-amd64-proprietary.lock.json").read_text()
    lock.write_text(text.replace("+deb13-cloud-amd64", "+deb13-rt-amd64"))
    seen = template.read(PACKER, only=["amazon-ebs.gpu"], var_files=[PACKER / "images/gpu.pkrvars.hcl"])
    with pytest.raises(ImageError, match=r"real-time kernel 6.*-rt-amd64, for which NVIDIA's driver does not compile"):
        combination.check(seen, lock)


@pytest.mark.parametrize("given", [{"pair_below": True}, {"pair_below": True, "source_image": "ami-01234567"}])
def test_a_layer_below_that_is_not_named(given: dict[str, Any]) -> None:
    seen = template.read(
        PACKER, only=["amazon-ebs.cpu"], var_files=[PACKER / "images/cpu.pkrvars.hcl"], variables=given
    )
    with pytest.raises(ImageError, match="pair_below says that the source image has"):
        combination.check(seen, None)


def test_a_template_of_somebody_else_is_let_through(tmp_path: Path) -> None:
    (tmp_path / "own.pkr.hcl").write_text(
        'source "null" "x" { communicator = "none" }\nbuild { sources = ["null.x"] }\n'
    )
    combination.check(template.read(tmp_path), tmp_path / "any.lock")
