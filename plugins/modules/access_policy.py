#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: access_policy
short_description: Render one access file to a tailnet's policy and to Twingate's resources
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Reads who may reach what, runs the file's test cases on what would be written, and only then writes it. What is not
    written down is denied.
  - The policy of a tailnet is what Tailscale's and headscale's policy file holds. Twingate's resources are in the fields of
    its API; this module does not send them there.
attributes:
  check_mode:
    description: Runs the test cases, says what would change, and writes nothing.
    support: full
  diff_mode:
    description: Shows the difference of each file.
    support: full
options:
  access:
    description:
      - Who may reach what, a mapping with C(people), C(machines), C(services), C(allow), C(ssh) and C(tests), such as
        C(lookup('file', 'access.yml') | from_yaml) gives. The example shows all of it.
    type: dict
    required: true
  tailnet:
    description: Where the policy goes, as JSON.
    type: path
  dialect:
    description: V(headscale) leaves out the test cases, for which it has no words.
    type: str
    choices: [tailscale, headscale]
    default: tailscale
  validate:
    description: Command that must succeed before O(tailnet) is replaced; C(%s) is the new file.
    type: str
  tailnet_api:
    description:
      - Send the policy to a tailnet by Tailscale's API, where it is validated and its test cases are run once more. A policy
        that somebody else changed meanwhile is not overwritten.
    type: dict
    suboptions:
      tailnet:
        description: Name of the tailnet; V(-) is the key's own.
        type: str
        default: "-"
      key_file:
        description:
          - File with an API key or an access token, which only its owner may read.
          - The default is the environment variable E(TAILSCALE_API_KEY).
        type: path
      url:
        description: Address of the API.
        type: str
        default: https://api.tailscale.com
      timeout:
        description: Seconds for one request.
        type: float
        default: 20
  twingate:
    description: Where Twingate's groups and resources go, as JSON.
    type: path
  remote_network:
    description: The remote network of Twingate's resources.
    type: str
    default: production
  require_refusals:
    description: Whether each service must be refused to somebody in a test case.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Redis, NATS and the engine take their clients and nobody else
  boring.fleet.access_policy:
    access:
      people:
        developers: [ana@example.org, ben@example.org]
      machines:
        api: {}
        engine: {owners: [developers]}
        data: {}
        router: {routes: [10.9.4.0/24]}
      services:
        redis: {runs_on: data, ports: 6379}
        nats: {runs_on: data, ports: 4222}
        conversion: {runs_on: engine, ports: 8081}
        grafana: {runs_on: data, ports: 3000, address: grafana.internal}
        # On hosts that are in no tailnet, which two routers lead to
        database: {behind: router, at: 10.9.4.7, ports: 5432}
      allow:
        - {from: api, to: [redis, nats]}
        - {from: engine, to: [redis, nats]}
        - {from: api, to: database}
        - {from: developers, to: grafana}
      ssh:
        - {from: developers, to: [api, engine], as: admin, check: 12h}
      tests:
        - {from: api, to: [redis, nats], not_to: [conversion, grafana]}
        - {from: ana@example.org, to: ["ssh:admin@api", grafana], not_to: [redis, nats, "ssh:admin@data"]}
        - {from: mallory@example.org, not_to: [redis, nats, conversion, grafana, database, "ssh:admin@api"]}
    tailnet: /etc/headscale/policy.json
    dialect: headscale
    validate: headscale policy check -f %s
"""

RETURN = r"""
cases:
  description: How many test cases were run.
  returned: success
  type: int
  sample: 3
policy:
  description: The tailnet's policy.
  returned: success
  type: dict
resources:
  description: Twingate's groups and resources.
  returned: success
  type: dict
