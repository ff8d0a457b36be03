# SPDX-License-Identifier: GPL-3.0-or-later
"""Twingate's API over real HTTP against the fake, whatever happens to the requests."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.twingate.api import Api, TwingateError
from ansible_collections.boring.fleet.plugins.module_utils.twingate.converge import Done, await_alive, converge
from ansible_collections.boring.fleet.plugins.module_utils.twingate.plan import Wish
from tests.fakes.twingate import FakeTwingate, Server

WISH = Wish("production", "zone-a", location="AWS", tokens="missing")
ALL = ["create the remote network", "create the connector", "make its tokens"]


def send(url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> tuple[int, Mapping[str, str], bytes]:
    """As the module's own, without the certificates that Ansible loads for each request."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("POST", parts.path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    except http.client.HTTPException as exc:
        raise OSError(0, type(exc).__name__) from None
    finally:
        connection.close()


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.on_sleep: Callable[[], Any] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()


@pytest.fixture
def fake() -> Iterator[FakeTwingate]:
    yield FakeTwingate()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(fake: FakeTwingate, clock: Clock) -> Iterator[Api]:
    server = Server(fake)
    yield Api(server.url, fake.key, send, clock=clock, sleep=clock.sleep, timeout=5)
    server.close()


def run(api: Api, wish: Wish = WISH, **options: Any) -> Done:
    return converge(api, wish, **{"tokens_there": False, **options})


def test_from_nothing_and_again(api: Api, fake: FakeTwingate) -> None:
    done = run(api)
    assert done.steps == ALL
    assert done.tokens
    assert (done.tokens.access, done.tokens.refresh) == ("eyJ.access-3-hunter2", "refresh-3-hunter2")
    assert "hunter2" not in repr(done)
    assert fake.named("zone-a")["remoteNetwork"]["location"] == "AWS"
    again = run(api, tokens_there=True)
    assert (again.steps, again.tokens) == ([], None)
    assert run(api, Wish("production", "zone-b")).steps == ["create the connector"]


def test_check_mode_changes_nothing(api: Api, fake: FakeTwingate) -> None:
    assert run(api, dry=True).steps == ALL
    assert set(fake.calls) == {"remoteNetworks", "connectors"}


@pytest.mark.parametrize(
    "called", ["remoteNetworks", "connectors", "remoteNetworkCreate", "connectorCreate", "connectorGenerateTokens"]
)
@pytest.mark.parametrize("fault", ["drop", "lost", "429", "500", "503"])
def test_every_call_may_fail_in_every_way_and_nothing_is_made_twice(
    api: Api, fake: FakeTwingate, called: str, fault: str
) -> None:
    fake.faults = {called: [fault, fault]}
    done = run(api)
    assert done.steps == ALL
    assert len(fake.networks) == len(fake.all) == 1
    assert done.tokens
    assert list(fake.tokens.values()) == [done.tokens.access], "the tokens that we hold are the ones that are valid"
    assert run(api, tokens_there=True).steps == []


