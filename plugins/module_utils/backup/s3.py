# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups in a bucket of S3, or of what speaks its API."""

from __future__ import annotations

import hashlib
import ssl
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree

from ansible_collections.boring.fleet.plugins.module_utils.backup.told import BackupError
from ansible_collections.boring.fleet.plugins.module_utils.host import signature
from ansible_collections.boring.fleet.plugins.module_utils.host.aws import Answer, Http

_TRIES: Final = 5
# The role's credentials are over, though they were good when the run began
_EXPIRED: Final = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId")
_WAYS_OUT: Final = {
    "AccessDenied": "give the role or the key the rights that the README of data_backup lists",
    "NoSuchBucket": "make the bucket, or name the right one",
    "InvalidAccessKeyId": "name the key that the service knows",
    "SignatureDoesNotMatch": "look at the secret key, and at the host's clock",
    "RequestTimeTooSkewed": "set the host's clock",
    "PermanentRedirect": "name the bucket's own region",
    "AuthorizationHeaderMalformed": "name the bucket's own region",
}


@dataclass
class Bucket:
    """One bucket, addressed by path, below a prefix that ends with a slash or is empty. `now`: unix seconds.

    `credentials` is asked again when what it gave has expired.
    """

    http: Http
    credentials: Callable[[], signature.Credentials]
    endpoint: str
    region: str
    name: str
    prefix: str
    now: Callable[[], float]
    sleep: Callable[[float], None]
    _known: signature.Credentials | None = field(default=None, repr=False)

    def put(self, key: str, data: bytes) -> None:
        """See Target. S3 compares the bytes with their checksum before there is an object."""
        self._ask("PUT", key, "", data)

    def get(self, key: str) -> bytes:
        """See Target."""
        return self._ask("GET", key, "", b"").body

    def list(self, prefix: str) -> dict[str, int]:
        """See Target."""
        found: dict[str, int] = {}
        top, after = self.prefix + prefix, ""
        while True:
            query = {"list-type": "2", "prefix": top, "encoding-type": "url"}
            if after:
                query["continuation-token"] = after
            body = self._ask("GET", None, _query(query), b"").body
            try:
                root = ElementTree.fromstring(body)  # noqa: S314 - expat expands no entity of others
            except ElementTree.ParseError:
                raise BackupError(f"{self.endpoint} answered a list with what is no XML: is it S3?") from None
            for one in root.iter():
                one.tag = one.tag.rpartition("}")[2]
            for one in root.findall("Contents"):
                key = urllib.parse.unquote_plus(one.findtext("Key") or "")
                found[key.removeprefix(top)] = int(one.findtext("Size") or 0)
            after = root.findtext("NextContinuationToken") or ""
            if root.findtext("IsTruncated") != "true" or not after:
                return found

    def delete(self, key: str) -> None:
        """See Target."""
        self._ask("DELETE", key, "", b"")

    def _ask(self, method: str, key: str | None, query: str, body: bytes) -> Answer:
        path = f"/{self.name}" + ("" if key is None else "/" + urllib.parse.quote(self.prefix + key, safe="/-_.~"))
        url = f"{self.endpoint}{path}" + (f"?{query}" if query else "")
        what = f"{method} of {self.name}{'' if key is None else '/' + self.prefix + key}"
        said = ""
        for turn in range(_TRIES):
            if turn:
                self.sleep(2.0**turn / 2)
            try:
                answer = self.http(method, url, self._signed(method, url, body), body if method == "PUT" else None)
            except (OSError, ssl.SSLError) as exc:
                said = f"{self.endpoint} does not answer: {getattr(exc, 'reason', exc)}"
                continue
            if answer.status in (200, 204):
                return answer
            code, message = _refusal(answer.body)
            said = f"{answer.status} {code}: {message}"
            if code in _EXPIRED and turn == 0:
                self._known = None
            elif answer.status < 500 and answer.status != 429 and code != "RequestTimeout":
                raise BackupError(f"{what} was refused with {said}; {_WAYS_OUT.get(code, 'look at the bucket')}.")
        raise BackupError(
            f"{what} failed {_TRIES} times, the last time so: {said}; look at the network and the service."
        )

    def _signed(self, method: str, url: str, body: bytes) -> dict[str, str]:
        if self._known is None:
            self._known = self.credentials()
        more = {"x-amz-content-sha256": hashlib.sha256(body).hexdigest()}
        if method == "PUT":
            more["content-type"] = "application/octet-stream"
        return signature.headers(
            url,
            body,
            more,
            service="s3",
            region=self.region,
            credentials=self._known,
            now=self.now(),
            method=method,
        )


def _query(values: dict[str, str]) -> str:
    return urllib.parse.urlencode(sorted(values.items()), quote_via=urllib.parse.quote, safe="-_.~")


def _refusal(body: bytes) -> tuple[str, str]:
    try:
        root = ElementTree.fromstring(body)  # noqa: S314
    except ElementTree.ParseError:
        return "", "it gave no reason"
    found = {one.tag.rpartition("}")[2]: one.text or "" for one in root.iter()}
    return found.get("Code", ""), found.get("Message", "it gave no reason")[:300]
