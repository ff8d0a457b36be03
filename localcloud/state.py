# SPDX-License-Identifier: GPL-3.0-or-later
"""A cloud's state on disk: one JSON file with our services' dumps and, since they are objects, moto's backends pickled.

It is read only where nobody but this user can have written it.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import marshal
import os
import pickle
import sys
import types
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import moto
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from moto.backends import get_backend
from moto.core.base_backend import BackendDict
from moto.core.common_models import BaseModel
from moto.iam.models import AWSManagedPolicy, IAMBackend

from localcloud import private

_FORMAT = [3, moto.__version__, *sys.version_info[:2]]
_FILE = "state.json"
_RESERVE = 512 * 1024


def _untracked(cls: type[BaseModel], *_: Any, **__: Any) -> BaseModel:
    """A new object of moto's that is forgotten when nobody uses it: moto itself would keep each one for ever."""
    made: BaseModel = object.__new__(cls)
    return made


setattr(BaseModel, "__new__", _untracked)  # noqa: B010 - a method of moto's, replaced


class StateError(Exception):
    """The state cannot be read or written; one sentence with the way out."""


class Store:
    """The state of one cloud, in its directory.

    Room for the next state is held free by a file of its size, so that a change which is made can be saved.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / _FILE
        self._reserve = directory / "reserve"
        self._reserved = 0
        self._services = ""
        self._moto = b""

    def load(self) -> dict[str, Any] | None:
        """What was saved last, with moto's backends back in place; None if nothing was."""
        try:
            saved = json.loads(private.read(self._directory, _FILE))
            if saved["format"] != _FORMAT:
                raise StateError(
                    f"The state in {self._path} was written by another version of the local cloud, of moto or of Python: `down` takes it away."
                )
            content = base64.b64decode(saved["moto"], validate=True)
            _install(content)
        except FileNotFoundError:
            if not (self._directory / "state.pickle").exists():
                return None
            raise StateError(
                f"The state in {self._directory} is of an earlier version: `down` takes it away."
            ) from None
        except StateError:
            raise
        except Exception as error:
            raise StateError(f"The state in {self._path} cannot be read ({error}): `down` takes it away.") from None
        services: dict[str, Any] = saved["services"]
        self._moto, self._services = content, json.dumps(services)
        return services

    def make_room(self) -> None:
        """Hold room free for the next state. Raises StateError."""
        wanted = 2 * (len(self._moto) + len(self._services)) + _RESERVE
        if wanted <= self._reserved:
            return
        try:
            with os.fdopen(os.open(self._reserve, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                os.posix_fallocate(file.fileno(), 0, 2 * wanted)
        except OSError as error:
            raise self._unwritable(error) from None
        self._reserved = 2 * wanted

    def save(self, services: dict[str, Any]) -> bool:
        """Write moto's backends and ``services`` if they changed; whether they had. Atomic: the old or the new state.

        Raises StateError.
        """
        buffer = io.BytesIO()
        try:
            _Pickler(buffer, protocol=5).dump(_backends())
            text = json.dumps(services)
        except Exception as error:
            raise StateError(f"The local cloud cannot keep it: {error}.") from error
        content = buffer.getvalue()
        if content == self._moto and text == self._services:
            return False
        try:
            self._write(content, text)
        except OSError:
            self._reserve.unlink(missing_ok=True)
            self._reserved = 0
            try:
                self._write(content, text)
            except OSError as error:
                raise self._unwritable(error) from None
        self._moto, self._services = content, text
        return True

    def restore(self) -> dict[str, Any]:
        """Put moto's backends back to what was saved last, and return what our services dumped then."""
        _install(self._moto)
        services: dict[str, Any] = json.loads(self._services)
        return services

    def _write(self, content: bytes, services: str) -> None:
        moto_ = base64.b64encode(content).decode()
        private.write(
            self._path, f'{{"format": {json.dumps(_FORMAT)}, "moto": "{moto_}", "services": {services}}}\n'.encode()
        )

    def _unwritable(self, error: OSError) -> StateError:
        return StateError(f"The state could not be saved in {self._path}: {error.strerror}: free some space.")


def _install(content: bytes) -> None:
    """Put pickled backends in place of those that moto has."""
    saved = pickle.loads(content)  # noqa: S301 - our own bytes, or read where only this user can write
    for backends in list(BackendDict._instances):  # type: ignore[misc] # of any kind
        backends.clear()
    for service, accounts in saved.items():
        backends = get_backend(service)
        for account, regions in accounts.items():
            for region, backend in regions.items():
                backends[account][region] = backend


def _backends() -> dict[str, dict[str, dict[str, Any]]]:
    return {
        backends.service_name: {account: dict(regions.items()) for account, regions in backends.items()}
        for backends in BackendDict._instances  # type: ignore[misc] # of any kind
    }


class _Pickler(pickle.Pickler):
    """Knows what moto's state holds and pickle refuses: lambdas as factories of defaultdicts, subclasses of defaultdict
    that are made with other arguments, and keys and certificates (of KMS and ACM). AWS's own managed policies, over a thousand,
    are written only where somebody uses them."""

    def reducer_override(self, obj: Any) -> Any:
        reduced = _how(type(obj))  # type: ignore[arg-type] # a type can be hashed
        return NotImplemented if reduced is None else reduced(obj)


@functools.cache
def _how(kind: Any) -> Callable[[Any], Any] | None:
    """How objects of a type are written; None: as pickle does. Asked of every object, so found once a type."""
    if kind is types.FunctionType:
        return _of_function
    if kind is IAMBackend:
        return _of_iam
    if issubclass(kind, defaultdict) and kind is not defaultdict:
        return lambda obj: (_empty, (kind, obj.default_factory), vars(obj), None, iter(obj.items()))
    if kind.__module__.startswith("cryptography."):
        if issubclass(kind, get_args(PrivateKeyTypes)):
            return lambda obj: (_private_key, (obj.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),))
        if issubclass(kind, get_args(PublicKeyTypes)):
            return lambda obj: (_public_key, (obj.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),))
        if issubclass(kind, x509.Certificate):
            return lambda obj: (_certificate, (obj.public_bytes(Encoding.DER),))
    return None


