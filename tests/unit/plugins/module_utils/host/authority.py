# SPDX-License-Identifier: GPL-3.0-or-later
"""An authority for tests, and what it signs."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Authority:
    """Like that of a fleet."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = _name("shop fleet")
        basic = x509.BasicConstraints(ca=True, path_length=0)
        self.certificate = self._build(name, name, self.key.public_key(), [(basic, True)], 60)

    def sign(self, names: list[str], days: float = 60, addresses: Sequence[str] = ()) -> tuple[str, str]:
        """Certificate and key in PEM; with fewer than no days it ended already."""
        known = [x509.DNSName(name) for name in names]
        for_addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        key = ec.generate_private_key(ec.SECP256R1())
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.SubjectAlternativeName([*known, *for_addresses]), False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        ]
        made = self._build(_name(names[0]), self.certificate.subject, key.public_key(), extensions, days)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem(made), private.decode()

    def _build(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: Any,
        extensions: list[tuple[x509.ExtensionType, bool]],
        days: float,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        begins = now + timedelta(days=min(days, 0)) - timedelta(hours=1)
        made = x509.CertificateBuilder(
            issuer, subject, key, x509.random_serial_number(), begins, now + timedelta(days=days)
        )
        known = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        identity = x509.SubjectKeyIdentifier.from_public_key(key)
        for extension, critical in [*extensions, (known, False), (identity, False)]:
            made = made.add_extension(extension, critical=critical)
        return made.sign(self.key, hashes.SHA256())


def pem(certificate: x509.Certificate) -> str:
    """As a file."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
