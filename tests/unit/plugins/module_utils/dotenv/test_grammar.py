# SPDX-License-Identifier: GPL-3.0-or-later
"""dotenv's grammar. What is expected here is what the package dotenv 16.6.1 for Node gave for the same text."""

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.grammar import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1", {"A": "1"}),
        ("A = 1 ", {"A": "1"}),
        ("export A=1\r\nexport\tB=2\rC=3", {"A": "1", "B": "2", "C": "3"}),
        ("A: yaml\nB:no\nC : no", {"A": "yaml"}),
        ("# A=1\n  # B=2\nC=3 # note\nD=a#b\nE='a#b' # c", {"C": "3", "D": "a", "E": "a#b"}),
        ("A=\nB=''\nC=\"\"\nD=``", {"A": "", "B": "", "C": "", "D": ""}),
        ('A=\n"over there"', {"A": "over there"}),
        ("A='one\ntwo'\nB=\"three\n\nfour\"\nC=`five\nsix`", {"A": "one\ntwo", "B": "three\n\nfour", "C": "five\nsix"}),
        (r'A="x\ny\rz\tt"', {"A": "x\ny\rz\\tt"}),
        (r"A='x\ny'" + "\n" + r"B=`x\ny`" + "\n" + r"C=x\ny", {"A": r"x\ny", "B": r"x\ny", "C": r"x\ny"}),
        (r'A="say \"hi\""', {"A": r"say \"hi\""}),
        (r"A='it\'s'", {"A": r"it\'s"}),
        ('A="it\'s `so`"\nB=`"both" \'kinds\'`', {"A": "it's `so`", "B": "\"both\" 'kinds'"}),
        ('A="no end\nB=2', {"A": '"no end', "B": "2"}),
        ('A="a" b', {"A": '"a" b'}),
        ("A=$HOME ${B} $(date)", {"A": "$HOME ${B} $(date)"}),
        ("A=1\nA=2", {"A": "2"}),
        ("a.b-c_1=dots\n1A=digit\nA B=no\n=none\nnothing", {"a.b-c_1": "dots", "1A": "digit"}),
        ("\ufeffA=bom\n\xa0B=\xa0space\xa0", {"A": "bom", "B": "space"}),
        ("A=1\u2028B=2\x85C=3", {"A": "1\u2028B=2\x85C=3"}),
        ("", {}),
    ],
)
def test_as_dotenv_reads_it(text: str, expected: dict[str, str]) -> None:
    assert parse(text) == expected
