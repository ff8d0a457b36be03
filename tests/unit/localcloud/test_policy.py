# SPDX-License-Identifier: GPL-3.0-or-later
"""What policies of IAM allow: the rules of their language, each as AWS's user guide has it."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.policy import NotModelledError, Question, Verdict, decide, statements

HOST = "arn:aws:ec2:eu-central-1:1:instance/i-1"


def statement(effect: str = "Allow", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": "ec2:CreateTags", "Resource": "*", **more}


def verdict(*policy: dict[str, Any], resource: str = HOST, known: tuple[str, ...] = (), **context: Any) -> Verdict:
    keys = {
        key.replace("__", "/").replace("_", ":"): (v if isinstance(v, tuple) else (v,)) for key, v in context.items()
    }
    return decide(policy, Question("ec2:CreateTags", resource, keys, known))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Verdict.ALLOWED),
        ({"Action": ["s3:*", "EC2:create*"]}, Verdict.ALLOWED),  # letters of either case
        ({"Action": "ec2:CreateTag"}, Verdict.NOT_ALLOWED),
        ({"Action": "ec2:CreateTag?"}, Verdict.ALLOWED),
        ({"NotAction": "s3:*", "Action": None}, Verdict.ALLOWED),
        ({"NotAction": "ec2:*", "Action": None}, Verdict.NOT_ALLOWED),
        ({"Resource": "arn:aws:ec2:*:*:instance/*"}, Verdict.ALLOWED),
        ({"Resource": "arn:aws:ec2:*:*:volume/*"}, Verdict.NOT_ALLOWED),
        ({"Resource": HOST.upper()}, Verdict.NOT_ALLOWED),
        ({"NotResource": HOST, "Resource": None}, Verdict.NOT_ALLOWED),
        ({"NotResource": "arn:aws:ec2:*:*:volume/*", "Resource": None}, Verdict.ALLOWED),
        ({"Effect": "Deny"}, Verdict.DENIED),
    ],
)
def test_actions_and_resources(change: dict[str, Any], expected: Verdict) -> None:
    one = {
        key: value
        for key, value in statement(effect=change.pop("Effect", "Allow"), **change).items()
        if value is not None
    }
    assert verdict(one) is expected


def test_a_denial_wins_and_nothing_is_allowed_by_itself() -> None:
    assert verdict() is Verdict.NOT_ALLOWED
    assert verdict(statement(), statement("Deny")) is Verdict.DENIED
    unmet = statement("Deny", Condition={"StringEquals": {"aws:x": "no"}})
    assert verdict(statement(), unmet, aws_x="yes") is Verdict.ALLOWED


@pytest.mark.parametrize(
    ("operator", "wanted", "has", "holds"),
    [
        ("StringEquals", ["a", "b"], "b", True), ("StringEquals", "a*", "ab", False), ("StringLike", "a*", "ab", True),
        ("StringNotEquals", ["a", "b"], "b", False), ("StringNotLike", "a*", "b", True), ("StringEqualsIgnoreCase", "A", "a", True),
        ("StringNotEqualsIgnoreCase", "A", "a", False), ("Bool", True, "true", True), ("Bool", "false", "true", False),
        ("NumericLessThan", "10", "9", True), ("NumericGreaterThanEquals", "10", "9.5", False), ("NumericEquals", 3, "3.0", True),
        ("DateGreaterThan", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", True), ("DateLessThan", "1767225600", "2026-01-02", False),
        ("IpAddress", ["10.0.0.0/8"], "10.1.2.3", True), ("NotIpAddress", "10.0.0.0/8", "10.1.2.3", False),
        ("ArnLike", "arn:aws:ec2:*:1:instance/*", HOST, True), ("ArnLike", "arn:aws:*:instance/*", HOST, False),
        ("ArnNotEquals", HOST, HOST, False), ("NumericEquals", "x", "1", False),
        ("Null", "false", "a", True), ("Null", True, "a", False),
        ("StringEqualsIfExists", "a", "b", False), ("ForAnyValue:StringEquals", "a", ("a", "c"), True),
        ("ForAllValues:StringEquals", ["a", "b"], ("a", "c"), False), ("ForAllValues:StringLike", "*", ("a", "c"), True),
    ],
)  # fmt: skip
def test_conditions(operator: str, wanted: Any, has: Any, holds: bool) -> None:
    expected = Verdict.ALLOWED if holds else Verdict.NOT_ALLOWED
    assert verdict(statement(Condition={operator: {"aws:X": wanted}}), aws_x=has) is expected


@pytest.mark.parametrize(
    ("operator", "holds"),
    [
        ("StringEquals", False), ("StringNotEquals", True), ("StringEqualsIfExists", True), ("ForAllValues:StringEquals", True),
        ("ForAnyValue:StringEquals", False), ("ForAnyValue:StringNotEquals", False), ("Bool", False), ("ArnNotLike", True),
    ],
)  # fmt: skip
def test_a_key_that_the_request_has_not(operator: str, holds: bool) -> None:
    one = statement(Condition={operator: {"aws:ResourceTag/Role": "a"}})
    expected = Verdict.ALLOWED if holds else Verdict.NOT_ALLOWED
    assert verdict(one, known=("aws:resourcetag/",)) is expected
    null = statement(Condition={"Null": {"aws:ResourceTag/Role": "true"}})
    assert verdict(null, known=("aws:resourcetag/",)) is Verdict.ALLOWED


def test_variables_stand_for_what_the_request_has() -> None:
    own = statement(Resource="arn:aws:ec2:eu-central-1:1:instance/${aws:name}")
    assert verdict(own, aws_name="i-1") is Verdict.ALLOWED
    assert verdict(own, aws_name="*") is Verdict.NOT_ALLOWED  # what a caller can choose is no pattern
    assert verdict(own, known=("aws:name",)) is Verdict.NOT_ALLOWED
    literal = statement(Resource="arn:aws:ec2:eu-central-1:1:instance/${*}")
    assert (verdict(literal), verdict(literal, resource=HOST.replace("i-1", "*"))) == (
        Verdict.NOT_ALLOWED,
        Verdict.ALLOWED,
    )
    with_default = statement(Condition={"StringEquals": {"aws:x": "${aws:y, 'none'}"}})
    assert verdict(with_default, aws_x="none", known=("aws:y",)) is Verdict.ALLOWED


def test_what_is_not_modelled_is_said_only_where_the_answer_hangs_on_it() -> None:
    key = statement(Condition={"StringEquals": {"ec2:Tenancy": "host"}})
    with pytest.raises(NotModelledError, match="the condition key ec2:Tenancy"):
        verdict(key)
    with pytest.raises(NotModelledError, match="the condition operator BinaryEquals"):
        verdict(statement(Condition={"BinaryEquals": {"aws:x": "eA=="}}), aws_x="x")
    assert verdict(key, statement()) is Verdict.ALLOWED
    assert verdict({**key, "Action": "s3:*"}) is Verdict.NOT_ALLOWED
    both = statement(Condition={"StringEquals": {"ec2:Tenancy": "host", "aws:x": "no"}})
    assert verdict(both, aws_x="yes") is Verdict.NOT_ALLOWED
    with pytest.raises(NotModelledError):
        verdict(statement(), {**key, "Effect": "Deny"})


def test_documents_have_one_statement_or_many() -> None:
    assert (
        len(statements('{"Statement": {"Effect": "Allow"}}'))
        == len(statements('{"Statement": [{"Effect": "Allow"}]}'))
        == 1
    )
