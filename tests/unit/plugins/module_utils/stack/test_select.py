# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tools print, and what is refused of it: by name and type, never by value."""

import json
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.stack.errors import StackError
from ansible_collections.boring.fleet.plugins.module_utils.stack.outputs import decode, read_outputs
from ansible_collections.boring.fleet.plugins.module_utils.stack.select import Picked, pick
from ansible_collections.boring.fleet.plugins.module_utils.stack.types import read_types


def wrapped(value: Any, sensitive: bool = False) -> dict[str, Any]:
    return {"sensitive": sensitive, "type": "string", "value": value}


TERRAFORM = json.dumps(
    {
        "vpc_id": wrapped("vpc-1"),
        "subnet_ids": wrapped(["a", "b"]),
        "port": wrapped(443),
        "ratio": wrapped(0.5),
        "nothing": wrapped(None),
        "db": wrapped({"host": "h", "port": 5432}),
        "db_password": wrapped("hunter2", sensitive=True),
    }
)
PULUMI = json.dumps({"vpcId": "vpc-1", "ids": ["a"], "password": "[secret]", "nested": {"a": [{"b": "[secret]"}]}})


def chosen(*names: str, text: str = TERRAFORM, layout: str = "terraform", **options: Any) -> Picked:
    if "types" in options:
        options["types"] = read_types(options["types"])
    return pick(read_outputs(text, layout), names, "infra (tofu)", **options)


def test_values_keep_their_types() -> None:
    picked = chosen("vpc_id", "subnet_ids", "port", "ratio", "nothing", "db")
    assert picked.values == {
        "vpc_id": "vpc-1",
        "subnet_ids": ["a", "b"],
        "port": 443,
        "ratio": 0.5,
        "nothing": None,
        "db": {"host": "h", "port": 5432},
    }
    assert not picked.secret


def test_secrets_are_refused_and_marked() -> None:
    with pytest.raises(StackError, match=r"the output db_password of infra \(tofu\) is secret: set allow_secrets=true"):
        chosen("db_password")
    with pytest.raises(StackError, match=r"the output db_password .* is secret: name the outputs that you want"):
        chosen()
    assert chosen("db_password", allow_secrets=True) == Picked({"db_password": "hunter2"}, secret=True)
    assert chosen(allow_secrets=True).secret
    assert not chosen("port", allow_secrets=True).secret
    assert "hunter2" not in repr(chosen(allow_secrets=True))
    assert "hunter2" not in repr(read_outputs(TERRAFORM, "terraform"))


def test_pulumis_secrets() -> None:
    plain = {"text": PULUMI, "layout": "pulumi"}
    assert chosen("vpcId", "ids", **plain).values == {"vpcId": "vpc-1", "ids": ["a"]}
    for name in ("password", "nested"):
        with pytest.raises(StackError, match=f"the output {name} .* is secret"):
            chosen(name, **plain)
        with pytest.raises(StackError, match=rf"the value of {name} is not in .*only '\[secret\]'"):
            chosen(name, allow_secrets=True, **plain)
    shown = read_outputs(PULUMI.replace("[secret]", "hunter2"), "pulumi", all_secret=True)
    assert pick(shown, ["password"], "x", allow_secrets=True) == Picked({"password": "hunter2"}, secret=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vpcid", "has no output vpcid; the closest name is vpc_id"),
        ("VPC_ID", "the closest name is vpc_id"),
        ("subnets", "the closest name is subnet_ids"),
        ("db_por", "the closest names are db_password, port, db"),
        ("db_pass", "the closest name is db_password"),
        ("zzz", "it has db, db_password, nothing, port, ratio, and 2 more"),
    ],
)
def test_a_missing_name_is_told_the_closest(name: str, words: str) -> None:
    with pytest.raises(StackError, match=words) as refusal:
        chosen(name)
    assert "hunter2" not in str(refusal.value)


def test_no_outputs_at_all() -> None:
    with pytest.raises(StackError, match="has no outputs at all: apply it first"):
        chosen("vpc_id", text="{}")
    assert chosen(text="{}").values == {}


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ("{port: str}", "the output port must be str and is int"),
        (
            "{vpc_id: int, port: str}",
            "the output vpc_id must be int and is str; the output port must be str and is int",
        ),
        ("{subnet_ids: list[int]}", r"the output subnet_ids\[0\] must be int and is str"),
        ("{db: {port: str}}", "the output db.port must be str and is int"),
        ("{db: {user: str}}", "the output db.user must be str and is missing"),
        ("{vpc: str}", "the output vpc must be str and is missing; the closest name is vpc_id"),
        ("{db_password: int}", "the output db_password must be int and is str"),
        ("{nothing: str}", "the output nothing must be str and is null"),
    ],
)
def test_types_are_held_against_all_outputs(types: str, words: str) -> None:
    with pytest.raises(StackError, match=words) as refusal:
        chosen("ratio", types=types)
    assert not any(value in str(refusal.value) for value in ("hunter2", "vpc-1", "443", "5432"))


