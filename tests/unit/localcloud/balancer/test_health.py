# SPDX-License-Identifier: GPL-3.0-or-later
"""Real output of HAProxy 2.6 and 3.0, read; and AWS's words for it."""

from __future__ import annotations

import pytest

from localcloud.autoscaling.ports import TargetHealth
from localcloud.balancer import health

STAT = """\
# pxname,svname,qcur,scur,status,chkfail,check_status,check_code,check_duration,
api.aa,i-1_8080,0,0,UP,0,L7OK,200,1,
api.aa,i-2_8080,0,3,DRAIN,0,* L7OK,200,1,
api.aa,i-3_8080,0,0,DOWN,2,L7STS,503,4,
api.aa,i-4_8080,0,0,DRAIN,0,L4OK,,,
api.aa,i-5_8080,0,0,MAINT,0,,,,

"""
HEAD = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port\n"
)
STATE = HEAD + (
    "3 api.aa 1 i-1_8080 10.0.0.1 2 0 1 1 4 15 3 6 6 0 0 0 - 8080 - 0 0 - - 0\n"
    "3 api.aa 2 i-2_8080 10.0.0.2 2 8 1 1 1 15 3 6 6 0 0 0 - 8080 - 0 0 - - 0\n"
    "3 api.aa 3 i-3_8080 10.0.0.3 0 0 1 1 1 17 2 0 6 0 0 0 - 8080 - 0 0 - - 0\n"
    "3 api.aa 4 i-4_8080 10.0.0.4 2 8 1 1 1 9 0 6 6 0 0 0 - 8080 - 0 0 - - 0\n"
    "3 api.aa 5 i-5_8080 10.0.0.5 0 1 1 1 1 1 0 0 14 0 0 0 - 8080 - 0 0 - - 0\n\n"
)


def test_parse() -> None:
    found = health.parse(STAT, STATE)
    one, two, three, four, five = (found["api.aa", f"i-{number}_8080"] for number in range(1, 6))
    assert (one.up, one.passed, one.drain, one.maint, one.address, one.port) == (
        True,
        True,
        False,
        False,
        "10.0.0.1",
        8080,
    )
    assert (two.drain, two.sessions, two.check) == (True, 3, "L7OK")
    assert (three.up, three.passed, three.check, three.code) == (False, False, "L7STS", "503")
    assert (five.maint, five.up) == (True, False)
    # the connection is made and the answer is awaited: neither passed nor failed
    assert (four.up, four.passed, four.check) == (True, False, "L4OK")


def test_parse_of_a_haproxy_without_servers() -> None:
    assert health.parse("# pxname,svname,scur,\n\n", HEAD + "\n") == {}
    assert health.parse("", "") == {}


@pytest.mark.parametrize(
    ("check", "code", "reason", "description"),
    [
        ("L7STS", "503", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [503]"),
        ("L7TOUT", "", "Target.Timeout", "Request timed out"),
        ("L4TOUT", "", "Target.Timeout", "Request timed out"),
        ("L4CON", "", "Target.FailedHealthChecks", "Health checks failed"),
        ("L7RSP", "", "Target.FailedHealthChecks", "Health checks failed"),
        ("SOCKERR", "", "Target.FailedHealthChecks", "Health checks failed"),
    ],
)
def test_why_checks_fail(check: str, code: str, reason: str, description: str) -> None:
    status = health.ServerStatus("b", "s", "10.0.0.1", 80, False, False, False, 0, False, check, code)
    assert health.failure(status, health.CHECKING) == TargetHealth("unhealthy", reason, description)


def test_the_reason_stays_while_the_next_check_is_under_way() -> None:
    before = TargetHealth("unhealthy", "Target.Timeout", "Request timed out")
    status = health.ServerStatus("b", "s", "10.0.0.1", 80, False, False, False, 0, False, "L4OK", "")
    assert health.failure(status, before) == before
