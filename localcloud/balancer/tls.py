# SPDX-License-Identifier: GPL-3.0-or-later
"""What HAProxy has to be told of a listener that ends TLS. Pure."""

from __future__ import annotations

from localcloud.balancer.model import Tls

DEFAULT_POLICY = "ELBSecurityPolicy-2016-08"
"""What a listener gets that the API makes without naming one; only the console has a newer default.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html"""
FOLDER = "certs"
"""Where the PEM files are, below HAProxy's directory."""
_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")  # as ELBv2 calls them
_OLD = _VERSIONS[:2]
_ALPN = {
    "HTTP1Only": "http/1.1,http/1.0",
    "HTTP2Only": "h2",
    "HTTP2Optional": "http/1.1,http/1.0,h2",
    "HTTP2Preferred": "h2,http/1.1,http/1.0",
    "None": "",
}
ALPN_POLICIES = tuple(_ALPN)


def alpn(policy: str) -> str:
    """The protocols that a TLS listener offers, the preferred first."""
    return _ALPN[policy]


def bind_options(tls: Tls) -> str:
    """The words of HAProxy's ``bind``."""
    versions = sorted(tls.versions, key=_VERSIONS.index)
    suites = [name for name in tls.ciphers if name.startswith("TLS_")]  # of TLS 1.3
    ciphers = [name for name in tls.ciphers if name not in suites]
    if versions[0] in _OLD:
        ciphers.append("@SECLEVEL=0")  # OpenSSL has no older versions on any higher level
    words = ["ssl", *(f"crt ./{FOLDER}/{name}" for name in tls.certificates)]
    words += [f"ssl-min-ver {_version(versions[0])}", f"ssl-max-ver {_version(versions[-1])}"]
    if ciphers:
        words.append(f"ciphers {':'.join(ciphers)}")
    if suites:
        words.append(f"ciphersuites {':'.join(suites)}")
    if tls.alpn:
        words.append(f"alpn {tls.alpn}")
    return " ".join(words)


def _version(name: str) -> str:
    return "TLSv1.0" if name == "TLSv1" else name
