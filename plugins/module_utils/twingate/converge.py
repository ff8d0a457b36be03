# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do what the plan says. After a change whose outcome nobody knows it looks again, so nothing is made twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ansible_collections.boring.fleet.plugins.module_utils.twingate import plan as steps
from ansible_collections.boring.fleet.plugins.module_utils.twingate.api import (
    Api,
    Connector,
    RefusedError,
    Tokens,
    TwingateError,
    UnansweredError,
)
from ansible_collections.boring.fleet.plugins.module_utils.twingate.plan import Seen, Wish, plan, see

_TRIES = 5
_POLL = 2.0  # seconds between two looks at a connector that is to come alive


@dataclass
class Done:
    """What was done, or would be: the steps, and what there is now."""

    steps: list[str] = field(default_factory=list)
    connector: Connector | None = None
    tokens: Tokens | None = field(default=None, repr=False)


def converge(
    api: Api, wish: Wish, *, tokens_there: bool, dry: bool = False, ready: Callable[[], None] = lambda: None
) -> Done:
    """Bring the connector to the wish. `ready` is called before tokens are made: it raises if there is no place for them.

    Raises TwingateError.
    """
    done = Done()
    for number in range(1, _TRIES + 1):
        seen = see(wish, api.networks(), api.connectors())
        done.connector = seen.connector
        left = plan(wish, seen, tokens_there=tokens_there or done.tokens is not None)
        if dry:
            done.steps = left
            return done
        if not left:
            return done
        try:
            _take(api, wish, seen, left, done=done, ready=ready)
        except UnansweredError as exc:
            if number == _TRIES:
                raise TwingateError(f"{exc}; tried {_TRIES} times") from None
        except RefusedError:
            # Hosts are set up side by side: another one's run may have made the network a moment ago.
            made = seen.network is None and wish.network in [network.name for network in api.networks()]
            if not made or number == _TRIES:
                raise
    return done


def _take(api: Api, wish: Wish, seen: Seen, left: list[str], *, done: Done, ready: Callable[[], None]) -> None:
    network, connector = seen.network, seen.connector
    for step in left:
        # Noted before it is known to be done: what nobody knows counts as a change.
        done.steps += [step] if step not in done.steps else []
        if step == steps.CREATE_NETWORK:
            network = api.create_network(wish.network, wish.location)
        elif step == steps.CREATE_CONNECTOR and network:
            connector = done.connector = api.create_connector(network, wish.name, wish.notifications)
        elif step == steps.SET_NOTIFICATIONS and connector:
            api.set_notifications(connector, bool(wish.notifications))
        elif step == steps.GENERATE_TOKENS and connector:
            ready()
            done.tokens = api.generate_tokens(connector)
        elif step == steps.DELETE_CONNECTOR and connector:
            api.delete_connector(connector)


def await_alive(
    api: Api,
    connector: Connector,
    *,
    seconds: float,
    after: str = "",
    version: str = "",
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Connector:
    """Wait until the API says ALIVE, by a heartbeat after `after` (ISO 8601) and of `version`. Raises TwingateError."""
    deadline = clock() + seconds
    while True:
        found = api.connector(connector.id)
        if found is None:
            raise TwingateError(f"the connector {connector.name} is gone while it was waited for: somebody deleted it")
        old = bool(after) and _moment(found.heartbeat) <= _moment(after)
        other = bool(version) and found.version != version
        if found.alive and not old and not other:
            return found
        if clock() + _POLL > deadline:
            why = (
                f"is {found.state}"
                if not found.alive
                else "has sent no heartbeat since then"
                if old
                else f"runs {found.version or 'an unknown version'}"
            )
            raise TwingateError(
                f"the connector {connector.name} {why} after {seconds:g} s: 'journalctl -u twingate-connector' on its host says more"
            )
        sleep(_POLL)


def _moment(text: str) -> float:
    if not text:
        return 0.0
    moment = None
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text)
    if moment is None:
        raise TwingateError(f"'{text[:40]}' is no time in ISO 8601, such as 2026-01-31T12:00:00Z")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
