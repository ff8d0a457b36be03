# SPDX-License-Identifier: GPL-3.0-or-later
"""What dotenvx makes of decrypted values, and that no text of a megabyte takes long."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.evaluate import Rules, evaluate, inside_of
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.grammar import assignments, parse
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.keys import read_keys
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.reader import open_file
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.readings import differing, docker, python_dotenv
from tests.unit.plugins import dotenv_vectors as known


def evaluated(text: str, *wanted: str, **rules: object) -> dict[str, str]:
    plain = ((found.name, inside_of(found), found.quote, found.line) for found in assignments(text))
    return evaluate(plain, wanted, Rules(**rules), ".env")  # type: ignore[arg-type]


def test_an_escaped_dollar_is_a_dollar() -> None:
    r"""The values are those of the file that dotenvx 2.38 encrypted for this test: `x\$y` in three quotes."""
    opened = open_file(
        known.DOTENVX_DOLLARS, ".env", "", read_keys(known.DOTENVX_KEY, "here"), wanted=["DOUBLE", "NONE", "SINGLE"]
    )
    assert [opened.values[name] for name in ("DOUBLE", "NONE", "SINGLE")] == ["x$y", "x$y", r"x\$y"]
    assert evaluated('A="pa\\$word" # note\nB=\\$5') == {"A": "pa$word", "B": "$5"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "A=hunter2${HOME}",
            r"the value of A in \.env, line 1, refers to a variable, .* set references=expand, set references=keep",
        ),
        ("A=hunter2$C", "the value of A .* refers to the variable C,"),
        ("A=pass$hunter2", "the value of A .* refers to a variable,"),
        ("A=${hunter2}", "the value of A .* refers to a variable,"),
        ("A=${B:-hunter2}", "refers to a variable,"),
        (
            "A=hunter2$(date)",
            r"the value of A in \.env, line 1, holds a command, '\$\(\.\.\.\)', which dotenvx would run: set commands=run",
        ),
        (r"A=hunter2\$(date)", "holds a command"),
    ],
)
def test_references_and_commands_are_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(DotenvError, match=words) as refusal:
        evaluated(text + "\nC=1")
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__context__ is None
    assert evaluated(text + "\nC=1", "C")["C"] == "1", "nobody wants A"
    quoted = text.replace("=", "='") + "'"
    assert evaluated(quoted)["A"] == text[2:], "single quotes hold what stands in them"


def test_what_is_asked_for() -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    def shell(command: str, above: Mapping[str, str]) -> str | None:
        seen.append((command, dict(above)))
        return None if command == "false" else "printed\n\n"

    text = "A=1\nB=${A}/$A\nC=x$(get it)y\nD=pa$ss\\$"
    assert evaluated(text, "B", "D", references="keep") == {"A": "1", "B": "${A}/$A", "C": "x$(get it)y", "D": "pa$ss$"}
    assert evaluated(text, "B", "C", references="expand", commands="run", shell=shell) == {
        "A": "1", "B": "1/1", "C": "xprintedy", "D": "pa$ss\\$",
    }  # fmt: skip
    assert seen == [("get it", {"A": "1", "B": "1/1"})]
    assert evaluated(text, "C", commands="keep")["C"] == "x$(get it)y"
    with pytest.raises(
        DotenvError, match=r"the value of A in .env, line 1, holds a command that failed or took too long"
    ):
        evaluated("A=$(false)", commands="run", shell=shell)
    with pytest.raises(
        DotenvError,
        match=r"the value of D in \.env, line 4, refers to a variable, which no line above in the file sets: set it there",
    ):
        evaluated(text, "D", references="expand")
    with pytest.raises(DotenvError, match=r"the value of B .* refers to A, whose value holds a command"):
        evaluated("A=$(date)\nB=$A", "B", references="expand")


@pytest.mark.parametrize("options", [{"references": "expand"}, {"commands": "run"}])
def test_a_vault_is_taken_as_it_is(options: dict[str, str]) -> None:
    keys = read_keys(known.uri(known.PRODUCTION_KEY), "here")
    with pytest.raises(
        DotenvError, match=r"\.env\.vault is a vault, and dotenv takes its values as they are: leave out"
    ):
        open_file(known.VAULT, ".env.vault", "", keys, rules=Rules(**options))


def test_what_other_readers_read_is_said_by_name() -> None:
    text = "PW=hunter2#2\nURL=http://h # note\nGOOD='hunter2'\nREF=${PW}\n"
    said = differing(text, parse(text), parse(text), ("python-dotenv", "Docker"))
    assert said.startswith(
        "means something else to other readers of such a text: PW (python-dotenv, Docker), URL (Docker), REF (python-dotenv);"
    )
    assert "hunter2" not in said
    assert differing(text, parse(text), ["GOOD"], ("python-dotenv", "Docker")) == ""
    many = "".join(f"A{number}=a#b\n" for number in range(9))
    assert "A4 (python-dotenv, Docker) and 4 more;" in differing(
        many, parse(many), parse(many), ("python-dotenv", "Docker")
    )


SIZE = 300_000
LONG = {
    "empty lines": "\n" * SIZE,
    "empty lines and a name": "\n" * SIZE + "A",
    "white space": " " * SIZE + "x",
    "white space in a value": "A=x" + " " * SIZE + "y",
    "white space behind names": ("A" + " " * 999 + "\n") * 300,
    "a quote that does not end": "A='" + "x" * SIZE,
    "many quotes that do not end": "A=\"x\nB='x\nC=`x\n" * 20_000,
    "a quote that ends in text": "A='" + "x" * SIZE + "' y",
    "backslashes": 'A="' + "\\" * SIZE,
    "escaped quotes": "A='" + "\\'" * (SIZE // 2) + "x",
    "escaped quotes in many lines": ('A="' + '\\"' * 50 + "x\n") * 3_000,
    "white space after a quote": "A='b'" + "\n" * SIZE + "c",
    "lines that only JavaScript knows": "A=x" + '\u2028"' * (SIZE // 4),
    "exports": "export " * 50_000,
    "names": "A\n" * (SIZE // 2),
    "comments": "#\n" * (SIZE // 2),
    "hashes": "A=" + "#" * SIZE,
    "white space and hashes": "A=x" + " #" * (SIZE // 2),
    "references": "A=" + "${" * (SIZE // 2),
    "dollars": "A=" + "$" * SIZE,
    "commands": "A=" + "$(" * (SIZE // 2),
    "commands that end": "A=" + "$(x)" * (SIZE // 4),
    "variables": "".join(f"A{number}=$A\n" for number in range(20_000)),
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.timeout(60)
def test_no_text_takes_long(name: str) -> None:
    """Twenty seconds are a hundred times what it takes; what is quadratic takes minutes."""
    text = LONG[name]
    began = time.monotonic()
    values = parse(text)
    python_dotenv(text)
    docker(text)
    differing(text, values, values, ("dotenv", "python-dotenv", "Docker"))
    for rules in (Rules(), Rules("expand", "run", lambda command, above: ""), Rules("keep", "keep")):
        try:
            evaluate(
                ((found.name, inside_of(found), found.quote, found.line) for found in assignments(text)),
                (),
                rules,
                ".env",
            )
        except DotenvError as refusal:
            assert len(str(refusal)) < 500
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "text", ["\n" * 1_000_000 + "A=1", "A='" + "\\" * 1_000_000 + "\nA=1", 'A="' + "x\n" * 500_000 + '"\nA=1']
)
def test_a_megabyte_is_read(text: str) -> None:
    assert parse(text)["A"] == "1"


def test_the_line_is_that_of_the_file() -> None:
    text = '# one\r\n\r\nA="x\r\ny"\r\n\u2028\r\nexport B=$C\r\nC=1\r\n'
    assert [(found.name, found.line) for found in assignments(text)] == [("A", 3), ("B", 6), ("C", 7)]
    with pytest.raises(DotenvError, match=r"the value of B in \.env, line 6, refers to the variable C, which dotenvx"):
        evaluated(text, "B")
    with pytest.raises(DotenvError, match=r"the value of B in \.env, line 6, .* the variable C, which no line above"):
        evaluated(text, "B", references="expand")
