# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of HCL: what it takes, what it refuses and where, and that its time grows with the text and not faster."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.image import hcl
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

PACKER = Path(__file__).parents[5] / "packer"


def test_blocks_labels_comments_and_spans() -> None:
    text = """
        # a comment with a } in it
        source "amazon-ebs" "cpu" { // another "
          name = "}" /* one
          more */
          dynamic "source_ami_filter" {
            for_each = [1]
            content {
              owners = ["self"]
            }
          }
          tags = { a = "b" }
        }
        single { inline = "yes" }
        bare = "x" # why
        """
    body = hcl.parse(text, "here")
    (source,) = body.all("source")
    assert (source.labels, source.at) == (("amazon-ebs", "cpu"), "here, line 3")
    assert set(source.attributes) == {"name", "tags"}
    (dynamic,) = source.all("dynamic")
    assert [block.type for block in dynamic.blocks] == ["content"]
    assert [block.type for block in body.blocks] == ["source", "single"]
    start, end = body.spans["bare"]
    assert text[start:end].startswith('"x"')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a = "x', "here, line 1: a string is not closed"),
        ('\n\na = "x\ny"', "here, line 3: a string is not closed"),
        ("a = [1", "here, the file ends too early"),
        ("b {", "here, the file ends too early"),
        ("}", "here, line 1: '}' was not expected"),
        ("a =", "here, the file ends too early"),
        ("= 1", "here, line 1: '=' was not expected"),
        ("a = 1 }", "here, line 1: '}' was not expected"),
        ("\x00", "here, line 1: '\\x00' was not expected"),
        ("a = 1 2", "here, line 1: '2' was not expected"),
        ("a = 1\na = 2", "here, line 2: a is set a second time"),
        ('a = "\\q"', "here, line 1: \\q is no escape"),
        ('a = "${x"', "here, line 1: "),
        ('a = "%{ if true }b"', "here, line 1: "),
        ("a = <<EOT\nno end\n", "here, line 1: the text that ends with EOT is not closed"),
        ("a = 1\n/* no end", "here, line 2: a comment is not closed"),
        ("a = 1e999", "here, line 1: the number 1e999 is too large"),
        (f"a = {'9' * 5000}", "here, line 1: a number of 5000 digits is more than can be read"),
        ('b "${x}" {}', "here, line 1: a label is plain text"),
    ],
)
def test_broken_text_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ImageError) as caught:
        hcl.parse(text, "here")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


DEEP = {
    "brackets": lambda depth: f"a = {'[' * depth}{']' * depth}",
    "braces": lambda depth: f"a = {'{b=' * depth}1{'}' * depth}",
    "parentheses": lambda depth: f"a = {'(' * depth}1{')' * depth}",
    "blocks": lambda depth: "b {\n" * depth + "}\n" * depth,
    "templates": lambda depth: 'a = "' + '${"' * depth + '"}' * depth + '"',
    "calls": lambda depth: f"a = {'f(' * depth}{')' * depth}",
    "conditionals": lambda depth: f"a = {'true ? 1 : ' * depth}2",
    "signs": lambda depth: f"a = {'!' * depth}true",
    "indices": lambda depth: f"a = {'b[' * depth}0{']' * depth}",
    "directives": lambda depth: f'a = "{"%{if true}" * depth}{"%{endif}" * depth}"',
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("depth", [61, 5000, 100_000])
def test_deep_nesting_is_a_sentence(kind: str, depth: int) -> None:
    with pytest.raises(ImageError, match="nests more than 60 levels deep"):
        hcl.parse(DEEP[kind](depth), "here")


@pytest.mark.parametrize("kind", DEEP)
def test_what_people_nest_is_taken(kind: str) -> None:
    assert hcl.parse(DEEP[kind](20), "here")


LONG = {
    "unclosed texts": lambda size: "a = <<A\n" + "b = <<B\n" * size,
    "unclosed comments": lambda size: "/* " * size,
    "unclosed strings": lambda size: 'a = "${"' * size,
    "operators": lambda size: "a = 1" + " + 1" * size,
    "steps": lambda size: "a = b" + ".c" * size,
    "a list": lambda size: "a = [" + "1, " * size + "]",
    "blocks": lambda size: "b {\n}\n" * size,
    "dollars": lambda size: 'a = "' + "$%" * size + '"',
    "newlines": lambda size: "\n" * size + "a = ]",
    "calls": lambda size: "a = [" + "f(b.c), " * size + "]",
}


@pytest.mark.parametrize("kind", LONG)
def test_time_grows_with_the_text(kind: str) -> None:
    """Four times the text takes far less than the sixteen times of a reader that goes back."""

    def seconds(size: int) -> float:
        text = LONG[kind](size)
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            with contextlib.suppress(ImageError):
                hcl.parse(text, "here")
            best = min(best, time.process_time() - began)
        return best

    assert seconds(40_000) < 10 * seconds(10_000) + 0.05


@given(st.text(alphabet='ab"${}[]()=,.\n\\#%/* <-1~', max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Never another exception, never endless."""
    try:
        hcl.parse(text, "here")
    except ImageError as exc:
        assert "\n" not in str(exc)


@pytest.mark.parametrize("path", sorted(PACKER.rglob("*.hcl")), ids=lambda path: path.name)
def test_our_own_template_is_understood(path: Path) -> None:
    assert hcl.parse(path.read_text(), path.name).blocks or hcl.parse(path.read_text(), path.name).attributes


def test_json_is_the_same_as_hcl() -> None:
    body = hcl.parse_json(
        json.dumps(
            {
                "//": "a comment",
                "variable": {"a": {"default": "${not a template}", "sensitive": True}},
                "locals": {"b": "${var.a}-b"},
                "source": {"amazon-ebs": {"cpu": {"source_ami_filter": {"owners": ["self"]}}}},
                "build": {
                    "sources": ["source.amazon-ebs.cpu"],
                    "provisioner": [{"shell": {"script": "a.sh"}}, {"file": {"source": "b"}}],
                    "post-processors": [[{"post-processor": {"manifest": {}}}]],
                },
            }
        ),
        "here",
    )
    assert [(block.type, block.labels) for block in body.blocks] == [
        ("variable", ("a",)),
        ("locals", ()),
        ("source", ("amazon-ebs", "cpu")),
        ("build", ()),
    ]
    variable, names, source, build = body.blocks
    assert variable.attributes["default"] == hcl.Literal("${not a template}")
    assert isinstance(names.attributes["b"], hcl.Template)
    assert [block.type for block in source.blocks] == ["source_ami_filter"]
    assert [(block.type, block.labels) for block in build.blocks] == [
        ("provisioner", ("shell",)),
        ("provisioner", ("file",)),
        ("post-processors", ()),
    ]
    assert [block.labels for block in build.blocks[2].blocks] == [("manifest",)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "here is broken: Expecting property name"),
        ("[1]", "here is broken: it holds no object"),
        ('{"source": {"a": 1}}', "here is broken: source.a holds no object"),
        ('{"a": NaN}', "here is broken: NaN is not a number of JSON"),
        ('{"a": 1e999}', "here is broken: the number 1e999 is too large"),
        ('{"a": %s}' % ("9" * 5000), "here is broken: Exceeds the limit"),
        ("[" * 500 + "]" * 500, "here nests more than 60 levels deep"),
        ("[" * 100_000, "here nests too deeply"),
    ],
)
def test_broken_json_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ImageError) as caught:
        hcl.parse_json(text, "here")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
