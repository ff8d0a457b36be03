# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tool printed, as outputs by name.

Terraform and OpenTofu print `{name: {sensitive, type, value}}`, Pulumi a flat `{name: value}` in which a secret is
`[secret]` unless it was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.stack.errors import StackError

HIDDEN: Final = "[secret]"


@dataclass(frozen=True)
class Output:
    """One output. `hidden`: the value that the tool gave is not the real one, or not all of it."""

    value: Any = field(repr=False)
    secret: bool = False
    hidden: bool = False


def read_outputs(text: str, layout: str, *, all_secret: bool = False) -> dict[str, Output]:
    """The outputs in a tool's JSON; `layout` is `terraform`, `pulumi` or `any` for a saved file of either.

    `all_secret` marks Pulumi's values that were asked for with their secrets, as nothing tells them apart then.
    Raises StackError without a name of the source; the caller knows it.
    """
    document = _load(text)
    if not isinstance(document, dict):
        raise StackError("it is not a JSON object of outputs")
    if layout == "any":
        if "terraform_version" in document or ("deployment" in document and "version" in document):
            raise StackError("it is a state, not outputs: save what 'output -json' or 'stack output --json' prints")
        layout = "terraform" if document and all(map(_wrapped, document.values())) else "pulumi"
    if layout == "terraform":
        if not all(map(_wrapped, document.values())):
            raise StackError("it is not what 'output -json' prints")
        return {name: Output(entry["value"], secret=bool(entry["sensitive"])) for name, entry in document.items()}
    return {
        name: Output(value, secret=all_secret or _hides(value), hidden=_hides(value))
        for name, value in document.items()
    }


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # holds the text, so it must not become anybody's cause
        return None


def _wrapped(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "value" in entry and isinstance(entry.get("sensitive"), bool)


def _hides(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_hides, value.values()))
    if isinstance(value, list):
        return any(map(_hides, value))
    return bool(value == HIDDEN)
