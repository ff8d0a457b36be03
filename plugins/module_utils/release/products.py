# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a product's release notes, as data: one set of rules each, read from what its vendor publishes.

Shapes: redis/redis 00-RELEASENOTES, the releases of nats-io/nats-server and tailscale/tailscale, the release notes of NVIDIA's
data center driver, Twingate's changelog.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ansible_collections.boring.fleet.plugins.module_utils.release.model import Release, ReleaseError
from ansible_collections.boring.fleet.plugins.module_utils.release.rules import Rule


@dataclass(frozen=True)
class Product:
    """`hint` finds the product in a feed's name or titles, `body` in what its releases say.

    `foreign`: titles of a feed that are about something else of the same vendor.

    `branch`: how many numbers of a version name a line that gets releases of its own. `skip`, `skip_sections`: what is no
    change at all.
    """

    name: str
    hint: str = ""
    body: str = ""
    foreign: str = ""
    branch: int = 2
    skip: str = ""
    skip_sections: str = ""
    rules: tuple[Rule, ...] = ()


# "Upgrade urgency: HIGH"; others write "Severity: high".
_URGENCY: Final = r"(?m:^)\W*(?:(?:upgrade|update)[ -]urgency(?! levels)|(?:severity|priority|importance|urgency)(?=\W{0,4}:))\W{0,8}(?:is |for |if )?"


def _urgency(level: str, advice: str, says: str, words: str, *, capitals: bool = False) -> Rule:
    """A vendor's own word for how urgent it is. `capitals`: in capital letters also later in the line, as in "LOW, but HIGH if you use streams"."""
    match = rf"{_URGENCY}(?:{words})\b"
    if capitals:
        match = rf"{_URGENCY}.{{0,400}}?(?-i:\b(?:{words.upper()})\b)|{match}"
    return Rule(f"urgency {level}", advice, f"{says}, says its vendor", match=match, weight="vendor")


REDIS: Final = Product(
    "redis",
    hint=r"\b(?:redis|valkey)\b",
    body=r"\b(?:upgrade|update) urgency\b",
    foreign=r"\b(?:insight|enterprise|stack|bloom|json|search|timeseries|operator|helm)\b",
    rules=(
        _urgency("critical", "now", "is critical", "critical|urgent", capitals=True),
        _urgency("security", "now", "closes a security hole", "security", capitals=True),
        _urgency("high", "now", "is of high urgency", "high", capitals=True),
        _urgency("moderate", "convenient", "is of moderate urgency", "moderate|medium|normal"),
        _urgency("low", "convenient", "is of low urgency", "low|none"),
    ),
)

NATS: Final = Product(
    "nats",
    hint=r"\bnats\b",
    body=r"\bjetstream\b|\bnats-io/|\bnats server\b|\bleafnodes?\b",
    foreign=r"\b(?:nats\.\w+|cli|surveyor|helm|operator|natscli|nack|jwt|nsc)\b",
    skip=r"^refer to the .{0,20}upgrade guide",
    skip_sections=r"^(?:go version|complete changes)$",
    rules=(
        Rule(
            "stored messages",
            "now",
            "mends what loses or damages stored messages",
            match=(
                r"\b(?:data|message|stream) (?:loss|corruption)\b|\blos(?:e|es|ing|t) (?:of )?(?:data|messages|acknowledged)"
                r"|\bcorrupt(?:s|ing) (?:data|messages|the (?:store|stream|index))"
            ),
            unless=r"\b(?:improve[sd]?|faster) .{0,40}recover",
        ),
    ),
)  # fmt: skip

TAILSCALE: Final = Product(
    "tailscale",
    hint=r"\btailscaled?\b",
    body=r"\btailscaled?\b|\btailnet\b|\bmagicdns\b|\btaildrop\b",
    foreign=r"\b(?:operator|terraform|action|recorder|golink|extension|visual studio|lock screen|admin console)\b",
    rules=(
        Rule("bulletin", "now", "closes a hole of which a security bulletin tells", match=r"\bTS-\d{4}-\d{3}\b", weight="fixed"),
        Rule("updates urged", "now", "is recommended to every client", match=r"\bwe (?:strongly )?recommend\w* (?:updating|upgrading) all\b"),
    ),
)  # fmt: skip

