# SPDX-License-Identifier: GPL-3.0-or-later
"""A cloud's state on disk: moto's backends and our services' dumps in one file, so that they always fit together.

The file is a pickle, written and read by the same local user only (directory 0700, file 0600).
"""

from __future__ import annotations

import io
import marshal
import os
import pickle
import sys
import types
from collections import defaultdict
from pathlib import Path
from typing import Any

import moto
from moto.backends import get_backend
from moto.core.base_backend import BackendDict

_FORMAT = (1, moto.__version__, sys.version_info[:2])


class StateError(Exception):
    """The state cannot be read or written; one sentence with the way out."""


class Store:
    """The state file of one cloud."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = b""

    def load(self) -> dict[str, Any] | None:
        """What was saved last, with moto's backends back in place; None if nothing was."""
        try:
            saved = pickle.loads(self._path.read_bytes())  # noqa: S301 - our own file, see above
        except FileNotFoundError:
            return None
        except Exception as error:
            raise StateError(f"The state in {self._path} cannot be read ({error}): `down` takes it away.") from None
        if saved["format"] != _FORMAT:
            raise StateError(
                f"The state in {self._path} was written by another version of moto or Python: `down` takes it away."
            )
        for service, accounts in saved["moto"].items():
            backends = get_backend(service)
            for account, regions in accounts.items():
                for region, backend in regions.items():
                    backends[account][region] = backend
        services: dict[str, Any] = saved["services"]
        return services

    def save(self, services: dict[str, Any]) -> bool:
        """Write moto's backends and ``services`` if they changed; whether they had. Atomic: the old or the new state."""
        buffer = io.BytesIO()
        _Pickler(buffer, protocol=5).dump({"format": _FORMAT, "moto": _moto(), "services": services})
        content = buffer.getvalue()
        if content == self._written:
            return False
        part = self._path.with_suffix(".part")
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            part.replace(self._path)
        except OSError as error:
            raise StateError(
                f"The state could not be saved in {self._path}: {error.strerror}: free some space."
            ) from None
        self._written = content
        return True


def _moto() -> dict[str, dict[str, dict[str, Any]]]:
    return {
        backends.service_name: {account: dict(regions.items()) for account, regions in backends.items()}
        for backends in BackendDict._instances  # type: ignore[misc] # of any kind
    }


class _Pickler(pickle.Pickler):
    """Knows two things that moto's state holds and pickle refuses: lambdas as factories of defaultdicts, and
    subclasses of defaultdict that are made with other arguments."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.FunctionType) and obj.__name__ == "<lambda>" and obj.__closure__ is None:
            return _lambda, (marshal.dumps(obj.__code__), obj.__module__)
        if isinstance(obj, defaultdict) and type(obj) is not defaultdict:
            return _empty, (type(obj), obj.default_factory), vars(obj), None, iter(obj.items())
        return NotImplemented


def _lambda(code: bytes, module: str) -> types.FunctionType:
    __import__(module)
    return types.FunctionType(marshal.loads(code), vars(sys.modules[module]))  # noqa: S302 - as above


def _empty(kind: type[defaultdict[Any, Any]], factory: Any) -> defaultdict[Any, Any]:
    made = kind.__new__(kind)
    made.default_factory = factory
    return made
