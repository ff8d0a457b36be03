# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role tailscale leaves on a host, run as at a boot over a stand-in for the command `tailscale` that notes its arguments.

Settings and key are what the role's user_data renders. Against a real tailnet: tests/integration/test_tailnet.py.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.tailnet.boot import lay_out, run
from tests.unit.plugins.playbook_runs import run_playbook

KEY = "hskey-auth-0123456789abcdef"
CLI = """#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
state = json.loads((folder / "state").read_text())
with (folder / "calls").open("a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
verb = sys.argv[1]
if verb == "status":
    print(json.dumps({{"BackendState": state["backend"], "Health": state["health"], "TailscaleIPs": ["100.64.0.9"], "Self": {{}},
        "HaveNodeKey": state["keyed"]}}))
elif verb == "up":
    if state["slips_in"]:
        state["slips_in"], state["keyed"] = False, True
        (folder / "state").write_text(json.dumps(state))
        sys.exit("backend error: authkey already used")
    if state["refusal"]:
        sys.exit(state["refusal"])
    state["backend"] = "Running"
elif verb == "logout":
    state["backend"] = "NeedsLogin"
(folder / "state").write_text(json.dumps(state))
"""


class Host:
    """A boot and an end of a host; `refusal` is what `tailscale up` fails with."""

    def __init__(self, folder: Path, **variables: Any) -> None:
        self.folder = folder
        lay_out(folder, KEY, CLI.format(python=sys.executable, folder=str(folder)), **variables)
        self.key = folder / "key"
        self.jobs("")
        self.state()

    def jobs(self, listed: str) -> None:
        """What systemd has to do at the moment."""
        self._jobs = listed

    def state(
        self, backend: str = "NeedsLogin", refusal: str = "", *health: str, keyed: bool = False, slips_in: bool = False
    ) -> None:
        """`keyed`: it has a key of its own. `slips_in`: tailscaled joins by itself the moment before `up` does."""
        state = {"backend": backend, "refusal": refusal, "health": health, "keyed": keyed, "slips_in": slips_in}
        (self.folder / "state").write_text(json.dumps(state))

    def __call__(self, action: str) -> tuple[int, str, list[list[str]]]:
        """Its code, what it said, and what it asked of `tailscale` besides the status."""
        (self.folder / "calls").write_text("")
        code, said = run(self.folder, action, self._jobs)
        assert KEY not in said
        calls = [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]
        assert all(KEY not in part for call in calls for part in call), "on no command line"
        return code, said, [call for call in calls if call[0] != "status"]


def test_a_boot_joins_once_and_forgets_the_key(tmp_path: Path) -> None:
    host = Host(
        tmp_path, tailscale_login_server="https://hs.example.org", tailscale_tags=["tag:api"], tailscale_timeout=7
    )
    code, said, calls = host("join")
    assert (code, said) == (0, "this host is in the tailnet as 100.64.0.9\n")
    up, settings = calls
    assert up[:4] == ["up", f"--auth-key=file:{host.key}", "--timeout=7s", "--reset"]
    assert "--force-reauth" not in up, "a first join that is told to join anew uses a key twice"
    assert {"--login-server=https://hs.example.org", "--advertise-tags=tag:api", "--accept-dns=false"} <= set(up)
    assert settings[0] == "set"
    assert not [flag for flag in settings if "tags" in flag or "login" in flag], "what `set` does not take"
    assert not host.key.exists()
    assert [call[0] for call in host("join")[2]] == ["set"], "the next boot only sees to the preferences"


@pytest.mark.parametrize(
    ("refusal", "health", "code", "sentence"),
    [
        ("dial tcp 10.0.0.1:443: connect: connection refused", "", 75, "the control plane does not answer"),
        ("timeout waiting for Tailscale", "You are logged out. http 401: authkey expired", 78, "the auth key has expired"),
        (f"backend error: authkey already used {KEY}", "", 78, "the auth key was used already"),
        ("x509: certificate has expired or is not yet valid: current time", "", 75, "set the clock"),
        ("the moon is full", "", 75, "did not join the tailnet: the moon is full"),
    ],
)  # fmt: skip
def test_why_a_host_did_not_join_and_whether_it_tries_again(
    tmp_path: Path, refusal: str, health: str, code: int, sentence: str
) -> None:
    host = Host(tmp_path)
    host.state("NeedsLogin", refusal, *filter(None, [health]))
    ended, said, calls = host("join")
    assert (ended, sentence in said) == (code, True), said
    assert (calls[-1] == ["down"]) == (code == 75), "until the next try tailscaled must not use the key up by itself"
    assert host.key.exists(), "for the next try"


