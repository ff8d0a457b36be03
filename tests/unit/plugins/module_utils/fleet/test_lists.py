# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet file becomes: what is open, who may read what, where everything listens and what a host is told."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.fleet import environment
from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import FleetError
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from tests.unit.plugins.module_utils.fleet.fleets import GONE, changed, shop, small

ROLE = Path(__file__).resolve().parents[5] / "roles" / "container_service"
ARN = "arn:aws:acm:eu-central-1:123456789012:certificate/a"


def listed(variables: dict[str, Any], **options: Any) -> dict[str, Any]:
    return lists(read_fleet(variables), **options)


def one(found: list[dict[str, Any]], name: str, key: str = "for") -> dict[str, Any]:
    (match,) = [entry for entry in found if entry[key] == name]
    return match


class Firewall:
    """Security groups as AWS applies them: a packet needs a rule out of the one and a rule into the other."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self.groups = {group["name"]: group for group in groups}

    def ports(self, source: str, target: str) -> set[int]:
        """The ports of a group's hosts that another group's hosts reach."""
        into = [rule for rule in self.groups[target]["ingress"] if rule["peer"] == {"group": source}]
        out = self.groups[source]["egress"]
        return {
            rule["from_port"]
            for rule in into
            if any(
                other["protocol"] == "all"
                or (other["peer"] == {"group": target} and other["from_port"] == rule["from_port"])
                for other in out
            )
        }


# --- What is open ---------------------------------------------------------------------------------------------------


def test_only_clients_are_an_address_range() -> None:
    found = listed(shop())["security_groups"]
    ranges = [
        (group["name"], rule["peer"]) for group in found for rule in group["ingress"] if "group" not in rule["peer"]
    ]
    assert ranges == [("shop.public", {"cidr": "0.0.0.0/0"})] * 2
    within = listed(changed("fleet_network", {}))["security_groups"]
    assert {str(rule["peer"]) for rule in one(within, "public", "balancer")["ingress"]} == {"{'vpc': True}"}


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, Any]:
    """Fleets whose services use any of the services and data before them."""
    data = {
        f"d{number}": {"kind": draw(st.sampled_from(["nats", "redis"]))} for number in range(draw(st.integers(0, 3)))
    }
    services: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 6))):
        isolated = draw(st.booleans())
        uses = [] if isolated else draw(st.lists(st.sampled_from([*data, *services] or ["none"]), unique=True))
        egress = draw(st.sampled_from([None, [], ["0.0.0.0/0:443"]])) if not set(uses) & set(data) else None
        services[f"s{number}"] = {
            "roles": ["acme.shop.any"],
            "port": 1000 + number,
            "isolated": isolated,
            "uses": [name for name in uses if name != "none"],
            **({"expose": {"paths": [f"/{number}"]}} if draw(st.booleans()) else {}),
            **({"egress": egress} if egress is not None else {}),
        }
    return {"fleet_name": "f", "fleet_region": "eu-central-1", "fleet_data": data, "fleet_services": services}


@settings(max_examples=150, deadline=None)
@given(variables=fleets())
def test_what_is_open_is_exactly_what_the_file_says(variables: dict[str, Any]) -> None:
    found = listed(variables)
    wall = Firewall(found["security_groups"])
    data, services = variables["fleet_data"], variables["fleet_services"]
    at = found["numbers"]
    balancers = {entry["part"]: entry["security_group"] for entry in found["load_balancers"]}
    for source, target in itertools.product([*data, *services], repeat=2):
        direct = wall.ports(f"f-{source}", f"f-{target}")
        if source == target and source in data and len(direct):
            peers = {"nats": {6222}, "redis": {6379, 26379}}[data[source]["kind"]]
            assert direct == peers, "the nodes of one cluster reach each other"
        else:
            assert not direct, f"{source} reaches hosts of {target} directly"
        used = source in services and target in services[source]["uses"]
        part = "data" if target in data else "internal"
        number = at.get(f"{part} {target}")
        reached = wall.ports(f"f-{source}", balancers[part]) if part in balancers else set()
        assert (number is not None and number in reached) == used, f"{source} to {target}"
    for part, group in balancers.items():
        behind = {
            entry["for"]: {entry["port"], entry["health"]["port"]}
            for entry in found["target_groups"]
            if entry["balancer"] == part
        }
        for name in [*data, *services]:
            assert wall.ports(group, f"f-{name}") == behind.get(name, set())
            exposed = name in services and "expose" in services[name]
            assert part != "public" or (name in behind) == exposed


def test_an_isolated_service_goes_nowhere_and_asks_nobody() -> None:
    found = listed(shop())
    assert one(found["security_groups"], "sandbox")["egress"] == []
    group = one(found["groups"], "sandbox")
    assert group["template"]["isolated"] is True
    assert (group["template"]["instance_profile"], group["lifecycle_hooks"]) == ("", [])
    assert not [role for role in found["roles"] if role["for"] == "sandbox"]


def test_egress_lists_networks_of_both_kinds_and_what_is_used() -> None:
    variables = changed(
        "fleet_services.thumbs.egress", ["10.1.0.0/16:5432", "[2001:db8::/32]:8000-8010", "2001:db8::/32:443"]
    )
    rules = one(listed(variables)["security_groups"], "thumbs")["egress"]
    bus = listed(variables)["numbers"]["data bus"]
    assert [(rule["peer"], rule["from_port"], rule["to_port"]) for rule in rules] == [
        ({"cidr": "10.1.0.0/16"}, 5432, 5432),
        ({"cidr": "2001:db8::/32"}, 443, 443),
        ({"cidr": "2001:db8::/32"}, 8000, 8010),
        ({"group": "shop.data"}, bus, bus),
    ]


# --- Images and machines --------------------------------------------------------------------------------------------


def test_an_image_a_service_and_one_for_data_that_is_alike() -> None:
    found = listed(shop())
    assert [(image["family"], image["for"], image["profile"]) for image in found["images"]] == [
        ("shop-bus", ["bus"], "cpu"),
        ("shop-cache", ["cache", "store"], "cpu"),
        ("shop-sandbox", ["sandbox"], "cpu"),
        ("shop-thumbs", ["thumbs"], "gpu"),
        ("shop-web", ["web"], "cpu"),
    ]
    thumbs, web = one(found["images"], "shop-thumbs", "family"), one(found["images"], "shop-web", "family")
    assert thumbs["roles"] == [
        "boring.fleet.base",
        "boring.fleet.host_secrets",
        "boring.fleet.host_lifecycle",
        "acme.shop.thumbs",
    ]
    assert (thumbs["lock"], thumbs["container"]) == ("locks/debian-13-amd64-proprietary.lock.json", None)
    assert web["container"]["port"] == 8000 and web["roles"][-1] == "boring.fleet.container_service"
    assert {group["for"]: group["template"]["instance_type"] for group in found["groups"]} == {
        **dict.fromkeys(("bus", "cache", "store", "sandbox", "web"), "t3.medium"),
        "thumbs": "g5.xlarge",
    }


def test_a_container_is_a_role_with_its_image() -> None:
    web, box = (
        one(listed(shop())["images"], f"shop-{name}", "family")["role_variables"] for name in ("web", "sandbox")
    )
    assert web["container_service_port"] == 8000
    assert web["container_service_health"] == "/up"
    assert (web["container_service_isolated"], box["container_service_isolated"]) == (False, True)
    assert box["container_service_egress"] == []
    found = listed(changed("fleet_services.sandbox.egress", ["192.0.2.0/24:443", "[2001:db8::/32]:8000-8010"]))
    box = one(found["images"], "shop-sandbox", "family")["role_variables"]
    assert box["container_service_egress"] == ["192.0.2.0/24:443", "2001:db8::/32:8000-8010"]
    spec = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["install"]["options"]
    assert set(box) <= set(spec)
    form = re.search("__container_service_egress_form: '(.*)'", (ROLE / "vars" / "main.yml").read_text())
    assert form and all(re.match(form[1], each) for each in box["container_service_egress"])


def test_a_class_that_nothing_names_costs_nothing() -> None:
    assert [layer["machines"] for layer in listed(shop())["image_layers"]] == [["gpu"]]
    assert listed(changed("fleet_services.thumbs.machine", "cpu"))["image_layers"] == []


def test_the_usual_class_is_the_only_one_or_cpu() -> None:
    alone = {"big": {"profile": "cpu", "instance_type": "m7i.large"}}
    found = listed({**small(web={}), "fleet_machines": alone})
    assert found["groups"][0]["template"]["instance_type"] == "m7i.large"
    assert listed(small(web={}))["groups"][0]["template"]["instance_type"] == "t3.medium"


def test_a_gpu_may_be_missing_only_where_the_file_says_so() -> None:
    variables = changed("fleet_machines.gpu", {"profile": "gpu", "instance_type": "t3.medium", "may_lack_gpu": True})
    found = listed(variables)["groups"]
    assert {group["for"]: group["template"]["may_lack_gpu"] for group in found}["thumbs"] is True
    assert not one(listed(shop())["groups"], "thumbs")["template"]["may_lack_gpu"]


def test_what_is_declared_of_gpus_reaches_the_host() -> None:
    def told(group: dict[str, Any]) -> Any:
        return [
            json.loads(file["content"]) for file in group["template"]["files"] if file["path"] == "/etc/fleet/gpu.json"
        ]

    machine = {
        "profile": "gpu",
        "instance_type": "p4d.24xlarge",
        "gpus": 8,
        "mig": ["3g.20gb", "3g.20gb"],
        "power_limit": 300,
        "clocks": {"min": 210, "max": 1410},
    }
    found = listed(changed("fleet_machines.gpu", machine))["groups"]
    assert told(one(found, "thumbs")) == [
        {"gpus": 8, "mig": ["3g.20gb", "3g.20gb"], "power_limit": 300, "clocks": [210, 1410]}
    ]
    assert told(one(found, "web")) == []
    assert told(one(listed(shop())["groups"], "thumbs")) == [{"gpus": 1}], "a host without a GPU does not enter service"
    lacking = changed("fleet_machines.gpu", {"profile": "gpu", "instance_type": "t3.medium", "may_lack_gpu": True})
    assert told(one(listed(lacking)["groups"], "thumbs")) == [{"gpus": 0}]
    roles = {role["for"]: json.dumps(role["policy"]) for role in listed(shop())["roles"]}
    assert [name for name, policy in roles.items() if "SetInstanceHealth" in policy] == ["thumbs"]


def test_a_container_on_a_gpu_gets_it() -> None:
    role = "boring.fleet.nvidia_container"
    for machine, wanted in (("gpu", True), ("cpu", False)):
        found = listed(changed("fleet_services.web.machine", machine))["images"]
        (web,) = [image for image in found if "web" in image["for"]]
        assert web["container"] and (role in web["roles"]) is wanted
    (thumbs,) = [image for image in listed(shop())["images"] if "thumbs" in image["for"]]
    assert role not in thumbs["roles"], "a service of roles reaches the GPU as it is"


def test_only_some_images() -> None:
    found = listed(shop(), only=["store", "web"])
    assert [image["family"] for image in found["images"]] == ["shop-cache", "shop-web"]
    assert len(found["groups"]) == 6
    with pytest.raises(FleetError, match=r"^fleet_only: there is no wbe; did you mean web\?$"):
        listed(shop(), only=["wbe"])


# --- Load balancers -------------------------------------------------------------------------------------------------


def test_https_where_there_is_a_certificate_and_http_redirects_to_it() -> None:
    found = one(listed(shop())["load_balancers"], "public", "part")
    plain, secure = found["listeners"]
    assert (plain["port"], plain["protocol"], plain["default"]["type"], plain["rules"]) == (80, "HTTP", "redirect", [])
    assert (secure["port"], secure["protocol"], secure["certificates"]) == (443, "HTTPS", ["exposed/web"])
    assert "TLS13-1-2" in secure["tls_policy"]
    (rule,) = secure["rules"]
    assert (rule["hosts"], rule["paths"], rule["action"]["target_group"]) == (["shop.example.org"], ["/*"], "shop-web")


def test_http_beside_https_on_one_balancer() -> None:
    secure = {"port": 1, "expose": {"hosts": ["a.example.org"], "certificate": ARN}}
    plain = {"port": 2, "expose": {"hosts": ["b.example.org"]}}
    first, dummy = one(listed(small(a=secure, b=plain))["load_balancers"], "public", "part")["listeners"]
    assert {rule["host"]: rule["action"]["type"] for rule in first["rules"]} == {"a.example.org": "redirect", "b.example.org": "forward"}  # fmt: skip


@pytest.mark.parametrize(
    ("clients", "scheme"),
    [(["10.0.0.0/8"], "internal"), (["10.0.0.0/8", "::/0"], "internet-facing"), (["203.0.113.0/24"], "internet-facing"), (["fd00::/8"], "internal"), (["0.0.0.0/0"], "internet-facing")],
)  # fmt: skip
def test_a_balancer_is_on_the_internet_only_for_clients_that_are(clients: list[str], scheme: str) -> None:
    found = listed(changed("fleet_network.clients", clients))
    assert {balancer["part"]: balancer["subnets"] for balancer in found["load_balancers"]} == {
        "public": "public",
        "internal": "hosts",
        "data": "hosts",
    }
    assert {balancer["part"]: balancer["scheme"] for balancer in found["load_balancers"]} == {"public": scheme, "internal": "internal", "data": "internal"}  # fmt: skip
    open_text = {**changed("fleet_services.web.expose", {}), "fleet_network": {"clients": clients}}
    assert any("can be read on the way" in warning for warning in listed(open_text)["warnings"]) == (
        scheme != "internal"
    )


def test_what_is_more_exact_is_asked_first() -> None:
    exposed = {
        "any": {},
        "deep": {"hosts": ["a.example.org"], "paths": ["/api/v2"]},
        "api": {"hosts": ["a.example.org"], "paths": ["/api/"]},
        "root": {"hosts": ["a.example.org"], "paths": ["/*"]},
        "wild": {"hosts": ["*.example.org"], "paths": ["/a/very/long/path"]},
        "longest": {"hosts": ["b.example.org"], "paths": ["/" + "x" * 79]},
    }
    found = listed(small(**{name: {"port": 1, "expose": expose} for name, expose in exposed.items()}))
    (listener,) = one(found["load_balancers"], "public", "part")["listeners"]
    order = [rule["for"] for rule in listener["rules"]]
    assert order.index("deep") < order.index("api") < order.index("root") < order.index("wild") < order.index("any")
    assert all(
        1 <= rule["priority"] <= 50_000 and len(rule["hosts"] + rule["paths"]) <= 5 for rule in listener["rules"]
    )
    assert one(listener["rules"], "api")["paths"] == ["/api", "/api/*"]


def test_numbers_stay_when_a_service_is_added() -> None:
    def grown(count: int) -> dict[str, Any]:
        inner = {f"i{number}": {"port": 8080} for number in range(count)}
        outer = {
            "web": {
                "port": 1,
                "uses": [*inner],
                "expose": {"hosts": [f"h{number}.example.org" for number in range(count)]},
            }
        }
        return small(**inner, **outer)

    kept: dict[str, int] = {}
    for count in range(1, 60, 7):
        found = listed(grown(count), kept=kept)["numbers"]
        assert kept.items() <= found.items(), "a number changed"
        assert len(set(found.values())) == len(found)
        kept = found
    # Without knowing what there is: the same every time, and nearly the same however many there are.
    alone = listed(grown(57))["numbers"]
    assert alone == listed(grown(57))["numbers"]
    assert sum(alone[key] == number for key, number in listed(grown(20))["numbers"].items()) >= 38


def test_one_that_is_exposed_and_used_is_behind_both() -> None:
    expose = {"port": 8080, "expose": {}}
    found = listed(small(web=expose, admin={"uses": ["web"]}))
    names = {target["balancer"]: target["name"] for target in found["target_groups"]}
    assert names["public"] == "shop-web" and names["internal"].startswith("shop-web-internal-")
    assert one(found["groups"], "web")["target_groups"] == sorted(names.values())


def test_a_roll_never_waits_for_replicas_to_take_writes() -> None:
    found = listed(changed("fleet_services.web.uses", ["store", "bus"]))
    store, bus = one(found["target_groups"], "store"), one(found["target_groups"], "bus")
    assert (store["attached"], store["health"]["path"]) == (False, "/master")
    assert (bus["attached"], bus["health"]["protocol"]) == (True, "TCP")
    assert one(found["groups"], "store")["target_groups"] == []
    assert one(found["groups"], "store")["health_check"] == "EC2"
    actions = {
        action: statement["Resource"]
        for statement in one(found["roles"], "store")["policy"]["Statement"]
        for action in statement["Action"]
    }
    assert actions["elasticloadbalancing:RegisterTargets"] == [
        "arn:aws:elasticloadbalancing:eu-central-1:*:targetgroup/shop-store/*"
    ]


# --- What a host is told, and may know ------------------------------------------------------------------------------


def test_what_is_used_comes_as_variables() -> None:
    found = listed(shop(), addresses={"data": "data.elb.example", "internal": "inside.elb.example"})
    template, at = one(found["groups"], "web")["template"], found["numbers"]
    assert template["environment"] == {
        "RAILS_ENV": "production",
        "BUS_URL": f"tls://data.elb.example:{at['data bus']}",
        "BUS_HOST": "data.elb.example",
        "BUS_PORT": str(at["data bus"]),
        "BUS_USER": "web",
        "BUS_CA_FILE": "/etc/fleet/authority.pem",
        "CACHE_URL": f"rediss://data.elb.example:{at['data cache']}",
        "CACHE_HOST": "data.elb.example",
        "CACHE_PORT": str(at["data cache"]),
        "CACHE_USER": "web",
        "CACHE_CA_FILE": "/etc/fleet/authority.pem",
        "THUMBS_URL": f"https://inside.elb.example:{at['internal thumbs']}",
        "THUMBS_CA_FILE": "/etc/fleet/authority.pem",
    }
    assert template["secrets"] == {
        "BUS_PASSWORD": "/boring/fleets/shop/data/bus/users/web/password",
        "CACHE_PASSWORD": "/boring/fleets/shop/data/cache/users/web/password",
        "SECRET_KEY_BASE": "/shop/secret_key_base",
    }


def test_plain_text_only_where_the_file_says_so() -> None:
    found = listed(changed("fleet_data.bus.plaintext", True))
    environment_ = one(found["groups"], "web")["template"]["environment"]
    assert environment_["BUS_URL"].startswith("nats://") and "BUS_CA_FILE" not in environment_
    assert "data/bus" not in [certificate["name"] for certificate in found["certificates"]]
    assert one(found["groups"], "bus")["template"]["authority"] == ""
    assert any("bus is in plain text" in warning for warning in found["warnings"])


def test_a_host_that_has_nothing_to_know_gets_no_environment() -> None:
    (group,) = listed(small(web={}))["groups"]
    assert [file["path"] for file in group["template"]["files"]] == ["/etc/fleet-release", "/etc/fleet/host.json"]
    assert (group["template"]["authority"], group["template"]["secrets_file"]) == ("", "")


def test_dashes_become_underscores() -> None:
    variables = {
        **small(web={"uses": ["job-bus", "img-api"]}, **{"img-api": {"port": 1}}),
        "fleet_data": {"job-bus": {"kind": "nats"}},
    }
    names = [*one(listed(variables)["groups"], "web")["template"]["environment"]]
    assert "JOB_BUS_URL" in names and "IMG_API_URL" in names


@given(
    values=st.dictionaries(
        st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]))
    )
)
def test_an_environment_file_gives_the_values_back(values: dict[str, str]) -> None:
    # Inside double quotes systemd, as a shell, takes a backslash away before these characters and no others.
    read = {}
    for line in environment.file(values).splitlines():
        name, dummy, quoted = line.partition("=")
        assert quoted.startswith('"') and quoted.endswith('"')
        read[name] = re.sub(r"\\([\"\\`$])", r"\1", quoted[1:-1])
    assert read == values


def test_the_version_is_on_the_host_and_in_tags() -> None:
    found = one(listed(changed("fleet_services.web.version", "1.4.2"))["groups"], "web")
    files = {file["path"]: file["content"] for file in found["template"]["files"]}
    assert files["/etc/fleet-release"] == "FLEET=shop\nSERVICE=web\nVERSION=1.4.2\n"
    assert found["tags"] == {
        "Name": "shop-web",
        "boring:fleet": "shop",
        "boring:service": "web",
        "boring:version": "1.4.2",
    }


def test_every_host_reads_its_own_parameters_and_no_others() -> None:
    found = listed(shop(), account="123456789012")
    readable = {
        role["for"]: {resource.partition(":parameter")[2] for statement in role["policy"]["Statement"] if statement["Action"] == ["ssm:GetParameters"] for resource in statement["Resource"]}
        for role in found["roles"]
    }  # fmt: skip
    assert readable["web"] == {
        "/boring/fleets/shop/authority/certificate",
        "/boring/fleets/shop/data/bus/users/web/password",
        "/boring/fleets/shop/data/cache/users/web/password",
        "/shop/secret_key_base",
    }
    assert readable["thumbs"] == {
        "/boring/fleets/shop/authority/certificate",
        "/boring/fleets/shop/data/bus/users/thumbs/password",
    }
    # A data node knows hashes of its users' passwords, and no node the key of another.
    assert not [path for path in readable["bus"] if path.endswith("/password") or "/cache/" in path]
    assert {path for path in readable["bus"] if "verifier" in path} == {
        "/boring/fleets/shop/data/bus/users/thumbs/verifier",
        "/boring/fleets/shop/data/bus/users/web/verifier",
    }
    wide = [resource for role in found["roles"] for statement in role["policy"]["Statement"] for resource in statement["Resource"] if ":123456789012:" not in resource]  # fmt: skip
    assert set(wide) == {"*"}


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eu-west-1", "aws")]
)
def test_arns_are_of_the_regions_partition(region: str, partition: str) -> None:
    (role,) = listed({**small(web={}), "fleet_region": region})["roles"]
    assert role["policy"]["Statement"][0]["Resource"][0].startswith(f"arn:{partition}:autoscaling:{region}:")


def test_every_service_has_a_user_of_its_own() -> None:
    assert [(user["data"], user["name"], user["hash"]) for user in listed(shop())["users"]] == [
        ("bus", "thumbs", "bcrypt"),
        ("bus", "web", "bcrypt"),
        ("cache", "web", "sha256"),
    ]


def test_certificates() -> None:
    files = {"certificate_file": "shop.pem", "key_file": "shop.key"}
    variables = changed("fleet_services.web.expose.certificate", files)
    variables["fleet_services"]["thumbs"]["tls"] = True
    found = listed(variables)
    assert {entry["name"]: (entry["kind"], entry["host"]) for entry in found["certificates"]} == {
        "balancers/internal": ("signed", ""),
        "data/bus": ("signed", "bus"),
        "data/cache": ("signed", "cache"),
        "data/store": ("signed", "store"),
        "exposed/web": ("imported", ""),
        "services/thumbs": ("signed", "thumbs"),
    }
    assert one(found["certificates"], "exposed/web", "name")["key_file"] == "shop.key"
    used = {
        name
        for balancer in found["load_balancers"]
        for listener in balancer["listeners"]
        for name in listener["certificates"]
    }
    assert used == {"balancers/internal", "exposed/web"}
    thumbs = one(found["target_groups"], "thumbs")
    assert (thumbs["protocol"], thumbs["health"]["protocol"]) == ("HTTPS", "HTTPS")
    # The balancer's key goes to ACM, and to no host.
    assert one(found["parameters"], "/boring/fleets/shop/balancers/internal/key", "name")["readers"] == []
    assert one(found["parameters"], "/boring/fleets/shop/services/thumbs/key", "name")["readers"] == ["thumbs"]


def test_nothing_secret_and_nothing_but_json() -> None:
    found = listed(shop())
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    made = {entry["name"]: entry["type"] for entry in found["parameters"] if entry["made"]}
    assert all(kind == "SecureString" for name, kind in made.items() if not name.endswith("/certificate"))
    assert one(found["parameters"], "/shop/secret_key_base", "name")["made"] == ""


def test_limits_become_variables_of_the_role() -> None:
    limits = {"memory": "1GB", "file": "10GB", "sync": "always", "accounts": {"APP": {"max_streams": 3}}}
    template = one(listed(changed("fleet_data.bus.limits", limits))["groups"], "bus")["template"]
    assert template["variables"] == {
        "kind": "nats", "nodes": 3, "purpose": "", "plaintext": False,
        "nats_jetstream_max_memory": "1GB", "nats_jetstream_max_file": "10GB", "nats_sync_interval": "always", "nats_account_limits": {"APP": {"max_streams": 3}},
    }  # fmt: skip


def test_sizes_that_are_not_said() -> None:
    def size(value: Any) -> tuple[int, int, int]:
        found = listed(changed("fleet_services.web.size", value))
        group = one(found["groups"], "web")["size"]
        return group["min"], group["max"], group["desired"]

    assert size({}) == (1, 1, 1)
    assert size({"min": 3}) == (3, 3, 3)
    assert size({"desired": 3}) == (1, 3, 3)
    assert size({"min": 0, "max": 4}) == (0, 4, 0)


def test_the_defaults_of_data() -> None:
    data = {
        "bus": {"kind": "nats"},
        "cache": {"kind": "redis"},
        "store": {"kind": "redis", "purpose": "store", "disk": "1TB"},
        "toy": {"kind": "nats", "may_lose_data": True},
    }
    found = listed({"fleet_name": "shop", "fleet_region": "eu-central-1", "fleet_data": data})["groups"]
    assert {group["for"]: (group["size"]["desired"], group["template"]["disk"]) for group in found} == {
        "bus": (3, 20),
        "cache": (1, 0),
        "store": (3, 1024),
        "toy": (1, 20),
    }


# --- Two fleets -----------------------------------------------------------------------------------------------------


def values(found: Any) -> set[str]:
    """Every name of something that AWS has, in the lists of a fleet."""
    kinds = ("security_groups", "parameters", "roles", "target_groups", "load_balancers", "groups")
    names = {(kind, entry["name"]) for kind in kinds for entry in found[kind]}
    return {f"{kind} {name}" for kind, name in names} | {f"image {image['family']}" for image in found["images"]}


def test_staging_is_another_fleet_that_shares_nothing() -> None:
    staging = {
        "fleet_name": "shop-staging",
        "fleet_services": {
            "web": {
                "size": {"min": 1, "max": 1, "desired": None},
                "expose": {"hosts": ["staging.example.org"]},
                "secrets": {"SECRET_KEY_BASE": "/shop-staging/secret_key_base"},
            },
            "sandbox": None,
        },
        "fleet_data": {"store": None, "bus": {"nodes": 1, "may_lose_data": True}},
    }
    first, second = listed(shop()), listed(shop(overrides=staging))
    assert not values(first) & values(second)
    web = one(second["groups"], "web")
    assert web["size"] == {"min": 1, "max": 1, "desired": 1}
    assert web["template"]["environment"]["RAILS_ENV"] == "production"
    assert second["order"] == ["bus", "cache", "thumbs", "web"]
    assert "shop_staging" not in json.dumps(second) and second["parameter_prefix"] == "/boring/fleets/shop-staging"


def test_names_of_two_fleets_never_meet() -> None:
    first, second = (
        listed(small("a", **{"b-c": {"port": 1, "expose": {}}})),
        listed(small("a-b", c={"port": 1, "expose": {}})),
    )
    assert not values(first) & values(second)
    assert {"groups a-b-c", "groups a--b-c"} <= values(first) | values(second)
    elsewhere = listed({**small("a", **{"b-c": {"port": 1, "expose": {}}}), "fleet_region": "us-east-1"})
    assert not {name for name in values(first) & values(elsewhere) if name.startswith("roles")}, (
        "roles are the account's"
    )


# --- How it grows ---------------------------------------------------------------------------------------------------


def test_quotas_are_said_before_aws_says_them() -> None:
    many = {f"s{number}": {"uses": ["bus"]} for number in range(61)}
    found = listed({**small(**many), "fleet_data": {"bus": {"kind": "nats"}}})
    assert (
        "the security group shop.data has 61 ingress rules; AWS allows 60 unless it is asked for more"
        in found["warnings"]
    )


def test_data_that_nobody_uses_is_said() -> None:
    assert [warning for warning in listed(shop())["warnings"] if "store" in warning] == [
        "fleet_data.store is used by nobody: name it in the uses of a service, or take it out"
    ]
    assert not [warning for warning in listed(changed("fleet_data.store", GONE))["warnings"] if "store" in warning]


def test_a_roll_brings_the_newest_version_unless_the_file_names_one() -> None:
    rolls = {roll["for"]: roll for roll in listed(shop())["rolls"]}
    assert rolls["web"] == {
        "for": "web", "group": "shop-web", "batch_size": "25%", "launch_template": {"name": "shop-web", "version": "$Latest"},
    }  # fmt: skip
    assert [roll["launch_template"]["name"] for roll in rolls.values()] == [roll["group"] for roll in rolls.values()]
