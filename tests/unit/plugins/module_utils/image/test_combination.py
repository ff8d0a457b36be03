# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot work is refused before any machine starts, with the reason."""

from __future__ import annotations

import json
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


def check(profile: str, lock: str = "", *, insist: bool = True, today: date = TODAY, **gpu: Any) -> tuple[str, ...]:
    seen = template.read(
        PACKER,
        only=["amazon-ebs.debian"],
        var_files=[PACKER / "images" / f"{profile}.pkrvars.hcl", PLATFORM],
    )
    # Debian's drivers are past NVIDIA's support, so that whoever takes one insists.
    values = {**seen.values, "gpu": {**seen.values["gpu"], **gpu}, "unsupported_driver": insist}
    return combination.check(replace(seen, values=values), PACKER / "locks" / lock if lock else None, today=today)


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
        ("cpu-arm64", "debian-13-arm64-none.lock.json"),
        ("gpu-arm64", "debian-13-arm64-proprietary.lock.json"),
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
            "cpu",
            "debian-13-arm64-none.lock.json",
            {},
            "is for arm64, and the source image is for amd64: give the lock of that",
        ),
        ("gpu-arm64", "debian-13-amd64-proprietary.lock.json", {}, "is for amd64, and the source image is for arm64"),
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
    seen = template.read(
        PACKER,
        only=["amazon-ebs.debian"],
        var_files=[PACKER / "images/gpu.pkrvars.hcl", PLATFORM],
        variables={"unsupported_driver": True},
    )
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


# --- Ends of support ----------------------------------------------------------------------------------------------------


def locked(
    tmp_path: Path, version: str, *, insist: bool = False, today: date = TODAY, **variables: Any
) -> tuple[str, ...]:
    """What is said of an image with a driver of this version."""
    lock = tmp_path / "driver.lock.json"
    text = (PACKER / "locks/debian-13-amd64-proprietary.lock.json").read_text()
    lock.write_text(text.replace("550.163.01", version))
    seen = template.read(
        PACKER,
        only=["amazon-ebs.debian"],
        var_files=[PACKER / "images/gpu.pkrvars.hcl", PLATFORM],
        variables={"unsupported_driver": insist, **variables},
    )
    return combination.check(seen, lock, today=today)


@pytest.mark.parametrize(
    "profile_and_lock",
    [("gpu", "debian-13-amd64-proprietary.lock.json"), ("gpu-tesla-debian-12", "debian-12-amd64-tesla.lock.json")],
)
def test_debians_drivers_are_refused_unless_somebody_insists(profile_and_lock: tuple[str, str]) -> None:
    with pytest.raises(
        ImageError, match=r"gets no security updates .*lock a supported one .* or set the variable unsupported_driver"
    ):
        check(*profile_and_lock, insist=False)
    (said,) = check(*profile_and_lock)
    assert "the image is built all the same, because unsupported_driver says so" in said


@pytest.mark.parametrize(
    ("version", "today", "said"),
    [
        ("580.95.05", date(2027, 6, 29), ""),
        ("580.95.05", date(2027, 7, 1), "branch 580 (long term support), whose security updates end on 2028-06-30"),
        ("580.95.05", date(2028, 6, 30), "plan for a newer branch"),
        ("595.10", TODAY, "whose security updates end on 2027-03-31"),
        ("620.1", TODAY, ""),
        ("640.1", TODAY, "nothing is known of the end of support for driver 640.1"),
        ("somebodys", TODAY, ""),
    ],
)
def test_a_year_before_its_end_a_branch_is_warned_of(tmp_path: Path, version: str, today: date, said: str) -> None:
    warnings = "; ".join(locked(tmp_path, version, today=today))
    assert said in warnings
    assert bool(said) == bool(warnings)


@pytest.mark.parametrize(
    ("version", "today", "said"),
    [
        ("580.95.05", date(2028, 7, 1), "since 2028-06-30"),
        ("550.163.01", TODAY, "since 2025-08-04 or earlier"),
        ("535.1", TODAY, "since 2026-06-30"),
        ("610.1", TODAY, "branch 610 (new features), which gets no security updates since 2026-08-31"),
    ],
)
def test_after_its_end_it_is_refused(tmp_path: Path, version: str, today: date, said: str) -> None:
    with pytest.raises(ImageError, match=r"read 2026-11-30") as error:
        locked(tmp_path, version, today=today)
    assert said in str(error.value)


def test_debian_is_warned_of_too() -> None:
    assert check("cpu-debian-12", today=date(2027, 6, 1)) == ()
    (said,) = check("cpu-debian-12", today=date(2027, 7, 1))
    assert said.startswith("the source image is debian-12, whose security updates end on 2028-06-30")


# --- CUDA ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runtime", "driver", "said"),
    [
        ("12.4", "580.95.05", ""),
        ("13.0", "580.95.05", ""),
        ("13.1", "580.95.05", "CUDA 13.1 was released with driver 590.44.01"),
        ("13.0", "570.172.08", "!CUDA 13.0 needs a driver of at least 580.65.06, and the lock has 570.172.08"),
        ("12.8", "550.163.01", "CUDA 12.8 was released with driver 570.26, and the lock has 550.163.01: programs that bring PTX"),
        ("10.2", "580.95.05", "!nothing is known of CUDA 10.2"),
        ("latest", "580.95.05", "!nothing is known of CUDA latest"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["role_variables", "role_variables_json"])
def test_a_runtime_and_its_driver(tmp_path: Path, runtime: str, driver: str, said: str, how: str) -> None:
    given: dict[str, Any] = {"cuda_runtime_version": runtime}
    variables = {how: given if how == "role_variables" else json.dumps(given)}
    if said.startswith("!"):
        with pytest.raises(ImageError) as error:
            locked(tmp_path, driver, insist=True, **variables)
        assert said[1:] in str(error.value)
    else:
        warnings = [warning for warning in locked(tmp_path, driver, insist=True, **variables) if "CUDA" in warning]
        assert said in "; ".join(warnings)
        assert bool(said) == bool(warnings)


def test_a_pair_that_nobody_compiled_is_named() -> None:
    said = check("gpu-arm64", "debian-13-arm64-proprietary.lock.json")
    assert [words for words in said if "was not compiled yet" in words]
    assert not [words for words in check("gpu", "debian-13-amd64-proprietary.lock.json") if "compiled" in words]
