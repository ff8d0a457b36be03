# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of module_utils a program on a host needs, by what it imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MODULES = ROOT / "plugins" / "module_utils"
PREFIX = "ansible_collections.boring.fleet.plugins.module_utils."


def needed(files: Iterable[Path]) -> set[str]:
    """Paths below module_utils of all that files import, and of those files that are there themselves."""
    found: set[str] = set()
    todo = list(files)
    while todo:
        path = todo.pop()
        if path.is_relative_to(MODULES):
            if str(path.relative_to(MODULES)) in found:
                continue
            found |= {str(one.relative_to(MODULES)) for one in (path, path.with_name("__init__.py"))}
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PREFIX):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            files_of = (MODULES / f"{name.removeprefix(PREFIX).replace('.', '/')}.py" for name in names)
            todo += [file for file in files_of if file.is_file()]
    return found
