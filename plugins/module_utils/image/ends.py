# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Until when Debian and NVIDIA support what an image is made of, and which CUDA a driver runs: data, with its source and its date.

Update it when a source changes: take the new rows, and the day on which you read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

WARN_BEFORE: Final = timedelta(days=365)

# The last day of security updates, LTS included. wiki.debian.org/LTS, read 2026-11-22.
DEBIAN: Final = {"debian-12": date(2028, 6, 30), "debian-13": date(2030, 6, 30)}


@dataclass(frozen=True)
class Branch:
    """A branch of NVIDIA's driver. `exact`: NVIDIA names the month of its end; otherwise it had ended by `end`."""

    end: date
    kind: str = ""
    exact: bool = True


# docs.nvidia.com/datacenter/tesla/drivers: Supported Drivers and CUDA Toolkit Versions. The editions for 580 (2025-08-04) for what had ended
# by then, for 615 (2026-09-09) and for 620 for the rest. NVIDIA names months: the last day of each is taken.
NVIDIA_SOURCE: Final = "NVIDIA's list of supported drivers, read 2026-11-30"
_BY_2025_08: Final = (410, 418, 440, 450, 455, 460, 465, 470, 495, 510, 515, 525, 550, 555, 560, 565, 575)
NVIDIA: Final = {
    **{number: Branch(date(2025, 8, 4), exact=False) for number in _BY_2025_08},
    535: Branch(date(2026, 6, 30), "long term support"),
    570: Branch(date(2026, 2, 28), "production"),
    580: Branch(date(2028, 6, 30), "long term support"),
    590: Branch(date(2026, 9, 9), "new features", exact=False),
    595: Branch(date(2027, 3, 31), "production"),
    610: Branch(date(2026, 8, 31), "new features"),
    620: Branch(date(2029, 9, 30), "long term support"),
}

# CUDA Toolkit release notes, table of minimum required drivers: what runs every minor version of a major one, except programs that bring
# PTX of a newer toolkit; and the driver that each toolkit was released with, which runs those too. Read 2026-11-30.
CUDA_SOURCE: Final = "the CUDA Toolkit release notes, read 2026-11-30"
CUDA_MAJOR: Final = {"11": "450.80.02", "12": "525.60.13", "13": "580.65.06"}
CUDA_MINOR: Final = {
    "11.8": "520.61.05",
    "12.0": "525.60.13",
    "12.1": "530.30.02",
    "12.2": "535.54.03",
    "12.3": "545.23.06",
    "12.4": "550.54.14",
    "12.5": "555.42.02",
    "12.6": "560.28.03",
    "12.8": "570.26",
    "12.9": "575.51.03",
    "13.0": "580.65.06",
    "13.1": "590.44.01",
}


def debian(release: str, today: date) -> tuple[str, str]:
    """Why a release must not be used, and what is to be said before that; empty for neither."""
    end = DEBIAN[release]
    if today > end:
        return (
            f"the source image is {release}, which gets no security updates since {end}: choose a profile of a newer release",
            "",
        )
    if today + WARN_BEFORE >= end:
        return "", f"the source image is {release}, whose security updates end on {end}: plan for a newer release"
    return "", ""


def nvidia(version: str, today: date) -> tuple[str, str]:
    """Why a driver must not be used, and what is to be said before that; empty for neither, also for a version that is none of NVIDIA's."""
    number = version.partition(".")[0]
    if not number.isdecimal():
        return "", ""
    branch = NVIDIA.get(int(number))
    if branch is None:
        return "", f"nothing is known of the end of support for driver {version} ({NVIDIA_SOURCE}): look it up"
    kind = f" ({branch.kind})" if branch.kind else ""
    if today > branch.end:
        since = f"{branch.end}" if branch.exact else f"{branch.end} or earlier"
        return (
            f"driver {version} is of the branch {number}{kind}, which gets no security updates since {since} ({NVIDIA_SOURCE})",
            "",
        )
    if today + WARN_BEFORE >= branch.end:
        return "", (
            f"driver {version} is of the branch {number}{kind}, whose security updates end on {branch.end} ({NVIDIA_SOURCE}): "
            "plan for a newer branch"
        )
    return "", ""


def cuda(runtime: str, driver: str) -> tuple[str, str]:
    """Why a driver does not run programs of a CUDA runtime such as 12.4, and what is to be said of a pair that runs most of them."""
    major = runtime.partition(".")[0]
    least = CUDA_MAJOR.get(major)
    if least is None or not _numbers(runtime):
        known = ", ".join(CUDA_MAJOR)
        return (
            f"nothing is known of CUDA {runtime} ({CUDA_SOURCE}): give a version such as 12.4 of the majors {known}",
            "",
        )
    if not _numbers(driver):
        return "", ""
    if _numbers(driver) < _numbers(least):
        newest = next((one for one in reversed(CUDA_MAJOR) if _numbers(driver) >= _numbers(CUDA_MAJOR[one])), "")
        out = f"lock a newer driver, or take a runtime of CUDA {newest}" if newest else "lock a newer driver"
        return (
            f"CUDA {runtime} needs a driver of at least {least}, and the lock has {driver} ({CUDA_SOURCE}): {out}",
            "",
        )
    own = CUDA_MINOR.get(runtime)
    if own and _numbers(driver) < _numbers(own):
        return "", (
            f"CUDA {runtime} was released with driver {own}, and the lock has {driver}: programs that bring PTX instead of code for "
            "their GPU do not start"
        )
    return "", ""


def _numbers(version: str) -> tuple[int, ...]:
    """550.163.01 as (550, 163, 1); empty for what is no version."""
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()
