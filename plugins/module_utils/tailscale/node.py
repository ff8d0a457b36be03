# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node says of itself, what is wanted of it, and the difference as command lines. Pure.

`up` forgets each flag that it is not given, so it is for joining only; a node that has joined is changed by `set`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

EVERYWHERE: Final = ("0.0.0.0/0", "::/0")  # routes that make an exit node
OUT: Final = ("NeedsLogin", "NoState")
# option -> what `tailscale debug prefs` calls it and the flag of `up` and `set`
SWITCHES: Final = {
    "accept_dns": ("CorpDNS", "accept-dns"),
    "accept_routes": ("RouteAll", "accept-routes"),
    "ssh": ("RunSSH", "ssh"),
    "shields_up": ("ShieldsUp", "shields-up"),
    "snat_subnet_routes": ("NoSNAT", "snat-subnet-routes"),
    "stateful_filtering": ("NoStatefulFiltering", "stateful-filtering"),
}
# Preferences that say what is not done -> what a node does where it says nothing
NEGATED: Final = {"NoSNAT": True, "NoStatefulFiltering": False}


class TailscaleError(Exception):
    """A sentence for the user: the node, the reason, the way out. Never a key."""


@dataclass(frozen=True)
class Wish:
    """A node as it is wanted; None and "" leave a preference as it is. `state` is up, down or absent."""

    state: str = "up"
    login_server: str = ""
    hostname: str = ""
    tags: tuple[str, ...] | None = None
    routes: tuple[str, ...] | None = None
    exit_node: bool | None = None
    switches: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """What there is. `backend` is Running, Stopped, NeedsLogin, NoState, NeedsMachineAuth or Starting."""

    backend: str
    control: str = ""
    hostname: str = ""
    tags: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    exit_node: bool = False
    switches: Mapping[str, bool] = field(default_factory=dict)
    online: bool = False
    expired: bool = False
    has_key: bool = False  # of its own, which it gets when a control plane lets it in; not the auth key
    name: str = ""
    addresses: tuple[str, ...] = ()
    health: tuple[str, ...] = ()

    @property
    def joined(self) -> bool:
        return self.backend not in OUT and not self.expired


def read_node(status: Mapping[str, Any], prefs: Mapping[str, Any]) -> Node:
    """A node from `tailscale status --json` and `tailscale debug prefs`."""
    own = status.get("Self") or {}
    routes = tuple(prefs.get("AdvertiseRoutes") or ())
    return Node(
        backend=str(status.get("BackendState") or "NoState"),
        control=str(prefs.get("ControlURL") or "").rstrip("/"),
        hostname=str(prefs.get("Hostname") or ""),
        # A key may carry tags of its own, which are the node's and not in its preferences.
        tags=tuple(sorted(own.get("Tags") or prefs.get("AdvertiseTags") or ())),
        routes=tuple(sorted(route for route in routes if route not in EVERYWHERE)),
        exit_node=all(route in routes for route in EVERYWHERE),
        switches={option: _is_on(prefs, name) for option, (name, dummy) in SWITCHES.items()},
        online=bool(own.get("Online")),
        expired=bool(own.get("Expired")),
        has_key=bool(status.get("HaveNodeKey")),
        name=str(own.get("DNSName") or own.get("HostName") or "").rstrip("."),
        addresses=tuple(status.get("TailscaleIPs") or ()),
        health=tuple(status.get("Health") or ()),
    )


def read_wish(given: Mapping[str, Any]) -> Wish:
    """A wish from the module's options. Raises TailscaleError."""
    tags = given["tags"]
    for tag in tags or ():
        if not tag.startswith("tag:") or not tag[4:].replace("-", "").isalnum():
            raise TailscaleError(f"'{tag}' is no tag: it must look like tag:api")
    routes = given["advertise_routes"]
    return Wish(
        state=given["state"],
        login_server=(given["login_server"] or "").rstrip("/"),
        hostname=given["hostname"] or "",
        tags=None if tags is None else tuple(sorted(set(tags))),
        routes=None if routes is None else tuple(sorted(_route(route) for route in routes)),
        exit_node=given["advertise_exit_node"],
        switches={option: given[option] for option in SWITCHES if given[option] is not None},
    )


def differences(wish: Wish, node: Node) -> dict[str, tuple[Any, Any]]:
    """Preferences that differ: flag -> what it is and what it shall be."""
    found: dict[str, tuple[Any, Any]] = {}
    if wish.hostname and wish.hostname != node.hostname:
        found["hostname"] = (node.hostname, wish.hostname)
    if wish.routes is not None and wish.routes != node.routes:
        found["advertise-routes"] = (",".join(node.routes), ",".join(wish.routes))
    if wish.exit_node is not None and wish.exit_node != node.exit_node:
        found["advertise-exit-node"] = (node.exit_node, wish.exit_node)
    for option, wanted in wish.switches.items():
        if wanted != node.switches[option]:
            found[SWITCHES[option][1]] = (node.switches[option], wanted)
    return found


def refuse_what_only_joining_decides(wish: Wish, node: Node) -> None:
    """Raises TailscaleError where a node would have to join anew."""
    again = "take it out with state=absent and bring it in again"
    if wish.login_server and wish.login_server != node.control:
        raise TailscaleError(f"the node belongs to {node.control}, not to {wish.login_server}: {again}")
    if wish.tags is not None and wish.tags != node.tags:
        has = ", ".join(node.tags) or "no tags"
        raise TailscaleError(
            f"the node has {has}, not {', '.join(wish.tags) or 'none'}, and tags are given when it joins: {again}"
        )


def join_flags(wish: Wish, key_file: str, seconds: float, *, again: bool) -> list[str]:
    """The flags of `up` with which a node joins; the auth key stays in its file, "" for none.

    `again` makes a node that has a key of its own get a new one. One that has none gets it without; told to, it would ask
    twice if it got one this very moment, and a single-use auth key lets in once.
    """
    flags = [f"--auth-key=file:{key_file}"] if key_file else []
    flags += [f"--timeout={seconds:g}s", "--reset"] + (["--force-reauth"] if again else [])
    flags += [f"--login-server={wish.login_server}"] if wish.login_server else []
    flags += [f"--hostname={wish.hostname}"] if wish.hostname else []
    flags += [f"--advertise-tags={','.join(wish.tags)}"] if wish.tags else []
    flags += [f"--advertise-routes={','.join(wish.routes)}"] if wish.routes else []
    flags += ["--advertise-exit-node"] if wish.exit_node else []
    return flags + [flag(SWITCHES[option][1], wanted) for option, wanted in wish.switches.items()]


def flag(name: str, wanted: Any) -> str:
    """A flag as `tailscale` takes it."""
    return f"--{name}={str(wanted).lower() if isinstance(wanted, bool) else wanted}"


def _is_on(prefs: Mapping[str, Any], name: str) -> bool:
    said = prefs.get(name)
    if name in NEGATED:
        return NEGATED[name] if said is None else not said
    return bool(said)


def _route(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        network = None
    if network is None:
        raise TailscaleError(f"advertise_routes has '{text}', which is no network such as 10.0.0.0/16")
    if str(network) in EVERYWHERE:
        raise TailscaleError(f"advertise_routes has {text}: set advertise_exit_node=true for that")
    return str(network)
