# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS to the queue and the cache: certificates and names are always checked, and why one is refused is said in words."""

from __future__ import annotations

import ssl
from pathlib import Path

from .errors import SettingsError


def context(ca_file: str, setting: str) -> ssl.SSLContext:
    """What checks a server: by the authorities in a file, or else by this machine's. SettingsError names the setting."""
    if not ca_file:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cadata=Path(ca_file).read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError, ssl.SSLError) as exc:
        reason = (
            exc.strerror
            if isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError)
            else "it holds no certificate in PEM"
        )
        raise SettingsError(f"{setting} {ca_file} cannot be used: {reason}; name the file of the authority.") from exc


def refusal(exc: BaseException | None) -> str:
    """Why a server's certificate was refused, from an exception or what caused it; empty if that is not what happened."""
    while exc is not None:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return f"its certificate is refused: {exc.verify_message.rstrip('.')}"
        if isinstance(exc, ssl.SSLError):
            return (
                "it speaks no TLS that is good enough"
                if "WRONG_VERSION" in str(exc)
                else f"TLS failed: {exc.reason or exc}"
            )
        exc = exc.__cause__ or exc.__context__
    return ""
