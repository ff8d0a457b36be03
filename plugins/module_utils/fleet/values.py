# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single values of a fleet file, taken apart. Each function raises ValueError with the rest of a sentence."""

from __future__ import annotations

import ipaddress
import math
import re
import shlex
import unicodedata
from dataclasses import dataclass
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import kind, shown


@dataclass(frozen=True)
class Egress:
    """Where a host may connect to, by TCP."""

    cidr: str
    first: int
    last: int

    def __str__(self) -> str:
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.cidr}:{ports}"


def _text(given: Any, must: str) -> str:
    if not isinstance(given, str):
        quotes = ": put it in quotes" if isinstance(given, (bool, int, float)) else ""
        raise ValueError(f"must {must}, not {kind(given)}{quotes}")
    if not given or not given.isprintable():
        raise ValueError(f"must {must}, not {shown(given)}")
    return given


def network(given: Any) -> str:
    """A network as 10.0.0.0/16 or 2001:db8::/32."""
    text = _text(given, "be a network such as 10.0.0.0/16")
    if "/" not in text:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise ValueError(f"{shown(text)} is no network such as 10.0.0.0/16") from None
        raise ValueError(f"{text} is an address: write {ipaddress.ip_network(address)} for it alone")
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        wider = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{shown(text)} is no network such as 10.0.0.0/16") from None
    raise ValueError(f"{text} has bits beyond its mask: write {wider}, or {text.split('/')[0]}/{wider.max_prefixlen}")


def egress(given: Any) -> Egress:
    """`cidr:port` or `cidr:first-last`; an IPv6 network may be in brackets."""
    text = _text(given, "be cidr:port such as 0.0.0.0/0:443")
    cidr, colon, ports = text.rpartition(":")
    if not colon or "/" in ports or not ports:
        raise ValueError(f"{shown(text)} has no port: write it as 0.0.0.0/0:443 or [::/0]:443")
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", ports)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise ValueError(
            f"{shown(text)} has the port {shown(ports)}: give one from 1 to 65535, or a range such as 8000-8010"
        )
    if cidr.startswith("[") != cidr.endswith("]"):
        raise ValueError(f"{shown(text)} has half of its brackets: write it as [::/0]:443")
    where = network(cidr.removeprefix("[").removesuffix("]") or "nowhere")
    if _within(where, ("169.254.0.0/16", "fd00:ec2::/32")):
        raise ValueError(f"{shown(text)} is the instance's own metadata and its like, which egress cannot open")
    return Egress(where, first, last)


def _within(cidr: str, others: tuple[str, ...]) -> bool:
    inner: Any = ipaddress.ip_network(cidr)
    return any(inner.version == outer.version and inner.subnet_of(outer) for outer in map(ipaddress.ip_network, others))


def is_public(cidr: str) -> bool:
    """Whether some address of the network is one of the internet."""
    found: Any = ipaddress.ip_network(cidr)
    if found.version == 6:
        return not _within(cidr, ("fc00::/7", "fe80::/10"))
    return not _within(cidr, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8"))


_REFERENCE = re.compile(
    r"(?P<name>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>.+))?"
)


def image(given: Any) -> str:
    """An OCI image with the registry that it comes from, by digest or by tag."""
    text = _text(given, "be an image such as registry.example.org/web@sha256:...")
    found = _REFERENCE.fullmatch(text)
    if not found:
        why = " (its name is in lower case)" if text.lower() != text and _REFERENCE.fullmatch(text.lower()) else ""
        raise ValueError(f"{shown(text)} is no image such as registry.example.org/web@sha256:...{why}")
    host, slash, _path = found["name"].partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        raise ValueError(f"{shown(text)} does not say which registry: write it as registry.example.org/{text}")
    if found["digest"] and not re.fullmatch(r"sha256:[0-9a-f]{64}", found["digest"]):
        raise ValueError(f"{shown(text)} has no whole digest: sha256: and 64 hexadecimal digits")
    if not found["digest"] and not found["tag"]:
        raise ValueError(f"{shown(text)} has neither digest nor tag: write @sha256:... or a tag such as :1.4.2")
    return text


def command(given: Any) -> tuple[str, ...]:
    """A program and its arguments, as a list, or as text that is split the way a shell splits it, without being one."""
    if isinstance(given, str):
        try:
            parts: list[Any] = shlex.split(given)
        except ValueError as exc:
            raise ValueError(f"cannot be split into words: {str(exc).lower()}") from None
    elif isinstance(given, (list, tuple)):
        parts = list(given)
    else:
        raise ValueError(f"must be a list of a program and its arguments, not {kind(given)}")
    if not parts:
        raise ValueError("is empty: name a program, or leave it out for the image's own")
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (str, int)):
            raise ValueError(f"holds {kind(part)}: put each word in quotes")
        if any(not character.isprintable() for character in str(part)):
            raise ValueError("holds control characters, which a unit of systemd cannot")
    return tuple(map(str, parts))


