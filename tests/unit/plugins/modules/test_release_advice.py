# SPDX-License-Identifier: GPL-3.0-or-later
"""The module release_advice in one real run, with a feed in a file, one over HTTP, and one that is not there."""

from __future__ import annotations

import contextlib
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.unit.plugins.playbook_runs import run_playbook

FEED = "## 1.2.0\n- CVE-2026-1: fixed\n\n## 1.1.0\n- first\n"


class Files(SimpleHTTPRequestHandler):
    """The files of a directory, and one that comes a byte at a time."""

    def do_GET(self) -> None:
        if self.path != "/slow":
            super().do_GET()
            return
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            for dummy in range(50):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.2)


def test_advice_for_what_runs(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(FEED)
    (tmp_path / "redis.md").write_text(
        "## Redis 7.2.2 (2026-01-02)\n\nUpgrade urgency: HIGH, a made-up one.\n\n## Redis 7.2.1 (2026-01-01)\n- x\n"
    )
    (tmp_path / "deep.json").write_text("[" * 100_000)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    module = "boring.fleet.release_advice"
    running = {"a": "1.2.0", "b": "1.1.0", "c": "unknown"}
    url = f"http://127.0.0.1:{server.server_port}"
    tasks = [
        {module: {"feed": "{{ playbook_dir }}/CHANGELOG.md", "running": running, "command": "roll {version}"}, "register": "file"},
        {module: {"feed": f"{url}/CHANGELOG.md", "running": running}, "register": "http"},
        {module: {"feed": f"{url}/nowhere", "running": running}, "register": "absent", "ignore_errors": True},
        {module: {"feed": "{{ playbook_dir }}/nowhere", "running": running}, "register": "gone", "ignore_errors": True},
        {module: {"feed": f"{url}/redis.md", "running": {"cache": "7.2.1"}, "product": "redis"}, "register": "urgent"},
        {module: {"feed": f"{url}/redis.md", "running": {"cache": 7.2}}, "register": "number"},
        {module: {"feed": f"{url}/deep.json", "running": running}, "register": "deep", "ignore_errors": True},
        {module: {"feed": f"{url}/slow", "running": running, "timeout": 1}, "register": "slow", "ignore_errors": True},
        {
            "ansible.builtin.assert": {
                "that": [
                    "file is not changed and file.verdict == 'now'",
                    "file.advice | map(attribute='name') | list == ['b', 'c', 'a']",
                    "file.advice[0].command == 'roll 1.2.0'",
                    "http.advice | map(attribute='verdict') | list == ['now', 'unknown', 'current']",
                    "'/nowhere cannot be read: HTTP Error 404' in absent.msg",
                    "urgent.verdict == 'now' and urgent.advice[0].sentence == 'Upgrade urgency: HIGH, a made-up one.'",
                    "urgent.advice[0].offered == '7.2.2'",
                    "number.warnings[0] is search('the version of cache is the number 7.2: put it in quotes')",
                    "deep.msg is search('deep.json is not JSON that can be read: it is nested too deeply')",
                    "slow.msg is search('/slow cannot be read: it takes longer than 1 s')",
                    "gone.msg is search('release_advice: the feed .*/nowhere cannot be read')",
                ]
            }
        },
    ]  # fmt: skip
    try:
        code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": tasks}])
    finally:
        server.shutdown()
    assert code == 0, output
