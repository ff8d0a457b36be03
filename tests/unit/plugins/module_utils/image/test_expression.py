# SPDX-License-Identifier: GPL-3.0-or-later
"""What expressions are worth, and what they read: known or unknown, never guessed."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.image import hcl
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.expression import (
    UNKNOWN,
    Evaluation,
    Trace,
    Unknown,
)

ROOT = Path(__file__).parents[5]
NAMES = {
    "var": {"family": "api", "count": 3, "on": True, "many": ["a", "b"], "pairs": {"x": 1, "y": 2}, "hidden": UNKNOWN}
}


def resolve(keys: Sequence[Any], at: str) -> tuple[Any, int]:
    if keys[0] == "path":
        return ".", 2
    return NAMES["var"].get(keys[1], UNKNOWN) if keys[0] == "var" else UNKNOWN, 2


def evaluate(expression: str, directory: Path = Path("/absent"), trace: Trace | None = None) -> Any:
    node = hcl.parse(f"it = {expression}\n", "here").attributes["it"]
    return Evaluation(directory, trace or Trace(), resolve).value(node)


# Every one of these was asked of Packer as well: see the test below.
KNOWN: list[tuple[str, Any]] = [
    ('"plain"', "plain"),
    (r'"a \"b\" \\ \n \u00e9"', 'a "b" \\ \n é'),
    ("12", 12),
    ("-1.5", -1.5),
    ("true", True),
    ("[]", []),
    ('["a", 2,\n  var.family, # why\n]', ["a", 2, "api"]),
    ('{ a = 1, "b:c" : [2]\n d = { e = "f" } }', {"a": 1, "b:c": [2], "d": {"e": "f"}}),
    ("var.family", "api"),
    ('"x-${var.family}-${var.count}"', "x-api-3"),
    ('"${var.on}"', True),
    ('"on: ${var.on}"', "on: true"),
    ('"$${var.family} %%{if}"', "${var.family} %{if}"),
    ('"${path.root}/x"', "./x"),
    ('"%{ if var.on }a%{ else }b%{ endif }c"', "ac"),
    ('"%{ for one in var.many }<${one}>%{ endfor }"', "<a><b>"),
    ('"a  ${~ var.family ~}  b"', "aapib"),
    ('join("-", ["a", "b"])', "a-b"),
    ('"${upper("}")}"', "}"),
    ('var.family == "" ? 1 : 2', 2),
    ("1 + 2 * 3 - 4", 3),
    ("(1 + 2) * 3", 9),
    ("7 / 2", 3.5),
    ("!var.on || 2 > 1 && true", True),
    ("var.many[1]", "b"),
    ("var.many[*]", ["a", "b"]),
    ('var.pairs["y"]', 2),
    ("[for x in var.many : upper(x)]", ["A", "B"]),
    ('[for k, v in var.pairs : "${k}${v}" if v > 1]', ["y2"]),
    ("{for x in var.many : x => upper(x)}", {"a": "A", "b": "B"}),
    ('<<EOT\n} not " HCL { ${var.family}\nEOT\n', '} not " HCL { api\n'),
    ("<<-EOT\n    a\n      b\n    EOT\n", "a\n  b\n"),
    ('substr("0123456789", 0, 4)', "0123"),
    ('compact(["a", "", "b"])', ["a", "b"]),
    ('concat(["a"], ["b"])', ["a", "b"]),
    ("merge({a = 1}, {b = 2, a = 3})", {"a": 3, "b": 2}),
    ('format("%s-%d%%", "a", 5)', "a-5%"),
    ('replace("a.b.c", ".", "-")', "a-b-c"),
    ('split(",", "a,b")', ["a", "b"]),
    ('trimprefix("v1.2", "v")', "1.2"),
    ('lookup({a = "b"}, "c", "d")', "d"),
    ('jsonencode({b = [1, true], a = "<x>"})', '{"a":"\\u003cx\\u003e","b":[1,true]}'),
    ('basename("/a/b.sh")', "b.sh"),
    ('dirname("/a/b.sh")', "/a"),
    ('contains(["a"], "a")', True),
    ('sha256("a")', "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
    ("length(var.many)", 2),
    ('try(var.family, "x")', "api"),
    ("max(3, 4)", 4),
    ("concat([var.many, var.many]...)", ["a", "b", "a", "b"]),
    ('coalesce("", "b")', "b"),
    ('flatten([["a"], [["b"]]])', ["a", "b"]),
    ('title("a b")', "A B"),
    ('reverse(["a", "b"])', ["b", "a"]),
    ("keys({b = 1, a = 2})", ["a", "b"]),
    ("values({b = 1, a = 2})", [2, 1]),
    ('zipmap(["a"], [1])', {"a": 1}),
    ('base64encode("a")', "YQ=="),
    ('element(["a", "b"], 3)', "b"),
    ('strrev("abc")', "cba"),
]


@pytest.mark.parametrize(("expression", "expected"), KNOWN, ids=[text[:30] for text, _ in KNOWN])
def test_known(expression: str, expected: Any) -> None:
    assert evaluate(expression) == expected


def test_packer_says_the_same(tmp_path: Path) -> None:
    """Packer's own console, when it is there, is asked for each of them."""
    packer = ROOT / "build" / "bin" / "packer"
    if not packer.exists():
        pytest.skip("packer was not built")
    lines = [
        'variable "family" { default = "api" }',
        'variable "count" { default = 3 }',
        'variable "on" { default = true }',
    ]
    lines += ['variable "many" { default = ["a", "b"] }', 'variable "pairs" { default = { x = 1, y = 2 } }', "locals {"]
    wanted = []
    for number, (expression, expected) in enumerate(KNOWN):
        lines.append(f"  e{number} = jsonencode([{expression.rstrip(chr(10))}\n])")
        wanted.append(hcl.parse(f"it = jsonencode([{expression.rstrip(chr(10))}\n])\n", "x").attributes["it"])
        assert expected is not None
    (tmp_path / "it.pkr.hcl").write_text("\n".join([*lines, "}"]))
    asked = f"jsonencode([{', '.join(f'local.e{number}' for number in range(len(KNOWN)))}])"
    done = subprocess.run(
        [str(packer), "console", "."], cwd=tmp_path, input=asked, capture_output=True, text=True, timeout=120, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1", "PACKER_NO_COLOR": "1"},
    )  # fmt: skip
    assert done.stdout.startswith("["), done.stdout[-2000:] + done.stderr[-2000:]
    answers = json.loads(done.stdout)
    ours = [Evaluation(tmp_path, Trace(), resolve).value(node) for node in wanted]
    assert answers == ours


