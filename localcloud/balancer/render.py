# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure renderer: a View becomes haproxy.cfg, and what HAProxy knew of its servers becomes its state file.

Works with HAProxy 2.6 (Debian 12) and 3.0 (Debian 13).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from localcloud.balancer import tls
from localcloud.balancer.model import (
    Condition,
    FixedResponse,
    Forward,
    Listener,
    Redirect,
    Rule,
    Server,
    TargetGroup,
    View,
    backend_name,
)

SOCKET = "haproxy.sock"
STATE_FILE = "haproxy.state"

# One thread: `add server; ...; enable health` on one line then runs before the first check is due, so that the first
# check is made at once; with more threads it may come a whole interval late.
# fd-hard-limit: without it HAProxy 2.6 sizes its tables by the machine's limit, which can be a thousand million.
# hard-stop-after: an old worker ends with its last connection, at the latest then.
_GLOBAL = f"""\
global
  nbthread 1
  fd-hard-limit 20000
  tune.bufsize 65536
  hard-stop-after 1h
  max-spread-checks 100
  stats socket unix@./{SOCKET} mode 600 level admin expose-fd listeners
  stats timeout 1m
  server-state-file ./{STATE_FILE}

# retries and redispatch are for connections that could not be made; a request that was sent is never sent again.
# Target connections are not kept: none can be closed by a target under a request, and a target is idle when it is done.
# idle-close-on-response: a reload answers the next request of a waiting client before it closes the connection.
defaults
  load-server-state-from-file global
  retries 3
  option redispatch 1
  option splice-auto
  http-reuse never
"""

_DEAD_PORT = 1
_PLACEHOLDER = re.compile(r"#\{(protocol|host|port|path|query)\}")


def quote(text: str) -> str:
    """One word of haproxy.cfg that means exactly ``text``."""
    words = []
    for part in re.split(r"([\n\r\t'])", text):
        if part in ("\n", "\r", "\t", "'"):
            words.append({"\n": "\\n", "\r": "\\r", "\t": "\\t", "'": "\\'"}[part])
        elif part:
            words.append(f"'{part}'")
    return "".join(words) or "''"


def wildcard(pattern: str, any_char: str = ".") -> str:
    """AWS's pattern (* any run, ? any one character) as a regular expression."""
    return "".join({"*": f"{any_char}*", "?": any_char}.get(char, re.escape(char)) for char in pattern)


def server_options(group: TargetGroup) -> str:
    """What every server line of a group carries; the runtime API's `add server` takes the same words."""
    check = group.check
    words = ["check", f"inter {check.interval}s", f"rise {check.healthy}", f"fall {check.unhealthy}"]
    if check.port is not None:
        words.append(f"port {check.port}")
    if group.protocol in ("HTTPS", "TLS"):
        words.append("ssl verify none")  # like AWS: a target's certificate is not verified
    if check.protocol == "HTTPS":
        words.append("check-ssl verify none")
    return " ".join(words)


def own_options(server: Server) -> str:
    """What one server's line says more than its group's."""
    return f" port {_DEAD_PORT}" if server.sick else ""


def config(view: View, servers: Iterable[Server] = ()) -> str:
    """The whole haproxy.cfg. Without ``servers`` it is the group of settings that only a reload can change."""
    by_backend: dict[str, list[Server]] = {}
    for server in servers:
        by_backend.setdefault(server.backend, []).append(server)
    blocks = [_GLOBAL]
    blocks += [_frontend(listener) for listener in view.listeners]
    blocks += [_backend(group, by_backend.get(group.backend, [])) for group in view.groups]
    return "\n".join(blocks)


def state(known: str, servers: Iterable[tuple[Server, TargetGroup]]) -> str:
    """The state file for a (re)start: what `show servers state` said, and the servers that it does not have yet.

    Those start the way a new target does: checks pass so far, no traffic (drained) until the first one was made.
    """
    lines = [line for line in known.splitlines() if line.strip()]
    if not lines or lines[0] != "1":
        lines = [
            "1",
            "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
            "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state "
            "srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl "
            "srv_check_port srv_check_addr srv_agent_addr srv_agent_port",
        ]
    for server, group in servers:
        if has_state(known, server):
            continue
        health = group.check.healthy + group.check.unhealthy - 1
        ssl = int(group.protocol in ("HTTPS", "TLS"))
        check_port = _DEAD_PORT if server.sick else group.check.port or 0
        lines.append(
            f"0 {server.backend} 0 {server.name} {server.address} 2 8 1 1 0 6 0 {health} 6 0 0 0 - "
            f"{server.port} - {ssl} {check_port} - - 0"
        )
    return "\n".join(lines) + "\n"


def has_state(known: str, server: Server) -> bool:
    """Whether `show servers state` named the server."""
    return f" {server.backend} " in known and any(
        line.split()[1:4:2] == [server.backend, server.name] for line in known.splitlines() if not line.startswith("#")
    )


