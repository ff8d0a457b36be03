#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nats_server
short_description: Let a running NATS server take its configuration, and prove that it did
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Compares when files were written with when the server says that it started and took its configuration. Where a reload is enough, it
    reloads and looks again, for C(systemctl reload) succeeds also where the server refuses (nats-io/nats-server#7990).
  - Says what only a restart can change. It restarts nothing.
  - Needs nothing on the host but Python and systemd.
attributes:
  check_mode:
    description: Says what differs, and reloads nothing.
    support: full
  diff_mode:
    description: Shows what on disk the server does not run with.
    support: full
options:
  monitor_url:
    description: Monitoring endpoint of the server, without a path.
    type: str
    default: http://127.0.0.1:8222
  config:
    description: The configuration.
    type: path
    default: /etc/nats/nats.conf
  certificates:
    description: Files that the server reads again with its configuration.
    type: list
    elements: path
    default: []
  unit_files:
    description: Files of the unit. A server that started before they were written must restart.
    type: list
    elements: path
    default: []
  program:
    description: The server's program, for which the same holds.
    type: path
    default: /usr/sbin/nats-server
  service:
    description: The unit.
    type: str
    default: nats-server.service
  patience:
    description: Seconds until the server must run what is on disk. One that runs and does not answer, because it was just started, has 30 at least.
    type: int
    default: 1
"""

EXAMPLES = r"""
- name: A changed configuration
  boring.fleet.nats_server:
  register: nats

- name: Addresses, names and stores take a restart
  ansible.builtin.systemd_service: {name: nats-server.service, state: restarted}
  when: nats.differs
"""

RETURN = r"""
up:
  description: Whether the server answers.
  returned: success
  type: bool
runs:
  description: Whether it runs, though it may not answer.
  returned: success
  type: bool
differs:
  description: C(configuration), C(unit) or both, of what the server does not run with; both where it does not answer.
  returned: success
  type: list
  elements: str
  sample: []
digest:
  description: Digest of the configuration that runs, which servers since 2.11 tell.
  returned: success
  type: str
  sample: ""
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.nats.monitor import HttpMonitor
from ansible_collections.boring.fleet.plugins.module_utils.nats.server import (
    Seen,
    Written,
    differs,
    reload_is_enough,
    seen,
    wait,
)

_RELOAD_SECONDS = 5.0


def _written(options: dict[str, object]) -> Written:
    """Of a program and of certificates the time of their coming counts: they may carry an old date."""

    def latest(names: object, which: str) -> float:
        files = [Path(str(name)) for name in names] if isinstance(names, list) else [Path(str(names))]
        return max((getattr(file.stat(), which) for file in files if file.exists()), default=0.0)

    return Written(
        max(latest(options["unit_files"], "st_mtime"), latest(options["program"], "st_ctime")),
        max(latest(options["config"], "st_mtime"), latest(options["certificates"], "st_ctime")),
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "monitor_url": {"type": "str", "default": "http://127.0.0.1:8222"},
            "config": {"type": "path", "default": "/etc/nats/nats.conf"},
            "certificates": {"type": "list", "elements": "path", "default": []},
            "unit_files": {"type": "list", "elements": "path", "default": []},
            "program": {"type": "path", "default": "/usr/sbin/nats-server"},
            "service": {"type": "str", "default": "nats-server.service"},
            "patience": {"type": "int", "default": 1},
        },
        supports_check_mode=True,
    )
    options = module.params
    monitor = HttpMonitor(options["monitor_url"])
    written = _written(options)

    def look() -> Seen:
        try:
            return seen(monitor("/varz"), active=True)
        except (OSError, ValueError):
            rc = module.run_command(["timeout", "10", "systemctl", "is-active", "--quiet", options["service"]])[0]
            return seen(None, active=rc == 0)

    def reload() -> None:
        module.run_command(["timeout", "30", "systemctl", "reload", options["service"]], check_rc=True)

    before = wait(look, written, options["patience"], time.monotonic, time.sleep)
    after, changed = before, False
    if reload_is_enough(before, written):
        changed = True
        if not module.check_mode:
            reload()
            after = wait(look, written, _RELOAD_SECONDS, time.monotonic, time.sleep)
    left = list(differs(after, written))
    module.exit_json(
        changed=changed,
        up=after.up,
        runs=after.runs,
        digest=after.digest,
        differs=left,
        diff={"before": {"differs": list(differs(before, written))}, "after": {"differs": left}},
    )


if __name__ == "__main__":
    main()
