# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stays on the machine that deploys: the authority's key and certificate, and the certificates that a file names."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.boring.fleet.plugins.module_utils.fleet.certificates import CertificateError, Pair, fits


class Keeper:
    """Files. `state` is the fleet's state directory, `base` where relative paths of a fleet file begin."""

    def __init__(self, state: Path, base: Path) -> None:
        self._directory = state / "authority"
        self._base = base

    def authority(self) -> Pair | None:
        """The fleet's own authority, if it is here. Raises CertificateError for half of one."""
        certificate, key = self._directory / "ca.pem", self._directory / "ca.key"
        if not certificate.is_file() or not key.is_file():
            return None
        return Pair(certificate.read_text(encoding="utf-8"), key.read_text(encoding="utf-8"))

    def keep_authority(self, pair: Pair) -> None:
        """Write it, the key first, each in one step: what is there is whole."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text, mode in (("ca.key", pair.key, 0o600), ("ca.pem", pair.certificate, 0o644)):
            path = self._directory / f".{name}"
            path.unlink(missing_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            path.replace(self._directory / name)

    def exposed(self, certificate_file: str, key_file: str) -> Pair:
        """A certificate and key that the fleet file names. Raises CertificateError."""
        texts = []
        for given in (certificate_file, key_file):
            path = self._base / Path(given).expanduser()
            try:
                texts.append(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as exc:
                reason = exc.strerror if isinstance(exc, OSError) else "it is no text"
                raise CertificateError(f"{path} cannot be read: {reason}") from None
        pair = Pair(*texts)
        if not fits(pair):
            raise CertificateError(f"{certificate_file} does not belong to {key_file}")
        return pair