def _frontend(listener: Listener) -> str:
    lines = [
        f"frontend {listener.frontend}",
        f"  bind {listener.address}:{listener.port}{f' {tls.bind_options(listener.tls)}' if listener.tls else ''}",
        f"  timeout client {listener.idle_timeout}s",
    ]
    if listener.protocol in ("TCP", "TLS"):
        lines.insert(1, "  mode tcp")
        lines += [f"  default_backend {backend_name(arn)}" for arn, _ in _forward(listener.rules[-1]).weights[:1]]
        return "\n".join(lines) + "\n"
    lines.insert(1, "  mode http")
    lines += [
        "  option http-server-close",
        "  option idle-close-on-response",
        "  option forwardfor",
        f"  http-request set-header X-Forwarded-Proto {listener.protocol.lower()}",
        f"  http-request set-header X-Forwarded-Port {listener.port}",
    ]
    # First which rule it is, then what the rule does: HAProxy runs all `http-request` before any `use_backend`.
    for number, rule in enumerate(listener.rules):
        tests = ["!{ var(txn.rule) -m found }"] if number else []
        for place, condition in enumerate(rule.conditions):
            name = f"rule{number}.{place}"
            lines += [f"  acl {name} {test}" for test in _tests(condition)]
            tests.append(name)
        suffix = f" if {' '.join(tests)}" if tests else ""
        lines.append(f"  http-request set-var(txn.rule) int({number}){suffix}")
    if any(isinstance(rule.action, Forward) and len(rule.action.weights) > 1 for rule in listener.rules):
        lines.append("  http-request set-var(txn.lot) rand(1000000)")
    for number, rule in enumerate(listener.rules):
        lines += _action(rule, f"{{ var(txn.rule) -m int {number} }}", listener)
    return "\n".join(lines) + "\n"


def _action(rule: Rule, when: str, listener: Listener) -> list[str]:
    action = rule.action
    if isinstance(action, FixedResponse):
        body = f" content-type {quote(action.content_type)} string {quote(action.body)}" if action.body else ""
        return [f"  http-request return status {action.status}{body} if {when}"]
    if isinstance(action, Redirect):
        with_query = _location(action.location, listener)
        without = _location(action.location.removesuffix("?#{query}"), listener)
        lines = [f"  http-request redirect location {without} code {action.status} if {when}"]
        if with_query != without:
            lines.insert(
                0,
                f"  http-request redirect location {with_query} code {action.status} "
                f"if {when} {{ query -m found }} !{{ query -m len 0 }}",
            )
        return lines
    weights = [(arn, weight) for arn, weight in action.weights if weight > 0] or list(action.weights[:1])
    total = sum(weight for _, weight in weights)
    lines, below = [], 0
    for arn, weight in weights[:-1]:
        below += weight * 1_000_000 // total
        lines.append(f"  use_backend {backend_name(arn)} if {when} {{ var(txn.lot) -m int lt {below} }}")
    lines.append(f"  use_backend {backend_name(weights[-1][0])} if {when}")
    return lines


def _tests(condition: Condition) -> list[str]:
    values = condition.values
    whole = [quote(f"^{wildcard(value)}$") for value in values]
    if condition.kind == "path-pattern":
        return [f"path -m reg -- {value}" for value in whole]
    if condition.kind == "host-header":
        return [f"req.hdr(host),field(1,:) -m reg -i -- {value}" for value in whole]
    if condition.kind == "http-header":
        return [f"req.fhdr({condition.header}) -m reg -i -- {value}" for value in whole]
    if condition.kind == "http-request-method":
        return [f"method -- {quote(value)}" for value in values]
    if condition.kind == "source-ip":
        return [f"src -- {quote(value)}" for value in values]
    if condition.kind == "query-string":
        return [
            "query -m reg -i -- " + quote(f"(^|&){wildcard(key or '*', '[^&=]')}={wildcard(value, '[^&]')}(&|$)")
            for key, value in condition.pairs
        ]
    raise ValueError(f"condition {condition.kind} is not rendered")


def _location(template: str, listener: Listener) -> str:
    values = {
        "protocol": listener.protocol.lower(),
        "host": "%[req.hdr(host),field(1,:)]",
        "port": str(listener.port),
        "path": "%[path,bytes(1)]",
        "query": "%[query]",
    }
    parts = _PLACEHOLDER.split(template)
    # split with one group: literal, placeholder, literal, ...
    return quote("".join(values[part] if place % 2 else part.replace("%", "%%") for place, part in enumerate(parts)))


def _backend(group: TargetGroup, servers: Sequence[Server]) -> str:
    check = group.check
    balance = "leastconn" if group.algorithm == "least_outstanding_requests" else "roundrobin"
    lines = [
        f"backend {group.backend}",
        "  mode tcp" if group.protocol in ("TCP", "TLS") else "  mode http",
        f"  balance {balance}",
        # also for checks: theirs may take `timeout connect` to connect and `timeout check` to be answered
        f"  timeout connect {min(check.timeout, 10)}s",
        f"  timeout check {check.timeout}s",
        f"  timeout server {group.idle_timeout}s",
    ]
    if group.source:
        lines.append(f"  source {group.source}")
    if group.protocol in ("HTTP", "HTTPS"):
        lines.append("  option http-server-close")
    if check.protocol != "TCP":
        lines += [
            "  option httpchk",
            f"  http-check send meth GET uri {quote(check.path)} ver HTTP/1.1 "
            "hdr Host elb-health-checker hdr User-Agent ELB-HealthChecker/2.0",
            f"  http-check expect status {check.codes}",
        ]
    lines.append(f"  default-server {server_options(group)}")
    lines += [f"  server {server.name} {server.address}:{server.port}{own_options(server)}" for server in servers]
    return "\n".join(lines) + "\n"


def _forward(rule: Rule) -> Forward:
    assert isinstance(rule.action, Forward)  # noqa: S101 - a TCP listener has no other action; the snapshot sees to it
    return rule.action
