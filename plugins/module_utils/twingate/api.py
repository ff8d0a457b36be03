# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Twingate's GraphQL API: four queries and four mutations, each with a deadline. No token and no key is in any message.

https://www.twingate.com/docs/api describes the schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_PAGE: Final = 50
_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before another try, the last again and again
_LONGEST_PAUSE: Final = 30.0  # however long the API asks for
_BUSY: Final = 429

_NETWORK: Final = "id name location"
_CONNECTOR: Final = (
    "id name state lastHeartbeatAt version hostname hasStatusNotificationsEnabled remoteNetwork { id name }"
)
_LIST: Final = "query %s($after: String) { %s(after: $after, first: %d) { pageInfo { endCursor hasNextPage } edges { node { %s } } } }"
NETWORKS: Final = _LIST % ("Networks", "remoteNetworks", _PAGE, _NETWORK)
CONNECTORS: Final = _LIST % ("Connectors", "connectors", _PAGE, _CONNECTOR)
CONNECTOR: Final = f"query Connector($id: ID!) {{ connector(id: $id) {{ {_CONNECTOR} }} }}"
CREATE_NETWORK: Final = (
    "mutation CreateNetwork($name: String!, $location: RemoteNetworkLocation) "
    f"{{ remoteNetworkCreate(name: $name, location: $location) {{ ok error entity {{ {_NETWORK} }} }} }}"
)
CREATE_CONNECTOR: Final = (
    "mutation CreateConnector($network: ID!, $name: String, $notify: Boolean) "
    "{ connectorCreate(remoteNetworkId: $network, name: $name, hasStatusNotificationsEnabled: $notify) "
    f"{{ ok error entity {{ {_CONNECTOR} }} }} }}"
)
UPDATE_CONNECTOR: Final = (
    "mutation UpdateConnector($id: ID!, $notify: Boolean) "
    f"{{ connectorUpdate(id: $id, hasStatusNotificationsEnabled: $notify) {{ ok error entity {{ {_CONNECTOR} }} }} }}"
)
GENERATE_TOKENS: Final = (
    "mutation GenerateTokens($id: ID!) "
    "{ connectorGenerateTokens(connectorId: $id) { ok error connectorTokens { accessToken refreshToken } } }"
)
DELETE_CONNECTOR: Final = "mutation DeleteConnector($id: ID!) { connectorDelete(id: $id) { ok error } }"

# method, url, headers, body, seconds -> status, headers, body; raises OSError
Send = Callable[[str, Mapping[str, str], bytes, float], tuple[int, Mapping[str, str], bytes]]


class TwingateError(Exception):
    """A sentence for the user: the connector or the API, the reason, the way out. Never a token or key."""


class RefusedError(TwingateError):
    """Certainly not done, and Twingate says why."""


class UnansweredError(TwingateError):
    """Whether a change was made is not known: look again before anything is repeated."""


@dataclass(frozen=True)
class Network:
    """A remote network."""

    id: str
    name: str


@dataclass(frozen=True)
class Connector:
    """A connector. `state` is ALIVE or the way in which it is dead; `heartbeat` is ISO 8601 in UTC, "" before the first."""

    id: str
    name: str
    network: Network
    state: str = ""
    heartbeat: str = ""
    version: str = ""
    hostname: str = ""
    notifications: bool = True

    @property
    def alive(self) -> bool:
        return self.state == "ALIVE"


