# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image was made of, as a statement that is signed: in-toto with SLSA's provenance, in a DSSE envelope.

openssl signs, with a key of the user's. Who verifies needs openssl and the public key, nothing of ours (docs/images.md).
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
_BUILD_TYPE = "https://example.org/boring/fleet/image_build/v1"
_SECONDS = 30.0

Run = Callable[[Sequence[str]], bytes]


def statement(
    *,
    image: str,
    region: str,
    tags: Mapping[str, str],
    sbom: str,
    verified: str,
) -> dict[str, Any]:
    """The statement about an image that its own tags make. `sbom` is the SBOM's SHA-256, or empty.

    Raises ImageError for an image that does not say what it was made of.
    """
    fingerprint = tags.get("boring:fingerprint", "")
    if not fingerprint:
        raise ImageError(f"{image} has no tag boring:fingerprint, so nothing can be said about what it was made of")
    inputs = [{"name": "boring:fingerprint", "digest": {"sha256": fingerprint}}]
    if tags.get("boring:source"):
        inputs.append({"name": f"source image {tags['boring:source']}", "digest": {}})
    byproducts = [{"name": "sbom.cdx.json", "digest": {"sha256": sbom}}] if sbom else []
    return {
        "_type": _STATEMENT,
        "subject": [{"name": f"{region}/{image}", "digest": {"boringFingerprint": fingerprint}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {"family": tags.get("boring:family", ""), "build": tags.get("boring:build", "")},
                "internalParameters": {},
                "resolvedDependencies": inputs,
            },
            "runDetails": {
                "builder": {"id": "boring.fleet.image_build"},
                "metadata": {"verified": verified},
                "byproducts": byproducts,
            },
        },
    }


def encode(document: Mapping[str, Any]) -> bytes:
    """The bytes that are signed about: canonical JSON."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def authenticated(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what the signature is over."""
    kind = PAYLOAD.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def run(argv: Sequence[str]) -> bytes:
    """Run openssl. Raises ImageError with the last line of what it says; never anything of the key."""
    try:
        done = subprocess.run(argv, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError as exc:
        raise ImageError("there is no openssl on this machine, and it signs the statement: install it") from exc
    except subprocess.TimeoutExpired as exc:
        raise ImageError(f"openssl was not done in {_SECONDS:g} s: does the key need a passphrase?") from exc
    if done.returncode:
        raise ImageError("openssl did not sign: is the key an Ed25519 key in PEM, without a passphrase?")
    return done.stdout


def sign(document: Mapping[str, Any], key: Path, *, openssl: Run = run) -> str:
    """The envelope as JSON. `key` is an Ed25519 private key in PEM. Raises ImageError."""
    if not key.is_file():
        raise ImageError(
            f"the key {key} is not a file: correct the path, or make one with openssl genpkey -algorithm ed25519"
        )
    payload = encode(document)
    with tempfile.NamedTemporaryFile(prefix="boring-provenance-") as message:
        message.write(authenticated(payload))
        message.flush()
        signature = openssl(
            ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(key), "-passin", "pass:", "-in", message.name]
        )
    public = openssl(["openssl", "pkey", "-in", str(key), "-passin", "pass:", "-pubout", "-outform", "DER"])
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD,
        "signatures": [{"keyid": hashlib.sha256(public).hexdigest(), "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(envelope, indent=1, sort_keys=True) + "\n"