def test_a_key_that_tailscaled_used_up_by_itself_let_this_host_in(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.state(slips_in=True)
    code, said, calls = host("join")
    assert (code, said) == (0, "this host is in the tailnet as 100.64.0.9\n")
    assert [call[0] for call in calls] == ["up", "up", "set"]
    assert not [flag for flag in calls[1] if flag.startswith(("--auth-key", "--force"))], "with the key of its own"
    assert not host.key.exists()


def test_a_host_whose_own_key_expired_joins_anew(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.state(keyed=True)
    assert "--force-reauth" in host("join")[2][0]
    host.key.write_text(KEY)
    host.state("NeedsLogin", "backend error: authkey already used", keyed=True)
    code, said, calls = host("join")
    assert (code, len(calls)) == (78, 1), "its own key is the old one, and proves nothing: " + said
    host.state("NeedsLogin", "connection refused", keyed=True)
    code, said, calls = host("join")
    assert (code, [call[0] for call in calls]) == (75, ["up"]), "told to rest it would look joined at the next boot"


def test_a_host_that_got_in_just_before_it_was_told_to_rest(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.state("Stopped", keyed=True)
    code, said, calls = host("join")
    assert (code, [call[0] for call in calls]) == (0, ["up", "set"]), said
    assert not [flag for flag in calls[0] if "auth-key" in flag], "the single-use key is used up"
    assert not host.key.exists()
    host.state("Stopped", keyed=True)
    assert [call[0] for call in host("join")[2]] == ["set"], "somebody's own `tailscale down` outlives a reboot"


def test_a_host_without_a_key_says_so_once(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.key.unlink()
    code, said, calls = host("join")
    assert (code, calls) == (78, [])
    assert "there is no key to join with" in said


def test_a_host_leaves_when_it_is_powered_off_only(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host("join")
    host.jobs("12 reboot.target start waiting")
    assert host("leave")[2] == []
    host.jobs("")
    assert host("leave")[2] == [], "the service was restarted by hand"
    host.jobs("12 poweroff.target start waiting")
    assert host("leave")[2] == [["logout"]]


def test_a_router_takes_its_routes_back_before_it_leaves(tmp_path: Path) -> None:
    host = Host(tmp_path, tailscale_routes=["10.9.0.0/16"], tailscale_snat_routes=False)
    forwarding = json.loads((tmp_path / "files.json").read_text())[1]
    assert forwarding["path"] == "/etc/sysctl.d/60-tailscale.conf"
    assert "net.ipv4.ip_forward = 1" in forwarding["content"]
    flags = host("join")[2][1]
    assert {"--advertise-routes=10.9.0.0/16", "--snat-subnet-routes=false", "--stateful-filtering=false"} <= set(flags)
    host.jobs("12 poweroff.target start waiting")
    began = time.monotonic()
    assert host("leave")[2] == [["set", "--advertise-routes="], ["logout"]]
    assert time.monotonic() - began > 3, "others need a moment to go over"


def test_a_host_that_is_to_stay_stays(tmp_path: Path) -> None:
    host = Host(tmp_path, tailscale_leave=False)
    host.jobs("12 poweroff.target start waiting")
    assert host("leave")[2] == []


def test_what_user_data_refuses(tmp_path: Path) -> None:
    for given, sentence in (
        ({"tailscale_tags": ["api"]}, "api is no tag: it must look like tag:api"),
        (
            {"tailscale_routes": ["10.0.0.0"]},
            "10.0.0.0 in tailscale_routes is no network: it must look like 10.0.0.0/16",
        ),
        (
            {"tailscale_routes": ["10.0.0.0/16"], "tailscale_shields_up": True},
            "tailscale_shields_up refuses what would be routed to 10.0.0.0/16 too",
        ),
        ({"tailscale_repository": "https://example.org"}, "needs tailscale_repository_key"),
        ({"tailscale_archive": "x.tgz"}, "tailscale_archive needs tailscale_archive_sha256"),
    ):
        task = {
            "ansible.builtin.include_role": {"name": "boring.fleet.tailscale", "tasks_from": "user_data"},
            "vars": given,
        }
        code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": [task]}])
        assert code != 0
        assert sentence in output