def test_what_types_let_through() -> None:
    types = "{vpc_id: str, subnet_ids: list[str], port: int, nothing: str?, absent: int?, db_password: str}"
    assert chosen("port", types=types).values == {"port": 443}
    assert chosen("vpcId", text=PULUMI, layout="pulumi", types="{password: int, vpcId: str}").values == {
        "vpcId": "vpc-1"
    }


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["vpc_id"],
    "properties": {"vpc_id": {"type": "string", "pattern": "^vpc-"}, "port": {"type": "integer", "maximum": 65535}},
}


def changed(**properties: Any) -> dict[str, Any]:
    return {**SCHEMA, "properties": {**SCHEMA["properties"], **properties}}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (changed(port={"type": "string"}), "the output port must be string and is int"),
        (changed(db_password={"enum": ["a", "b"]}), "the output db_password must be a value with enum and is str"),
        (
            changed(db_password={"type": "string", "minLength": 20}),
            "db_password must be string with minLength 20 and is str",
        ),
        (
            changed(vpc_id={"type": "string", "pattern": "^net-"}),
            r"vpc_id must be string with pattern \^net- and is str",
        ),
        (changed(subnet_ids={"items": {"type": "integer"}}), r"the output subnet_ids\[0\] must be integer and is str"),
        (changed(db={"required": ["user"]}), "the output db.user must be a value and is missing"),
        (
            {**SCHEMA, "required": ["vpcid"]},
            "the output vpcid must be a value and is missing; the closest name is vpc_id",
        ),
        ({**SCHEMA, "additionalProperties": False}, "the output db must be no such output and is dict"),
        ({"type": "objekt"}, "schema is refused: it is no valid JSON Schema at type"),
        (
            {"$ref": "http://127.0.0.1:9/x.json"},
            r"schema is refused: it cannot be used \(\w+\): a \$ref must stay inside",
        ),
        (["x"], "schema must be a JSON Schema"),
    ],
)
def test_what_a_schema_refuses(schema: Any, words: str) -> None:
    with pytest.raises(StackError, match=words) as refusal:
        chosen("port", schema=schema)
    assert not any(value in str(refusal.value) for value in ("hunter2", "vpc-1", "443"))


def test_what_a_schema_lets_through() -> None:
    assert chosen("port", schema=SCHEMA).values == {"port": 443}
    assert chosen("port", schema=changed(port={"$ref": "#/$defs/p"}) | {"$defs": {"p": {"type": "integer"}}}).values
    assert chosen("vpcId", text=PULUMI, layout="pulumi", schema={"properties": {"password": {"type": "object"}}}).values


@pytest.mark.parametrize(
    ("text", "layout", "words"),
    [
        ("hunter2", "terraform", "it is not a JSON object"),
        ("[]", "pulumi", "it is not a JSON object"),
        ('{"a": 1}', "terraform", "it is not what 'output -json' prints"),
        ('{"version": 4, "terraform_version": "1.9", "outputs": {}}', "any", "it is a state, not outputs"),
        ('{"version": 3, "deployment": {}}', "any", "it is a state, not outputs"),
    ],
)
def test_what_is_no_output(text: str, layout: str, words: str) -> None:
    with pytest.raises(StackError, match=words) as refusal:
        read_outputs(text, layout)
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__context__ is None


def test_a_saved_file_shows_what_it_is() -> None:
    saved = read_outputs(TERRAFORM, "any")
    assert {name for name, output in saved.items() if output.secret} == {"db_password"}, "it says so itself"
    assert read_outputs(PULUMI, "any")["password"].hidden
    assert read_outputs("{}", "any") == {}


SHOWN = json.dumps({"vpcId": "vpc-1", "port": 443, "password": "hunter2"})


