# SPDX-License-Identifier: GPL-3.0-or-later
"""IAM policies: whether documents allow an action on a resource. Pure.

Source: "Policy evaluation logic", "IAM JSON policy elements" and "AWS global condition context keys" in IAM's user guide.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

Statement = Mapping[str, Any]


class Verdict(Enum):
    ALLOWED = auto()
    DENIED = auto()  # a statement says so
    NOT_ALLOWED = auto()  # no statement allows it


class NotModelledError(Exception):
    """The answer hangs on something of a policy that is not modelled; the text names it."""


@dataclass(frozen=True)
class Question:
    """What somebody wants to do.

    :param resource: an ARN, or "*" for actions that know no resources.
    :param context: the values of condition keys, their names in lower case; a key that is left out is absent from the request.
    :param known: what the names of further keys that would be in ``context`` begin with, were they in the request.
    """

    action: str
    resource: str
    context: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known: tuple[str, ...] = ()

    def values(self, key: str) -> tuple[str, ...] | None:
        """Of a condition key; None if the request has none. Raises NotModelledError."""
        name = key.lower()
        if name in self.context:
            return self.context[name]
        if name.startswith(self.known):
            return None
        raise NotModelledError(f"the condition key {key}")


def statements(document: str) -> list[Statement]:
    """Those of a policy document. Raises ValueError."""
    found = json.loads(document)["Statement"]
    return list(found) if isinstance(found, list) else [found]


def decide(policy: Iterable[Statement], question: Question) -> Verdict:
    """Whether the statements of all policies together allow it. Raises NotModelledError where that cannot be told."""
    allowed, unclear = False, ""
    for statement in policy:
        denies = statement["Effect"] == "Deny"
        try:
            if not _applies(statement, question):
                continue
        except NotModelledError as error:
            if denies:
                raise
            unclear = unclear or str(error)
            continue
        if denies:
            return Verdict.DENIED
        allowed = True
    if allowed:
        return Verdict.ALLOWED
    if unclear:
        raise NotModelledError(unclear)
    return Verdict.NOT_ALLOWED


def could_allow(policy: Iterable[Statement], action: str) -> bool:
    """Whether some statement allows the action on some resource."""
    return any(one["Effect"] == "Allow" and _concerns(one, action) for one in policy)


def _applies(statement: Statement, question: Question) -> bool:
    return (
        _concerns(statement, question.action)
        and _is_about(statement, question)
        and _holds(statement.get("Condition") or {}, question)
    )


def _concerns(statement: Statement, action: str) -> bool:
    named = "NotAction" if "NotAction" in statement else "Action"
    found = any(_like(pattern.lower(), action.lower()) for pattern in _listed(statement[named]))
    return found is (named == "Action")


def _is_about(statement: Statement, question: Question) -> bool:
    named = "NotResource" if "NotResource" in statement else "Resource"
    found = any(_like(_filled(one, question), question.resource) for one in _listed(statement[named]))
    return found is (named == "Resource")


def _holds(conditions: Mapping[str, Mapping[str, Any]], question: Question) -> bool:
    """All of them; one that does not hold decides, whatever is unclear of the others."""
    unclear: NotModelledError | None = None
    for operator, keys in conditions.items():
        for key, wanted in keys.items():
            try:
                if not _one_holds(operator, key, _listed(wanted), question):
                    return False
            except NotModelledError as error:
                unclear = unclear or error
    if unclear is not None:
        raise unclear
    return True


def _one_holds(operator: str, key: str, wanted: list[str], question: Question) -> bool:
    quantifier, colon, name = operator.rpartition(":")
    if colon and quantifier not in ("ForAllValues", "ForAnyValue"):
        raise NotModelledError(f"the condition operator {operator}")
    has = question.values(key)
    if name == "Null":
        return (has is None) is (wanted[0].lower() == "true")
    name, if_exists = name.removesuffix("IfExists"), name.endswith("IfExists")
    test = _TESTS.get(name)
    if test is None:
        raise NotModelledError(f"the condition operator {operator}")
    fills = name.startswith(("String", "Arn"))
    patterns = (
        [_filled(one, question, escaped=name.endswith("Like") or name.startswith("Arn")) for one in wanted]
        if fills
        else wanted
    )
    if has is None:
        return quantifier == "ForAllValues" or if_exists or (test.negated and quantifier != "ForAnyValue")

    def passes(value: str) -> bool:
        try:
            return any(test.of(pattern, value) for pattern in patterns) is not test.negated
        except ValueError:
            return False

    return (
        all(map(passes, has))
        if quantifier == "ForAllValues" or (test.negated and not quantifier)
        else any(map(passes, has))
    )


@dataclass(frozen=True)
class _Test:
    of: Callable[[str, str], bool]  # what the policy says, what the request has
    negated: bool = False


def _numeric(compare: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    return lambda wanted, has: compare(float(has), float(wanted))


def _date(compare: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    return lambda wanted, has: compare(_seconds(has), _seconds(wanted))


def _seconds(text: str) -> float:
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _in_network(wanted: str, has: str) -> bool:
    return ipaddress.ip_address(has) in ipaddress.ip_network(wanted, strict=False)


def _arn_like(wanted: str, has: str) -> bool:
    """Part by part: a wildcard does not reach over a colon, but for the last part."""
    patterns, parts = wanted.split(":", 5), has.split(":", 5)
    return len(patterns) == len(parts) and all(map(_like, patterns, parts))


def _like(pattern: str, value: str) -> bool:
    parts = re.findall(r"\$\{[*?$]\}|[*?]|[^*?$]+|\$", pattern)
    wild = {"*": ".*", "?": "."}
    expression = "".join(wild.get(part) or re.escape(part[2] if part.startswith("${") else part) for part in parts)
    return re.fullmatch(expression, value, re.DOTALL) is not None


def _filled(pattern: str, question: Question, *, escaped: bool = True) -> str:
    """With the values of its policy variables. Raises NotModelledError.

    :param escaped: keep ``${*}`` and its like for ``_like``.
    """

    def value(found: re.Match[str]) -> str:
        name, _, default = found[1].partition(",")
        if found[1] in ("*", "?", "$"):
            return found[0] if escaped else found[1]
        has = question.values(name.strip())
        if has is not None and len(has) == 1:
            return re.sub(r"[*?$]", r"${\g<0>}", has[0]) if escaped else has[0]
        return default.strip().strip("'") if default else "\0"  # no request has this: nothing matches

    return re.sub(r"\$\{([^}]+)\}", value, pattern)


def _listed(value: Any) -> list[str]:
    return [
        str(one).lower() if isinstance(one, bool) else str(one)
        for one in (value if isinstance(value, list) else [value])
    ]


_TESTS: dict[str, _Test] = {
    "StringEquals": _Test(lambda wanted, has: wanted == has),
    "StringNotEquals": _Test(lambda wanted, has: wanted == has, negated=True),
    "StringEqualsIgnoreCase": _Test(lambda wanted, has: wanted.lower() == has.lower()),
    "StringNotEqualsIgnoreCase": _Test(lambda wanted, has: wanted.lower() == has.lower(), negated=True),
    "StringLike": _Test(_like),
    "StringNotLike": _Test(_like, negated=True),
    "ArnEquals": _Test(_arn_like),
    "ArnNotEquals": _Test(_arn_like, negated=True),
    "ArnLike": _Test(_arn_like),
    "ArnNotLike": _Test(_arn_like, negated=True),
    "Bool": _Test(lambda wanted, has: wanted.lower() == has.lower()),
    "IpAddress": _Test(_in_network),
    "NotIpAddress": _Test(_in_network, negated=True),
    "NumericEquals": _Test(_numeric(lambda has, wanted: has == wanted)),
    "NumericNotEquals": _Test(_numeric(lambda has, wanted: has == wanted), negated=True),
    "NumericLessThan": _Test(_numeric(lambda has, wanted: has < wanted)),
    "NumericLessThanEquals": _Test(_numeric(lambda has, wanted: has <= wanted)),
    "NumericGreaterThan": _Test(_numeric(lambda has, wanted: has > wanted)),
    "NumericGreaterThanEquals": _Test(_numeric(lambda has, wanted: has >= wanted)),
    "DateEquals": _Test(_date(lambda has, wanted: has == wanted)),
    "DateNotEquals": _Test(_date(lambda has, wanted: has == wanted), negated=True),
    "DateLessThan": _Test(_date(lambda has, wanted: has < wanted)),
    "DateLessThanEquals": _Test(_date(lambda has, wanted: has <= wanted)),
    "DateGreaterThan": _Test(_date(lambda has, wanted: has > wanted)),
    "DateGreaterThanEquals": _Test(_date(lambda has, wanted: has >= wanted)),
}
