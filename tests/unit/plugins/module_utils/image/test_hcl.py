# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of HCL: exact about what it understands, UNKNOWN about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.image import hcl
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

PACKER = Path(__file__).parents[5] / "packer"
SCOPE = {"var": {"family": "api", "count": 3, "on": True, "hidden": hcl.UNKNOWN}, "path": {"root": "."}}


def value(expression: str) -> Any:
    return hcl.evaluate(hcl.parse(f"it = {expression}\n", "here").attributes["it"], SCOPE)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('"plain"', "plain"),
        (r'"a \"b\" \\ \n"', 'a "b" \\ \n'),
        ("12", 12),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ("[]", []),
        ('["a", 2,\n  var.family, # why\n]', ["a", 2, "api"]),
        ('{ a = 1, "b:c" : [2]\n d = { e = "f" } }', {"a": 1, "b:c": [2], "d": {"e": "f"}}),
        ("var.family", "api"),
        ('"x-${var.family}-${var.count}"', "x-api-3"),
        ('"${var.on}"', True),
        ('"on: ${var.on}"', "on: true"),
        ('"$${var.family}"', "${var.family}"),
        ('"${path.root}/x"', "./x"),
        # what only Packer can say
        ("var.absent", hcl.UNKNOWN),
        ("data.amazon-ami.x.id", hcl.UNKNOWN),
        ('join("-", ["a"])', hcl.UNKNOWN),
        ('"${upper("}")}"', hcl.UNKNOWN),
        ('"%{ if true }a%{ endif }"', hcl.UNKNOWN),
        ('var.family == "" ? 1 : 2', hcl.UNKNOWN),
        ("1 + 1", hcl.UNKNOWN),
        ("var.family[0]", hcl.UNKNOWN),
        ("[for x in [1] : x]", hcl.UNKNOWN),
        ('<<EOT\n} not " HCL {\nEOT', hcl.UNKNOWN),
    ],
)
def test_value(expression: str, expected: Any) -> None:
    assert value(expression) == expected


def test_blocks_labels_comments_and_dynamic_blocks() -> None:
    body = hcl.parse(
        """
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
        """,
        "here",
    )
    (source,) = body.all("source")
    assert source.labels == ("amazon-ebs", "cpu")
    assert set(source.attributes) == {"name", "tags"}
    (chosen,) = source.all("source_ami_filter")
    assert hcl.evaluate(chosen.attributes["owners"], {}) == ["self"]
    assert [block.type for block in body.blocks] == ["source", "single"]


@pytest.mark.parametrize("text", ['a = "x', "a = [1", "b {", "}", "a =", "= 1", "a = 1 }", "\x00"])
def test_broken_text_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(ImageError, match=r"^here, (line \d+|the file ends)"):
        hcl.parse(text, "here")


@given(st.text(alphabet='ab"${}[]()=,.\n\\#%/* <-1', max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Never another exception, never endless."""
    try:
        for tokens in hcl.parse(text, "here").attributes.values():
            hcl.evaluate(tokens, SCOPE)
    except ImageError:
        pass


@given(st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\n')))
def test_strings_come_back_as_they_were_written(text: str) -> None:
    assert value('"' + text.replace("${", "$${").replace("%{", "%%{") + '"') == text


@pytest.mark.parametrize("path", sorted(PACKER.rglob("*.hcl")), ids=lambda path: path.name)
def test_our_own_template_is_understood(path: Path) -> None:
    assert hcl.parse(path.read_text(), path.name).blocks or hcl.parse(path.read_text(), path.name).attributes
