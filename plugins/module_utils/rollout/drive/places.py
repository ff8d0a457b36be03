# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where instances are found, and what they say: health checks of the application, and drains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.checks import Place
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.cloud import Cloud
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Instance

# Runs every check against every place at once; why each fails, "" where all pass.
Prober = Callable[[Iterable[Place]], Mapping[str, str]]

_ADDRESSED = ("running", "stopping", "stopped")  # states in which an instance has all the addresses it will have
_UNKNOWN = "EC2 does not know it yet"


class Places:
    """Addresses, looked up once, and the checks that are run there."""

    def __init__(self, cloud: Cloud, prober: Prober | None, drainer: Prober | None) -> None:
        self._cloud = cloud
        self._prober = prober
        self._drainer = drainer
        self._known: dict[str, Place] = {}

    @property
    def checked(self) -> bool:
        """Whether there are health checks of the application."""
        return self._prober is not None

    def find(self, wanted: Iterable[Instance], also: Iterable[Instance] = ()) -> None:
        """Look up where instances are found, those that are not known yet, and in the same call others."""
        some = list(wanted)
        if all(instance.id in self._known for instance in some):
            return
        zones = {instance.id: instance.zone for instance in (*also, *some)}
        machines = self._cloud.machines(name for name in zones if name not in self._known)
        for name, machine in machines.items():
            if machine.address or machine.state in _ADDRESSED:
                self._known[name] = Place(name, machine.address, zones[name])

    def probe(self, instances: Iterable[Instance]) -> dict[str, str]:
        """Why each instance fails the health checks, "" it passes; {} where there are none."""
        wanted = list(instances)
        if self._prober is None or not wanted:
            return {}
        self.find(wanted)
        return self._ask(self._prober, [instance.id for instance in wanted])

    def probe_again(self, names: Iterable[str]) -> set[str]:
        """Those that fail now, of instances that were found before. No call to AWS."""
        if self._prober is None:
            return set()
        places = [self._known[name] for name in names if name in self._known]
        return {name for name, why in self._prober(places).items() if why}

    def drain(self, names: Iterable[str]) -> dict[str, str]:
        """Ask instances to drain: why each has not yet, "" it has."""
        return self._ask(self._drainer, list(names)) if self._drainer is not None else {}

    def _ask(self, prober: Prober, names: list[str]) -> dict[str, str]:
        found = dict(prober([self._known[name] for name in names if name in self._known]))
        return {name: found.get(name, "") if name in self._known else _UNKNOWN for name in names}
