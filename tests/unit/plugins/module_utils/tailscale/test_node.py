# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node is told to do, and what it says when it cannot. tests/integration/test_tailnet.py has real nodes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.tailscale.converge import Done, Tools, converge
from ansible_collections.boring.fleet.plugins.module_utils.tailscale.node import TailscaleError, read_wish
from ansible_collections.boring.fleet.plugins.module_utils.tailscale.process import runner

CONTROL = "https://hs.example.org"


class FakeNode:
    """`tailscale` of a node whose state is two dictionaries; `fails` maps a command to its code and error text."""

    def __init__(self, backend: str = "NeedsLogin", **prefs: Any) -> None:
        self.status: dict[str, Any] = {
            "BackendState": backend,
            "Self": {"Online": True},
            "TailscaleIPs": ["100.64.0.1"],
        }
        self.prefs: dict[str, Any] = {"ControlURL": CONTROL, "CorpDNS": True, **prefs}
        self.fails: dict[str, tuple[int, str]] = {}
        self.calls: list[list[str]] = []
        self.now = 0.0

    def run(self, argv: Sequence[str], seconds: float) -> tuple[int, str, str]:
        assert seconds > 0
        if argv[0] in self.fails:
            code, text = self.fails[argv[0]]
            return code, "", text
        if argv[0] == "status":
            return 0, json.dumps(self.status), ""
        if argv[0] == "debug":
            return 0, json.dumps(self.prefs), ""
        self.calls.append(list(argv))
        if argv[0] == "up":
            self.status["BackendState"] = "Running"
        for word in argv:
            if word.startswith("--advertise-routes="):
                self.prefs["AdvertiseRoutes"] = [route for route in word.partition("=")[2].split(",") if route]
        return 0, "", ""

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def converge(self, key: str = "/run/key", dry: bool = False, **options: Any) -> Done:
        given: dict[str, Any] = dict.fromkeys(
            ("login_server", "hostname", "tags", "advertise_routes", "advertise_exit_node", "accept_routes", "accept_dns", "ssh", "shields_up",
             "snat_subnet_routes", "stateful_filtering")
        )  # fmt: skip
        tools = Tools(
            self.run, clock=lambda: self.now, sleep=self.sleep, censor=lambda text: text.replace("hunter2", "***")
        )
        return converge(tools, read_wish({**given, "state": "up", **options}), key, seconds=30, dry=dry)


def test_joining_names_everything_and_keeps_the_key_in_its_file() -> None:
    node = FakeNode()
    done = node.converge(
        login_server=CONTROL + "/",
        hostname="api-1",
        tags=["tag:b", "tag:a"],
        advertise_routes=["10.0.0.0/16"],
        accept_dns=False,
        ssh=True,
    )
    join = node.calls[0]
    assert join[:4] == ["up", "--auth-key=file:/run/key", "--timeout=30s", "--reset"]
    assert set(join[4:]) == {
        f"--login-server={CONTROL}", "--hostname=api-1", "--advertise-tags=tag:a,tag:b",
        "--advertise-routes=10.0.0.0/16", "--accept-dns=false", "--ssh=true",
    }  # fmt: skip
    assert done.steps[0] == "join"


def test_a_node_that_has_joined_is_only_changed_where_it_differs() -> None:
    node = FakeNode("Running", Hostname="a", AdvertiseRoutes=["10.1.0.0/16", "0.0.0.0/0", "::/0"], CorpDNS=False)
    assert (
        node.converge(hostname="a", advertise_routes=["10.1.0.0/16"], advertise_exit_node=True, accept_dns=False).steps
        == []
    )
    assert node.calls == []
    done = node.converge(hostname="b", ssh=True, accept_dns=False)
    assert node.calls == [["set", "--hostname=b", "--ssh=true"]]
    assert (done.before, done.after) == ({"hostname": "a", "ssh": False}, {"hostname": "b", "ssh": True})
    assert node.converge(key="", shields_up=True, dry=True).steps == ["set shields-up"]
    assert len(node.calls) == 1, "a dry run changes nothing"


@pytest.mark.parametrize(
    ("prefs", "wish", "step"),
    [
        ({}, {"snat_subnet_routes": True, "stateful_filtering": False}, []),
        ({"NoSNAT": False, "NoStatefulFiltering": True}, {"snat_subnet_routes": True, "stateful_filtering": False}, []),
        ({"NoSNAT": True}, {"snat_subnet_routes": True}, ["set", "--snat-subnet-routes=true"]),
        ({}, {"snat_subnet_routes": False}, ["set", "--snat-subnet-routes=false"]),
        ({"NoStatefulFiltering": None}, {"stateful_filtering": True}, ["set", "--stateful-filtering=true"]),
        ({"NoStatefulFiltering": False}, {"stateful_filtering": False}, ["set", "--stateful-filtering=false"]),
    ],
)
def test_preferences_that_a_node_keeps_as_their_opposite(
    prefs: dict[str, Any], wish: dict[str, Any], step: list[str]
) -> None:
    node = FakeNode("Running", **prefs)
    node.converge(**wish)
    assert node.calls == ([step] if step else [])


def test_a_router_takes_its_routes_back_and_gives_others_time_before_it_leaves() -> None:
    node = FakeNode("Running", AdvertiseRoutes=["10.1.0.0/16"])
    assert node.converge(state="absent", dry=True).steps == ["take back its routes", "log out"]
    assert (node.calls, node.now) == ([], 0)
    node.converge(state="absent")
    assert node.calls == [["set", "--advertise-routes="], ["logout"]]
    assert node.now == 3


