# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a job is."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

#: Called with the share of the job that is done, roughly: when its file is read, and when its triangles are made.
PROGRESS: ContextVar[Callable[[float], object]] = ContextVar("progress", default=lambda share: None)
READ, MESHED = 0.3, 0.6
