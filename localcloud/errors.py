# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that a service of the local cloud raises to its caller."""

from __future__ import annotations


class ApiError(Exception):
    """A refusal in AWS's own code and words; the server turns it into the wire format of the protocol in use."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