def test_two_hosts_at_once_make_one_network(api: Api, fake: FakeTwingate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one's is made after this one's look."""
    create = api.create_network

    def late(name: str, location: str) -> Any:
        fake.remoteNetworkCreate(None, name)
        return create(name, location)

    monkeypatch.setattr(api, "create_network", late)
    done = run(api)
    assert done.tokens
    assert [network["name"] for network in fake.networks.values()] == ["production"]
    assert [one["remoteNetwork"]["name"] for one in fake.all.values()] == ["production"]


def test_many_pages(api: Api, fake: FakeTwingate) -> None:
    fake.page = 2
    for name in "abcde":
        run(api, Wish("production", name))
    assert len(api.connectors()) == 5
    assert run(api, Wish("production", "e")).steps == []


def test_new_tokens_do_not_cut_off_a_connector_that_is_alive(api: Api, fake: FakeTwingate) -> None:
    tokens = run(api).tokens
    assert tokens
    assert fake.beat(tokens.access, "1.72.0", "gw-a")
    with pytest.raises(TwingateError, match="zone-a is ALIVE on gw-a, and new tokens would cut it off"):
        run(api)
    assert run(api, Wish("production", "zone-a", tokens="always")).steps == ["make its tokens"]
    assert not fake.beat(tokens.access, "1.72.0", "gw-a"), "the old pair is not valid any more"


def test_notifications_and_deletion(api: Api, fake: FakeTwingate) -> None:
    run(api)
    quiet = Wish("production", "zone-a", notifications=False)
    assert run(api, quiet).steps == ["change its notifications"]
    assert run(api, quiet).steps == []
    gone = Wish("production", "zone-a", present=False)
    fake.faults = {"connectorDelete": ["lost"]}
    assert run(api, gone).steps == ["delete the connector"]
    assert run(api, gone).steps == []
    assert fake.networks, "the remote network stays"
    assert run(api, Wish("nowhere", "zone-a", present=False)).steps == []


def test_nothing_is_made_without_a_place_for_the_tokens(api: Api, fake: FakeTwingate) -> None:
    def nowhere() -> None:
        raise TwingateError("no place")

    with pytest.raises(TwingateError, match="no place"):
        run(api, ready=nowhere)
    assert not fake.issued


def test_names_must_be_unique(api: Api, fake: FakeTwingate) -> None:
    run(api)
    (network,) = fake.networks
    fake.connectorCreate(None, network, "zone-a")
    with pytest.raises(TwingateError, match="there are 2 connectors named zone-a in production: delete all but one"):
        run(api)


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (
            {"connectors": ["401"]},
            "cannot list the connectors: Twingate does not accept the API key or its permissions .401.",
        ),
        (
            {"connectorGenerateTokens": ["403"]},
            "cannot make tokens for the connector zone-a: .* make one that may provision",
        ),
        ({"connectors": ["404"]}, "answered 404 and no GraphQL; check network or url"),
        ({"connectors": ["500"] * 99}, "Twingate answered 500; gave up after 60 s"),
        ({"connectorCreate": ["429"] * 99}, "Twingate asks to slow down; gave up after 60 s"),
        ({"connectorCreate": ["drop"] * 99}, "the connection to http://127.0.0.1:.* failed .*; tried 5 times"),
    ],
)
def test_why_not(api: Api, fake: FakeTwingate, faults: dict[str, list[str]], words: str) -> None:
    fake.faults = faults
    with pytest.raises(TwingateError, match=words) as refusal:
        run(api)
    assert fake.key not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_wrong_key_and_nobody_there(fake: FakeTwingate, clock: Clock) -> None:
    server = Server(fake)
    wrong = Api(server.url, "another-key", send, clock=clock, sleep=clock.sleep)
    with pytest.raises(TwingateError, match="does not accept the API key") as refusal:
        wrong.networks()
    assert "another-key" not in str(refusal.value)
    server.close()
    with pytest.raises(TwingateError, match=r"nobody answers at http.*gave up after 60 s"):
        Api(server.url, fake.key, send, clock=clock, sleep=clock.sleep).networks()
    assert clock.now <= 60


def test_a_slow_api_is_given_up(fake: FakeTwingate, clock: Clock) -> None:
    fake.latency = 0.5
    server = Server(fake)
    api = Api(server.url, fake.key, send, clock=clock, sleep=clock.sleep, timeout=0.1, patience=1)
    with pytest.raises(TwingateError, match="no answer in time"):
        api.networks()
    server.close()


@pytest.mark.parametrize("before", ["", "x " * 140], ids=["whole", "cut off"])
def test_what_twingate_repeats_of_the_key_is_in_no_message(clock: Clock, before: str) -> None:
    key = "tgk-hunter2-hunter2"

    def repeats(*_request: Any) -> tuple[int, Mapping[str, str], bytes]:
        payload = {"ok": False, "error": f"{before}no such key: {key}"}
        return 200, {}, json.dumps({"data": {"remoteNetworkCreate": payload}}).encode()

    api = Api("https://example.org", key, repeats, clock=clock, sleep=clock.sleep, timeout=5)
    with pytest.raises(TwingateError) as caught:
        api.create_network("production", "AWS")
    assert "Twingate refuses it" in str(caught.value)
    assert "tgk-" not in str(caught.value)


def test_a_query_that_the_schema_does_not_know_is_refused(fake: FakeTwingate) -> None:
    assert "Cannot query field" in str(fake.answer("query { connectors { nodes { id } } }", {}))


class TestAlive:
    """Waiting for a connector."""

    def waiting(self, api: Api, clock: Clock, **options: Any) -> Any:
        (connector,) = api.connectors()
        return await_alive(api, connector, clock=clock, sleep=clock.sleep, **{"seconds": 20, **options})

    def test_until_it_reports(self, api: Api, fake: FakeTwingate, clock: Clock) -> None:
        tokens = run(api).tokens
        assert tokens
        clock.on_sleep = lambda: clock.now > 8 and fake.beat(tokens.access, "1.73.0", "gw-a")
        assert self.waiting(api, clock).version == "1.73.0"
        assert 8 < clock.now <= 12

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"after": "2100-01-01T00:00:00Z"}, "zone-a has sent no heartbeat since then after 20 s"),
            ({"version": "1.74.0"}, "zone-a runs 1.72.0 after 20 s"),
            ({"after": "yesterday"}, "'yesterday' is no time in ISO 8601"),
        ],
    )
    def test_alive_but_not_as_wanted(
        self, api: Api, fake: FakeTwingate, clock: Clock, options: dict[str, Any], words: str
    ) -> None:
        tokens = run(api).tokens
        assert tokens
        fake.beat(tokens.access, "1.72.0", "gw-a")
        assert self.waiting(api, clock, after="2020-01-01T00:00:00", version="1.72.0").alive
        with pytest.raises(TwingateError, match=words):
            self.waiting(api, clock, **options)

    def test_dead_and_gone(self, api: Api, fake: FakeTwingate, clock: Clock) -> None:
        run(api)
        with pytest.raises(TwingateError, match="zone-a is DEAD_NO_HEARTBEAT after 20 s: 'journalctl"):
            self.waiting(api, clock)
        fake.named("zone-a")["state"] = "DEAD_NO_RELAYS"
        with pytest.raises(TwingateError, match="zone-a is DEAD_NO_RELAYS"):
            self.waiting(api, clock)
        clock.on_sleep = fake.all.clear
        with pytest.raises(TwingateError, match="zone-a is gone while it was waited for"):
            self.waiting(api, clock)
