# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet's own authority and what it signs, and what a certificate says of itself. The time is passed in; keys are random."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
    )
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    x509 = None  # type: ignore[assignment]

AUTHORITY_DAYS: Final = 3650
DAYS: Final = 90
RENEW_DAYS: Final = 30
_EARLIER: Final = datetime.timedelta(hours=1)  # clocks differ a little
_COMMON_NAME: Final = 64  # characters, and nobody compares it any more


class CertificateError(Exception):
    """One sentence; never a key."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: str
    key: str = field(repr=False)


def need_library() -> None:
    """Raises CertificateError, in place of a traceback."""
    if x509 is None:
        raise CertificateError(
            "the Python library cryptography is missing on the controller; 'pip install cryptography'"
        )


def make_authority(name: str, now: float) -> Pair:
    """A self-signed authority that signs certificates of servers only."""
    need_library()
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_COMMON_NAME])])
    builder = _builder(named, named, key.public_key(), now, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return _pair(builder.sign(key, hashes.SHA256()), key)


def sign(authority: Pair, names: Sequence[str], now: float) -> Pair:
    """A new key with a certificate for these DNS names or addresses. Raises CertificateError for an authority that cannot be read."""
    need_library()
    issuer, issuer_key = _read(authority.certificate), _key(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:_COMMON_NAME])])
    builder = _builder(subject, issuer.subject, key.public_key(), now, DAYS)
    builder = builder.add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    # Every node of a cluster is a server to some and a client to others.
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return _pair(builder.sign(issuer_key, hashes.SHA256()), key)


def names_of(pem: str) -> tuple[str, ...]:
    """The names and addresses that a certificate is for; () for what is no certificate."""
    try:
        found = _read(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (CertificateError, x509.ExtensionNotFound):
        return ()
    return tuple(sorted(str(one.value) for one in found))


def state_of(pem: str, authority: str, now: float) -> str:
    """`valid`, or in a few words why it must be made anew. `authority` is the PEM of the one that should have signed it, "" for any."""
    try:
        found = _read(pem)
    except CertificateError:
        return "unreadable"
    days = (found.not_valid_after_utc.timestamp() - now) / 86400
    if days < RENEW_DAYS:
        return f"ends in {days:.0f} days" if days > 0 else "over"
    if authority:
        try:
            found.verify_directly_issued_by(_read(authority))
        except Exception:  # each kind of mismatch has a class of its own
            return "of another authority"
    return "valid"


def fits(pair: Pair) -> bool:
    """Whether a key is the certificate's. Raises CertificateError where one cannot be read."""
    public = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return bool(
        _read(pair.certificate).public_key().public_bytes(*public) == _key(pair.key).public_key().public_bytes(*public)
    )


def digest(pem: str) -> str:
    """Of the text, to tell whether it is the same."""
    return hashlib.sha256(pem.strip().encode()).hexdigest()[:32]


def split(pem: str) -> tuple[str, str]:
    """The first certificate, and the chain after it."""
    end = "-----END CERTIFICATE-----"
    first, mark, rest = pem.partition(end)
    return f"{first}{mark}\n".lstrip(), rest.strip()


def _builder(subject: Any, issuer: Any, public: Any, now: float, days: int) -> Any:
    at = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _EARLIER)
        .not_valid_after(at + datetime.timedelta(days=days))
    )


def _usage(**used: bool) -> Any:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
        "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: used.get(name, False) for name in every})


def _name(name: str) -> Any:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pair(certificate: Any, key: Any) -> Pair:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(certificate.public_bytes(Encoding.PEM).decode(), text.decode())


def _read(pem: str) -> Any:
    need_library()
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise CertificateError("it is no certificate in PEM") from None


def _key(pem: str) -> Any:
    try:
        return load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        raise CertificateError("it is no private key in PEM without a passphrase") from None
