# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module that is given a secret, in real runs at -vvv --diff: it succeeds, it is refused, it cannot connect.

The servers and the program are as talkative as can be: what they refuse they repeat, the secret with it.
"""

from __future__ import annotations

import contextlib
import json
import re
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.tailscale_api import FakeTailnet
from tests.fakes.twingate import FakeTwingate, Server
from tests.programs import nats_server
from tests.unit.plugins.playbook_runs import ROOT, run_playbook

SECRET = "hunter2hunter2"
HASH = "5ec2e7" * 10 + "abcd"


class _Redis(socketserver.StreamRequestHandler):
    """A Redis and its Sentinel in one, the only node of its set. Lets in who says the secret, and repeats what others say."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = []
            for dummy in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].decode())
            self.wfile.write(self.answer(words).encode())

    def answer(self, words: list[str]) -> str:
        port = self.server.server_address[1]
        info = "role:master\r\nmaster_repl_offset:1\r\nserver_time_usec:1\r\nuptime_in_seconds:0\r\n"
        users = f"user app on #{HASH} ~* +@all"
        answers = {
            "INFO": f"${len(info)}\r\n{info}\r\n",
            "GET-MASTER-ADDR-BY-NAME": f"*2\r\n$9\r\n127.0.0.1\r\n${len(str(port))}\r\n{port}\r\n",
            "CKQUORUM": "+OK 1 usable Sentinels\r\n",
            "REPLICAS": "*0\r\n",
            "MASTER": f"*2\r\n$9\r\nauth-pass\r\n${len(SECRET)}\r\n{SECRET}\r\n",
            "CONFIG": f"*2\r\n$10\r\nmasterauth\r\n${len(SECRET) + 4}\r\n{SECRET}-old\r\n",
            "ACL": f"*1\r\n${len(users)}\r\n{users}\r\n",
        }
        if words[0] == "AUTH":
            return "+OK\r\n" if words[2] == SECRET else f"-WRONGPASS for {' '.join(words)}\r\n"
        if words[1] in ("SET", "SETUSER", "DELUSER"):
            return f"-ERR I will not {' '.join(words)}\r\n" if "refuse" in words else "+OK\r\n"
        return answers[words[1] if words[0] == "SENTINEL" else words[0]]


class _Aws(BaseHTTPRequestHandler):
    """AWS's API, where nobody is let in; its error repeats what it was given."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        said = f"{self.headers['Authorization']} {self.headers['X-Amz-Security-Token']}"
        error = f"<Error><Code>AuthFailure</Code><Message>no {said}</Message></Error>"
        data = f"<ErrorResponse>{error}<Errors>{error}</Errors></ErrorResponse>".encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *dummy: Any) -> None:
        """Nothing."""


class _Echo(BaseHTTPRequestHandler):
    """An API that repeats in its error what it was given as a key."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        said = self.headers["X-API-KEY"] or self.headers["Authorization"]
        data = json.dumps({"message": f"no {said}", "errors": [{"message": f"the key {said} is none"}]}).encode()
        self.send_response(200 if "graphql" in self.path else 418)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *dummy: Any) -> None:
        """Nothing."""