@dataclass(frozen=True)
class Tokens:
    """What a connector proves itself with. In no repr."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)


class Api:
    """The API of one Twingate network. `patience` is how long, in seconds, a call is tried again."""

    def __init__(
        self,
        url: str,
        key: str,
        send: Send,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        timeout: float = 15.0,
        patience: float = 60.0,
    ) -> None:
        self._url = url
        self._key = key
        self._headers = {"X-API-KEY": key, "Content-Type": "application/json", "User-Agent": "boring.fleet"}
        self._send = send
        self._clock = clock
        self._sleep = sleep
        self._timeout = timeout
        self._patience = patience

    def networks(self) -> list[Network]:
        """All remote networks."""
        return [
            Network(node["id"], node["name"])
            for node in self._all(NETWORKS, "remoteNetworks", "list the remote networks")
        ]

    def connectors(self) -> list[Connector]:
        """All connectors of all remote networks."""
        return [_connector(node) for node in self._all(CONNECTORS, "connectors", "list the connectors")]

    def connector(self, ident: str) -> Connector | None:
        """One connector, or None where there is none by this id."""
        node = self._ask(CONNECTOR, {"id": ident}, "look at the connector").get("connector")
        return _connector(node) if node else None

    def create_network(self, name: str, location: str) -> Network:
        made = self._change(CREATE_NETWORK, {"name": name, "location": location}, f"create the remote network {name}")
        return Network(made["entity"]["id"], made["entity"]["name"])

    def create_connector(self, network: Network, name: str, notify: bool | None) -> Connector:
        values = {"network": network.id, "name": name} | ({} if notify is None else {"notify": notify})
        return _connector(self._change(CREATE_CONNECTOR, values, f"create the connector {name}")["entity"])

    def set_notifications(self, connector: Connector, notify: bool) -> None:
        self._change(UPDATE_CONNECTOR, {"id": connector.id, "notify": notify}, f"change the connector {connector.name}")

    def generate_tokens(self, connector: Connector) -> Tokens:
        """New tokens; the ones before stop working."""
        made = self._change(GENERATE_TOKENS, {"id": connector.id}, f"make tokens for the connector {connector.name}")
        pair = made.get("connectorTokens") or {}
        if not pair.get("accessToken") or not pair.get("refreshToken"):
            raise UnansweredError(f"Twingate made no tokens for the connector {connector.name}: its answer has none")
        return Tokens(pair["accessToken"], pair["refreshToken"])

    def delete_connector(self, connector: Connector) -> None:
        self._change(DELETE_CONNECTOR, {"id": connector.id}, f"delete the connector {connector.name}")

    def _all(self, query: str, name: str, doing: str) -> Iterator[dict[str, Any]]:
        after: str | None = None
        while True:
            page = self._ask(query, {"after": after}, doing)[name]
            yield from (edge["node"] for edge in page["edges"])
            if not page["pageInfo"]["hasNextPage"]:
                return
            following = page["pageInfo"]["endCursor"]
            if following == after:
                raise TwingateError(f"cannot {doing}: Twingate gives the same page for ever; try again later")
            after = following

    def _ask(self, query: str, values: dict[str, Any], doing: str) -> dict[str, Any]:
        """A question may be asked again whatever happened to it."""
        deadline = self._clock() + self._patience
        for number in range(10_000):
            try:
                return self._once(query, values, doing)
            except (UnansweredError, _BusyError) as exc:
                if not self._pause(number, deadline, exc):
                    raise TwingateError(f"{exc}; gave up after {self._patience:g} s") from None
        raise AssertionError

    def _change(self, mutation: str, values: dict[str, Any], doing: str) -> dict[str, Any]:
        """A change is tried again only where it certainly was not made. Raises UnansweredError where nobody knows."""
        deadline = self._clock() + self._patience
        for number in range(10_000):
            try:
                data = self._once(mutation, values, doing)
            except _BusyError as exc:
                if not self._pause(number, deadline, exc):
                    raise TwingateError(f"{exc}; gave up after {self._patience:g} s") from None
                continue
            (payload,) = data.values()
            if not payload or not payload.get("ok"):
                reason = (payload or {}).get("error") or "it says no reason"
                raise RefusedError(f"cannot {doing}: Twingate refuses it: {self._said(reason)}")
            return dict(payload)
        raise AssertionError

    def _pause(self, number: int, deadline: float, exc: TwingateError) -> bool:
        pause = getattr(exc, "pause", 0.0) or _PAUSES[min(number, len(_PAUSES) - 1)]
        if self._clock() + pause > deadline:
            return False
        self._sleep(pause)
        return True

    def _once(self, query: str, values: dict[str, Any], doing: str) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": values}).encode()
        problem: TwingateError | None = None
        status, headers, answer = 0, {}, b""  # type: int, Mapping[str, str], bytes
        try:
            status, headers, answer = self._send(self._url, self._headers, body, self._timeout)
        except ConnectionRefusedError:
            problem = _BusyError(f"cannot {doing}: nobody answers at {self._url}")
        except OSError as exc:
            reason = "no answer in time" if isinstance(exc, TimeoutError) else _line(exc.strerror or type(exc).__name__)
            problem = UnansweredError(f"cannot {doing}: the connection to {self._url} failed ({reason})")
        if problem:
            raise problem
        if status in (401, 403):
            raise TwingateError(
                f"cannot {doing}: Twingate does not accept the API key or its permissions ({status}); make one that may provision"
            )
        if status == _BUSY:
            raise _BusyError(f"cannot {doing}: Twingate asks to slow down", _seconds(headers.get("Retry-After", "")))
        if status >= 500:
            raise UnansweredError(f"cannot {doing}: Twingate answered {status}")
        document = _load(answer)
        if status != 200 or not isinstance(document, dict):
            raise TwingateError(f"cannot {doing}: {self._url} answered {status} and no GraphQL; check network or url")
        errors = document.get("errors")
        if errors:
            first = errors[0].get("message") if isinstance(errors, list) and isinstance(errors[0], dict) else errors
            raise TwingateError(f"cannot {doing}: Twingate refuses it: {self._said(first)}")
        return dict(document.get("data") or {})

    def _said(self, text: object) -> str:
        """What the API says, as one line without the key, should it repeat that."""
        return _line(str(text).replace(self._key or "\0", "***"))


class _BusyError(TwingateError):
    """Certainly not done; `pause` is how long the API asks to wait, 0 if it does not say."""

    def __init__(self, message: str, pause: float = 0.0) -> None:
        super().__init__(message)
        self.pause = pause


def _connector(node: Mapping[str, Any]) -> Connector:
    network = node["remoteNetwork"]
    return Connector(
        id=node["id"],
        name=node["name"],
        network=Network(network["id"], network["name"]),
        state=node.get("state") or "",
        heartbeat=node.get("lastHeartbeatAt") or "",
        version=node.get("version") or "",
        hostname=node.get("hostname") or "",
        notifications=bool(node.get("hasStatusNotificationsEnabled")),
    )


def _load(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except ValueError:
        return None


def _line(text: object) -> str:
    return " ".join(str(text).split())[:300]


def _seconds(text: str) -> float:
    return min(float(text), _LONGEST_PAUSE) if text.isdigit() else 0.0
