# SPDX-License-Identifier: GPL-3.0-or-later
"""haproxy.cfg and the state file, as text. That HAProxy takes them is what the contract tests show."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from localcloud.balancer import render
from localcloud.balancer.model import (
    Condition,
    FixedResponse,
    Forward,
    HealthCheck,
    Listener,
    Redirect,
    Rule,
    Server,
    TargetGroup,
    Tls,
    View,
)

PREFIX = "arn:aws:elasticloadbalancing:eu-central-1:123456789012"
API = f"{PREFIX}:targetgroup/api/00000000000000aa"
ADMIN = f"{PREFIX}:targetgroup/admin/00000000000000bb"
CHECK = HealthCheck("HTTP", None, "/readyz", "200-299,302", 5, 2, 3, 2)


def group(arn: str = API, protocol: str = "HTTP", check: HealthCheck = CHECK, **more: object) -> TargetGroup:
    return TargetGroup(arn, protocol, 8080, check, **more)  # type: ignore[arg-type]


def listener(*rules: Rule, protocol: str = "HTTP") -> Listener:
    return Listener(f"{PREFIX}:listener/app/front/0000/1111", "127.80.1.2", 80, protocol, rules)


def block(text: str, name: str) -> list[str]:
    """The lines of one section."""
    found = re.search(rf"^{re.escape(name)}\n((?:  .*\n)*)", text, re.M)
    assert found, f"no {name} in:\n{text}"
    return [line.strip() for line in found.group(1).splitlines()]


def test_a_group_s_check_settings_all_reach_haproxy() -> None:
    text = render.config(View((listener(Rule(Forward(((API, 1),)))),), (group(),)))
    lines = block(text, "backend api.00000000000000aa")
    assert "http-check expect status 200-299,302" in lines
    assert "timeout check 2s" in lines
    assert "default-server check inter 5s rise 3 fall 2" in lines
    assert any(line.startswith("http-check send meth GET uri '/readyz' ") for line in lines)
    assert "balance roundrobin" in lines


def test_a_request_that_was_sent_is_not_retried() -> None:
    lines = block(render.config(View()), "defaults")
    assert "option redispatch 1" in lines
    assert "http-reuse never" in lines
    assert not any("retry-on" in line for line in lines), "the default is conn-failure only"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (group(check=HealthCheck("HTTP", 9000, "/", "200", 5, 2, 3, 2)), "port 9000"),
        (group(protocol="HTTPS"), "ssl verify none"),
        (group(check=HealthCheck("HTTPS", None, "/", "200", 5, 2, 3, 2)), "check-ssl verify none"),
    ],
)
def test_server_options(changed: TargetGroup, expected: str) -> None:
    assert expected in render.server_options(changed)
    assert expected not in render.server_options(group())


def test_tcp_groups_check_the_connection_only() -> None:
    check = HealthCheck("TCP", None, "/", "", 10, 5, 2, 2)
    rule = Rule(Forward(((API, 1),)))
    text = render.config(View((listener(rule, protocol="TCP"),), (group(protocol="TCP", check=check),)))
    assert "option httpchk" not in text
    assert "mode tcp" in block(text, "backend api.00000000000000aa")
    assert "default_backend api.00000000000000aa" in block(text, "frontend front.80.1111")


def test_the_first_rule_that_matches_wins_whatever_it_does() -> None:
    rules = (
        Rule(Forward(((ADMIN, 1),)), (Condition("path-pattern", ("/admin/*",)),)),
        Rule(FixedResponse(404, "text/plain", "no"), (Condition("path-pattern", ("/admin/*", "/x")),)),
        Rule(Forward(((API, 1),))),
    )
    lines = block(render.config(View((listener(*rules),), (group(), group(ADMIN)))), "frontend front.80.1111")
    numbered = [line for line in lines if line.startswith("http-request set-var(txn.rule)")]
    assert numbered == [
        "http-request set-var(txn.rule) int(0) if rule0.0",
        "http-request set-var(txn.rule) int(1) if !{ var(txn.rule) -m found } rule1.0",
        "http-request set-var(txn.rule) int(2) if !{ var(txn.rule) -m found }",
    ]
    assert "use_backend admin.00000000000000bb if { var(txn.rule) -m int 0 }" in lines


def test_weights_share_the_requests() -> None:
    rule = Rule(Forward(((API, 3), (ADMIN, 1), (f"{PREFIX}:targetgroup/off/00cc", 0))))
    lines = block(render.config(View((listener(rule),), (group(), group(ADMIN)))), "frontend front.80.1111")
    assert [line for line in lines if "use_backend" in line] == [
        "use_backend api.00000000000000aa if { var(txn.rule) -m int 0 } { var(txn.lot) -m int lt 750000 }",
        "use_backend admin.00000000000000bb if { var(txn.rule) -m int 0 }",
    ]


def test_a_redirect_keeps_a_literal_percent_sign_and_drops_an_empty_query() -> None:
    rule = Rule(Redirect("https://#{host}:443/50%/#{path}?#{query}", 301))
    lines = [line for line in render.config(View((listener(rule),))).splitlines() if "redirect" in line]
    assert lines[1].strip() == (
        "http-request redirect location 'https://%[req.hdr(host),field(1,:)]:443/50%%/%[path,bytes(1)]' "
        "code 301 if { var(txn.rule) -m int 0 }"
    )
    assert "?%[query]'" in lines[0]
    assert "query -m found" in lines[0]


@pytest.mark.parametrize("text", ["plain", "two words", "it's", '#{x} "$HOME" \\ %', "a\nb", ""])
def test_quote_is_one_word_for_haproxy(text: str) -> None:
    word = render.quote(text)
    # read it back as HAProxy does: single quotes are strong, a backslash outside them escapes
    out, quoted, place = "", False, 0
    while place < len(word):
        char = word[place]
        if char == "'":
            quoted = not quoted
        elif char == "\\" and not quoted:
            place += 1
            out += {"n": "\n", "r": "\r", "t": "\t"}.get(word[place], word[place])
        else:
            assert quoted, "nothing is left unquoted"
            out += char
        place += 1
    assert out == text
    assert not quoted


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("/img/*", "/img/a/b.png", True),
        ("/img/?.png", "/img/a.png", True),
        ("/img/?.png", "/img/ab.png", False),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "axexample.org", False),
        ("/a.b", "/aXb", False),
    ],
)
def test_wildcards(pattern: str, text: str, matches: bool) -> None:
    assert bool(re.fullmatch(render.wildcard(pattern), text)) is matches


def test_servers_that_haproxy_does_not_know_start_without_traffic() -> None:
    known = (
        "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state\n"
        "3 api.00000000000000aa 1 10.0.0.1_8080 10.0.0.1 2 0 1 1 77 15 3 4 6 0 0 0 - 8080 - 0 0 - - 0\n\n"
    )
    old = Server("api.00000000000000aa", "10.0.0.1_8080", "10.0.0.1", 8080)
    new = Server("api.00000000000000aa", "10.0.0.2_8080", "10.0.0.2", 8080)
    lines = render.state(known, [(old, group()), (new, group())]).splitlines()
    assert lines[:3] == known.splitlines()[:3]
    assert len(lines) == 4
    fields = lines[3].split()
    assert fields[3:7] == ["10.0.0.2_8080", "10.0.0.2", "2", "8"], "up so far, and drained"
    assert fields[12] == "4", "rise + fall - 1: as many failures as the threshold take it down"
    assert fields[18] == "8080"
    fresh = render.state("", [(old, group())]).splitlines()
    assert fresh[0] == "1"
    assert len(fresh[1].lstrip("# ").split()) == len(fresh[2].split())
    assert render.has_state(known, old)
    assert not render.has_state(known, new)


def test_settings_are_the_same_whatever_targets_there_are() -> None:
    seen = View((listener(Rule(Forward(((API, 1),)))),), (group(),))
    server = Server("api.00000000000000aa", "10.0.0.1_8080", "10.0.0.1", 8080)
    assert "server 10.0.0.1_8080 10.0.0.1:8080" in render.config(seen, [server])
    assert render.config(seen) == render.config(seen, [server]).replace("  server 10.0.0.1_8080 10.0.0.1:8080\n", "")


OLD = ("TLSv1.2", "TLSv1.1", "TLSv1"), ("ECDHE-RSA-AES128-SHA",)
NEW = ("TLSv1.3", "TLSv1.2"), ("TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (
            NEW,
            "ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.3 ciphers ECDHE-RSA-AES128-GCM-SHA256 ciphersuites TLS_AES_128_GCM_SHA256",
        ),
        (OLD, "ssl-min-ver TLSv1.0 ssl-max-ver TLSv1.2 ciphers ECDHE-RSA-AES128-SHA:@SECLEVEL=0"),
    ],
)
def test_a_listener_s_certificates_and_policy_reach_haproxy(
    policy: tuple[tuple[str, ...], tuple[str, ...]], words: str
) -> None:
    rule = Rule(Redirect("#{protocol}://#{host}:#{port}/#{path}", 301))
    secure = replace(listener(rule, protocol="HTTPS"), tls=Tls(("a.pem", "b.pem"), *policy, "h2,http/1.1"))
    lines = block(render.config(View((secure,))), "frontend front.80.1111")
    assert f"bind 127.80.1.2:80 ssl crt ./certs/a.pem crt ./certs/b.pem {words} alpn h2,http/1.1" in lines
    assert "http-request set-header X-Forwarded-Proto https" in lines
    assert any("redirect location 'https://" in line for line in lines)


def test_targets_see_the_load_balancer_s_own_address() -> None:
    view = View((listener(Rule(Forward(((API, 1),)))),), (group(source="10.0.0.200"),))
    assert "source 10.0.0.200" in block(render.config(view), "backend api.00000000000000aa")
    plain = View(view.listeners, (group(),))
    assert "source" not in render.config(plain)
