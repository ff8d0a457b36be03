# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for the tests: from the scenario's private CA, from a stranger's, and expired ones."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# Known to the tests, good for nothing else; every scenario's variables have the same.
PASSPHRASE = "correct-horse-battery-staple-ca"


def scenario_ca() -> Path:
    """Directory of the CA that the role certificates made for this scenario."""
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "ca"


@dataclass(frozen=True)
class Identity:
    """PEM files of a certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """A CA in a directory: `ca.pem` and `ca.key`."""

    def __init__(self, directory: Path, passphrase: str | None) -> None:
        self.directory = directory
        self._cert = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
        key = serialization.load_pem_private_key(
            (directory / "ca.key").read_bytes(), passphrase.encode() if passphrase else None
        )
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    @classmethod
    def stranger(cls, directory: Path) -> Authority:
        """A CA that nobody trusts."""
        directory.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a stranger's CA")])
        now = datetime.datetime.now(datetime.UTC)
        cert = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=400))
            .not_valid_after(now + datetime.timedelta(days=400))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_usage(sign=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        (directory / "ca.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        (directory / "ca.key").write_bytes(_pem(key))
        return cls(directory, None)

    def issue(self, directory: Path, *, names: tuple[str, ...] = ("client",), expired: bool = False) -> Identity:
        """A certificate for a server and for a client, valid for a day, or until an hour ago."""
        directory.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        alternatives: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
        ]
        cert = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])]))
            .issuer_name(self._cert.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(now + (datetime.timedelta(hours=-1) if expired else datetime.timedelta(days=1)))
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        found = Identity(directory / "cert.pem", directory / "key.pem")
        found.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        found.key.write_bytes(_pem(key))
        return found


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def context(identity: Identity | None = None, ca: Path | None = None) -> ssl.SSLContext:
    """What a careful client does: trusts one CA (the scenario's, unless another is given) and checks the name."""
    found = ssl.create_default_context(cafile=str(ca or scenario_ca() / "ca.pem"))
    if identity is not None:
        found.load_cert_chain(identity.cert, identity.key)
    return found


def served(address: str, port: int, *, greets: bool = False) -> bytes:
    """The certificate that a server presents, as DER."""
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    with socket.create_connection((address, port), timeout=10) as plain:
        if greets:
            while (read := plain.recv(1)) != b"\n":
                assert read, f"{address}:{port} ended the connection instead of a greeting"
        with careless.wrap_socket(plain) as encrypted:
            found = encrypted.getpeercert(binary_form=True)
    assert found
    return found