def test_a_node_whose_key_expired_joins_again() -> None:
    node = FakeNode("Running")
    node.status |= {"Self": {"Expired": True}, "HaveNodeKey": True}
    with pytest.raises(TailscaleError, match=r"in no tailnet \(its key has expired\), and there is no auth_key_file"):
        node.converge(key="")
    assert node.converge().steps == ["join"]
    assert "--force-reauth" in node.calls[0]


@pytest.mark.parametrize(
    ("backend", "state", "calls"),
    [
        ("Running", "down", [["down"]]),
        ("Stopped", "down", []),
        ("NeedsLogin", "down", []),
        ("Running", "absent", [["logout"]]),
        ("Stopped", "absent", [["logout"]]),
        ("NeedsLogin", "absent", []),
        ("Stopped", "up", [["up"]]),
    ],
)
def test_states(backend: str, state: str, calls: list[list[str]]) -> None:
    node = FakeNode(backend)
    node.converge(state=state)
    assert node.calls == calls


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tags": ["api"]}, "'api' is no tag: it must look like tag:api"),
        ({"advertise_routes": ["10.0.0.1/16"]}, "has '10.0.0.1/16', which is no network"),
        ({"advertise_routes": ["0.0.0.0/0"]}, "set advertise_exit_node=true"),
        (
            {"login_server": "https://other.example.org"},
            "the node belongs to https://hs.example.org, not to https://other",
        ),
        ({"tags": ["tag:api"]}, "the node has no tags, not tag:api"),
    ],
)
def test_what_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(TailscaleError, match=words):
        FakeNode("Running").converge(**options)


def test_why_a_node_does_not_come_up() -> None:
    node = FakeNode()
    node.fails = {"up": (1, "timeout waiting\nbackend error: invalid key hunter2\n")}
    with pytest.raises(
        TailscaleError, match=r"within 30 s: the control plane does not know .* \(backend error: invalid key \*\*\*\)$"
    ):
        node.converge()
    node.status["Health"] = ["You are logged out. The last login error was: authkey expired"]
    with pytest.raises(TailscaleError, match="last login error was: authkey expired"):
        node.converge()
    # What the attempt before left behind, about another key, stands in the command's text still.
    node.fails = {"up": (1, "backend error: authkey expired\n")}
    node.status["Health"] = ["You are logged out. The last login error was: AuthKey not found"]
    with pytest.raises(TailscaleError, match="within 30 s: the control plane does not know the auth key"):
        node.converge()
    node.fails = {"status": (1, "failed to connect to local tailscaled; it doesn't appear to be running")}
    with pytest.raises(TailscaleError, match="tailscaled does not run on this host: 'systemctl start tailscaled'"):
        node.converge()
    node.fails = {"status": (127, "No such file or directory")}
    with pytest.raises(TailscaleError, match="there is no program tailscale on this host"):
        node.converge()


@pytest.mark.parametrize("had_one", [False, True], ids=["joined by itself", "has its old key only"])
def test_an_auth_key_that_tailscaled_used_up_by_itself(had_one: bool) -> None:
    """It goes on trying with the key of an attempt that failed, and may come in between a look and `up`."""
    node = FakeNode()
    node.status["HaveNodeKey"] = had_one
    original = node.run

    def run(argv: Sequence[str], seconds: float) -> tuple[int, str, str]:
        if argv[0] == "up" and any(flag.startswith("--auth-key") for flag in argv):
            node.status["HaveNodeKey"] = True
            return 1, "", "backend error: authkey already used"
        return original(argv, seconds)

    node.run = run  # type: ignore[method-assign]
    if had_one:
        with pytest.raises(TailscaleError, match="the auth key was used already: make a new one"):
            node.converge()
        return
    assert node.converge(hostname="a").steps == ["join", "set hostname"]
    assert node.calls[0] == ["up", "--timeout=30s", "--reset", "--hostname=a"]


def test_a_node_that_joined_by_itself_with_other_tags_is_refused() -> None:
    node = FakeNode()
    node.fails = {"up": (1, "backend error: authkey already used")}
    original = node.run

    def run(argv: Sequence[str], seconds: float) -> tuple[int, str, str]:
        if argv[0] == "up":
            node.status |= {"HaveNodeKey": True, "BackendState": "Running"}
        return original(argv, seconds)

    node.run = run  # type: ignore[method-assign]
    with pytest.raises(TailscaleError, match="the node has no tags, not tag:api"):
        node.converge(tags=["tag:api"])


def test_a_node_that_an_administrator_must_approve() -> None:
    node = FakeNode()
    original = node.run

    def run(argv: Sequence[str], seconds: float) -> tuple[int, str, str]:
        answer = original(argv, seconds)
        if argv[0] == "up":
            node.status["BackendState"] = "NeedsMachineAuth"
        return answer

    node.run = run  # type: ignore[method-assign]
    with pytest.raises(
        TailscaleError, match="the node joined and is NeedsMachineAuth, not Running: an administrator must"
    ):
        node.converge()


def test_a_program_that_hangs_is_ended() -> None:
    assert runner(["sleep"])(["60"], 0.2) == (124, "", "it did not end within 0.2 s")
    assert runner(["/nowhere/tailscale"])(["status"], 1)[0] == 127
    assert runner(["sh", "-c"])(["echo out; echo err >&2; exit 3"], 10) == (3, "out\n", "err\n")
