#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nats_stream
short_description: Streams and consumers of NATS JetStream as code
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Makes a stream and its durable consumers what they should be, and says what it would change. What is not named stays
    as it is.
  - A change that would remove messages is refused, unless O(may_lose_messages) says otherwise. So is one that JetStream can
    make only to a new stream, and one that does not fit into what the account may store, with the sum.
  - Needs nothing on the host but Python.
extends_documentation_fragment: [boring.fleet.login]
attributes:
  check_mode:
    description: Says what it would do, and refuses what it would refuse.
    support: full
  diff_mode:
    description: Shows the settings that differ.
    support: full
options:
  name:
    description: Name of the stream.
    type: str
    required: true
  state:
    description: Whether the stream should be.
    type: str
    choices: [present, absent]
    default: present
  subjects:
    description: Subjects whose messages the stream keeps. Needed to make one.
    type: list
    elements: str
  description:
    description: What the stream is for.
    type: str
  storage:
    description: Where messages are kept. Cannot be changed. V(file) when a stream is made without it.
    type: str
    choices: [file, memory]
  retention:
    description:
      - V(limits) keeps messages up to the limits, V(interest) until every consumer has had them, V(workqueue) until one has.
        Cannot be changed. V(limits) when a stream is made without it.
    type: str
    choices: [limits, interest, workqueue]
  replicas:
    description: On how many servers each message is. 3 survives the loss of one.
    type: int
  max_messages:
    description: How many messages at most; V(-1) for no limit.
    type: int
  max_messages_per_subject:
    description: How many messages at most for each subject; V(-1) for no limit.
    type: int
  max_bytes:
    description: How much at most, as V(10GB); V(-1) for no limit.
    type: str
  max_age:
    description: How old a message may become, as V(7d); V(0) for no limit.
    type: str
  max_message_size:
    description: Largest message, as V(1MB); V(-1) for no limit but the server's.
    type: str
  discard:
    description: What goes when a limit is reached, V(old) messages or the V(new) one.
    type: str
    choices: [old, new]
  duplicate_window:
    description: For how long message ids are remembered, to drop duplicates, as V(2m).
    type: str
  consumers:
    description: Durable consumers of the stream.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the consumer.
        type: str
        required: true
      filter_subject:
        description: Only messages of this subject.
        type: str
      ack_policy:
        description: Which messages are acknowledged. Cannot be changed. V(explicit) when a consumer is made without it.
        type: str
        choices: [explicit, all, none]
      ack_wait:
        description: After how long without acknowledgement a message comes again, as V(30s).
        type: str
      max_deliver:
        description: How often a message comes at most; V(-1) for no limit.
        type: int
      max_ack_pending:
        description: How many messages may be out without acknowledgement.
        type: int
      deliver_policy:
        description: Where a new consumer begins. Cannot be changed. V(all) when a consumer is made without it.
        type: str
        choices: [all, last, new, last_per_subject]
  only_these_consumers:
    description: Remove durable consumers that O(consumers) does not name. They lose their place, so O(may_lose_messages) is needed.
    type: bool
    default: false
  may_lose_messages:
    description: Do also what removes messages, or a consumer's place in the stream.
    type: bool
    default: false
  servers:
    description: Servers to try in this order, as V(host) or V(host:port).
    type: list
    elements: str
    default: ["127.0.0.1:4222"]
  user:
    description: User whose account has the stream.
    type: str
    required: true
  timeout:
    description: Seconds for the connection, and for each answer.
    type: int
    default: 10
"""

EXAMPLES = r"""
- name: Orders, on three servers, for a week
  boring.fleet.nats_stream:
    name: ORDERS
    subjects: ["orders.>"]
    replicas: 3
    max_bytes: 10GB
    max_age: 7d
    consumers:
      - {name: billing, filter_subject: orders.paid, ack_wait: 30s, max_deliver: 5}
    user: app
    password: "{{ vault_nats_app }}"
    ca: /etc/nats/tls/ca.pem
  run_once: true
"""

RETURN = r"""
stream:
  description: The settings that were changed, as they are now, in JetStream's words.
  returned: success
  type: dict
  sample: {max_age: 604800000000000}
losses:
  description: What was lost, or would be in check mode, a clause each.
  returned: success
  type: list
  elements: str
  sample: [ORDERS holds 12 messages]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Client, NatsError
from ansible_collections.boring.fleet.plugins.module_utils.nats.sizes import size
from ansible_collections.boring.fleet.plugins.module_utils.nats.stream import (
    Config,
    Plan,
    Stream,
    boundless,
    carry_out,
    check_name,
    look,
    look_for_room,
    nanoseconds,
    permit,
    plan,
    plan_removal,
    shortage,
)
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import LOGIN_OPTIONS, Login

