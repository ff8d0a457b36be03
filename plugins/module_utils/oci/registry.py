# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry over HTTP: what a tag stands for, and an image whole. Every request has a deadline."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import tarfile
import tempfile
import urllib.parse
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol, TypeVar

from ansible_collections.boring.fleet.plugins.module_utils.oci import archive
from ansible_collections.boring.fleet.plugins.module_utils.oci import reference as oci
from ansible_collections.boring.fleet.plugins.module_utils.oci.credentials import Credentials
from ansible_collections.boring.fleet.plugins.module_utils.oci.reference import Blob, Manifest, OciError, Reference

_PAUSES: Final = (1.0, 3.0)  # seconds before another try
_REDIRECTS: Final = 5
_MOVED: Final = (301, 302, 303, 307, 308)
_MANIFEST_MOST: Final = 8 * 1024 * 1024  # bytes of a manifest or a configuration
_PIECE: Final = 1024 * 1024
_PARTIAL: Final = ".part"
_DAY: Final = 86_400  # seconds
_LOOPBACK: Final = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?")


class Answer(Protocol):
    """What a server said. The body is read in pieces."""

    @property
    def status(self) -> int:
        """Of HTTP."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Names as the server wrote them; lookups ignore their case."""

    def read(self, amount: int = -1, /) -> bytes:
        """The next bytes of the body. Raises OSError, also for a body that ends before its length."""

    def close(self) -> None:
        """No more is read."""


# method, URL, headers, body -> an answer, whatever its status; redirects are not followed. Raises OSError.
# pylint: disable-next=unsupported-binary-operation
Send = Callable[[str, str, Mapping[str, str], bytes | None], Answer]

_Read = TypeVar("_Read")