def version(given: Any) -> str:
    """What is released. 1.10 without quotes is a number, and would be 1.1."""
    if isinstance(given, float):
        raise ValueError(f"must be text, not the number {given}: put it in quotes, as 1.10 without them is 1.1")
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise ValueError(f"must be text, not {kind(given)}")
    if isinstance(given, int) and given.bit_length() > 64:
        raise ValueError("must be text: put so long a number in quotes")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", str(given)):
        raise ValueError(f"{shown(given)} must be letters, digits and . _ + -, at most 100 of them")
    return str(given)


def variable(given: Any) -> str:
    """The value of an environment variable. It may be a secret that somebody put in the wrong place, so it is never shown."""
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, int) and given.bit_length() <= 64:
        return str(given)
    if isinstance(given, float) and math.isfinite(given):
        return str(given)
    if not isinstance(given, str):
        what = (
            "so long a number" if isinstance(given, int) else shown(given) if isinstance(given, float) else kind(given)
        )
        raise ValueError(f"must be text, a number, true or false, not {what}")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in given):
        raise ValueError("has more than one line or other control characters: write a file with `files` instead")
    if any(ord(character) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(character) <= 0xFDEF for character in given):
        raise ValueError(
            "has a character that Unicode keeps for no text, for which systemd would drop the whole environment: take it out"
        )
    return given


def parameter(given: Any) -> str:
    """The path of a parameter; never shown when it is none, as it may be the secret itself."""
    must = "be the path of a parameter such as /shop/secret_key_base, and never the secret itself"
    if not isinstance(given, str):
        raise ValueError(f"must {must}")
    if not re.fullmatch(r"(/[A-Za-z0-9_.-]+)+", given) or given.count("/") > 15 or len(given) > 900:
        raise ValueError(f"must {must}: letters, digits and _ . -, at most 15 levels")
    if re.match(r"/(aws|ssm)", given, re.IGNORECASE):
        raise ValueError("begins with /aws or /ssm, which Parameter Store keeps for AWS")
    return given


_UNITS = {"": 1, "G": 1, "GB": 1, "GIB": 1, "T": 1024, "TB": 1024, "TIB": 1024}


def gibibytes(given: Any) -> int:
    """The size of a disk in GiB, from a number or from text such as 20GB or 1TB."""
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise ValueError(f"must be a size such as 20GB, not {shown(given)}")
    found = re.fullmatch(r"\s*([0-9]{1,9})\s*([A-Za-z]*)\s*", given) if isinstance(given, str) else None
    if isinstance(given, str) and (not found or found[2].upper() not in _UNITS):
        raise ValueError(f"must be a size in GB or TB such as 20GB, not {shown(given)}")
    size = int(found[1]) * _UNITS[found[2].upper()] if found else int(given)
    if not 1 <= size <= 16384:
        raise ValueError(f"{shown(given)} must be from 1GB to 16TB")
    return size


def amount(given: Any) -> str:
    """Memory or disk as the roles take it: 256MB, 4GB."""
    if not isinstance(given, str) or not re.fullmatch(r"[1-9][0-9]{0,8}(B|KB|MB|GB|TB|kb|mb|gb|K|M|G|T)", given):
        raise ValueError(f"must be a size such as 256MB, not {shown(given)}")
    return given


def interval(given: Any) -> str:
    """How often NATS syncs its disks: 10s, 2m, always."""
    if not isinstance(given, str) or not re.fullmatch(r"always|[1-9][0-9]{0,5}(ms|s|m|h)", given):
        raise ValueError(f"must be a time such as 10s, or always, not {shown(given)}")
    return given