@pytest.mark.parametrize(
    "expression",
    [
        "var.absent",
        'regex("a", "b")',
        "var.hidden",
        "1 / 0",
        "nothing[0]",
        "var.many[9]",
        'format("%5.2f", 1)',
        'replace("a", "/a/", "b")',
    ],
)
def test_what_hangs_on_known_things_alone_is_unknown_and_no_more(expression: str) -> None:
    trace = Trace()
    assert isinstance(evaluate(expression, trace=trace), Unknown)
    assert not trace.unknown


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ('env("HOME")', 'here, line 1: env("HOME") is read from the environment'),
        ('consul_key("x")', "here, line 1: consul_key() asks another service"),
        ('vault("a", "b")', "here, line 1: vault() asks another service"),
        ('aws_secretsmanager("a", "b")', "here, line 1: aws_secretsmanager() asks another service"),
        ('newest_function("a")', "here, line 1: the function newest_function() is not known here"),
        ('"${[for x in ["a"] : env(x)][0]}"', 'env("a")'),
        ('var.hidden ? env("X") : ""', 'env("X")'),
        ("file(var.hidden)", "which file file() reads cannot be said"),
        ('templatefile("${var.hidden}.tpl", {})', "which file templatefile() reads cannot be said"),
        ('fileset(var.hidden, "*")', "which file fileset() reads cannot be said"),
        ('fileset(".", var.hidden)', "which file fileset() reads cannot be said"),
        ("fileexists(var.hidden)", "which file fileexists() reads cannot be said"),
        ("file(timestamp())", "because timestamp() is different each time"),
        ("[for x in var.hidden : file(x)]", "which file file() reads cannot be said"),
    ],
)
def test_what_comes_from_outside_is_a_sentence(expression: str, said: str) -> None:
    trace = Trace()
    evaluate(expression, trace=trace)
    (sentence,) = trace.unknown
    assert said in sentence
    assert "; " in sentence or "give" in sentence  # the way out


