# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's health checks and drain, run against many instances at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.probe.command import Command
from ansible_collections.boring.fleet.plugins.module_utils.probe.http import HttpRequest, Statuses
from ansible_collections.boring.fleet.plugins.module_utils.probe.tcp import TcpConnect
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError

_THREADS = 32
ANY_SUCCESS = Statuses(((200, 299),))

Check = HttpRequest | TcpConnect | Command  # pylint: disable=unsupported-binary-operation

_TLS_KEYS = ("validate_certs", "ca", "server_name")
# What each type of check may be given, and what it must be
_CHECK_KEYS = {
    "http": ({"port", "path", "status", "scheme", "timeout", *_TLS_KEYS}, {"port"}),
    "tcp": ({"port", "timeout"}, {"port"}),
    "command": ({"argv", "timeout"}, {"argv"}),
}
_DRAIN_KEYS = {
    "http": ({"method", "port", "path", "scheme", "timeout", *_TLS_KEYS}, {"port"}),
    "command": ({"argv", "timeout"}, {"argv"}),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance is found."""

    instance_id: str
    address: str
    zone: str

    @property
    def environment(self) -> dict[str, str]:
        """What a command finds in its environment."""
        return {"INSTANCE_ID": self.instance_id, "INSTANCE_ADDRESS": self.address, "INSTANCE_ZONE": self.zone}


def parse_check(given: Mapping[str, Any], option: str) -> Check:
    """One entry of health_checks. Raises RolloutError that names the option."""
    return _parse(given, option, _CHECK_KEYS, method="GET", statuses=None)


def parse_drain(given: Mapping[str, Any], option: str) -> Check:
    """The drain. Raises RolloutError that names the option."""
    return _parse(given, option, _DRAIN_KEYS, method=str(given.get("method") or "POST").upper(), statuses=ANY_SUCCESS)


def _parse(
    given: Mapping[str, Any],
    option: str,
    keys: Mapping[str, tuple[set[str], set[str]]],
    *,
    method: str,
    statuses: Statuses | None,
) -> Check:
    values = {key: value for key, value in given.items() if value is not None}
    kind = values.pop("type", None)
    if kind not in keys:
        raise RolloutError(f"{option}.type is {kind!r}: use one of {', '.join(sorted(keys))}")
    allowed, needed = keys[kind]
    if unknown := sorted(set(values) - allowed):
        raise RolloutError(f"{option}: type {kind} has no {unknown[0]}; it has {', '.join(sorted(allowed))}")
    if missing := sorted(needed - set(values)):
        raise RolloutError(f"{option}: type {kind} needs {missing[0]}")
    timeout = _number(values.get("timeout", 60 if kind == "command" else 5), f"{option}.timeout")
    if kind == "command":
        argv = values["argv"]
        if not isinstance(argv, (list, tuple)) or not argv:
            raise RolloutError(f"{option}.argv must be a list: a program and its arguments")
        return Command(tuple(str(part) for part in argv), timeout)
    port = int(_number(values["port"], f"{option}.port"))
    if not 1 <= port <= 65535:
        raise RolloutError(f"{option}.port is {port}: a port is between 1 and 65535")
    if kind == "tcp":
        return TcpConnect(port, timeout)
    path = str(values.get("path", "/"))
    if not path.startswith("/") or any(character.isspace() for character in path):
        raise RolloutError(f"{option}.path is {path!r}: it begins with / and holds no blanks")
    scheme = str(values.get("scheme", "http"))
    if scheme not in ("http", "https"):
        raise RolloutError(f"{option}.scheme is {scheme!r}: use http or https")
    if statuses is None:
        try:
            statuses = Statuses.parse(str(values.get("status", 200)))
        except ValueError as exc:
            raise RolloutError(f"{option}.status: {exc}") from exc
    return _with_tls(HttpRequest(port, path, scheme, method, statuses, timeout), values, option)


def _with_tls(request: HttpRequest, values: Mapping[str, Any], option: str) -> HttpRequest:
    """The request with what is to become of certificates. Raises RolloutError."""
    validate, ca, name = (
        bool(values.get("validate_certs")),
        str(values.get("ca", "")),
        str(values.get("server_name", "")),
    )
    if (ca or name) and not validate:
        raise RolloutError(
            f"{option}.{'ca' if ca else 'server_name'} means nothing without validate_certs: set it to true"
        )
    if validate and request.scheme != "https":
        raise RolloutError(f"{option}.validate_certs needs scheme https: plain HTTP has no certificate")
    checked = replace(request, validate_certs=validate, ca=ca, server_name=name)
    try:
        checked.context()
    except OSError as exc:
        raise RolloutError(
            f"{option}.ca: {ca} cannot be used ({exc.strerror or exc}): name a file with certificates in PEM"
        ) from exc
    return checked


def _number(value: Any, option: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as exc:
        raise RolloutError(f"{option} is {value!r}: give a number") from exc
    if number <= 0:
        raise RolloutError(f"{option} is {value!r}: it must be above 0")
    return number


def ask(check: Check, place: Place) -> str:
    """One check against one instance; "" it passes."""
    if isinstance(check, Command):
        return check.probe(place.environment)
    if not place.address:
        return "EC2 does not tell its private address"
    return check.probe(place.address)


def ask_all(checks: Sequence[Check], places: Iterable[Place]) -> dict[str, str]:
    """Every check against every instance at once; by instance, why the first one fails ("" all pass)."""
    wanted = list(places)
    if not wanted or not checks:
        return {place.instance_id: "" for place in wanted}
    pairs = [(check, place) for place in wanted for check in checks]
    with ThreadPoolExecutor(min(_THREADS, len(pairs)), thread_name_prefix="probe") as pool:
        answers = list(pool.map(lambda pair: ask(*pair), pairs))
    found: dict[str, str] = {place.instance_id: "" for place in wanted}
    for (dummy, place), why in zip(pairs, answers, strict=True):
        found[place.instance_id] = found[place.instance_id] or why
    return found