class _Monitor(_Echo):
    """The monitoring of a NATS server that leads its cluster, of which another is gone."""

    def do_GET(self) -> None:
        meta = {"leader": "n1", "cluster_size": 3, "replicas": [{"name": "n2"}, {"name": "n3"}]}
        data = json.dumps({"server_name": "n1", "meta_cluster": meta, "routes": [{"remote_name": "n2"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[int]:
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def nats(folder: Path) -> Iterator[int]:
    """A real NATS server with JetStream and one user."""
    (folder / "nats.conf").write_text(
        f'host: 127.0.0.1\nport: -1\nports_file_dir: "{folder}"\njetstream {{ store_dir: "{folder}/store" }}\n'
        f'authorization {{ users: [ {{ user: app, password: "{SECRET}" }} ] }}\n'
    )
    process = subprocess.Popen(
        [nats_server(), "-c", str(folder / "nats.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not (found := list(folder.glob("nats-server_*.ports"))) or not found[0].read_text():
            assert time.monotonic() < deadline, "nats-server did not start"
            assert process.poll() is None, "nats-server ended"
            time.sleep(0.05)
        yield int(json.loads(found[0].read_text())["nats"][0].rsplit(":", 1)[1])
    finally:
        process.terminate()
        process.wait(timeout=30)


SOUNDS_SECRET = re.compile(r"password|secret|token|(^|[_.])keys?(_|$)")
# Paths of keys that a program of somebody else's reads, and names of keys that stay where they are
SOUND_ONLY = {
    "dkms_module": {"signing_key"},
    "image_provenance": {"key"},
    "image_publish": {"copies.kms_key_id"},
    "served_certificate": {"key"},
}
# With what each needs to get as far as its first call
ON_AWS: dict[str, dict[str, Any]] = {
    "asg_rollout": {"group": "g"},
    "fleet_deploy": {
        "variables": {"fleet_name": "f", "fleet_region": "eu-central-1", "fleet_services": {"w": {"roles": ["a.b.c"]}}},
        "state_dir": "state",
    },
    "event_schedule": {"group": "g", "events": [], "size": {"min": 1, "max": 1}, "load_per_instance": 1},
    "fleet_status_info": {"name": "f"},
    "image_build": {"template": "absent"},
    "image_janitor": {},
    "image_provenance": {"image": "ami-0abc", "key": "absent", "dest": "x"},
    "image_prune": {"family": "f"},
    "image_publish": {"channel": "/c", "image": "ami-0abc"},
    "image_usage_info": {},
}


def takers() -> set[str]:
    """The modules that take a secret, as their documentation has it."""

    def options(given: dict[str, Any], before: str = "") -> Iterator[str]:
        for name, about in given.items():
            yield before + name
            yield from options(about.get("suboptions") or {}, f"{before}{name}.")

    found = set()
    for file in (ROOT / "plugins" / "modules").glob("*.py"):
        about = yaml.safe_load(file.read_text().split('DOCUMENTATION = r"""')[1].split('"""')[0])
        names = {name for name in options(about.get("options") or {}) if SOUNDS_SECRET.search(name)}
        shared = {"boring.fleet.aws", "boring.fleet.login"} & set(about.get("extends_documentation_fragment") or [])
        if shared or names - SOUND_ONLY.get(file.stem, set()):
            found.add(f"boring.fleet.{file.stem}")
    return found


@pytest.mark.timeout(280)
def test_no_module_shows_a_secret(tmp_path: Path) -> None:
    """Its own messages are what is looked at; what they say otherwise is other tests' matter."""
    for name, text in {"key": SECRET, "wrong": SECRET + "-wrong"}.items():
        (tmp_path / name).write_text(text + "\n")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "plain").write_text(f"PASSWORD='{SECRET}'\nODD={SECRET}#{SECRET}\n")
    tailscale = tmp_path / "tailscale"
    tailscale.write_text(
        '#!/bin/sh\ncase "$1" in\n'
        'status) echo \'{"BackendState": "NeedsLogin"}\' ;;\n'
        "debug) echo '{}' ;;\n"
        f'*) echo "invalid key $(cat {tmp_path}/key) $*" >&2; exit 1 ;;\nesac\n'
    )
    tailscale.chmod(0o755)
    joins = tmp_path / "joins"
    joins.write_text(
        '#!/bin/sh\ncase "$1" in\n'
        f'status) if [ -e {tmp_path}/joined ]; then echo \'{{"BackendState": "Running"}}\'; else echo \'{{"BackendState": "NeedsLogin"}}\'; fi ;;\n'
        "debug) echo '{}' ;;\n"
        f'*) touch {tmp_path}/joined; echo "joined with $(cat {tmp_path}/key) $*" >&2 ;;\nesac\n'
    )
    joins.chmod(0o755)
    example = yaml.safe_load(
        (ROOT / "plugins/modules/access_policy.py").read_text().split('EXAMPLES = r"""')[1].split('"""')[0]
    )
    access = example[0]["boring.fleet.access_policy"]["access"]
    here = "{{ playbook_dir }}"
    tailnet, fake = FakeTailnet(SECRET), FakeTwingate(key=SECRET)
    twingate = Server(fake)
    try:
        with (
            serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Redis)) as redis,
            serving(ThreadingHTTPServer(("127.0.0.1", 0), _Echo)) as echo,
            nats(tmp_path) as port,
            serving(ThreadingHTTPServer(("127.0.0.1", 0), _Monitor)) as monitor,
        ):

            def policy(key: str, url: str = tailnet.url) -> dict[str, Any]:
                api = {"tailnet": "example.org", "key_file": f"{here}/{key}", "url": url, "timeout": 5}
                return {"boring.fleet.access_policy": {"access": access, "tailnet_api": api}}

            def connector(key: str, url: str = twingate.url, **more: Any) -> dict[str, Any]:
                common = {"url": url, "remote_network": "production", "name": "a", "api_key_file": f"{here}/{key}"}
                return {"boring.fleet.twingate_connector": {**common, "tokens_file": f"{here}/tokens", **more}}

            def redis_set(at: int, password: str) -> dict[str, Any]:
                ports = {"port": at, "sentinel_port": at}
                return {
                    "boring.fleet.redis_set": {
                        "nodes": ["127.0.0.1"],
                        **ports,
                        "password": password,
                        "tls": False,
                        "patience": 0,
                    }
                }

            def server(at: int, password: str) -> dict[str, Any]:
                common = {"port": at, "password": password, "tls": False, "patience": 0}
                given = {
                    "settings": {"maxmemory": "1", "refuse": "refuse"},
                    "secret_settings": {"masterauth": "{{ secret }}-new"},
                    "users": [f"user app reset on #{HASH}", "user mark reset off"],
                }
                return {"boring.fleet.redis_server": {**common, **given}}

            def sentinel(at: int, password: str, **more: Any) -> dict[str, Any]:
                common = {"port": at, "password": password, "tls": False, "patience": 0, "own_file": f"{here}/plain"}
                return {"boring.fleet.redis_sentinel": {**common, "auth_pass": "{{ secret }}-new", **more}}

            def stream(at: int, password: str, **more: Any) -> dict[str, Any]:
                login = {
                    "servers": [f"127.0.0.1:{at}"],
                    "user": "app",
                    "password": password,
                    "tls": False,
                    "timeout": 5,
                }
                return {
                    "boring.fleet.nats_stream": {"name": "S", "subjects": ["s"], "storage": "memory", **login, **more}
                }

            def peer(at: int, password: str, **more: Any) -> dict[str, Any]:
                account = {"account": "APP", "user": "app", "password": password}
                login = {
                    "user": "app",
                    "password": password,
                    "port": at,
                    "tls": False,
                    "peer": "n3",
                    "accounts": [account],
                }
                return {"boring.fleet.nats_peer": {**login, **more}}

            def vault(**more: Any) -> dict[str, Any]:
                files = {"file": f"{here}/v", "environment": "production", "key_file": f"{here}/vault.key"}
                return {"boring.fleet.dotenv_vault": {**files, **more}}

            succeed = [
                redis_set(redis, "{{ secret }}"),
                server(redis, "{{ secret }}"),
                server(redis, "{{ secret }}-wrong"),  # it tells that it was not let in
                server(9, "{{ secret }}"),
                sentinel(redis, "{{ secret }}"),
                stream(port, "{{ secret }}"),
                policy("key"),
                connector("key"),
                vault(src=f"{here}/plain"),
                vault(values={"PASSWORD": "{{ secret }}-more"}),
                vault(rotate=True),
                {
                    "boring.fleet.tailscale_node": {
                        "auth_key_file": f"{here}/key",
                        "executable": str(joins),
                        "timeout": 2,
                    }
                },
            ]
            fail = [
                redis_set(redis, "{{ secret }}-wrong"),
                redis_set(9, "{{ secret }}"),
                sentinel(redis, "{{ secret }}-wrong"),
                sentinel(9, "{{ secret }}"),
                sentinel(redis, "{{ secret }}", own_file="/nowhere"),
                stream(port, "{{ secret }}-wrong"),
                stream(9, "{{ secret }}"),
                stream(port, "{{ secret }}", storage="nowhere"),
                peer(port, "{{ secret }}", monitor_url="http://127.0.0.1:9"),
                peer(9, "{{ secret }}", monitor_url=f"http://127.0.0.1:{monitor}"),
                peer(port, "{{ secret }}-wrong", monitor_url=f"http://127.0.0.1:{monitor}"),
                policy("wrong"),
                policy("key", "http://127.0.0.1:9"),
                connector("wrong"),
                connector("key", "http://127.0.0.1:9"),
                policy("wrong", f"http://127.0.0.1:{echo}"),
                connector("wrong", f"http://127.0.0.1:{echo}/graphql"),
                connector("key", tokens_file="/nowhere/x", tokens="always"),
                vault(values={"PASSWORD": ["{{ secret }}"]}),
                vault(values="{{ secret }}"),
                vault(key_file=f"{here}/key", rotate=True),
                {
                    "boring.fleet.tailscale_node": {
                        "auth_key_file": f"{here}/key",
                        "executable": str(tailscale),
                        "timeout": 2,
                    }
                },
            ]
            played = {name for task in (*succeed, *fail) for name in task}
            assert takers() == played | {f"boring.fleet.{name}" for name in ON_AWS}
            tasks = [{**task, "register": "done"} for task in succeed]
            tasks += [{"block": [task], "rescue": [{"ansible.builtin.debug": {"msg": "it failed"}}]} for task in fail]
            variables = {"secret": "{{ lookup('ansible.builtin.file', 'key') }}"}
            code, output = run_playbook(tmp_path, [{"hosts": "h1", "vars": variables, "tasks": tasks}], "--diff")
    finally:
        tailnet.close()
        twingate.close()
    assert code == 0, output[-4000:]
    assert output.count('"msg": "it failed"') == len(fail)
    for secret in (SECRET, HASH, *fake.issued, (tmp_path / "vault.key").read_text().split("key_")[1][:32]):
        leaks = [line for line in output.splitlines() if secret in line]
        assert not leaks, leaks[:3]


@pytest.mark.timeout(280)
def test_no_module_shows_what_it_signs_in_to_aws_with(tmp_path: Path) -> None:
    """Each gets as far as its first call, to an API that repeats what it was given. Those that succeed never have a secret in an answer."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), _Aws)) as port:
        access = {"access_key": "AKIA0", "secret_key": SECRET, "session_token": f"{SECRET}-session"}
        where = {"region": "eu-central-1", "endpoint_url": f"http://127.0.0.1:{port}"}
        blocks = [
            {
                "block": [{f"boring.fleet.{name}": {**where, **given, **{k: f"{{{{ {k} }}}}" for k in access}}}],
                "rescue": [{"ansible.builtin.debug": {"msg": "it failed"}}],
            }
            for name, given in ON_AWS.items()
        ]
        (tmp_path / "access.json").write_text(json.dumps(access))
        code, output = run_playbook(
            tmp_path, [{"hosts": "h1", "vars_files": ["access.json"], "tasks": blocks}], "--diff"
        )
    assert code == 0, output[-4000:]
    assert output.count('"msg": "it failed"') == len(ON_AWS)
    assert output.count("AWS does not accept the credentials") >= 4, output
    leaks = [line for line in output.splitlines() if SECRET in line]
    assert not leaks, leaks[:3]
