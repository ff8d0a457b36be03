# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's options as values; every contradiction is found here, before AWS is asked anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.preferences import refused_options
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.checks import Check, parse_check, parse_drain
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError, Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Amount, Match, Policy, Request

_PROBE: dict[str, Any] = {
    "port": {"type": "int"},
    "path": {"type": "str"},
    "scheme": {"type": "str", "choices": ["http", "https"]},
    "validate_certs": {"type": "bool"},
    "ca": {"type": "path"},
    "server_name": {"type": "str"},
    "timeout": {"type": "float"},
    "argv": {"type": "list", "elements": "str"},
}

# The module's arguments beside those of every AWS module; what simulates a roll takes the same.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "group": {"type": "str", "required": True, "aliases": ["name"]},
    "state": {
        "type": "str",
        "default": "completed",
        "choices": ["completed", "planned", "advanced", "aborted", "rolled_back"],
    },
    "launch_template": {
        "type": "dict",
        "options": {
            "id": {"type": "str"},
            "name": {"type": "str"},
            "version": {"type": "str", "default": "$Default"},
        },
    },
    "batch_size": {"type": "str", "default": "1"},
    "max_unavailable": {"type": "str", "default": "0"},
    "canary": {"type": "int", "default": 1},
    "min_healthy_time": {"type": "float", "default": 10},
    "bake_time": {"type": "float", "default": 0},
    "batch_timeout": {"type": "float", "default": 900},
    "max_failures": {"type": "int", "default": 1},
    "on_failure": {"type": "str", "default": "stop", "choices": ["stop", "rollback"]},
    "health_checks": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "type": {"type": "str", "required": True, "choices": ["http", "tcp", "command"]},
            "status": {"type": "str"},
            **_PROBE,
        },
    },
    "drain": {
        "type": "dict",
        "options": {
            "type": {"type": "str", "required": True, "choices": ["http", "command"]},
            "method": {"type": "str"},
            **_PROBE,
        },
    },
    "match": {"type": "str", "default": "template", "choices": ["template", "age", "all"]},
    "max_age": {"type": "float"},
    "instances": {"type": "list", "elements": "str", "default": []},
    "standby": {"type": "str", "default": "ignore", "choices": ["ignore", "replace", "fail"]},
    "protected": {"type": "str", "default": "replace", "choices": ["replace", "skip", "fail"]},
    "raise_max_size": {"type": "bool", "default": True},
    "suspend_az_rebalance": {"type": "bool", "default": True},
    "strategy": {"type": "str", "default": "batches", "choices": ["batches", "instance_refresh"]},
    "poll_interval": {"type": "float", "default": 5},
    "lock_timeout": {"type": "float", "default": 900},
    "events_path": {"type": "path"},
}

_AT_LEAST = {
    "canary": 0,
    "min_healthy_time": 0,
    "bake_time": 0,
    "batch_timeout": 0.1,
    "max_failures": 0,
    "poll_interval": 0.1,
    "lock_timeout": 1,
}


def parse_policy(params: Mapping[str, Any]) -> tuple[Policy, tuple[Check, ...], Check | None]:
    """How to roll, the health checks and the drain. Raises RolloutError that names the option and the fix."""
    for name, least in _AT_LEAST.items():
        if params[name] < least:
            raise RolloutError(f"{name} is {params[name]}: it must be at least {least}")
    match = Match(params["match"])
    age = params.get("max_age")
    if match is Match.AGE and (age is None or age <= 0):
        raise RolloutError("match=age needs max_age: the age in seconds beyond which an instance is due")
    if match is not Match.AGE and age is not None:
        raise RolloutError(f"max_age does nothing with match={match.value}: set match=age, or leave max_age out")
    instances = params.get("instances") or []
    for name in instances:
        if not re.fullmatch(r"i-[0-9a-zA-Z]+", name):
            raise RolloutError(f"instances holds {name!r}, which is no instance id (i-...)")
    if params["state"] == "rolled_back" and match is not Match.TEMPLATE:
        raise RolloutError(
            f"match={match.value} does not go with state=rolled_back, which replaces what left the recorded template: "
            "leave match out"
        )
    refreshes = params["strategy"] == "instance_refresh"
    if refreshes and (refused := list(refused_options(params))):
        raise RolloutError(". ".join(refused))
    checks = tuple(
        parse_check(entry, f"health_checks[{index}]") for index, entry in enumerate(params.get("health_checks") or [])
    )
    drain = parse_drain(params["drain"], "drain") if params.get("drain") else None
    policy = Policy(
        batch_size=Amount.parse(params["batch_size"], "batch_size", 1),
        max_unavailable=Amount.parse(params["max_unavailable"], "max_unavailable", 0),
        canary=params["canary"],
        min_healthy_time=params["min_healthy_time"],
        bake_time=params["bake_time"],
        batch_timeout=params["batch_timeout"],
        max_failures=params["max_failures"],
        match=match,
        max_age=age or 0.0,
        instances=frozenset(instances),
        standby=params["standby"],
        protected=params["protected"],
        raise_max_size=params["raise_max_size"],
        suspend_az_rebalance=params["suspend_az_rebalance"],
        poll_interval=params["poll_interval"],
        lock_timeout=params["lock_timeout"],
        one_batch=params["state"] == "advanced",
        checked=bool(checks),
        drained=drain is not None,
        rollback=params["on_failure"] == "rollback",
        refreshes=refreshes,
    )
    return policy, checks, drain


def parse_request(params: Mapping[str, Any]) -> Request:
    """What is asked for. Raises RolloutError."""
    if not params["group"].strip():
        raise RolloutError("group is empty: name an Auto Scaling group")
    template = _parse_template(params.get("launch_template"))
    if template is not None and params["state"] == "rolled_back":
        raise RolloutError(
            "state=rolled_back returns to the template that is recorded on the group: leave launch_template out, "
            "or use state=completed to roll to another one"
        )
    return Request(params["group"], params["state"], template)


def _parse_template(given: Mapping[str, Any] | None) -> Template | None:
    if not given:
        return None
    template_id, name = given.get("id") or "", given.get("name") or ""
    if bool(template_id) == bool(name):
        raise RolloutError("launch_template needs either id or name")
    version = str(given.get("version") or "$Default").strip()
    if not version.isdecimal() and version not in ("$Latest", "$Default"):
        raise RolloutError(f"launch_template.version is {version!r}: give a number, $Latest or $Default")
    return Template(template_id, name, version)
