# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a user is at a registry: what `docker login` and `podman login` wrote down."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.oci.reference import OciError

# Name and standard input of a credential helper -> what it printed; None when it knows nothing. Raises OciError.
# pylint: disable-next=unsupported-binary-operation
Helper = Callable[[str, str], str | None]
_IDENTITY: Final = "<token>"
_DOCKER_HUB: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True)
class Credentials:
    """A user and a password, or a token that buys others. Empty for nobody. Secrets stay out of repr()."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)

    @property
    def known(self) -> bool:
        """Whether there are any."""
        return bool(self.identity or self.user)


def files(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Where logins are written down, in the order in which they count."""
    if environ.get("REGISTRY_AUTH_FILE"):
        yield Path(environ["REGISTRY_AUTH_FILE"])
        return
    if environ.get("XDG_RUNTIME_DIR"):
        yield Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"
    yield Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"


def find(host: str, path: str, environ: Mapping[str, str], home: Path, helper: Helper) -> Credentials:
    """The first login for the registry; nobody when there is none. Raises OciError for a file that cannot be read."""
    for file in files(environ, home):
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as exc:
            raise OciError(f"{file}, which says who you are at {host}, cannot be read: {type(exc).__name__}") from None
        try:
            config = json.loads(text or "{}")
        except ValueError:
            config = None
        if not isinstance(config, dict):
            raise OciError(f"{file}, which says who you are at {host}, is no JSON object: log in again, or mend it")
        found = _from(config, host, path, helper, file)
        if found.known:
            return found
    return Credentials()


def _from(config: Mapping[str, Any], host: str, path: str, helper: Helper, file: Path) -> Credentials:
    auths, helpers = _mapping(config.get("auths")), _mapping(config.get("credHelpers"))
    for key in _keys(host, path):
        name = helpers.get(key)
        if isinstance(name, str) and name and (found := _helped(helper(name, key), name)).known:
            return found
        entry = _mapping(auths.get(key))
        if entry and (found := _written(entry, host, file)).known:
            return found
    store = config.get("credsStore")
    if isinstance(store, str) and store:
        for key in _keys(host, path):
            if (found := _helped(helper(store, key), store)).known:
                return found
    return Credentials()


def _keys(host: str, path: str) -> Iterator[str]:
    """The names under which a login may stand: podman writes parts of a path, Docker addresses."""
    parts = [host, *path.split("/")]
    for length in range(len(parts), 0, -1):
        yield "/".join(parts[:length])
    hosts = _DOCKER_HUB if host in _DOCKER_HUB else (host,)
    for each in hosts:
        if each != host:
            yield each
        yield from (f"https://{each}", f"https://{each}/v1/", f"https://{each}/v2/")


def _written(entry: Mapping[str, Any], host: str, file: Path) -> Credentials:
    if isinstance(entry.get("identitytoken"), str) and entry["identitytoken"]:
        return Credentials(identity=entry["identitytoken"])
    auth = entry.get("auth")
    if not isinstance(auth, str) or not auth:
        return Credentials(str(entry.get("username") or ""), str(entry.get("password") or ""))
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise OciError(f"the login for {host} in {file} is damaged: log in again")
    return Credentials(user, password.rstrip("\0"))


def _helped(printed: str | None, name: str) -> Credentials:
    if printed is None:
        return Credentials()
    try:
        found = json.loads(printed)
        user, secret = found["Username"], found["Secret"]
    except (ValueError, KeyError, TypeError):
        raise OciError(f"docker-credential-{name} printed no user and secret: try it by hand") from None
    return Credentials(identity=str(secret)) if user == _IDENTITY else Credentials(str(user), str(secret))


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
