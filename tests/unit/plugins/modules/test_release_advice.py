# SPDX-License-Identifier: GPL-3.0-or-later
"""The module release_advice in one real run, with a feed in a file, one over HTTP, and one that is not there."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.unit.plugins.playbook_runs import run_playbook

FEED = "## 1.2.0\n- CVE-2026-1: fixed\n\n## 1.1.0\n- first\n"


def test_advice_for_what_runs(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(FEED)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    module = "boring.fleet.release_advice"
    running = {"a": "1.2.0", "b": "1.1.0", "c": "unknown"}
    url = f"http://127.0.0.1:{server.server_port}"
    tasks = [
        {module: {"feed": "{{ playbook_dir }}/CHANGELOG.md", "running": running, "command": "roll {version}"}, "register": "file"},
        {module: {"feed": f"{url}/CHANGELOG.md", "running": running}, "register": "http"},
        {module: {"feed": f"{url}/nowhere", "running": running}, "register": "absent", "ignore_errors": True},
        {module: {"feed": "{{ playbook_dir }}/nowhere", "running": running}, "register": "gone", "ignore_errors": True},
        {
            "ansible.builtin.assert": {
                "that": [
                    "file is not changed and file.verdict == 'now'",
                    "file.advice | map(attribute='name') | list == ['b', 'c', 'a']",
                    "file.advice[0].command == 'roll 1.2.0'",
                    "http.advice | map(attribute='verdict') | list == ['now', 'unknown', 'current']",
                    "'/nowhere cannot be read: HTTP Error 404' in absent.msg",
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
