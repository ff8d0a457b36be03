#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: twingate_connector
short_description: Manage a Twingate connector, its tokens and its remote network
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Creates a connector, and its remote network if there is none, by Twingate's API, makes its tokens, and waits until the
    API says that it is alive.
  - Tokens are never returned. They are written to a file that only its owner may read, as environment lines that the
    connector's own configuration takes.
  - A change whose outcome nobody knows, since the connection broke, is looked for before anything is repeated.
attributes:
  check_mode:
    description: Says which steps would be taken, and takes none.
    support: full
  diff_mode:
    description: The steps say it.
    support: none
options:
  network:
    description: Name of your Twingate network, as in C(https://NAME.twingate.com). Either this or O(url).
    type: str
  url:
    description: Address of the GraphQL API, in place of O(network).
    type: str
  api_key_file:
    description:
      - File with an API key that may provision, which only its owner may read.
      - The default is the environment variable E(TWINGATE_API_TOKEN).
    type: path
  name:
    description: Name of the connector, unique in its remote network.
    type: str
    required: true
  remote_network:
    description: Name of the remote network.
    type: str
    required: true
  location:
    description: Where the remote network is, for one that is created.
    type: str
    choices: [AWS, AZURE, GOOGLE_CLOUD, ON_PREMISE, OTHER]
    default: OTHER
  state:
    description:
      - V(present) has a connector, V(absent) has none; the remote network stays.
      - V(alive) changes nothing and waits until the API says ALIVE.
    type: str
    choices: [present, absent, alive]
    default: present
  notifications:
    description: Whether Twingate's own notifications about this connector are on. Without it they stay as they are.
    type: bool
  tokens_file:
    description:
      - Where the token pair goes, with mode 0600. Its directory must exist. Without it no tokens are made.
    type: path
  tokens:
    description:
      - V(missing) makes tokens if O(tokens_file) is not there, and refuses while the connector is alive, because new
        tokens cut it off.
      - V(always) makes new ones in each run.
    type: str
    choices: [missing, always]
    default: missing
  heartbeat_after:
    description: For O(state=alive), a time in ISO 8601 that the last heartbeat must be after, such as that of a restart.
    type: str
  version:
    description: For O(state=alive), the version that the connector must report.
    type: str
  wait_seconds:
    description: For O(state=alive), how long to wait.
    type: float
    default: 120
  timeout:
    description: Seconds for one request.
    type: float
    default: 15
  patience:
    description: Seconds for which a request is tried again while the API is busy or away.
    type: float
    default: 60
seealso:
  - module: boring.fleet.release_advice
"""

EXAMPLES = r"""
- name: A connector in each zone, with a token pair of its own
  boring.fleet.twingate_connector:
    network: example
    api_key_file: ~/.config/twingate/key
    remote_network: production
    location: AWS
    name: "production-{{ item }}"
    tokens_file: "secrets/twingate-{{ item }}.env"
  loop: [eu-central-1a, eu-central-1b]
  delegate_to: localhost
  run_once: true

- name: The next one only when this one is alive again
  boring.fleet.twingate_connector:
    network: example
    remote_network: production
    name: production-eu-central-1a
    state: alive
    heartbeat_after: "{{ restarted_at }}"
  delegate_to: localhost
"""

RETURN = r"""
connector:
  description: The connector as the API has it, none where there is none.
  returned: success
  type: dict
  sample: {id: Q29ubmVjdG9yOjE=, name: production-a, state: ALIVE, version: 1.74.0, hostname: gw-a, heartbeat: "2026-01-31T12:00:00Z"}
steps:
  description: What was done, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [create the connector, make its tokens]
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.access import read_key_file, write_text
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.twingate.api import Api, Connector, TwingateError
from ansible_collections.boring.fleet.plugins.module_utils.twingate.converge import Done, await_alive, converge
from ansible_collections.boring.fleet.plugins.module_utils.twingate.plan import Wish, see
from ansible_collections.boring.fleet.plugins.module_utils.web.request import request


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "network": {"type": "str"},
            "url": {"type": "str"},
            "api_key_file": {"type": "path", "no_log": False},
            "name": {"type": "str", "required": True},
            "remote_network": {"type": "str", "required": True},
            "location": {
                "type": "str",
                "choices": ["AWS", "AZURE", "GOOGLE_CLOUD", "ON_PREMISE", "OTHER"],
                "default": "OTHER",
            },
            "state": {"type": "str", "choices": ["present", "absent", "alive"], "default": "present"},
            "notifications": {"type": "bool"},
            "tokens_file": {"type": "path", "no_log": False},
            "tokens": {"type": "str", "choices": ["missing", "always"], "default": "missing", "no_log": False},
            "heartbeat_after": {"type": "str"},
            "version": {"type": "str"},
            "wait_seconds": {"type": "float", "default": 120},
            "timeout": {"type": "float", "default": 15},
            "patience": {"type": "float", "default": 60},
        },
        required_one_of=[("network", "url")],
        mutually_exclusive=[("network", "url")],
        supports_check_mode=True,
    )
    problem = ""
    done = Done()
    try:
        done = run(module.params, dry=module.check_mode)
    except (TwingateError, DotenvError) as exc:
        problem = str(exc)
    if problem:
        module.fail_json(msg=f"twingate_connector: {problem}")
    module.exit_json(changed=bool(done.steps), connector=told(done.connector), steps=done.steps)


