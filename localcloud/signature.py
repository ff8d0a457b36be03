# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS's Signature Version 4 as a server checks it: in the Authorization header, or in the query of a presigned URL.

Pure but for the request it reads. Source: AWS's "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import NoReturn
from urllib.parse import quote, unquote, unquote_plus

from werkzeug.wrappers import Request

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_SECONDS = 300
_MOST_PRESIGNED_SECONDS = 7 * 24 * 3600
_TIME = "%Y%m%dT%H%M%SZ"
_FIELD = re.compile(r"(Credential|SignedHeaders|Signature)\s*=\s*([^,\s]*)")
_ALWAYS = ("x-amz-date", "x-amz-security-token", "x-amz-target")
"""Headers that a signature must cover where the request has them."""


class Fault(Enum):
    """What is wrong with a signature; each protocol has its own code for it."""

    MISSING = auto()  # there is none
    INCOMPLETE = auto()  # it cannot be read
    UNKNOWN_KEY = auto()
    EXPIRED_TOKEN = auto()
    UNTIMELY = auto()  # from a clock that is off, or a presigned URL that is over
    MISMATCH = auto()


class SignatureError(Exception):
    """The request is not from who it says: what is wrong, and AWS's words."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message


@dataclass(frozen=True)
class Signature:
    """What a request says about its own signature."""

    access_key: str
    date: str  # YYYYMMDD, of the scope
    region: str
    service: str
    headers: tuple[str, ...]  # the signed ones, in lower case
    time: str  # YYYYMMDDTHHMMSSZ
    token: str  # of a session; empty without
    value: str
    seconds: int = 0  # how long a presigned URL is good for; 0 if it is none

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def read(request: Request) -> Signature:
    """The signature of a request, not checked yet. Raises SignatureError if it has none that can be read."""
    given = request.headers.get("Authorization", "")
    query = request.args
    if given:
        algorithm, found = given.partition(" ")[0], dict(_FIELD.findall(given))
        time, token, seconds = request.headers.get("X-Amz-Date", ""), request.headers.get("X-Amz-Security-Token", ""), 0
        for name in ("Credential", "Signature", "SignedHeaders"):
            if algorithm == ALGORITHM and not found.get(name):
                _incomplete(f"Authorization header requires '{name}' parameter.")
    elif "X-Amz-Algorithm" in query:
        algorithm = query["X-Amz-Algorithm"]
        found = {name: query.get(f"X-Amz-{name}", "") for name in ("Credential", "SignedHeaders", "Signature")}
        time, token = query.get("X-Amz-Date", ""), query.get("X-Amz-Security-Token", "")
        for name in (*found, "Date", "Expires"):
            if not query.get(f"X-Amz-{name}"):
                _incomplete(f"AWS query-string parameters must include 'X-Amz-{name}'.")
        asked = query["X-Amz-Expires"]
        if not asked.isdecimal() or not 1 <= int(asked) <= _MOST_PRESIGNED_SECONDS:
            _incomplete("X-Amz-Expires must be between 1 and 604800 seconds.")
        seconds = int(asked)
    else:
        raise SignatureError(Fault.MISSING, "Request is missing Authentication Token")
    if algorithm != ALGORITHM:
        _incomplete(f"Unsupported AWS 'algorithm': '{algorithm}'.")
    access_key, *scope = unquote(found["Credential"]).split("/")
    if len(scope) != 4 or scope[3] != "aws4_request" or not all([access_key, *scope]):
        _incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.")
    headers = tuple(found["SignedHeaders"].lower().split(";"))
    return Signature(access_key, scope[0], scope[1], scope[2], headers, time, token, found["Signature"], seconds)


def verify(request: Request, signature: Signature, secret: str, now: float) -> None:
    """Raise SignatureError unless the holder of the secret signed this very request, not long ago.

    :param now: unix seconds.
    """
    if "host" not in signature.headers:
        _incomplete("'Host' must be a 'SignedHeader' in the AWS Authorization.")
    for name in _ALWAYS:
        if name in request.headers and name not in signature.headers:
            _incomplete(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")
    _in_time(signature, now)
    key = f"AWS4{secret}".encode()
    for part in signature.scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    canonical = hashlib.sha256(_canonical(request, signature).encode()).hexdigest()
    wanted = hmac.digest(
        key, "\n".join([ALGORITHM, signature.time, signature.scope, canonical]).encode(), "sha256"
    ).hex()
    if not hmac.compare_digest(signature.value.encode(), wanted.encode()):
        raise SignatureError(
            Fault.MISMATCH,
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details.",
        )


def _in_time(signature: Signature, now: float) -> None:
    try:
        at = datetime.strptime(signature.time, _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        _incomplete(
            f"Date must be in ISO-8601 'basic format'. Got '{signature.time}'. See http://en.wikipedia.org/wiki/ISO_8601"
        )
    if not signature.time.startswith(f"{signature.date}T"):
        raise SignatureError(
            Fault.MISMATCH,
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{signature.date}' != '{signature.time[:8]}', from '{signature.time}'.",
        )
    if at > now + SKEW_SECONDS:
        raise SignatureError(
            Fault.UNTIMELY,
            f"Signature not yet current: {signature.time} is still later than {_at(now + SKEW_SECONDS)} ({_at(now)} + 5 min.)",
        )
    if signature.seconds:
        if at + signature.seconds < now:
            raise SignatureError(
                Fault.UNTIMELY, f"Signature expired: {_at(at + signature.seconds)} is now earlier than {_at(now)}"
            )
    elif at < now - SKEW_SECONDS:
        raise SignatureError(
            Fault.UNTIMELY,
            f"Signature expired: {signature.time} is now earlier than {_at(now - SKEW_SECONDS)} ({_at(now)} - 5 min.)",
        )


def _canonical(request: Request, signature: Signature) -> str:
    path = str(request.environ.get("REQUEST_URI") or request.path).partition("?")[0] or "/"
    pairs = [pair.partition("=") for pair in request.environ.get("QUERY_STRING", "").split("&") if pair]
    query = sorted((_quoted(name), _quoted(value)) for name, _, value in pairs if name != "X-Amz-Signature")
    headers = [f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signature.headers]
    return "\n".join(
        [
            request.method,
            quote(path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            "".join(headers),
            ";".join(signature.headers),
            hashlib.sha256(request.get_data()).hexdigest(),
        ]
    )


def _quoted(text: str) -> str:
    return quote(unquote_plus(text), safe="-_.~")


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):{_TIME}}"


def _incomplete(message: str) -> NoReturn:
    raise SignatureError(Fault.INCOMPLETE, message)
