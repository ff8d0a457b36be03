# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file's JSON Schema, which editors complete by, and its tables for the docs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.fleet import keys
from ansible_collections.boring.fleet.plugins.module_utils.fleet.shapes import REQUIRED, Key, Keys


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12. It knows shapes; what needs more than one value to see is for the module."""
    file = keys.FILE.schema()["anyOf"][0]
    # Any other variable may stand beside them: of the playbooks, or of a team.
    del file["additionalProperties"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A fleet of boring.fleet",
        "description": "Variables of build_images, deploy and roll; written by bin/fleet-docs.",
        **file,
    }


def tables() -> str:
    """One Markdown table a mapping of the file."""
    return "\n".join(line for table in keys.TABLES for line in _table(table))


def _table(table: Keys) -> Iterator[str]:
    yield from (f"### {table.title}", "", "| key | type, default | meaning |", "| --- | --- | --- |")
    for name, key in table.keys.items():
        yield f"| `{name}` | {key.shape.name}{_default(key)} | {key.words} |"
    yield ""


def _default(key: Key) -> str:
    if key.default is REQUIRED:
        return ", required"
    if key.default is None or isinstance(key.default, (dict, list)):
        return ""
    return (
        f", `{str(key.default).lower() if isinstance(key.default, bool) else key.default}`" if key.default != "" else ""
    )