def host(given: Any) -> str:
    """A name that clients ask for; `*.` in front stands for every name below."""
    text = _text(given, "be a name such as shop.example.org").lower()
    label = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    if not re.fullmatch(rf"(?:\*\.)?{label}(?:\.{label})*\.[a-z][a-z0-9-]*", text) or len(text) > 128:
        raise ValueError(
            f"{shown(text)} must be a name such as shop.example.org or *.example.org, at most 128 characters, without https:// and port"
        )
    return text


def path(given: Any) -> str:
    """A path that is exposed with everything below it: / or /api, as which /api/ and /api/* are read too."""
    text = _text(given, "be a path such as /api")
    plain = text.removesuffix("*").rstrip("/") if text.endswith("/*") else text.rstrip("/")
    if not text.startswith("/") or not re.fullmatch(r"(?:/[A-Za-z0-9_.$~\"'@:+&-]+)*", plain) or len(plain) > 80:
        raise ValueError(
            f"{shown(text)} must be a path such as /api: it begins with /, has no other wildcard than /* at its end, at most 80 characters"
        )
    return plain or "/"


def health(given: Any) -> str:
    """What the balancer asks for."""
    text = _text(given, "be a path such as /up")
    if not re.fullmatch(r"/[\x21-\x7e]{0,1000}", text):
        raise ValueError(f"{shown(text)} must be a path such as /up: it begins with / and has no blanks")
    return text


def certificate(given: Any) -> str:
    """The ARN of a certificate in ACM."""
    text = _text(given, "be the ARN of a certificate in ACM, or certificate_file and key_file")
    if not re.fullmatch(r"arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]+", text):
        raise ValueError(
            f"{shown(text)} is no ARN of a certificate in ACM (arn:aws:acm:REGION:ACCOUNT:certificate/ID), and no mapping of certificate_file and key_file"
        )
    return text


CPU, REQUESTS = "cpu", "requests"
"""What AWS itself measures of a group; any other metric is the service's own."""
_AWS_WORDS = {"ASGAverageCPUUtilization": CPU, "ALBRequestCountPerTarget": REQUESTS}


def metric(given: Any) -> str:
    """What a group follows: cpu, requests, or the name of a metric of the service's own."""
    text = _text(given, "be cpu, requests or the name of a metric that the service serves")
    plain = _AWS_WORDS.get(text) or (text.lower() if text.lower() in (CPU, REQUESTS) else text)
    if plain != text:
        raise ValueError(f"{text} is called {plain} here")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", text):
        raise ValueError(
            f"{shown(text)} must be cpu, requests or the name of a metric that the service serves: letters, digits and underscores"
        )
    if text.endswith("_total"):
        raise ValueError(
            f"{text} is a counter by its name, and only grows: take a metric that falls when hosts are added"
        )
    return text


def permissions(given: Any) -> str:
    """A file's mode, in quotes: 0644 without them is the number 420."""
    if not isinstance(given, str) or not re.fullmatch(r"0?[0-7]{3,4}", given):
        quotes = ": put it in quotes, as 0644 without them is the number 420" if isinstance(given, int) else ""
        raise ValueError(f"must be a mode such as '0644', not {shown(given)}{quotes}")
    return given


def instance_type(given: Any) -> str:
    """An instance type of a machine that the fleet's images run on."""
    text = _text(given, "be an instance type such as t3.medium")
    if not re.fullmatch(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", text):
        raise ValueError(f"{shown(text)} is no instance type such as t3.medium")
    if re.fullmatch(r"a1|[a-z]+[0-9]+g[a-z]*|i[ms]4gen?", text.split(".")[0]):
        raise ValueError(f"{text} is an ARM machine, and images are built for amd64: take one such as t3.medium")
    return text


def has_mig(type_: str) -> bool:
    """Whether the GPUs of the instance type can be divided: A100 and everything after it that is made for data centres."""
    return bool(re.match(r"(p4d|p[5-9]|g7e)", type_.split(".", maxsplit=1)[0]))


def has_nvidia(type_: str) -> bool:
    """Whether the instance type has a GPU of NVIDIA."""
    family = type_.split(".", maxsplit=1)[0]
    return bool(re.match(r"(g|gr|p)[0-9]", family)) and not family.startswith("g4ad")
