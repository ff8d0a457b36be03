# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done for a connector, from what the API says and what is wanted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.twingate.api import Connector, Network, TwingateError

CREATE_NETWORK: Final = "create the remote network"
CREATE_CONNECTOR: Final = "create the connector"
SET_NOTIFICATIONS: Final = "change its notifications"
GENERATE_TOKENS: Final = "make its tokens"
DELETE_CONNECTOR: Final = "delete the connector"


@dataclass(frozen=True)
class Wish:
    """A connector as it is wanted. `notifications` None leaves them; `tokens` is none, missing or always."""

    network: str
    name: str
    present: bool = True
    location: str = "OTHER"
    notifications: bool | None = None
    tokens: str = "none"


@dataclass(frozen=True)
class Seen:
    """What there is of it."""

    network: Network | None
    connector: Connector | None


def see(wish: Wish, networks: Sequence[Network], connectors: Sequence[Connector]) -> Seen:
    """Find the wish's network and connector. Raises TwingateError where names are not unique."""
    named = [network for network in networks if network.name == wish.network]
    if len(named) > 1:
        raise TwingateError(f"there are {len(named)} remote networks named {wish.network}: rename all but one")
    if not named:
        return Seen(None, None)
    ours = [one for one in connectors if one.network.id == named[0].id and one.name == wish.name]
    if len(ours) > 1:
        raise TwingateError(f"there are {len(ours)} connectors named {wish.name} in {wish.network}: delete all but one")
    return Seen(named[0], ours[0] if ours else None)


def plan(wish: Wish, seen: Seen, *, tokens_there: bool) -> list[str]:
    """The steps that are left, in order. `tokens_there`: whether a token pair was made or found. Raises TwingateError."""
    if not wish.present:
        return [DELETE_CONNECTOR] if seen.connector else []
    steps = [] if seen.network else [CREATE_NETWORK]
    if seen.connector is None:
        steps.append(CREATE_CONNECTOR)
    elif wish.notifications is not None and seen.connector.notifications != wish.notifications:
        steps.append(SET_NOTIFICATIONS)
    if wish.tokens != "none" and not tokens_there:
        if wish.tokens == "missing" and seen.connector and seen.connector.alive:
            raise TwingateError(
                f"the connector {wish.name} is ALIVE on {seen.connector.hostname or 'a host'}, and new tokens would cut it off: "
                "give this host a connector of its own, or set tokens=always to change them"
            )
        steps.append(GENERATE_TOKENS)
    return steps