def _of_function(obj: types.FunctionType) -> Any:
    if obj.__name__ == "<lambda>" and obj.__closure__ is None:
        return _lambda, (marshal.dumps(obj.__code__), obj.__module__)
    return NotImplemented


def _of_iam(obj: IAMBackend) -> Any:
    return object.__new__, (IAMBackend,), _without_aws_policies(obj), None, None, _with_aws_policies


def _lambda(code: bytes, module: str) -> types.FunctionType:
    __import__(module)
    return types.FunctionType(marshal.loads(code), vars(sys.modules[module]))  # noqa: S302 - as above


def _without_aws_policies(iam: IAMBackend) -> dict[str, Any]:
    kept = {
        arn: policy
        for arn, policy in iam.managed_policies.items()
        if policy.attachment_count or not isinstance(policy, AWSManagedPolicy)
    }
    return {**vars(iam), "managed_policies": kept, "aws_managed_policies": []}


def _with_aws_policies(iam: IAMBackend, state: dict[str, Any]) -> None:
    vars(iam).update(state)
    every = {policy.arn: policy for policy in iam._init_aws_policies()}
    iam.managed_policies = {**every, **state["managed_policies"]}
    iam.aws_managed_policies = [iam.managed_policies[arn] for arn in every]


def _private_key(content: bytes) -> PrivateKeyTypes:
    return load_der_private_key(content, password=None)


def _public_key(content: bytes) -> PublicKeyTypes:
    return load_der_public_key(content)


def _certificate(content: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(content)


def _empty(kind: type[defaultdict[Any, Any]], factory: Any) -> defaultdict[Any, Any]:
    made = kind.__new__(kind)
    made.default_factory = factory
    return made
