# SPDX-License-Identifier: GPL-3.0-or-later
"""The module dotenv_vault in one real run: write, again, rotate, forget, and what the lookup then reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.plugins.playbook_runs import run_playbook

FILES = {"file": "{{ playbook_dir }}/.env.vault", "environment": "production", "key_file": "{{ playbook_dir }}/key"}


def write(register: str, check: bool = False, **options: Any) -> dict[str, Any]:
    return {"boring.fleet.dotenv_vault": {**FILES, **options}, "register": register, "check_mode": check, "diff": True}


def test_write_rotate_and_forget(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# production\nTOKEN='hunter2hunter2'\nURL=https://example.org\n")
    src = {"src": "{{ playbook_dir }}/.env"}
    (tmp_path / "expected").write_text("hunter2hunter2")
    token = "lookup('ansible.builtin.file', 'expected')"  # not in the playbook, whose lines Ansible shows
    key = "lookup('ansible.builtin.file', 'key')"
    reads = "lookup('boring.fleet.dotenv_vault', 'TOKEN', key_file='key') == " + token
    old_reads = "lookup('boring.fleet.dotenv_vault', 'TOKEN', key=old) == " + token
    tasks: list[dict[str, Any]] = [
        write("dry", check=True, **src),
        {"ansible.builtin.stat": {"path": "{{ playbook_dir }}/key"}, "register": "dry_key"},
        write("first", **src),
        write("second", **src),
        {"ansible.builtin.assert": {"that": [reads]}, "no_log": True},
        {"ansible.builtin.set_fact": {"old": f"{{{{ {key} }}}}"}, "no_log": True},
        write("rotated", rotate=True),
        {"ansible.builtin.assert": {"that": [reads, f"{key}.split(',')[1] == old", f"not {key}.startswith(old)"]}},
        write("changed", values={"TOKEN": f"{{{{ {token} }}}}", "PORT": 5}),
        write("forgotten", old_keys=0),
        write("last", old_keys=0),
        {"ansible.builtin.assert": {"that": [reads, f"',' not in {key}"]}},
        {"ansible.builtin.assert": {"that": [old_reads]}, "ignore_errors": True, "register": "refused"},
        {
            "ansible.builtin.assert": {
                "that": [
                    "dry is changed and not dry_key.stat.exists",
                    "first is changed and second is not changed and not first.rotated",
                    "first.names == ['TOKEN', 'URL']",
                    "rotated is changed and rotated.rotated and rotated.names == ['TOKEN', 'URL']",
                    "changed is changed and changed.names == ['PORT', 'TOKEN']",
                    "forgotten is changed and last is not changed",
                    "refused is failed",
                ]
            }
        },
    ]
    plays = [{"hosts": "h1", "tasks": tasks}]
    code, output = run_playbook(tmp_path, plays)
    assert code == 0, output
    assert "hunter2" not in output
    for line in (tmp_path / "key").read_text().replace(",", "\n").splitlines():
        assert line.split("key_")[1][:20] not in output
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".env.vault").stat().st_mode & 0o777 == 0o644
    assert "-URL" in output, "the diff names what goes"
    assert "+PORT" in output
    assert "hunter2" not in (tmp_path / ".env.vault").read_text()


def test_it_says_why_not(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("ab" * 32)
    (tmp_path / "key").chmod(0o644)
    code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": [write("x", values={"A": "b"})]}])
    assert code == 2
    assert "has the mode 0644, so others can read it" in output
    assert "abababab" not in output
