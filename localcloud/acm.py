# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate Manager: certificates that are imported, for the load balancers' listeners. moto keeps them; its answers are not all AWS's."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from moto.acm.models import CertBundle, acm_backends
from moto.acm.responses import AWSCertificateManagerResponse
from moto.core.responses import ActionResult
from moto.elbv2.models import elbv2_backends

from localcloud import paging
from localcloud.errors import ApiError
from localcloud.wire import not_implemented

_USUAL_KEYS = ("RSA_1024", "RSA_2048")
"""What ListCertificates lists where the request names no types of keys."""
_PAGE = 1000
_LEAST_BITS = 2048


class CertificateResponse(AWSCertificateManagerResponse):
    """ACM, as far as certificates are the user's own."""

    def import_certificate(self) -> ActionResult:
        given = {name: self._pem(name) for name in ("Certificate", "PrivateKey", "CertificateChain")}
        arn, tags = self._get_param("CertificateArn"), self._get_param("Tags") or []
        if arn and tags:
            raise ApiError("ValidationException", "Tagging is not permitted on re-import.")
        certificates = acm_backends[self.current_account][self.region]._certificates
        before = certificates.get(arn) if arn else None
        answer = super().import_certificate()
        made: CertBundle = certificates[answer.result["CertificateArn"]]  # type: ignore[index]
        wrong = ""
        if _public(made._cert.public_key()) != _public(made._key.public_key()):
            wrong = "The private key does not match the public key of the certificate."
        elif isinstance(made._key, RSAPrivateKey) and made._key.key_size < _LEAST_BITS:
            wrong = (
                f"In the local cloud RSA keys have {_LEAST_BITS} bits or more: HAProxy's OpenSSL takes no shorter ones."
            )
        if wrong:
            if before is None:
                del certificates[made.arn]
            else:
                certificates[made.arn] = before
            raise ApiError("ValidationException", wrong)
        made.chain = given["CertificateChain"]  # moto puts Amazon's own authority behind it
        if before is not None:
            made.tags = before.tags
        return answer

    def _pem(self, name: str) -> bytes:
        try:
            return base64.b64decode(self._get_param(name) or "", validate=True)
        except (binascii.Error, ValueError):
            return b""  # moto says what is wrong with it

    def describe_certificate(self) -> ActionResult:
        answer = super().describe_certificate()
        about: dict[str, Any] = answer.result["Certificate"]  # type: ignore[index]
        bundle = self._bundle()
        about.update(
            InUseBy=used_by(self.current_account, self.region, bundle.arn),
            Serial=_colons(bundle._cert.serial_number),
            CreatedAt=about["ImportedAt"],
            SubjectAlternativeNames=bundle.sans or [bundle.common_name],
            Subject=bundle._cert.subject.rfc4514_string(),
            DomainValidationOptions=[],
        )
        return answer

    def get_certificate(self) -> ActionResult:
        bundle = self._bundle()
        chain = {"CertificateChain": bundle.chain.decode()} if bundle.chain else {}
        return ActionResult({"Certificate": bundle.cert.decode(), **chain})

    def list_certificates(self) -> ActionResult:
        includes = self._get_param("Includes") or {}
        keys = includes.get("keyTypes") or _USUAL_KEYS
        backend = acm_backends[self.current_account][self.region]
        every = [
            _summary(one, used_by(self.current_account, self.region, one.arn))
            for one in backend.list_certificates(self._get_param("CertificateStatuses") or [], {})
        ]
        found = [one for one in every if one["KeyAlgorithm"] in keys]
        wrong = ApiError("InvalidArgsException", "The NextToken is not valid.")
        begin = paging.begin(self._get_param("NextToken"), wrong)
        size = paging.size("maxItems", self._get_param("MaxItems"), _PAGE, _PAGE)
        more = {"NextToken": str(begin + size)} if len(found) > begin + size else {}
        return ActionResult({"CertificateSummaryList": found[begin : begin + size], **more})

    def delete_certificate(self) -> ActionResult:
        arn = self._bundle().arn
        if used_by(self.current_account, self.region, arn):
            raise ApiError("ResourceInUseException", f"Certificate {arn} in account {self.current_account} is in use.")
        return super().delete_certificate()

    def request_certificate(self) -> ActionResult:
        raise not_implemented("acm", "RequestCertificate (nobody proves who owns a domain; import a certificate)")

    def resend_validation_email(self) -> ActionResult:
        raise not_implemented("acm", "ResendValidationEmail")

    def export_certificate(self) -> ActionResult:
        raise not_implemented("acm", "ExportCertificate")

    def _bundle(self) -> CertBundle:
        arn = self._get_param("CertificateArn")
        return acm_backends[self.current_account][self.region].get_certificate(arn)


def used_by(account: str, region: str, arn: str) -> list[str]:
    """The ARNs of the load balancers whose listeners have the certificate."""
    return [
        balancer.arn
        for balancer in elbv2_backends[account][region].load_balancers.values()
        if any(arn in listener.certificates for listener in balancer.listeners.values())
    ]


def exists(account: str, region: str, arn: str) -> bool:
    return arn in acm_backends[account][region]._certificates


def served(account: str, region: str, arn: str) -> tuple[str, bytes]:
    """A certificate, its chain and its private key as one PEM file, and a name for the file: other contents, another name."""
    bundle = acm_backends[account][region]._certificates[arn]
    parts = (bundle.cert, bundle.chain or b"", bundle.key)
    content = b"".join(part.strip() + b"\n" for part in parts if part.strip())
    return f"{hashlib.sha256(content).hexdigest()[:40]}.pem", content


def _summary(bundle: CertBundle, users: list[str]) -> dict[str, Any]:
    about = bundle.describe()["Certificate"]
    names = bundle.sans or [bundle.common_name]
    return {
        **{key: about[key] for key in ("CertificateArn", "DomainName", "Status", "Type", "KeyAlgorithm", "NotBefore", "NotAfter")},
        "SubjectAlternativeNameSummaries": names[:100],
        "HasAdditionalSubjectAlternativeNames": len(names) > 100,
        "KeyUsages": [],
        "ExtendedKeyUsages": [],
        "InUse": bool(users),
        "RenewalEligibility": "INELIGIBLE",
        "CreatedAt": about["ImportedAt"],
        "ImportedAt": about["ImportedAt"],
    }  # fmt: skip


def _public(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _colons(serial: int) -> str:
    return serial.to_bytes((serial.bit_length() + 8) // 8 or 1).hex(":")
