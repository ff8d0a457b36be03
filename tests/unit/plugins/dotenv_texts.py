# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts of dotenv files, and which readers are known to read them otherwise than dotenv for Node, with the reason.

The differential test holds it against the readers themselves, both ways: a difference that is not here is an error of ours, and
so is one that is here and is none.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Group(NamedTuple):
    """Texts of a kind. `python`, `dotenvx`, `docker`: these readers read them otherwise than dotenv, for this reason."""

    reason: str
    texts: tuple[str, ...]
    python: bool = False
    dotenvx: bool = False
    docker: bool = False


GROUPS: Final = (
    Group(
        "plain names and values mean the same to everybody",
        (
            "A=1", "A=1\n", "A=1\n\n\n", "\n\nA=1", "A=1\nB=2\n", "A=1\r\nB=2\r\n", "A=", "A=\nB=", "A=x=y=z", "A=a b c",
            "a=lower", "A_B.C-D=e", "1A=digit", "# only a comment\n", "", "\n\n\n", "A=1\n# note\nB=2", "  A=1", "\tA=1\n\tB=2",
            "A=http://h/p?q=r&s=t", "A=user@host:5432/db", "A={\"a\":[1,2]}", "A=it's", "A=say \"hi\" now", "A=é✓😀", "A=a\\b\\c",
            "A=x\\ny", "A=a`b`c", "A=100%", "A=!@%^&*()_+-=[]{}|;:,.<>?/~", "A=1\nA=2", "A=1\nB=2\nA=3", "A=$5", "A=5$", "A=a$ b",
            "A='x y'", "A=\"x y\"", "A='x y'\nB=\"z\"", "A=''\nB=\"\"", "A='a\"b'", "A=\"a'b\"", "A='#x'\nB=\"# y\"", "A='a # b'",
            "A='  spaces  '", "A=\"  spaces  \"", "A='$5'", "A='tab\there'", "\ufeffA=bom", "A=1\u2028B=2",
        ),
    ),
    Group(
        "docker takes the rest of the line, with comments and white space at its end",
        (
            "A=1 # note", "A=1\t# note", "A='x' # note", "A=\"x\" # note", "A= 1", "A=1 ", "A=1\t", "A= 'x'", "A='x' ", "B=1\nA= # note",
        ),
        docker=True,
    ),
    Group(
        "docker wants no white space in or after a name, and knows no export",
        ("A =1", "A = 1", "A\t=\t1", "export A=1", "export\tA=1", "  export  A=1", "export A='x'", "export A = 1"),
        docker=True,
    ),
    Group(
        "docker reads line by line",
        ("A='one\ntwo'", "A=\"one\ntwo\"", "A='one\n\nthree'\nB=1", "A=\"-----BEGIN KEY-----\nabc=\n-----END KEY-----\"\nB=2", "A='# a\n# b'"),
        docker=True,
    ),
    Group(
        "in double quotes \\n and \\r are characters, not to docker",
        ("A=\"x\\ny\"", "A=\"x\\ry\"", "A=\"\\n\"", "A=\"a\\nb\\nc\""),
        docker=True,
    ),
    Group(
        "# without white space before it ends a value for dotenv and dotenvx alone",
        ("PW=abc#def", "PW=#abc", "PW=abc#", "PW=a#b#c", "URL=http://h/#top", "PW=abc#def # note", "PW=p@ss#word"),
        python=True,
        docker=True,
    ),
    Group(
        "python-dotenv knows more escapes in double quotes",
        ("A=\"a\\\\b\"", "A=\"say \\\"hi\\\"\"", "A=\"a\\'b\"", "A=\"bell\\a\"", "A=\"v\\vf\\f\""),
        python=True,
    ),
    Group(
        "a tab in double quotes: python-dotenv and dotenvx know it, dotenv does not",
        ("A=\"a\\tb\"", "A=\"\\t\"", "A=\"x\\ty\\tz\""),
        python=True,
        dotenvx=True,
    ),
    Group(
        "an escaped quote in single quotes: python-dotenv and dotenvx take the backslash away",
        ("A='it\\'s'", "A='\\'x\\''"),
        python=True,
        dotenvx=True,
    ),
    Group(
        "an escaped backslash in single quotes is one to python-dotenv alone",
        ("A='a\\\\b'", "A='c:\\\\x'"),
        python=True,
    ),
    Group(
        "back quotes are a part of the value to python-dotenv",
        ("A=`x`", "A=`x y`", "A=`it's \"so\"`", "A=``"),
        python=True,
    ),
    Group(
        "back quotes and a comment, a line more or white space",
        ("A=`x` # note", "A=`one\ntwo`", "A=` x ` ", "A=`a#b`  "),
        python=True,
        docker=True,
    ),
    Group(
        "a colon instead of the sign is read by dotenv and dotenvx alone",
        ("A: yaml", "A: 'yaml'", "A:\tx", "A: x # note", "export A: x"),
        python=True,
        docker=True,
    ),
    Group(
        "a value on the next line",
        ("A=\n\"over there\"", "A=\n\n'over there'", "A\n=1"),
        python=True,
        docker=True,
    ),
    Group(
        "quotes that are not closed are a part of the value; python-dotenv passes the line over",
        ("A=\"no end", "A='no end\nB=2", "A=\"x"),
        python=True,
    ),
    Group(
        "text after the closing quote: dotenv takes all of it as the value",
        ("A=\"a\" b", "A='a' 'b'", "A='a'b", "A=\"a\"\"b\""),
        python=True,
    ),
    Group(
        "lone carriage returns end lines for dotenv and python-dotenv",
        ("A=1\rB=2", "A=1\rB=2\r"),
        docker=True,
    ),
    Group(
        "white space that only JavaScript has",
        ("A=x\ufeff", "A=\ufeffx"),
        python=True,
        docker=True,
    ),
    Group(
        "white space at the end that all but docker take away",
        ("A=\u2003x\u2003", "A=\xa0x\xa0", "A=x\u3000"),
        docker=True,
    ),
    Group(
        "no name to dotenv, one to others",
        ("A/B=1", "ä=1", "A B=1", "A+B=2"),
    ),
    Group(
        "a reference: dotenvx and python-dotenv put the variable there",
        ("A=1\nB=${A}", "A=1\nB=x${A}y", "A=1\nB=\"${A}\"", "A=a\nB=b\nC=${A}${B}", "A=1\nB=${A:-2}", "B=${A:-2}", "B=${A:-}x", "A=\nB=${A:-2}"),
        python=True,
        dotenvx=True,
    ),
    Group(
        "a reference in single quotes: python-dotenv alone puts the variable there",
        ("A=1\nB='${A}'", "A=1\nB='x ${A:-2}'"),
        python=True,
    ),
    Group(
        "a reference without braces is one to dotenvx alone",
        ("A=1\nB=$A", "A=1\nB=x$A-y", "A=1\nB=\"$A\"", "A=a\nB=$A/$A", "A='p$x'\nB=$A", "A=1\nA=$A$A"),
        dotenvx=True,
    ),
    Group(
        "more of a shell's references, which python-dotenv reads in another way still",
        ("A=1\nB=${A+2}", "A=1\nB=${A-2}", "B=${A-2}", "B=${A:-${C:-x}}", "C=c\nB=${A:-$C}", "A=\nB=${A-2}", "A='x${A}'\nB=a${A}b"),
        python=True,
        dotenvx=True,
    ),
    Group(
        "a reference with :+ is one to dotenvx alone",
        ("A=1\nB=${A:+2}", "B=${A:+2}"),
        dotenvx=True,
    ),
    Group(
        "\\$ is a sign to dotenvx",
        ("A=x\\$y", "A=\"x\\$y\"", "A=\\$5", "A=pa\\$\\$word", "A=\\$x"),
        dotenvx=True,
    ),
    Group(
        "\\${ is a sign to dotenvx, and a reference to python-dotenv all the same",
        ("A=x\\${y}", "A=\"\\${HOME}\""),
        python=True,
        dotenvx=True,
    ),
    Group(
        "a command, which dotenvx runs",
        ("A=$(echo hi)", "A=x$(echo hi)y", "A=\"$(echo hi)\"", "A=1\nB=$(echo $A)", "A=$(printf 'a)b')", "A=$(echo $(echo in))"),
        dotenvx=True,
    ),
    Group(
        "a command in single quotes or without an end is none",
        ("A='$(echo hi)'", "A=$(echo", "A=pa$(ss"),
    ),
)  # fmt: skip

