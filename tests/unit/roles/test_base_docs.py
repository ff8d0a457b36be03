# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/base.md against the role: every row of the baselines has a decision with a reason, and "yes" names what is set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
ROW = re.compile(r"^\| ((?:os|package|sysctl|sshd|ssh)-\w+) \| ([^|]+) \| (\w+) \| ([^|]+) \|$", re.MULTILINE)

# The controls of dev-sec's linux-baseline 2.10.0 and ssh-baseline 2.8.1; what is missing in between they do not have.
LINUX = [f"os-{number}" for number in ("01", "02", "03", "03b", "04", "05", "05b", "06", "07", "09", *range(10, 17))]
LINUX += [f"package-0{number}" for number in (1, 2, 3, 5, 6, 8, 9)]
LINUX += [f"sysctl-{number:02}" for number in range(1, 36) if number not in (18, 31)] + ["sysctl-31a", "sysctl-31b"]
SSH = [f"sshd-{number:02}" for number in range(1, 51) if number != 26] + [f"ssh-{number:02}" for number in range(1, 23)]


def role(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "roles/base" / name / "main.yml").read_text())
    return found


def text() -> str:
    return (ROOT / "docs/base.md").read_text()


def settings() -> dict[str, str]:
    """What the role writes with its defaults, kernel and sshd, by name."""
    defaults, own = role("defaults"), role("vars")
    known = {
        "{{ base_kptr_restrict }}": defaults["base_kptr_restrict"],
        "{{ base_ptrace_scope }}": defaults["base_ptrace_scope"],
        "{{ __base_rp_filter }}": {"strict": 1}[defaults["base_reverse_path"]],
        "{{ __base_forwarding[base_ssh_forwarding] }}": own["__base_forwarding"][defaults["base_ssh_forwarding"]],
        "{{ base_ssh_agent_forwarding | ternary('yes', 'no') }}": {False: "no"}[defaults["base_ssh_agent_forwarding"]],
    }
    lists = {"Ciphers": "ciphers", "KexAlgorithms": "kex", "MACs": "macs"}
    return {
        **{name: str(known.get(value, value)) for name, value in {**own["__base_sysctl"], **own["__base_sshd_settings"]}.items()},
        **{name: ",".join(defaults[f"base_ssh_{short}"]) for name, short in lists.items()},
    }  # fmt: skip


def test_every_row_of_the_baselines_has_one_decision_with_a_reason() -> None:
    rows = ROW.findall(text())
    assert sorted(name for name, *dummy in rows) == sorted(LINUX + SSH)
    for name, asked, decision, why in rows:
        assert decision in ("yes", "no"), name
        assert len(asked) > 3, name
        assert len(why) > 8, name


def test_what_the_table_says_is_set_is_set() -> None:
    written = settings()
    said = 0
    for kernel, value in re.findall(r"`((?:net|fs|kernel)\.[\w.]+) = (\d+)`", text()):
        assert written.get(kernel) == value, kernel
        said += 1
    for keyword, value in re.findall(r"`([A-Z][A-Za-z0-9]+) ([^`=\s]+)`", text()):
        assert written.get(keyword) == value, keyword
        said += 1
    assert said > 55


def test_every_setting_of_the_role_is_in_the_table_and_every_switch_too() -> None:
    shown = text()
    for name in settings():
        if (name.startswith("net.") and ".default." in name) or "*" in name:
            continue  # beside the one for all interfaces
        assert name in shown or name == "UseDNS", name
    for name in role("defaults"):
        if name.startswith(("base_ssh", "base_sysctl", "base_p", "base_k", "base_r")) and "packages" not in name:
            assert f"`{name}`" in shown, name
