# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A value that dotenvx encrypted: `encrypted:` and base64, sealed to a public key on the curve secp256k1 (ECIES).

65 bytes of ephemeral public key, 16 of nonce, 16 of tag, then the ciphertext of AES-256-GCM. Its key is HKDF-SHA256 over the
ephemeral public key and the shared point, both uncompressed. https://github.com/ecies/js describes the same.
"""

from __future__ import annotations

from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.vault import need_cryptography, unwrap

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError:
    InvalidTag = ec = AESGCM = SHA256 = HKDF = None  # type: ignore[assignment,misc]

PREFIX: Final = "encrypted:"
PUBLIC: Final = "DOTENV_PUBLIC_KEY"
_PRIME: Final = 2**256 - 2**32 - 977  # of the curve's field, where y² = x³ + 7
_POINT: Final = 65
_NONCE: Final = 16
_TAG: Final = 16


def decrypt(value: str, secrets: list[bytes], what: str) -> str | None:
    """The plain value, or None where no key fits. `what` names the value, should it be malformed (DotenvError)."""
    need_cryptography(ec)
    blob = unwrap(value[len(PREFIX) :], what, _POINT + _NONCE + _TAG)
    for secret in secrets:
        plain = _open(blob, secret)
        if plain is not None:
            return plain
    return None


def _open(blob: bytes, secret: bytes) -> str | None:
    point, rest = blob[:_POINT], blob[_POINT:]
    nonce, tag, sealed = rest[:_NONCE], rest[_NONCE : _NONCE + _TAG], rest[_NONCE + _TAG :]
    try:
        private = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256K1())
        shared = private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), point))
    except ValueError:  # no point of the curve, or a number that is no private key
        return None
    # The library gives the shared point's x alone. Two points have it; the tag says which one was meant.
    x = int.from_bytes(shared, "big")
    root = pow(x**3 + 7, (_PRIME + 1) // 4, _PRIME)
    for y in (root, _PRIME - root):
        whole = b"\x04" + shared + y.to_bytes(32, "big")
        key = HKDF(SHA256(), length=32, salt=None, info=b"").derive(point + whole)
        try:
            return AESGCM(key).decrypt(nonce, sealed + tag, None).decode()
        except (InvalidTag, ValueError):
            continue
    return None