@dataclass
class Registry:
    """The registry of one image. `login` is asked once, when the registry wants to know who asks."""

    image: Reference
    architecture: str
    send: Send
    sleep: Callable[[float], None]
    login: Callable[[], Credentials]
    _authorization: str = ""

    def resolve(self) -> str:
        """The digest of what the reference stands for: of an index where there is one, as other tools say it too. Raises OciError
        also when it is not for this architecture."""
        return oci.digest_of(self._described()[0].content)

    def keep(self, folder: Path, *, fetch: bool = True) -> tuple[Path, bool]:
        """Where in a folder the image is, which is named by digest, and whether it was not there whole, so that it was fetched if `fetch`
        says so. Raises OciError."""
        path = folder / f"{self.image.digest.removeprefix('sha256:')}-{self.architecture}.tar"
        missing = not archive.intact(path, self.image.digest, self.architecture)
        if missing and fetch:
            self.fetch(path)
        return path, missing

    def fetch(self, to: Path) -> None:
        """Write the image for this architecture as an OCI archive, every piece checked against its digest. Several may do so at once.
        Raises OciError."""
        named, (content, manifest), config = self._described()
        # Where a list names the image, the list comes along: from its digest on, all is checked by digests.
        documents = {oci.digest_of(each): each for each in (named.content, content, config)}
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=to.parent, prefix=f"{to.name}.", suffix=_PARTIAL) as folder:
                _forget_killed(Path(folder))
                partial = Path(folder, to.name)
                with partial.open("wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
                    archive.begin(tar, named.media, named.content)
                    for digest, each in documents.items():
                        archive.add(tar, archive.place(digest), each)
                    for blob in dict.fromkeys(manifest.layers):
                        self._layer(tar, file, blob)
                partial.replace(to)
        except OSError as exc:
            raise OciError(f"{self.image} cannot be written to {to}: {exc.strerror or exc}") from exc

    def _described(self) -> tuple[_Named, tuple[bytes, Manifest], bytes]:
        what = str(self.image)
        content, said = self._manifest(self.image.version)
        digest = oci.digest_of(content)
        if self.image.digest and digest != self.image.digest:
            raise OciError(f"{self.image.host} gave something else than {what}: its digest is {oci.short(digest)}...")
        found = oci.document(content, what)
        named = _Named(content, oci.INDEXES[0] if oci.kind(found, said) == "index" else oci.MANIFESTS[0])
        if named.media == oci.INDEXES[0]:
            content, said = self._checked_manifest(oci.choose(found, self.architecture, what))
            found = oci.document(content, what)
        manifest = oci.manifest(found, what)
        config, dummy = self._document(f"blobs/{manifest.config.digest}", {})
        if oci.digest_of(config) != manifest.config.digest:
            raise OciError(f"{self.image.host} gave a damaged configuration of {what}: try again, or push it again")
        oci.check_platform(oci.document(config, f"the configuration of {what}"), self.architecture, what)
        return named, (content, manifest), config

    def _manifest(self, version: str) -> tuple[bytes, str]:
        return self._document(f"manifests/{version}", {"Accept": ", ".join((*oci.INDEXES, *oci.MANIFESTS))})

    def _document(self, path: str, headers: Mapping[str, str]) -> tuple[bytes, str]:
        """A small one, whole, and its media type."""

        def read(answer: Answer) -> tuple[bytes, str]:
            try:
                return _whole(answer, str(self.image)), answer.headers.get("Content-Type", "")
            except OSError as exc:
                raise _CutOffError(f"what describes {self.image} broke off: {_reason(exc)}; try again") from exc

        return self._got(path, headers, read)

    def _checked_manifest(self, digest: str) -> tuple[bytes, str]:
        content, said = self._manifest(digest)
        if oci.digest_of(content) != digest:
            raise OciError(f"{self.image.host} gave a damaged manifest of {self.image}: try again, or push it again")
        return content, said

    def _layer(self, tar: tarfile.TarFile, file: IO[bytes], blob: Blob) -> None:
        start = tar.offset

        def write(answer: Answer) -> None:
            file.seek(start)  # behind which another try may have left something
            file.truncate()
            tar.offset = start
            tar.addfile(archive.entry(archive.place(blob.digest), blob.size), _Checked(answer, blob, str(self.image)))

        self._got(f"blobs/{blob.digest}", {}, write)

    def _got(self, path: str, headers: Mapping[str, str], read: Callable[[Answer], _Read]) -> _Read:
        """What `read` makes of a good answer. It is asked for again while the registry is busy or away, and when the answer breaks off."""
        url = f"{base(self.image.host)}/v2/{self.image.path}/{path}"
        for pause in (*_PAUSES, None):
            try:
                with closing(self._asked(url, headers)) as answer:
                    if answer.status == 200:
                        return read(answer)
                    busy = answer.status == 429 or answer.status >= 500
                    if not busy or pause is None:
                        raise self._refusal(answer.status, path)
            except _CutOffError as exc:
                if pause is None:
                    raise OciError(str(exc)) from exc
            self.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _asked(self, url: str, headers: Mapping[str, str]) -> Answer:
        """An answer, as often as it takes to log in. Raises _CutOffError."""
        try:
            answer = self._followed(url, headers)
            if answer.status == 401:
                challenge = answer.headers.get("WWW-Authenticate", "")
                answer.close()
                self._authorization = self._authorized(challenge)
                answer = self._followed(url, headers)
        except OSError as exc:
            raise _CutOffError(f"the registry {self.image.host} does not answer: {_reason(exc)}") from exc
        return answer

    def _followed(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Registries keep pieces elsewhere. Who we are is for the registry alone."""
        own = urllib.parse.urlsplit(url).netloc
        for dummy in range(_REDIRECTS):
            trusted = urllib.parse.urlsplit(url).netloc == own and self._authorization
            answer = self.send(
                "GET", url, {**headers, **({"Authorization": self._authorization} if trusted else {})}, None
            )
            if answer.status not in _MOVED:
                return answer
            url = urllib.parse.urljoin(url, answer.headers.get("Location", ""))
            answer.close()
            _refuse_plain(url, f"the registry {self.image.host} sends to")
        raise OciError(
            f"the registry {self.image.host} sends from one address to the next, more than {_REDIRECTS} times"
        )

    def _authorized(self, challenge: str) -> str:
        """The header that a registry asks for: who you are, or a token of who knows that."""
        scheme, _blank, rest = challenge.partition(" ")
        login = self.login()
        if scheme.lower() == "basic":
            if not login.user:
                raise OciError(
                    f"the registry {self.image.host} asks who you are for {self.image}: log in with docker login or podman login"
                )
            return _basic(login)
        asked = dict(re.findall(r'([a-z]+)="([^"]*)"', rest))
        realm = asked.get("realm", "")
        if scheme.lower() != "bearer" or not realm:
            raise OciError(
                f"the registry {self.image.host} asks for a login in a way that is not known: {scheme or 'none'}"
            )
        _refuse_plain(realm, f"the registry {self.image.host} has tokens from")
        return f"Bearer {self._token(realm, asked, login)}"

    def _token(self, realm: str, asked: Mapping[str, str], login: Credentials) -> str:
        scope = asked.get("scope") or f"repository:{self.image.path}:pull"
        query = {"service": asked.get("service", ""), "scope": scope}
        if login.identity:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": login.identity,
                "client_id": "boring.fleet",
                **query,
            }
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self.send("POST", realm, kind, urllib.parse.urlencode(form).encode())
        else:
            mark = "&" if "?" in realm else "?"
            headers = {"Authorization": _basic(login)} if login.user else {}
            answer = self.send("GET", f"{realm}{mark}{urllib.parse.urlencode(query)}", headers, None)
        with closing(answer):
            if answer.status >= 500 or answer.status == 429:
                raise OSError(0, f"{_host(realm)}, which gives tokens for it, answers {answer.status}")
            if answer.status != 200:
                raise self._denied(answer.status)
            found = oci.document(_whole(answer, "its token"), f"what {_host(realm)} gives as token")
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str) or not token:
            raise OciError(f"{_host(realm)}, which gives tokens for {self.image.host}, gave none")
        return token

    def _refusal(self, status: int, path: str) -> OciError:
        if status in (401, 403):
            return self._denied(status)
        if status == 404 and path.startswith("manifests/"):
            what = "digest" if self.image.digest else "tag"
            return OciError(
                f"there is no {self.image}: {self.image.host} has no such {what}, or hides it from you; push it, or log in"
            )
        if status == 404:
            return OciError(f"{self.image.host} has lost a piece of {self.image}: push it again")
        return OciError(f"the registry {self.image.host} answers {status} for {self.image}: look at its log")

    def _denied(self, status: int) -> OciError:
        if not self.login().known:
            return OciError(
                f"the registry {self.image.host} asks who you are for {self.image}: log in with docker login or podman login"
            )
        return OciError(
            f"the registry {self.image.host} refuses your login for {self.image} ({status}): log in again, or ask for the right to pull"
        )


@dataclass(frozen=True)
class _Named:
    """What a name stands for, a list or the image itself."""

    content: bytes
    media: str


class _CutOffError(Exception):
    """An answer that did not come, or not whole: another try may help."""


class _Checked(io.RawIOBase):
    """A piece of an image on its way into an archive: as long as it should be, and of its digest. Raises _CutOffError."""

    def __init__(self, answer: Answer, blob: Blob, what: str) -> None:
        super().__init__()
        self._answer, self._blob, self._what = answer, blob, what
        self._left, self._sum = blob.size, hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        parts = []
        while wanted:
            try:
                part = self._answer.read(min(wanted, _PIECE))
            except OSError as exc:
                raise _CutOffError(f"a piece of {self._what} broke off: {_reason(exc)}") from exc
            if not part:
                raise _CutOffError(f"a piece of {self._what} broke off {self._left} bytes before its end: try again")
            self._sum.update(part)
            self._left -= len(part)
            wanted -= len(part)
            parts.append(part)
        if not self._left and f"sha256:{self._sum.hexdigest()}" != self._blob.digest:
            raise OciError(f"a piece of {self._what} is not what its digest says: try again, or push it again")
        return b"".join(parts)


def _forget_killed(own: Path) -> None:
    """What fetches left that were killed. Those of the last day may still be at work."""
    for old in own.parent.glob(f"*{_PARTIAL}"):
        with suppress(OSError):  # another fetch may take it away too
            if old.stat().st_mtime < own.stat().st_mtime - _DAY:
                shutil.rmtree(old)


def _whole(answer: Answer, what: str) -> bytes:
    found = answer.read(_MANIFEST_MOST + 1)
    if len(found) > _MANIFEST_MOST:
        raise OciError(
            f"what describes {what} has more than {_MANIFEST_MOST // 1024 // 1024} MiB: is that address a registry?"
        )
    return found


def base(host: str) -> str:
    """The address of a registry. Only one on this machine may be without TLS, as Docker has it too."""
    if host == "docker.io":
        return "https://registry-1.docker.io"
    return f"{'http' if _LOOPBACK.fullmatch(host) else 'https'}://{host}"


def _refuse_plain(url: str, who: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and _LOOPBACK.fullmatch(parts.netloc)):
        raise OciError(f"{who} {_host(url)} without TLS, where others could read who you are: give the registry https")


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc or "another address"


def _basic(login: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()


def _reason(exc: OSError) -> str:
    return str(exc.strerror or exc or type(exc).__name__)