# option -> JetStream's word, and what makes its value of ours
_STREAM: dict[str, tuple[str, Any]] = {
    "subjects": ("subjects", list),
    "description": ("description", str),
    "storage": ("storage", str),
    "retention": ("retention", str),
    "replicas": ("num_replicas", int),
    "max_messages": ("max_msgs", int),
    "max_messages_per_subject": ("max_msgs_per_subject", int),
    "max_bytes": ("max_bytes", size),
    "max_age": ("max_age", nanoseconds),
    "max_message_size": ("max_msg_size", size),
    "discard": ("discard", str),
    "duplicate_window": ("duplicate_window", nanoseconds),
}
_CONSUMER: dict[str, tuple[str, Any]] = {
    "filter_subject": ("filter_subject", str),
    "ack_policy": ("ack_policy", str),
    "ack_wait": ("ack_wait", nanoseconds),
    "max_deliver": ("max_deliver", int),
    "max_ack_pending": ("max_ack_pending", int),
    "deliver_policy": ("deliver_policy", str),
}
# What JetStream's API does not fill in for itself
_NEW_STREAM: Config = {"storage": "file", "retention": "limits"}
_NEW_CONSUMER: Config = {"ack_policy": "explicit", "deliver_policy": "all", "replay_policy": "instant"}


def _config(options: dict[str, Any], words: dict[str, tuple[str, Any]]) -> Config:
    return {word: make(options[option]) for option, (word, make) in words.items() if options[option] is not None}


def _server(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.startswith("[")):
        return text.strip("[]"), 4222
    if not port.isdigit():
        raise ValueError(f"{text!r} is no server: write host or host:port.")
    return host.strip("[]"), int(port)


def _look_whether_it_fits(module: AnsibleModule, client: Client, name: str, config: Config, made: Plan) -> None:
    """Raises NatsError. Where nothing of it changes, nothing is asked."""
    if not {"name", "max_bytes", "num_replicas"} & {*made.after}:
        return
    room = look_for_room(client, config, name)
    if room is None:
        return
    too_much = shortage(name, config, room)
    if too_much:
        raise NatsError(too_much)
    warning = boundless(name, config, room)
    if warning:
        module.warn(warning)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "subjects": {"type": "list", "elements": "str"},
            "description": {"type": "str"},
            "storage": {"type": "str", "choices": ["file", "memory"]},
            "retention": {"type": "str", "choices": ["limits", "interest", "workqueue"]},
            "replicas": {"type": "int"},
            "max_messages": {"type": "int"},
            "max_messages_per_subject": {"type": "int"},
            "max_bytes": {"type": "str"},
            "max_age": {"type": "str"},
            "max_message_size": {"type": "str"},
            "discard": {"type": "str", "choices": ["old", "new"]},
            "duplicate_window": {"type": "str"},
            "consumers": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "filter_subject": {"type": "str"},
                    "ack_policy": {"type": "str", "choices": ["explicit", "all", "none"]},
                    "ack_wait": {"type": "str"},
                    "max_deliver": {"type": "int"},
                    "max_ack_pending": {"type": "int"},
                    "deliver_policy": {"type": "str", "choices": ["all", "last", "new", "last_per_subject"]},
                },
            },
            "only_these_consumers": {"type": "bool", "default": False},
            "may_lose_messages": {"type": "bool", "default": False},
            "servers": {"type": "list", "elements": "str", "default": ["127.0.0.1:4222"]},
            "user": {"type": "str", "required": True},
            **LOGIN_OPTIONS,
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        name = check_name("Stream", options["name"])
        servers = [_server(text) for text in options["servers"]]
        config = _config(options, _STREAM)
        consumers = {check_name("Consumer", each["name"]): _config(each, _CONSUMER) for each in options["consumers"]}
        if len(consumers) < len(options["consumers"]):
            raise ValueError(f"Stream {name}: consumers name one twice.")
        login = Login.of(options)
        client = Client(servers, login, float(options["timeout"]))
        try:
            actual = look(client, name)
            if options["state"] == "absent":
                made = plan_removal(name, actual)
            else:
                if actual is None:
                    if not config.get("subjects"):
                        raise ValueError(f"Stream {name} is not there yet; say its subjects.")
                    config = {**_NEW_STREAM, **config}
                known = {} if actual is None else actual.consumers
                consumers = {
                    each: config if each in known else {**_NEW_CONSUMER, **config} for each, config in consumers.items()
                }
                made = plan(Stream(name, config, consumers, options["only_these_consumers"]), actual)
            permit(made, may_lose=options["may_lose_messages"])
            _look_whether_it_fits(module, client, name, {**(actual.config if actual else {}), **config}, made)
            if not module.check_mode:
                carry_out(client, made)
        finally:
            client.close()
    except (NatsError, ValueError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(
        changed=bool(made.steps),
        stream=made.after,
        losses=list(made.losses),
        diff={"before": made.before, "after": made.after},
    )


if __name__ == "__main__":
    main()
