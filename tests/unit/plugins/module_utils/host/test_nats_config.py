# SPDX-License-Identifier: GPL-3.0-or-later
"""What a NATS node writes for itself, by the judgement of nats-server itself."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.host import nats_config
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told, User
from tests.programs import nats_server

TOLD = Told(
    "shop", "bus", "nats", "eu-central-1", "shop-bus", "", "enter", "leave", 120, 3, "", True, "bus.shop.fleet.internal", 0, "", False, "",
    {}, {"system": "/s", "cluster": "/c"}, (User("app", "/v", {"account": "APP"}),),
)  # fmt: skip
HASH = "$2a$04$" + "a" * 53
ROUTES = [f"i-{number}.bus.shop.fleet.internal" for number in range(1, 4)]
SYSTEM, CLUSTER = 'system "pass\\word" äß', "cluster-password/of ü?@"


def rendered(told: Told, hashed: str = HASH, routes: list[str] = ROUTES) -> str:
    return nats_config.render(told, "i-1", {"app": hashed}, system=SYSTEM, cluster=CLUSTER, route_names=routes)


def with_user(**rights: Any) -> Told:
    return replace(TOLD, users=(User("app", "/v", rights),))


@pytest.mark.parametrize(
    "told",
    [
        TOLD,
        with_user(permissions={"publish": {"allow": ["größe.>", 'quote".>', "back\\slash", "日本.*"]}, "subscribe": "x"}),
        with_user(account="Konto ä", permissions={"allow_responses": True, "publish": []}),
        replace(TOLD, limits={
            "nats_jetstream_max_memory": "1GB", "nats_jetstream_max_file": "10GB", "nats_max_payload": "4MB", "nats_max_connections": 100, "nats_sync_interval": "10s",
            "nats_account_limits": {"APP": {"max_file": "2GB", "max_mem": "512MB", "max_streams": 10, "max_consumers": -1}},
        }),
    ],
    ids=["as it is", "permissions", "another account", "limits"],
)  # fmt: skip
@pytest.mark.parametrize("routes", [ROUTES, []], ids=["cluster", "alone"])
def test_nats_server_takes_it(tmp_path: Path, told: Told, routes: list[str]) -> None:
    file = tmp_path / "nats.conf"
    file.write_text(rendered(told, routes=routes).replace(nats_config.STORE, str(tmp_path)))
    done = subprocess.run([nats_server(), "-t", "-c", file], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (replace(TOLD, limits={"nats_max_payload": "256 monkeys"}), "nats_max_payload: '256 monkeys' is no size"),
        (replace(TOLD, limits={"nats_account_limits": {"APP": {"max_file": "2GB\n}"}}}), "nats_account_limits holds a line feed"),
        (replace(TOLD, limits={"nats_account_limits": {"APP": {"max_flie": "2GB"}}}), "nats_account_limits APP has max_flie"),
        (replace(TOLD, limits={"nats_account_limits": {"APP": "2GB"}}), "configuration cannot be written"),
        (replace(TOLD, limits={"nats_account_limits": {"APP": {"max_file": "20GB"}}}), r"there is 3 x 4GB \(nats_jetstream_max_file\)"),
        (replace(TOLD, limits={"nats_sync_interval": "often"}), "nats_sync_interval is neither always nor a time such as 10s"),
        (replace(TOLD, limits={"nats_max_paylaod": "1MB"}), "there is no max_paylaod"),
        (replace(TOLD, limits={"nats_max_connections": "many"}), "invalid literal"),
        (with_user(account='a"b'), "nats.conf has no way to write such a name"),
        (with_user(permissions={"publish": "a\0b"}), "nats_users holds NUL"),
        (with_user(permissions={'pub"lish': "a"}), "cannot be a name in nats.conf"),
    ],
)  # fmt: skip
def test_what_nats_would_not_take_is_a_sentence(told: Told, why: str) -> None:
    with pytest.raises(HostError, match=rf"{why}.*[Cc]orrect the fleet's file and deploy it\.") as caught:
        rendered(told, routes=[*ROUTES, "i-1-1", "i-1-2", "i-1-3", "i-1-4"])
    assert caught.value.never
    assert SYSTEM not in str(caught.value)


def test_a_hash_that_is_none_is_never_written() -> None:
    with pytest.raises(HostError, match="the parameter /v is no bcrypt hash") as caught:
        rendered(TOLD, "secret")
    assert "secret" not in str(caught.value)