def run(given: Mapping[str, Any], *, dry: bool) -> Done:
    """Options in, the core, the tokens to their file."""
    api = Api(
        given["url"] or f"https://{given['network']}.twingate.com/api/graphql/",
        api_key(given["api_key_file"]),
        send,
        clock=time.monotonic,
        sleep=time.sleep,
        timeout=given["timeout"],
        patience=given["patience"],
    )
    file = Path(given["tokens_file"]) if given["tokens_file"] else None
    wish = Wish(
        network=given["remote_network"],
        name=given["name"],
        present=given["state"] != "absent",
        location=given["location"],
        notifications=given["notifications"],
        tokens=given["tokens"] if file else "none",
    )
    if given["state"] == "alive":
        return Done(connector=alive(api, wish, given, dry=dry))
    tokens_there = given["tokens"] == "missing" and file is not None and has_tokens(file)
    done = converge(api, wish, tokens_there=tokens_there, dry=dry, ready=lambda: check_place(file))
    if done.tokens and file:
        text = f"TWINGATE_ACCESS_TOKEN={done.tokens.access}\nTWINGATE_REFRESH_TOKEN={done.tokens.refresh}\n"
        write_text(file, text, 0o600)
    return done


def alive(api: Api, wish: Wish, given: Mapping[str, Any], *, dry: bool) -> Connector | None:
    """Wait for a connector that is there."""
    seen = see(wish, api.networks(), api.connectors())
    if seen.connector is None:
        raise TwingateError(f"there is no connector {wish.name} in {wish.network}: create it with state=present")
    if dry:
        return seen.connector
    return await_alive(
        api,
        seen.connector,
        seconds=given["wait_seconds"],
        after=given["heartbeat_after"] or "",
        version=given["version"] or "",
        clock=time.monotonic,
        sleep=time.sleep,
    )


def api_key(file: str | None) -> str:
    """The key out of the file or the environment. Raises TwingateError, DotenvError."""
    key = read_key_file(Path(file)).strip() if file else os.environ.get("TWINGATE_API_TOKEN", "").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        where = (
            f"the key file {file} holds no key"
            if file
            else "there is no API key: set api_key_file or TWINGATE_API_TOKEN"
        )
        raise TwingateError(where)
    return key


def has_tokens(file: Path) -> bool:
    """Whether a token pair is in the file already."""
    with contextlib.suppress(OSError):
        text = file.read_text(errors="replace")
        return "TWINGATE_ACCESS_TOKEN=" in text and "TWINGATE_REFRESH_TOKEN=" in text
    return False


def check_place(file: Path | None) -> None:
    """Tokens that cannot be written are lost, and the ones before stop working: find out first."""
    problem = ""
    try:
        if file:
            with tempfile.NamedTemporaryFile(dir=file.parent):
                pass
    except OSError as exc:
        problem = (exc.strerror or type(exc).__name__).lower()
    if problem:
        raise TwingateError(
            f"tokens_file {file} cannot be written ({problem}), so no tokens were made: make its directory"
        )


def send(url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> tuple[int, Mapping[str, str], bytes]:
    """GraphQL knows only POST. Raises OSError."""
    return request("POST", url, headers, body, timeout)


def told(connector: Connector | None) -> dict[str, str] | None:
    """What a user may see of a connector."""
    if connector is None:
        return None
    return {
        "id": connector.id,
        "name": connector.name,
        "state": connector.state,
        "version": connector.version,
        "hostname": connector.hostname,
        "heartbeat": connector.heartbeat,
        "remote_network": connector.network.name,
    }


if __name__ == "__main__":
    main()