@pytest.mark.parametrize(
    "expression", ["timestamp()", "uuidv4()", '"x-${formatdate("YYYY", timestamp())}"', "bcrypt(var.family)"]
)
def test_the_clock_is_no_input(expression: str) -> None:
    trace = Trace()
    assert isinstance(evaluate(expression, trace=trace), Unknown)
    assert not trace.unknown


def test_files_are_noted_wherever_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "packer").mkdir()
    (tmp_path / "a.sh").write_text("one")
    (tmp_path / "scripts").mkdir()
    for name in ("x.sh", "y.sh", "z.txt"):
        (tmp_path / "scripts" / name).write_text(name)
    (tmp_path / "page.tpl").write_text('<${name}>${file("../a.sh")}%{ if true }!%{ endif }')
    trace = Trace()

    def value(expression: str) -> Any:
        return evaluate(expression, tmp_path / "packer", trace)

    assert value('file("${path.root}/../a.sh")') == "one"
    assert value('templatefile("../page.tpl", { name = var.family })') == "<api>one!"
    assert value('fileset("../scripts", "*.{sh,txt}")') == ["x.sh", "y.sh", "z.txt"]
    assert value('[for one in fileset("../scripts", "*.sh") : file("../scripts/${one}")]') == ["x.sh", "y.sh"]
    assert value('fileexists("../a.sh") ? "y" : "n"') == "y"
    assert value('try(file("../absent"), "none")') == UNKNOWN
    noted = {path.resolve().relative_to(tmp_path).as_posix() for path in trace.files}
    assert noted == {"a.sh", "page.tpl", "scripts/x.sh", "scripts/y.sh", "scripts/z.txt"}
    assert trace.facts == {
        "fileset ../scripts *.{sh,txt}": "x.sh y.sh z.txt",
        "fileset ../scripts *.sh": "x.sh y.sh",
        "fileexists ../a.sh": "there",
        "file ../absent": "absent",
    }
    with pytest.raises(ImageError, match=r"here, line 1: the file .*absent that file\(\) reads does not exist"):
        value('file("../absent")')


def test_a_loop_without_end_is_a_sentence() -> None:
    with pytest.raises(ImageError, match="takes more than 200000 steps"):
        evaluate("[for a in range(1000) : [for b in range(1000) : a + b]]")


@pytest.mark.parametrize(
    "expression", ["range(1, 1000000000)", 'join("", [for x in range(9999) : jsonencode(range(500))])', "9e200 * 9e200"]
)
def test_what_is_too_large_is_unknown(expression: str) -> None:
    assert isinstance(evaluate(expression), Unknown)


@given(st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\n')))
def test_strings_come_back_as_they_were_written(text: str) -> None:
    assert evaluate('"' + text.replace("${", "$${").replace("%{", "%%{") + '"') == text


@given(st.text(alphabet='ab1"${}[]().,:?+-*!<>=&|% for in', max_size=40))
def test_any_expression_has_a_value_or_a_sentence(text: str) -> None:
    with contextlib.suppress(ImageError):
        evaluate(text)