"""

import json
import os
import shlex
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.access.judge import failures, untested
from ansible_collections.boring.fleet.plugins.module_utils.access.model import AccessError, read_access
from ansible_collections.boring.fleet.plugins.module_utils.access.tailnet import policy
from ansible_collections.boring.fleet.plugins.module_utils.access.tailnet_api import Tailnet
from ansible_collections.boring.fleet.plugins.module_utils.access.twingate import resources
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.access import read_key_file
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.web.request import request


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "access": {"type": "dict", "required": True},
            "tailnet": {"type": "path"},
            "dialect": {"type": "str", "choices": ["tailscale", "headscale"], "default": "tailscale"},
            "validate": {"type": "str"},
            "tailnet_api": {
                "type": "dict",
                "options": {
                    "tailnet": {"type": "str", "default": "-"},
                    "key_file": {"type": "path", "no_log": False},
                    "url": {"type": "str", "default": "https://api.tailscale.com"},
                    "timeout": {"type": "float", "default": 20},
                },
            },
            "twingate": {"type": "path"},
            "remote_network": {"type": "str", "default": "production"},
            "require_refusals": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except (AccessError, OSError) as exc:
        module.fail_json(msg=f"access_policy: {exc}")
    module.exit_json(**result)


def run(module: AnsibleModule) -> dict[str, Any]:
    """Read, render, test, and write what differs."""
    given = module.params
    access = read_access(given["access"])
    tailnet, twingate = policy(access, given["dialect"]), resources(access, given["remote_network"])
    wrong = failures(access, tailnet)
    if wrong:
        more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise AccessError(f"nothing is written, as the test cases fail: {'; '.join(wrong[:5])}{more}")
    open_to_all = untested(access) if given["require_refusals"] else []
    if open_to_all:
        raise AccessError(
            f"no test case says who does not reach {', '.join(open_to_all)}: name somebody in not_to, or set require_refusals=false"
        )
    files = [(given["tailnet"], tailnet, given["validate"]), (given["twingate"], twingate, None)]
    changes = [change(module, path, document, validate) for path, document, validate in files if path]
    if given["tailnet_api"]:
        changes.append(send(given["tailnet_api"], given["dialect"], tailnet, dry=module.check_mode))
    return {
        "changed": any(changes),
        "diff": [found for found in changes if found],
        "cases": len(access.cases),
        "policy": tailnet,
        "resources": twingate,
    }


def send(api: dict[str, Any], dialect: str, document: dict[str, Any], *, dry: bool) -> dict[str, str] | None:
    """Bring a tailnet's policy to the document, and say how they differed. Raises AccessError."""
    if dialect != "tailscale":
        raise AccessError("tailnet_api is Tailscale's: set dialect=tailscale, or write headscale's file with tailnet")
    tailnet = Tailnet(api["url"], api["tailnet"], api_key(api["key_file"]), request, api["timeout"])
    now, mark = tailnet.look()
    if now == document:
        return None
    tailnet.needs(mark)
    tailnet.validate(document)
    if not dry:
        tailnet.replace(document, mark)
    texts = (json.dumps(now, indent=2) + "\n", json.dumps(document, indent=2) + "\n")
    return {"before": texts[0], "after": texts[1], "before_header": "the tailnet", "after_header": "the tailnet"}


def api_key(file: str | None) -> str:
    """The key out of the file or the environment. Raises AccessError."""
    problem = ""
    key = os.environ.get("TAILSCALE_API_KEY", "").strip()
    try:
        key = read_key_file(Path(file)).strip() if file else key
    except DotenvError as exc:
        problem = str(exc)
    if problem:
        raise AccessError(problem)
    if not key.isascii() or not key.isprintable() or not key or " " in key:
        raise AccessError(
            f"the key file {file} holds no key"
            if file
            else "there is no API key: set tailnet_api.key_file or TAILSCALE_API_KEY"
        )
    return key


def change(module: AnsibleModule, path: str, document: dict[str, Any], validate: str | None) -> dict[str, str] | None:
    """Write a document if the file has another, and say how they differ. Raises AccessError, OSError."""
    new = json.dumps(document, indent=2) + "\n"
    file = Path(path)
    old = file.read_text(encoding="utf-8") if file.exists() else ""
    if new == old:
        return None
    scratch = Path(module.tmpdir) / file.name
    scratch.write_text(new, encoding="utf-8")
    if validate:
        if "%s" not in validate:
            raise AccessError("validate must hold %s in place of the file")
        argv = [part.replace("%s", str(scratch)) for part in shlex.split(validate)]
        code, out, err = module.run_command(argv)
        if code:
            reason = " ".join((err or out).split())[-300:] or f"it ended with {code}"
            raise AccessError(f"{path} is not written, as {argv[0]} refuses it: {reason}")
    if not module.check_mode:
        module.atomic_move(str(scratch), path)
    return {"before": old, "after": new, "before_header": path, "after_header": path}


if __name__ == "__main__":
    main()
