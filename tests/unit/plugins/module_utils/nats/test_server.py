# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a server runs what is on disk: from when files were written and what it says of itself."""

from __future__ import annotations

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.nats.server import (
    Seen,
    Written,
    differs,
    reload_is_enough,
    seconds,
    seen,
    wait,
)

NOON = 1796040000.0  # 2026-11-30T12:00:00Z


def test_times_of_go_are_read() -> None:
    assert seconds("2026-11-30T12:00:00Z") == NOON
    assert seconds("2026-11-30T12:00:00.25Z") == NOON + 0.25
    assert seconds("2026-11-30T12:00:00.123456789Z") == pytest.approx(NOON + 0.123456789)
    assert seconds("2026-11-30T14:00:00.5+02:00") == NOON + 0.5
    for bad in ("", "yesterday", None, "2026-11-30"):
        with pytest.raises(ValueError, match="is no time"):
            seconds(bad)


@pytest.mark.parametrize(
    ("started", "loaded", "left", "enough"),
    [
        (10.0, 20.0, (), False),
        (10.0, 14.9, ("configuration",), True),
        (4.9, 20.0, ("unit",), False),
        (4.9, 14.9, ("configuration", "unit"), False),
        (5.0, 15.0, (), False),
    ],
)
def test_a_reload_is_enough_for_what_is_no_unit(
    started: float, loaded: float, left: tuple[str, ...], enough: bool
) -> None:
    written = Written(unit=5.0, configuration=15.0)
    found = Seen(started, loaded, True)
    assert differs(found, written) == left
    assert reload_is_enough(found, written) is enough


def test_one_that_does_not_answer_takes_a_restart() -> None:
    found = seen(None, active=True)
    assert (found.up, found.runs) == (False, True)
    assert differs(found, Written(0, 0)) == ("configuration", "unit")
    assert not reload_is_enough(found, Written(0, 0))
    told = seen(
        {"start": "2026-11-30T12:00:00Z", "config_load_time": "2026-11-30T12:00:01Z", "config_digest": "sha256:x"},
        active=True,
    )
    assert told == Seen(NOON, NOON + 1, True, "sha256:x")


@pytest.mark.parametrize(
    ("runs", "answers_at", "up", "until"),
    [(True, 20.0, True, 20.0), (True, 99.0, False, 30.0), (False, 20.0, False, 1.0)],
    ids=["it starts", "it hangs", "it is down"],
)
def test_one_that_runs_and_does_not_answer_yet_is_waited_for(
    runs: bool, answers_at: float, up: bool, until: float
) -> None:
    """A server that was just started must not be taken for one that has to be restarted."""
    now = [0.0]

    def look() -> Seen:
        return Seen(2.0, 2.0, True) if now[0] >= answers_at else Seen(None, None, runs)

    def sleep(length: float) -> None:
        now[0] += length

    assert wait(look, Written(1.0, 1.0), 1, lambda: now[0], sleep).up is up
    assert now[0] == until


def test_it_is_waited_for_until_it_has_it_or_the_patience_ends() -> None:
    now = [0.0]

    def sleep(length: float) -> None:
        now[0] += length

    written = Written(1.0, 1.0)
    answers = iter([Seen(None, None, False), Seen(2.0, 0.0, True), Seen(2.0, 2.0, True)])
    assert wait(lambda: next(answers), written, 60, lambda: now[0], sleep).loaded == 2.0
    assert now[0] == 1.0
    assert not wait(lambda: Seen(None, None, False), written, 3, lambda: now[0], sleep).up
    assert now[0] == 4.0
