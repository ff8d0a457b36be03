# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down how every task of a peer's integration target ended: one JSON object a line, in the file that PEER_LOG names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: peer_log
type: notification
short_description: How every task ended, as JSON lines
description: For bin/peer-tests.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "peer_log"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, status: str, result: Any) -> None:
        said = result.result
        detail = {
            key: said.get(key) for key in ("msg", "module_stderr", "exception", "assertion", "error") if said.get(key)
        }
        items = [item for item in said.get("results") or [] if isinstance(item, dict) and item.get("failed")]
        if items:
            detail["items"] = [str(item.get("msg")) for item in items[:3]]
        entry = {
            "status": status,
            "task": result.task_name,
            "action": str(result.task.action),
            "at": result.task.get_path(),
        }
        with Path(os.environ["PEER_LOG"]).open("a") as log:
            log.write(json.dumps({**entry, "detail": detail if status != "ok" else {}}, default=str) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write("failed", result)
