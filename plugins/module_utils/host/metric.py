# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metric that a service's group follows: out of the Prometheus text that the service serves, into CloudWatch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told

PATH: Final = "/metrics"
# A line of the text: name, labels, value, perhaps a time and more. A label's value may hold braces, blanks and quotes behind a backslash.
_LABELS: Final = r'[ \t]*\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\}[ \t]*'
_VALUE: Final = rf"(?:{_LABELS}|[ \t]+)([^\s#]+)"


@dataclass(frozen=True)
class Publisher:
    """`get` takes path, port and whether it is TLS, and gives status and text of this host's service, 0 without an answer. `put` takes namespace,
    metric, dimensions and value."""

    get: Callable[[str, int, bool], tuple[int, str]]
    put: Callable[[str, str, Mapping[str, str], float], None]

    def __call__(self, told: Told) -> None:
        """Read the metric and put it. Raises HostError."""
        about = told.follows
        if about is None:
            return
        status, text = self.get(PATH, about.port, about.tls)
        where = f"{told.service} at port {about.port}, {PATH},"
        if status != 200:
            raise HostError(
                f"{where} {f'answers {status}' if status else 'does not answer'}, so that its group knows no {about.metric}; see the journal of its unit"
            )
        value = found(text, about.metric)
        if value is None:
            raise HostError(
                f"{where} has no {about.metric}, which its group follows: name another in scale, and deploy"
            )
        self.put(about.namespace, about.metric, {"Fleet": told.fleet, "Service": told.service}, value)


def found(text: str, name: str) -> float | None:
    """The value of a metric, the sum where it has several by label; None when there is none that is a finite number."""
    values = re.findall(rf"^{re.escape(name)}{_VALUE}", text, re.MULTILINE)
    numbers = [number for number in map(_number, values) if math.isfinite(number)]
    return sum(numbers) if numbers and len(numbers) == len(values) else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
