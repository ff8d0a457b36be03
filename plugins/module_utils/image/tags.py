# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tags of an image, as a dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Described = Mapping[str, Any]  # an image as DescribeImages returns it


def tags_of(image: Described) -> dict[str, str]:
    """Values by key."""
    return {tag["Key"]: tag["Value"] for tag in image.get("Tags") or ()}
