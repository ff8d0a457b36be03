# SPDX-License-Identifier: GPL-3.0-or-later
"""The module container_image in one real run: what is there is kept, and fetched again when it is damaged."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.oci_image import Image, digest, file, layer
from tests.fakes.registry import registry
from tests.unit.plugins.playbook_runs import run_playbook

WEB = Image([layer(file("bin/web", "#!/bin/sh\n"))], {"Cmd": ["/bin/web"]})


def test_an_image_is_fetched_once(tmp_path: Path) -> None:
    with registry() as server:
        server.add(WEB, "1")
        module = {"image": f"{server.address}/shop/web:1", "directory": "{{ playbook_dir }}/kept"}
        ask = {"boring.fleet.container_image": module}
        named = digest(WEB.manifest)
        tasks = [
            {**ask, "register": "planned", "check_mode": True},
            {**ask, "register": "first"},
            {**ask, "register": "second"},
            {"ansible.builtin.copy": {"dest": "{{ first.archive }}", "content": "half of it"}},
            {**ask, "register": "again"},
            {"boring.fleet.container_image": {**module, "image": f"{server.address}/shop/web:2"}, "register": "absent", "ignore_errors": True},
            {"ansible.builtin.assert": {"that": [
                "planned is changed and first is changed and second is not changed and again is changed",
                f"first.digest == '{named}' and first.image == '{server.address}/shop/web@{named}'",
                "first.archive == second.archive == again.archive == planned.archive",
                "absent.msg is search('container_image: there is no .*/shop/web:2')",
            ]}},
        ]  # fmt: skip
        code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": tasks}])
    assert code == 0, output
