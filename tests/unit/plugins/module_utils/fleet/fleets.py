# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleet files for the tests."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final

import yaml

GONE: Final = object()
_SHOP: Final = yaml.safe_load((Path(__file__).parent / "shop.yml").read_text())


def shop(**changes: Any) -> dict[str, Any]:
    """The variables of shop.yml; `changes` are top-level variables without `fleet_`."""
    found = copy.deepcopy(_SHOP)
    return found | {f"fleet_{name}": value for name, value in changes.items()}


def changed(where: str, value: Any) -> dict[str, Any]:
    """The shop with one value, by its path, changed or GONE."""
    found = at = shop()
    *parts, last = where.split(".")
    for part in parts:
        at = at[part]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return found


def small(name: str = "shop", **services: Any) -> dict[str, Any]:
    """A fleet of services on one class, each a role unless it says something else."""
    return {
        "fleet_name": name,
        "fleet_region": "eu-central-1",
        "fleet_services": {service: {"roles": ["acme.shop.any"], **values} for service, values in services.items()},
    }
