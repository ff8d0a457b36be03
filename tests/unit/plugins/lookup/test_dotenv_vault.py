# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup dotenv_vault through Ansible's own loader, and in real runs of ansible-playbook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError

from ansible_collections.boring.fleet.plugins.lookup.dotenv_vault import DOCUMENTATION, LookupModule
from tests.unit.plugins import dotenv_vectors as known
from tests.unit.plugins.playbook_runs import HOSTS, loaded, run_playbook

GOOD = known.uri(known.PRODUCTION_KEY)
OTHER = known.uri(known.OTHER_KEY)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".env.vault").write_text(known.VAULT)
    (tmp_path / ".env.production").write_text(known.DOTENVX)
    monkeypatch.chdir(tmp_path)
    for name in ("DOTENV_KEY", "DOTENV_PRIVATE_KEY", "DOTENV_PRIVATE_KEY_PRODUCTION"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def lookup(*terms: Any, **options: Any) -> list[Any]:
    plugin = loaded(LookupModule, "boring.fleet.dotenv_vault", DOCUMENTATION)
    result: list[Any] = plugin.run(list(terms), variables={}, **options)
    return result


def test_names_and_the_whole() -> None:
    assert lookup("HELLO", key=GOOD) == ["Production"]
    assert lookup(key=GOOD) == [{"HELLO": "Production"}]
    assert lookup(["HELLO", "HELLO"], key=GOOD, file="./.env.vault") == ["Production"] * 2
    assert lookup("ALPHA", key=known.DEVELOPMENT_KEY, environment="development") == ["zeta"]


def test_where_the_key_comes_from(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key_file = here / "vault.key"
    key_file.write_text(f"{OTHER}\n{GOOD}\n")
    key_file.chmod(0o600)
    assert lookup("HELLO", key_file="vault.key") == ["Production"]
    monkeypatch.setenv("DOTENV_KEY", known.uri(known.DEVELOPMENT_KEY, "development"))
    assert lookup("ALPHA", key_file="vault.key") == ["zeta"], "the environment goes before the key file"
    assert lookup("HELLO", key=GOOD) == ["Production"], "the option goes before the environment"


def test_dotenvx_and_its_keys(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = here / ".env.keys"
    keys.write_text(f"#/ private keys\nDOTENV_PRIVATE_KEY_PRODUCTION={known.DOTENVX_KEY}\n")
    keys.chmod(0o600)
    assert lookup(file=".env.production", key_file=".env.keys") == [known.DOTENVX_VALUES]
    monkeypatch.setenv("DOTENV_PRIVATE_KEY_PRODUCTION", known.DOTENVX_KEY)
    monkeypatch.setenv("DOTENV_KEY", "this is for vaults, not for dotenvx")
    assert lookup("MULTI", file=".env.production") == ["line one\nline two"]
    assert lookup("HELLO", file=".env.production", environment="production") == ["World"]


def test_what_dotenvx_makes_of_its_values(here: Path) -> None:
    (here / ".env").write_text(
        known.DOTENVX_DOLLARS + 'REFERENCE=${DOUBLE}!\nCOMMAND=$(printf %s "$NONE")\nSLOW=$(exit 3)\n'
    )
    options = {"file": ".env", "key": known.DOTENVX_KEY}
    assert lookup("DOUBLE", "SINGLE", **options) == ["x$y", "x\\$y"]
    with pytest.raises(
        AnsibleError,
        match=r"the value of REFERENCE in \.env, line \d+, refers to the variable DOUBLE, .* set references=expand",
    ):
        lookup("REFERENCE", **options)
    with pytest.raises(AnsibleError, match=r"the value of COMMAND in \.env, line \d+, holds a command"):
        lookup("COMMAND", **options)
    with pytest.raises(AnsibleError, match=r"the value of SLOW in \.env, line \d+, holds a command that failed"):
        lookup("SLOW", commands="run", **options)
    assert lookup("REFERENCE", references="keep", **options) == ["${DOUBLE}!"]
    assert lookup("COMMAND", commands="run", **options) == ["x$y"]
    with pytest.raises(AnsibleError, match="refers to a variable, which no line above"):
        lookup("REFERENCE", references="expand", **options)
    with pytest.raises(AnsibleError, match="references"):
        lookup("REFERENCE", references="hope", **options)


def test_a_warning_names_what_other_readers_read_otherwise(here: Path) -> None:
    files = {
        "file": "{{ playbook_dir }}/own.vault",
        "environment": "production",
        "key_file": "{{ playbook_dir }}/own.key",
    }
    (here / "plain").write_text("PW=hunter2#hunter3\nGOOD='hunter2#3'\n")
    asked = "lookup('boring.fleet.dotenv_vault', {}, file='own.vault', key_file='own.key')"
    tasks: list[dict[str, Any]] = [
        {"boring.fleet.dotenv_vault": {**files, "src": "{{ playbook_dir }}/plain"}},
        {"ansible.builtin.assert": {"that": [asked.format("'GOOD'") + " | length == 9"]}},
        {
            "ansible.builtin.assert": {
                "that": [asked.format("'PW', 'GOOD'").replace("lookup(", "query(") + "[0] | length == 7"]
            }
        },
    ]
    code, output = run_playbook(here, [{"hosts": "h1", "tasks": tasks}], env={"COLUMNS": "400"})
    assert code == 0, output
    said = " ".join(output.split())
    assert "plain means something else to other readers of such a text: PW (python-dotenv, Docker);" in said
    assert (
        said.count("own.vault means something else to other readers of such a text: PW (python-dotenv, Docker);") >= 1
    )
    assert "hunter2" not in output


@pytest.mark.parametrize(
    ("terms", "options", "words"),
    [
        (["NOPE"], {"key": GOOD}, r"the environment production of \.env\.vault has no variable NOPE"),
        ([], {"key": OTHER}, r"\.env\.vault cannot be decrypted for the environment production"),
        ([], {"key": GOOD, "file": "nowhere/.env.vault"}, "nowhere/.env.vault cannot be read: no such file"),
        ([], {"key": GOOD, "file": "."}, "cannot be read: is a directory"),
        ([], {}, r"\.env\.vault cannot be decrypted: there is no key"),
        ([], {"key_file": "open.key"}, "has the mode 0644, so others can read it: 'chmod 600"),
        ([], {"key_file": "absent.key"}, "the key file .*absent.key cannot be read: no such file"),
        ([], {"key": GOOD, "file": "binary"}, "binary is malformed: it is not UTF-8"),
        (["NOPE"], {"key": known.DOTENVX_KEY, "file": ".env.production"}, "has no variable NOPE"),
    ],
)
def test_errors(here: Path, terms: list[str], options: dict[str, Any], words: str) -> None:
    (here / "open.key").write_text(GOOD)
    (here / "open.key").chmod(0o644)
    (here / "binary").write_bytes(b"\xff\xfehunter2")
    with pytest.raises(AnsibleError, match=words) as refusal:
        lookup(*terms, **options)
    text = str(refusal.value)
    assert "dotenv_vault: " in text
    for secret in (known.PRODUCTION_KEY, known.OTHER_KEY, known.DOTENVX_KEY, "Production", "World", "hunter2"):
        assert secret not in text
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None


def test_in_real_runs_nothing_but_the_answer_is_shown(here: Path) -> None:
    """A vault whose key fits and ones whose keys do not, at -vvv with tracebacks wherever Ansible has them."""

    def ask(options: str) -> str:
        return f"lookup('boring.fleet.dotenv_vault', {options})"

    good = [
        ask("'HELLO', key=other ~ ',' ~ good"),
        ask("environment='production', key=good"),
        ask("'MULTI', file='.env.production', key=x"),
    ]
    plays = [
        {
            "vars": {"good": GOOD, "other": OTHER, "x": known.DOTENVX_KEY},
            "tasks": [
                {
                    "ansible.builtin.copy": {
                        "content": f"{{{{ [{', '.join(good)}] | to_json }}}}",
                        "dest": "{{ playbook_dir }}/{{ inventory_hostname }}.json",
                        "mode": "0600",
                    },
                    "no_log": True,
                },
                *(
                    {"ansible.builtin.debug": {"msg": f"{{{{ {ask(options)} }}}}"}, "ignore_errors": True}
                    for options in (
                        "'HELLO', key=other",
                        "'HELLO', key=good[:40]",
                        "'HELLO', key=good, environment='staging'",
                        "'HELLO', file='.env.production', key=[other, good]",
                    )
                ),
            ],
        }
    ]
    code, output = run_playbook(here, plays, env={"ANSIBLE_DISPLAY_TRACEBACK": "always"})
    assert code == 0, output
    for host in HOSTS:
        answer = json.loads((here / f"{host}.json").read_text())
        assert answer == ["Production", {"HELLO": "Production"}, "line one\nline two"]
    for words in (
        "dotenv_vault: .env.vault cannot be decrypted for the environment production: the key does not fit",
        "dotenv_vault: key 1 of 1 in the option key is no DOTENV_KEY",
        "dotenv_vault: .env.vault has no environment staging; it has development",
        "dotenv_vault: .env.production cannot be decrypted for the environment production: none of 2 keys fits",
    ):
        assert words in output
    digits = GOOD.split("key_")[1][:20]
    for secret in (known.PRODUCTION_KEY, known.OTHER_KEY, known.DOTENVX_KEY, digits, "line one", '"Production'):
        assert secret not in output
