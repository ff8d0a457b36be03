# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot work is refused before any machine starts, with the reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import combination, template
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

ROOT = Path(__file__).resolve().parents[5]
PACKER = ROOT / "packer"
PLATFORM = PACKER / "services" / "platform.pkrvars.hcl"
TODAY = date(2026, 11, 22)


def check(profile: str, lock: str = "", **gpu: Any) -> None:
    seen = template.read(
        PACKER,
        only=["amazon-ebs.debian"],
        var_files=[PACKER / "images" / f"{profile}.pkrvars.hcl", PLATFORM],
    )
    values = {**seen.values, "gpu": {**seen.values["gpu"], **gpu}}
    combination.check(replace(seen, values=values), PACKER / "locks" / lock if lock else None, today=TODAY)


@pytest.mark.parametrize(
    ("profile", "lock"),
    [
        ("cpu", ""),
        ("cpu", "debian-13-amd64-none.lock.json"),
        ("cpu-debian-12", "debian-12-amd64-none.lock.json"),
        ("gpu", "debian-13-amd64-proprietary.lock.json"),
        ("gpu-debian-12", "debian-12-amd64-proprietary.lock.json"),
        ("gpu-open", "debian-13-amd64-open.lock.json"),
        ("gpu-tesla", "debian-13-amd64-tesla.lock.json"),
        ("gpu-tesla-debian-12", "debian-12-amd64-tesla.lock.json"),
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
            "amazon-ebs.debian cannot make an image for Secure Boot",
        ),
        (
            "gpu-open",
            "debian-13-amd64-open.lock.json",
            {"family": "blackwell"},
            "holds the driver 550[.0-9]+, and blackwell GPUs begin with 570",
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
    seen = template.read(PACKER, only=["amazon-ebs.debian"], var_files=[PACKER / "images/gpu.pkrvars.hcl", PLATFORM])
    with pytest.raises(ImageError, match=r"real-time kernel 6.*-rt-amd64, for which NVIDIA's driver does not compile"):
        combination.check(seen, lock, today=TODAY)


def test_a_driver_that_forgot_the_gpu(tmp_path: Path) -> None:
    lock = tmp_path / "newer.lock.json"
    text = (PACKER / "locks/debian-13-amd64-proprietary.lock.json").read_text()
    lock.write_text(text.replace("550.163.01", "590.48.01"))
    seen = template.read(PACKER, only=["amazon-ebs.debian"], var_files=[PACKER / "images/gpu.pkrvars.hcl", PLATFORM])
    combination.check(seen, lock, today=TODAY)
    volta = replace(seen, values={**seen.values, "gpu": {**seen.values["gpu"], "family": "volta"}})
    with pytest.raises(ImageError, match=r"holds the driver 590\.48\.01, and volta GPUs end with 580"):
        combination.check(volta, lock, today=TODAY)


def test_a_release_past_its_end() -> None:
    seen = template.read(
        PACKER, only=["amazon-ebs.debian"], var_files=[PACKER / "images/cpu-debian-12.pkrvars.hcl", PLATFORM]
    )
    combination.check(seen, None, today=date(2028, 6, 30))
    with pytest.raises(ImageError, match="debian-12, which gets no security updates since 2028-06-30: choose"):
        combination.check(seen, None, today=date(2028, 7, 1))


@pytest.mark.parametrize("given", [{"pair_below": True}, {"pair_below": True, "source_image": "ami-01234567"}])
def test_a_layer_below_that_is_not_named(given: dict[str, Any]) -> None:
    seen = template.read(
        PACKER, only=["amazon-ebs.debian"], var_files=[PACKER / "images/cpu.pkrvars.hcl", PLATFORM], variables=given
    )
    with pytest.raises(ImageError, match="pair_below says that the source image has"):
        combination.check(seen, None, today=TODAY)


def test_a_template_of_somebody_else_is_let_through(tmp_path: Path) -> None:
    (tmp_path / "own.pkr.hcl").write_text(
        'source "null" "x" { communicator = "none" }\nbuild {\n  sources = ["null.x"]\n  post-processor "manifest" {}\n}\n'
    )
    combination.check(template.read(tmp_path), tmp_path / "any.lock", today=TODAY)