# What dotenvx is given to encrypt; read from a file in which ABOVE is `above` and LITERAL is `pa$ABOVE`, not expanded
VALUES: Final = (
    "plain", "two words", "", "é✓😀", "x\\$y", "x\\$\\$y", "\\$ABOVE", "$5", "5$", "a$ABOVE", "${ABOVE}", "a${ABOVE}b", "${NOT_SET:-default}",
    "${ABOVE:+other}", "${LITERAL}", "x${LITERAL}y", "$LITERAL", "$(echo hi)", "a $(echo hi) b", "$(echo \\$HOME > /dev/null)", "line one\nline two", "tab\there",
    "back\\slash", "x\\ny", "say \"hi\"", "it's", "it\\'s", "`so`", "#x", "a # b", " spaces ", "a=b", "'quoted'", "\"quoted\"", "pa$(ss", "$$", "a\\\\$ABOVE",
)  # fmt: skip

# What the look-up refuses or does otherwise than dotenvx, on purpose: the text or value, and why
REFUSED: Final = {
    "A=$B\nB=1": "refers to the variable B, which no line above in the file sets",
    "A=${HOME_OF_NOBODY}": "refers to a variable, which no line above in the file sets",
    "A=$(exit 3)": "holds a command that failed",
    "A=a\\$b\nB=x${A}": "refers to a variable, which no line above",
    "A=${A:-${A:-${A}}}x": "refers to the variable A, which no line above",
}
OTHERWISE: Final = {
    "A='p$$w'\nB=x$A": ("xp$$w", "xp$w", "JavaScript's replace() takes $$ in what it puts there for one sign"),
    "A='a$&b'\nB=x$A": (
        "xa$&b",
        "xa",
        "JavaScript's replace() takes $& in what it puts there for the reference, here $A, so $Ab is one too",
    ),
}
