# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for the tests, made by a library."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(until: datetime, names: int = 1) -> str:
    """A certificate that ends then, for so many names, as PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(2**150 + 1)
        .not_valid_before(datetime(1950, 1, 1, tzinfo=UTC))
        .not_valid_after(until)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(f"n{i}.example") for i in range(names)]), critical=False
        )
    )
    return made.sign(KEY, SHA256()).public_bytes(Encoding.PEM).decode()