NVIDIA: Final = Product(
    "nvidia",
    hint=r"\bnvidia\b|\bdata ?center (?:gpu )?driver|\bgeforce\b|\btesla (?:gpu )?driver|^(?:version |release )?[3-9]\d\d\.\d{2,3}(?:\.\d\d)?\b",
    body=r"\bnvidia\b|\bcuda\b|\bXid\b",
    foreign=r"\b(?:fabric manager|container toolkit|operator|cuda toolkit|dcgm|vgpu software)\b",
    branch=1,
    skip=(
        r"^(?:linux|windows) driver release date:|^for changes related to the \d+ release|^for more information on getting started"
        r"|^note that starting with cuda|^none\.?$"
    ),
    skip_sections=(
        r"^[\d. ]*(?:known issues|known limitations|limitations|software versions|virtualization|hardware and software support"
        r"|supported .*|.*notices?)$"
    ),
    rules=(
        Rule(
            "wrong results",
            "now",
            "mends what gives wrong results or damages memory without a word",
            match=r"\bsilent(?:ly)? (?:data )?corrupt|\bincorrect results?\b|\bwrong results?\b|\bmemory corruption\b",
        ),
        Rule(
            "gpu lost",
            "now",
            "mends what takes a GPU or its host away",
            match=r"\bfall(?:s|en|ing)? off the bus|\bkernel panic|\bXid (?:79|119|120|154)\b|\bhost (?:reboot|crash)",
        ),
        Rule("kernel", "convenient", "is about the kernel that it is built for", match=r"\bkernel \d+\.\d+|\blinux \d+\.\d+"),
    ),
)  # fmt: skip

TWINGATE: Final = Product(
    "twingate",
    hint=r"\btwingate\b|\bconnector\b",
    body=r"\btwingate\b",
    foreign=r"\b(?:clients?|apps?|admin console|controller|relay|operator|terraform|pulumi)\b",
    rules=(
        Rule(
            "connections lost",
            "now",
            "mends what takes a connector's connections away",
            match=(
                r"\bconnectors?\b.{0,80}\b(?:go(?:es|ing)? offline|stop(?:s|ped)? (?:accepting|forwarding|responding)"
                r"|los(?:e|es|ing|t) (?:its |the )?(?:connection|connectivity)|fail(?:s|ed|ing)? to (?:reconnect|authenticate))"
            ),
        ),
    ),
)  # fmt: skip

_SHARE: Final = 4  # one in four titles tells: a feed may be about more than one program of a vendor's
PRODUCTS: Final = {product.name: product for product in (REDIS, NATS, TAILSCALE, NVIDIA, TWINGATE)}
# Of a feed whose product nobody knows every product's rules are asked: what they look for is said by none of the others.
ANY: Final = Product(
    "any",
    skip="|".join(product.skip for product in PRODUCTS.values() if product.skip),
    skip_sections=r"^[\d. ]*(?:known issues|known limitations)$|^(?:go version|complete changes)$",
    rules=REDIS.rules + tuple(rule for rule in TAILSCALE.rules if rule.name == "bulletin"),
)
# What no release notes mean as a change.
_SKIP: Final = re.compile(
    r"^\W*(?:full |complete )?(?:changelog|changes|release notes)\W*(?:\S*(?:://|\.\.\.)\S*)?$|^\S+(?:://|\.\.\.)\S+$"
    r"|^\W*(?:see|refer to) (?:the )?(?:full )?(?:changelog|release notes)\b.{0,200}$|^thanks to\b|^sha-?256\b",
    re.IGNORECASE,
)
_SKIP_SECTION: Final = re.compile(
    r"^(?:full changelog|new contributors|contributors|credits|thanks|checksums|downloads?|assets|docker images?)$",
    re.IGNORECASE,
)


def product_of(name: str, feed: str, releases: Sequence[Release]) -> Product:
    """The product of that `name`; with "" the one that titles, the feed's name or what releases say hint at.

    Raises ReleaseError.
    """
    if name:
        if name not in PRODUCTS:
            known = ", ".join(PRODUCTS)
            raise ReleaseError(f"there are no rules for the product '{name}'; choose from {known}, or leave it out")
        return PRODUCTS[name]
    titles = [release.title for release in releases]
    bodies = [" ".join(f"{one.section} {one.text}" for one in release.entries[:50])[:5000] for release in releases]
    place = feed if "://" in feed else feed.rpartition("/")[2]
    hints = {name: product.hint for name, product in PRODUCTS.items()}
    for texts, patterns in (
        (titles, hints),
        ([place.replace("_", " ")], hints),
        (bodies, {name: product.body for name, product in PRODUCTS.items()}),
    ):
        for product, pattern in patterns.items():
            if sum(re.search(pattern, text, re.IGNORECASE) is not None for text in texts) * _SHARE >= len(texts) > 0:
                return PRODUCTS[product]
    return ANY


def is_change(product: Product, section: str, text: str) -> bool:
    """Whether an entry says what changed, and not who helped or where the files are."""
    headings = section.split(" / ")
    if _SKIP.search(text) or any(_SKIP_SECTION.search(heading) for heading in headings):
        return False
    if product.skip and re.search(product.skip, text, re.IGNORECASE):
        return False
    return not (product.skip_sections and any(re.search(product.skip_sections, one, re.IGNORECASE) for one in headings))
