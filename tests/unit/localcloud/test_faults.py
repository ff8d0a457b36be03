# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of a fault, and what is refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.faults import Faults

I1 = {"instance": "i-1"}
WRONG: list[tuple[Any, str]] = [
    ("plug", 'a fault is a JSON object, such as {"kind": "api"}'),
    ({"kind": ["api"]}, "unknown fault kind ['api']: use one of api,"),
    ({"kind": "away", "seconds": "x"}, "fault away: seconds is 'x' and must be a number or null"),
    ({"kind": "away", "seconds": True}, "fault away: seconds is True and must be a number or null"),
    ({"kind": "away", "seconds": float("nan")}, "seconds is nan and must be a number or null"),
    ({"kind": "away", "seconds": 10**400}, "and must be a number or null"),
    ({"kind": "away", "seconds": -1}, "fault away: seconds is -1 and must be 0 or more"),
    ({"kind": "away", "seconds": 0}, "fault away: it would last 0 seconds, which is never"),
    ({"kind": "lag", "seconds": -1}, "fault lag: seconds is -1 and must be 0 or more"),
    ({"kind": "lag", "times": 2}, "fault lag has no field 'times'"),
    ({"kind": "clock", "offset": "x", **I1}, "fault clock: offset is 'x' and must be a number"),
    ({"kind": "clock", "offset": None, **I1}, "fault clock: offset is None and must be a number"),
    ({"kind": "clock", "offset": 1, "instance": 7}, "fault clock: instance is 7 and must be a text"),
    ({"kind": "network", "zone": "z", "cut": "yes"}, "fault network: cut is 'yes' and must be true or false"),
    ({"kind": "network", "zone": "z", "rate": 1.5}, "fault network: rate is 1.5 and must be a whole number"),
    ({"kind": "network", "zone": "z", "latency": -1}, "fault network: latency is -1 and must be 0 or more"),
    ({"kind": "disk", "path": ["/a"], **I1}, "fault disk: path is ['/a'] and must be a text"),
    ({"kind": "plug", "seconds": 5, **I1}, "fault plug has no field 'seconds'"),
    ({"kind": "spot", "notice": -5, **I1}, "fault spot: notice is -5 and must be 0 or more"),
    ({"kind": "plug", "failed": {}, **I1}, "fault plug has no field 'failed'"),
    ({"kind": "boot", "outcome": "odd"}, "fault boot: there is no outcome 'odd': use hang or die"),
    ({"kind": "target", "outcome": ["unhealthy"]}, "fault target: there is no outcome ['unhealthy']: use unhealthy"),
    ({"kind": "credentials", "outcome": "odd"}, "fault credentials: there is no outcome 'odd': use missing or expired"),
    ({"kind": "boot", "times": 0}, "fault boot: times is 0 and must be 1 or more"),
    ({"kind": "api", "times": "3"}, "fault api: times is '3' and must be a whole number or null"),
    ({"kind": "api", "operation": ""}, "fault api: operation is '' and must be a text that is not empty"),
    ({"kind": "launch", "zone": 1}, "fault launch: zone is 1 and must be a text that is not empty or null"),
]


@pytest.mark.parametrize(("fault", "says"), WRONG, ids=[f"{number}" for number in range(len(WRONG))])
def test_what_would_have_no_effect_is_refused(fault: Any, says: str) -> None:
    faults = Faults(check=lambda _: None)
    with pytest.raises(ValueError, match="fault") as error:
        faults.add(fault)
    assert says in str(error.value)
    assert faults.as_list() == []


def test_what_is_right_is_armed() -> None:
    faults = Faults(check=lambda _: None)
    right = [
        {"kind": "api", "operation": "CreateTags", "times": None},
        {"kind": "launch", "zone": None},
        {"kind": "boot", "outcome": "die", "times": 2},
        {"kind": "away", "seconds": None},
        {"kind": "network", "zone": "z", "loss": 2.5, "rate": 10, "latency": 3, "seconds": 1},
        {"kind": "clock", "instance": "i-1", "offset": -7200.5},
    ]
    for one in right:
        faults.add(one)
    for one, listed in zip(right, faults.as_list(), strict=True):
        assert listed | one == listed