def test_a_saved_file_of_pulumi_is_secret_but_for_what_is_public() -> None:
    """It cannot say what is secret: `--show-secrets` writes all values alike."""
    saved = {"text": SHOWN, "layout": "any"}
    for names in (["password"], ["vpcId"], ["vpcId", "port"], []):
        with pytest.raises(
            StackError,
            match=r"secret as far as anybody can tell: .*list in public what is not, or .*allow_secrets=true",
        ):
            pick(read_outputs(**saved), names, "saved.json")
        assert pick(read_outputs(**saved), names, "saved.json", allow_secrets=True).secret
    marked = read_outputs(**saved, public=["vpcId", "port", "not there"])
    assert pick(marked, ["vpcId", "port"], "saved.json") == Picked({"vpcId": "vpc-1", "port": 443})
    assert not pick(marked, ["port"], "saved.json", allow_secrets=True).secret
    with pytest.raises(StackError, match=r"the output password of saved.json is secret as far as"):
        pick(marked, ["password", "port"], "saved.json")
    asked = read_outputs(SHOWN, "pulumi", all_secret=True, public=["port"])
    assert {name for name, output in asked.items() if output.secret} == {"vpcId", "password"}


@pytest.mark.parametrize(
    ("text", "public", "words"),
    [
        (TERRAFORM, ["db_password"], "it says that db_password is sensitive, and the option public that it is not"),
        (PULUMI, ["password"], r"password is '\[secret\]' in it, and the option public says that it is not"),
        (json.dumps({"a": wrapped("hunter2", sensitive=True), "b": "hunter2"}), [], r"it mixes Terraform's outputs \(a\) with others \(b\)"),
        (json.dumps({"a": {"sensitive": "yes", "value": "hunter2", "type": "string"}}), [], "it does not say whether a is sensitive"),
        (json.dumps({"a": {**wrapped("hunter2"), "sensitive": None}}), [], "it does not say whether a is sensitive"),
        ('{"a": "hunter2", "a": "hunter3"}', [], "it names a twice: take one of them out"),
        ('{"a": {"b": 1, "b": "hunter2"}}', [], "it names b twice"),
        ('{"a": NaN}', [], "it holds a number that is none of JSON's .*: give that value as text"),
        ('{"a": -Infinity}', [], "it holds a number that is none of JSON's"),
        ('{"a": ' + "9" * 5000 + "}", [], "a number that is none of JSON's .* or too long"),
        ('{"a": ' + "[" * 200 + "]" * 200 + "}", [], "it is nested too deeply: make it flatter"),
        ('{"a": ' + "[" * 100000, [], "it is nested too deeply|not a JSON object"),
        ('{"a": "\\ud800"}', [], "half of a character: save it again as UTF-8"),
        ('{"format_version": "1.0", "values": {}}', [], "it is a state, not outputs"),
        ('"hunter2"', [], "it is not a JSON object of outputs, as 'output -json' and 'stack output --json' print it"),
        ('{"a": "hunter2', [], "it is not a JSON object of outputs"),
        (f"[command]/opt/tofu output -json\n{TERRAFORM}\n::debug::exit 0", [], r"it begins with '\[command\]', a line that a wrapper"),
        (f"2026-01-01 hunter2\n{TERRAFORM}", [], "it has other text before the JSON object"),
        (f"{TERRAFORM}\nhunter2", [], "it has other text after the JSON object"),
        (f"{TERRAFORM}{PULUMI}", [], "it has other text after the JSON object"),
    ],
)  # fmt: skip
def test_odd_files_are_named_as_such(text: str, public: list[str], words: str) -> None:
    with pytest.raises(StackError, match=words) as refusal:
        read_outputs(text, "any", public=public)
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__context__ is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (TERRAFORM.encode("utf-16"), "it is UTF-16, which PowerShell's '>' writes: save it as UTF-8"),
        (b"\xfe\xff" + TERRAFORM.encode("utf-16-be"), "it is UTF-16"),
        (TERRAFORM.encode("utf-32"), "it is UTF-32"),
        (TERRAFORM.encode("utf-16-le"), "it is UTF-16 or UTF-32"),
        (b'{\n"a": "hunter2\xe9"}', "it is not UTF-8: byte 16, in line 2, is broken"),
    ],
)
def test_bytes_that_are_no_utf_8(data: bytes, words: str) -> None:
    with pytest.raises(StackError, match=words) as refusal:
        decode(data)
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__context__ is None


def test_a_byte_order_mark_is_read() -> None:
    assert read_outputs(decode(b"\xef\xbb\xbf" + TERRAFORM.encode()), "any")["port"].value == 443
