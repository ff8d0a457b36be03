# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draws a roll before anyone runs it. All on the controller: there is no host and no cloud in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.options import ARGUMENTS
from ansible_collections.boring.fleet.plugins.module_utils.rollout.tell.page import Page, differs
from ansible_collections.boring.fleet.plugins.module_utils.rollout.tell.report import render_picture, render_report
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError
from ansible_collections.boring.fleet.plugins.plugin_utils.simulated_roll import Fleet, Outcome, simulate

# What names a real group, its instances or their past has no meaning here.
_LEFT_OUT = ("group", "state", "launch_template", "match", "max_age", "instances", "events_path", "strategy")
_SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "default": "simulated"},
    "size": {"type": "int", "required": True},
    "min_size": {"type": "int"},
    "max_size": {"type": "int"},
    "zones": {"type": "int", "default": 3},
    "target_groups": {"type": "int", "default": 1},
    "boot_time": {"type": "float", "default": 90},
    "boot_spread": {"type": "float", "default": 0},
    "healthy_after": {"type": "float", "default": 10},
    "drain_time": {"type": "float", "default": 30},
    "failure_rate": {"type": "float", "default": 0},
    "hourly_price": {"type": "float"},
    "seed": {"type": "int", "default": 1},
    "options": {"type": "dict", "default": {}},
    "dest": {"type": "path"},
    "picture": {"type": "path"},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Simulates, and writes page and picture."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        dummy, given = self.validate_argument_spec(argument_spec=_SPEC)
        try:
            options = self._options(given["options"])
            fleet = Fleet.parse(given)
            price = given["hourly_price"]
            if price is not None and price < 0:
                raise RolloutError(f"hourly_price is {price}: it must be at least 0")
            outcome = simulate(fleet, options)
            result |= _told(outcome, fleet, price)
            page = render_report(
                outcome.events,
                title=f"Simulated roll of {fleet.size} instances",
                figures=_figures(outcome, price),
                when="On paper: nothing was called or changed.",
            )
            drawn = {
                "dest": page,
                "picture": render_picture(outcome.events),
            }
            for option, text in drawn.items():
                if given[option]:
                    result["changed"] |= self._write(text, given[option], option)
        except RolloutError as exc:
            return {**result, "failed": True, "msg": str(exc)}
        return result

    @staticmethod
    def _options(given: dict[str, Any]) -> dict[str, Any]:
        """asg_rollout's options with their defaults. Raises RolloutError for those that a simulation has no use for."""
        for name in _LEFT_OUT:
            if name in given:
                raise RolloutError(
                    f"options.{name} has no meaning for a group on paper, which is rolled in batches: leave it out"
                )
        spec = {name: argument for name, argument in ARGUMENTS.items() if name not in ("group", "state")}
        checked = ArgumentSpecValidator(spec).validate(given)
        if checked.error_messages:
            raise RolloutError(f"options: {'; '.join(checked.error_messages)}")
        return {**checked.validated_parameters, "group": "simulated", "state": "completed"}

    def _write(self, text: str, path: str, option: str) -> bool:
        page = Page(text)
        if not differs(page, path):
            return False
        if not self._task.check_mode:
            page.write(path, lambda source, dest: Path(source).replace(dest), option)
            Path(path).chmod(0o644)  # a page is to be looked at
        return True


def _told(outcome: Outcome, fleet: Fleet, price: float | None) -> dict[str, Any]:
    roll = outcome.result.as_dict()
    return {
        "changed": False,
        "msg": outcome.summary(fleet, price),
        "would_fail": outcome.result.failed,
        "seconds": roll["seconds"],
        "lowest_in_service": roll["lowest_in_service"],
        "surge": outcome.surge,
        "surge_hours": outcome.surge_hours,
        "surge_cost": None if price is None else round(outcome.surge_hours * price, 4),
        "api_calls": outcome.result.api_calls.total(),
        "roll": {name: roll[name] for name in ("state", "done", "plan", "replaced", "failures", "sizes", "api_calls")},
    }


def _figures(outcome: Outcome, price: float | None) -> list[tuple[str, str]]:
    figures = [(str(outcome.surge), "most beyond size"), (f"{outcome.surge_hours:.2f}", "surge instance hours")]
    if price is not None:
        figures.append((f"{outcome.surge_hours * price:.2f}", "cost of the surge"))
    return figures
