# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet on AWS (moto's): made once, changed by what differs, removed when asked to, and nothing of anybody else's touched."""

from __future__ import annotations

import base64
import copy
import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml
from cryptography import x509

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.fleet import certificates
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.observe import Observer
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import FleetError
from tests.unit.plugins.module_utils.fleet.cloud.account import REGION, Account

DAY = 86400.0
ROOT = Path(__file__).resolve().parents[6]


def variables(name: str = "shop", **services: Any) -> dict[str, Any]:
    """A fleet of a web service that uses another one and a cache; `services` are changes of services, None takes one away."""
    found: dict[str, Any] = {
        "web": {
            "roles": ["acme.shop.web"], "size": {"min": 2, "max": 4}, "port": 8000, "health": "/up", "uses": ["cache", "thumbs"],
            "expose": {"hosts": [f"{name}.example.org"]}, "environment": {"MODE": "production"},
        },
        "thumbs": {"roles": ["acme.shop.thumbs"], "port": 9000, "tls": True},
        "worker": {"roles": ["acme.shop.worker"], "uses": ["cache"], "egress": ["10.9.0.0/16:443"]},
    }  # fmt: skip
    for service, changes in services.items():
        found[service] = {**found.get(service, {}), **(changes or {})}
        if changes is None:
            del found[service]
    return {
        "fleet_name": name,
        "fleet_region": REGION,
        "fleet_data": {"cache": {"kind": "redis"}},
        "fleet_services": found,
    }


def lines(result: Any) -> list[str]:
    return [str(line) for line in (*result.planned.changes, *result.planned.rolls)]


def refusal(aws: Account, given: dict[str, Any], **options: Any) -> str:
    before = aws.everything()
    with pytest.raises(FleetError) as error:
        aws.deploy(given, **options)
    assert aws.everything() == before, "something was made before it was refused"
    return str(error.value)


def group(aws: Account, name: str) -> dict[str, Any]:
    found = aws("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return dict(found[0])


def template(aws: Account, name: str) -> dict[str, Any]:
    found = aws("ec2").describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Latest"])
    return dict(found["LaunchTemplateVersions"][0]["LaunchTemplateData"])


def files(aws: Account, name: str) -> dict[str, str]:
    text = base64.b64decode(template(aws, name)["UserData"]).decode()
    head, body = text.split("\n", 1)
    assert head == "#cloud-config"
    return {file["path"]: file["content"] for file in json.loads(body)["write_files"]}


def value(aws: Account, name: str) -> str:
    answer = aws("ssm").get_parameter(Name=f"/boring/fleets/shop/{name}", WithDecryption=True)
    return str(answer["Parameter"]["Value"])


class TestMaking:
    def test_a_second_run_changes_nothing_and_looks_only(self, aws: Account) -> None:
        first = aws.deploy(variables())
        assert first.changed and {line[0] for line in lines(first)} == {"+"}
        before = aws.everything()
        second = aws.deploy(variables())
        assert not second.changed and second.text == "Nothing to do.\n"
        assert not [one for one in aws.operations if not one.startswith(("describe", "get", "list"))]
        assert aws.everything() == before

    def test_a_plan_makes_nothing(self, aws: Account) -> None:
        before = aws.everything()
        planned = aws.deploy(variables(), check=True)
        assert aws.everything() == before and not (aws.path / "shop").exists()
        assert lines(planned) == lines(aws.deploy(variables()))

    def test_hosts_get_the_addresses_that_load_balancers_were_given(self, aws: Account) -> None:
        made = aws.deploy(variables())
        written = files(aws, "shop-web")
        environment = written["/etc/fleet/environment"]
        assert f'CACHE_HOST="{made.addresses["data"]}"' in environment
        assert f'THUMBS_URL="https://{made.addresses["internal"]}:' in environment
        assert "invalid" not in environment and 'MODE="production"' in environment
        assert written["/etc/fleet/authority.pem"] == value(aws, "authority/certificate")
        wanted = json.loads(written["/etc/host-secrets/wanted.json"])["files"]
        assert wanted == [
            {
                "path": "/etc/fleet/secrets.env", "owner": "root", "group": "root",
                "environment": {"CACHE_PASSWORD": "/boring/fleets/shop/data/cache/users/web/password"},
            }
        ]  # fmt: skip
        thumbs = json.loads(files(aws, "shop-thumbs")["/etc/host-secrets/wanted.json"])["files"]
        assert [file["parameter"].rpartition("/fleets/shop/")[2] for file in thumbs] == [
            "services/thumbs/certificate",
            "services/thumbs/key",
        ]

    def test_certificates_are_for_their_names_and_signed_by_the_fleet_s_authority(self, aws: Account) -> None:
        made = aws.deploy(variables())
        authority = value(aws, "authority/certificate")
        assert (aws.path / "shop/authority/ca.pem").read_text() == authority
        assert (aws.path / "shop/authority/ca.key").stat().st_mode & 0o777 == 0o600
        for name, address in (
            ("data/cache", made.addresses["data"]),
            ("balancers/internal", made.addresses["internal"]),
        ):
            pem = value(aws, f"{name}/certificate")
            assert certificates.state_of(pem, authority, aws.now()) == "valid"
            assert address in certificates.names_of(pem)
            assert certificates.fits(certificates.Pair(pem, value(aws, f"{name}/key")))
            days = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc - datetime.datetime.now(
                datetime.UTC
            )
            assert 88 <= days.days <= 90

    def test_a_verifier_is_a_hash_of_the_password(self, aws: Account) -> None:
        given = variables(web={"uses": ["cache", "bus"]})
        given["fleet_data"]["bus"] = {"kind": "nats", "nodes": 3}
        aws.deploy(given)
        password = value(aws, "data/cache/users/web/password")
        assert value(aws, "data/cache/users/web/verifier") == hashlib.sha256(password.encode()).hexdigest()
        assert bcrypt.checkpw(
            value(aws, "data/bus/users/web/password").encode(), value(aws, "data/bus/users/web/verifier").encode()
        )

    def test_secrets_are_nowhere_but_in_their_parameters(self, aws: Account) -> None:
        made = aws.deploy(variables())
        secrets = [
            value(aws, name.removeprefix("/boring/fleets/shop/"))
            for name in aws.everything()["parameters"]
            if not name.endswith("certificate")
        ]
        assert len(secrets) > 8
        told = made.text + json.dumps([template(aws, f"shop-{name}") for name in ("web", "thumbs", "worker", "cache")])
        told += "".join("".join(files(aws, f"shop-{name}").values()) for name in ("web", "thumbs", "worker", "cache"))
        assert not [secret for secret in secrets if secret in told]

    def test_the_conversion_product_is_a_file_like_any_other(self, aws: Account) -> None:
        given = yaml.safe_load((ROOT / "playbooks/vars/conversion.yml").read_text()) | {"fleet_region": REGION}
        made = aws.deploy(given)
        assert made.groups == ["conversion-bus", "conversion-cache", "conversion-api", "conversion-engine"]
        assert not aws.deploy(given).changed


class TestChanging:
    def test_sizes_are_the_file_s_and_the_number_of_hosts_is_not(self, aws: Account) -> None:
        aws.deploy(variables())
        aws("autoscaling").set_desired_capacity(AutoScalingGroupName="shop-web", DesiredCapacity=3)
        found = aws.deploy(variables(web={"size": {"min": 1, "max": 6}}))
        assert lines(found) == ["~ group shop-web: min 2 -> 1, max 4 -> 6"]
        now = group(aws, "shop-web")
        assert (now["MinSize"], now["MaxSize"], now["DesiredCapacity"]) == (1, 6, 3)

    def test_sizes_wait_for_a_roll_that_has_them_in_hand(self, aws: Account) -> None:
        aws.deploy(variables())
        journal = {"Key": "boring:rollout", "Value": "{}", "PropagateAtLaunch": False}
        aws("autoscaling").create_or_update_tags(
            Tags=[{**journal, "ResourceId": "shop-web", "ResourceType": "auto-scaling-group"}]
        )
        found = aws.deploy(variables(web={"size": {"min": 1, "max": 6}}))
        assert not found.changed and "shop-web is being rolled" in "".join(found.warnings)
        assert group(aws, "shop-web")["MaxSize"] == 4

    def test_an_environment_is_a_version_and_a_roll_and_hosts_are_left_alone(self, aws: Account) -> None:
        aws.deploy(variables())
        hosts = [one["InstanceId"] for one in group(aws, "shop-web")["Instances"]]
        found = aws.deploy(variables(web={"environment": {"MODE": "the-new-mode", "MORE": "1"}}))
        detail = "~ variable MODE, + variable MORE"
        assert lines(found) == [f"~ launch template shop-web: {detail}", f"roll shop-web: {detail}"]
        assert 'MODE="the-new-mode"' in files(aws, "shop-web")["/etc/fleet/environment"]
        assert [one["InstanceId"] for one in group(aws, "shop-web")["Instances"]] == hosts
        assert group(aws, "shop-web")["LaunchTemplate"]["Version"] == "1"
        after = aws.deploy(variables(web={"environment": {"MODE": "the-new-mode", "MORE": "1"}}))
        assert not after.changed and lines(after) == ["roll shop-web: 2 hosts run an older template"]

    def test_another_image_is_a_roll(self, aws: Account) -> None:
        aws.deploy(variables())
        other = aws.other_image
        aws.images["shop-web"] = other
        found = aws.deploy(variables())
        assert lines(found)[1] == f"roll shop-web: image {aws.image} -> {other}"

    def test_what_is_not_used_any_more_is_closed_and_what_is_opens(self, aws: Account) -> None:
        aws.deploy(variables())
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        security = {one["GroupName"]: one["GroupId"] for one in aws("ec2").describe_security_groups()["SecurityGroups"]}
        aws("ec2").authorize_security_group_ingress(GroupId=security["shop-web"], IpPermissions=[rule])
        found = aws.deploy(variables(web={"uses": ["thumbs"]}, worker={"uses": ["cache", "thumbs"]}))
        said = "\n".join(lines(found))
        assert "~ security group shop-web: - ingress 0.0.0.0/0 on 22" in said
        assert "~ security group shop.data: - ingress shop-web on" in said
        assert "~ security group shop.internal: + ingress shop-worker on" in said
        # What is not used is not removed without being asked.
        assert "- parameter /boring/fleets/shop/data/cache/users/web/password" in said
        assert value(aws, "data/cache/users/web/password")
        assert not aws.deploy(variables(web={"uses": ["thumbs"]}, worker={"uses": ["cache", "thumbs"]})).changed

    def test_certificates_that_end_soon_are_renewed(self, aws: Account) -> None:
        today = aws.now
        aws.now = lambda: today() - 61 * DAY
        aws.deploy(variables())
        before = value(aws, "data/cache/certificate")
        aws.now = today
        planned, found = aws.deploy(variables(), check=True), aws.deploy(variables())
        assert lines(planned) == lines(found)
        assert "~ certificate data/cache: state ends in 29 days -> valid" in lines(found)
        assert value(aws, "data/cache/certificate") != before
        # Hosts take theirs when they boot, so that those of before are replaced; what only a load balancer has needs no roll.
        due = "~ file /etc/fleet/certificate.digest"
        assert [line for line in lines(found) if line.startswith("~ launch template")] == [
            f"~ launch template shop-cache: {due}",
            f"~ launch template shop-thumbs: {due}",
        ]
        assert [line for line in lines(found) if line.startswith("roll ")] == [
            f"roll shop-cache: {due}",
            f"roll shop-thumbs: {due}",
        ]
        assert not aws.deploy(variables()).changed

    def test_a_verifier_follows_its_password(self, aws: Account) -> None:
        aws.deploy(variables())
        name = "/boring/fleets/shop/data/cache/users/web/password"
        aws("ssm").put_parameter(Name=name, Value="another", Type="SecureString", Overwrite=True)
        found = aws.deploy(variables())
        assert lines(found) == [
            "~ parameter /boring/fleets/shop/data/cache/users/web/verifier: state older than the password -> valid"
        ]
        assert not aws.deploy(variables()).changed

    def test_a_certificate_from_files_is_imported_and_replaced(self, aws: Account) -> None:
        authority = certificates.make_authority("test", aws.now())

        def write() -> None:
            pair = certificates.sign(authority, ["shop.example.org"], aws.now())
            (aws.path / "shop.pem").write_text(pair.certificate + authority.certificate)
            (aws.path / "shop.key").write_text(pair.key)

        write()
        expose = {
            "hosts": ["shop.example.org"],
            "certificate": {"certificate_file": "shop.pem", "key_file": "shop.key"},
        }
        aws.deploy(variables(web={"expose": expose}))
        first = aws.everything()
        assert "exposed/web" in first["certificates"] and not aws.deploy(variables(web={"expose": expose})).changed
        write()
        found = aws.deploy(variables(web={"expose": expose}))
        assert [line.partition(":")[0] for line in lines(found)] == ["~ certificate exposed/web"]
        assert aws.everything() == first and not aws.deploy(variables(web={"expose": expose})).changed
        (aws.path / "shop.key").write_text(authority.key)
        assert "fleet_services.web.expose.certificate: shop.pem does not belong to shop.key" in refusal(
            aws, variables(web={"expose": expose})
        )

    def test_a_second_certificate_comes_beside_the_first(self, aws: Account) -> None:
        first, second = (
            aws.raw("acm").request_certificate(DomainName=f"{name}.example.org")["CertificateArn"]
            for name in ("a", "b")
        )
        web = {"expose": {"hosts": ["a.example.org"], "certificate": first}}
        aws.deploy(variables(web=web))
        admin = {
            "roles": ["acme.shop.any"],
            "port": 8100,
            "expose": {"hosts": ["b.example.org"], "certificate": second},
        }
        found = aws.deploy(variables(web=web, admin=admin))
        assert f"~ listener shop:443: + certificates {second}, + rule b.example.org/ to shop-admin" in lines(found)
        assert not aws.deploy(variables(web=web, admin=admin)).changed
        aws.deploy(variables(web={"expose": {"hosts": ["a.example.org"]}}, admin=admin))
        arn = aws.raw("elbv2").describe_load_balancers(Names=["shop"])["LoadBalancers"][0]["LoadBalancerArn"]
        listeners = aws.raw("elbv2").describe_listeners(LoadBalancerArn=arn)["Listeners"]
        (secure,) = [one for one in listeners if one["Port"] == 443]
        assert secure["Certificates"] == [{"CertificateArn": second}] and secure["SslPolicy"].startswith(
            "ELBSecurityPolicy-TLS13"
        )


class TestRemoving:
    def test_what_left_the_file_is_named_and_works_until_it_is_asked_for(self, aws: Account) -> None:
        aws.deploy(variables())
        before = aws.everything()
        less = variables(
            thumbs=None, web={"uses": ["cache"]}, worker=None, staff={"roles": ["acme.shop.any"], "uses": ["cache"]}
        )
        kept = aws.deploy(less)
        assert "- group shop-worker" in lines(kept) and "stays until -e fleet_remove=true" in kept.text
        assert "not in the file any more" in "".join(kept.warnings)
        after = aws.everything()
        for kind in ("groups", "targets", "profiles", "parameters", "certificates"):
            assert set(map(str, before[kind])) <= set(map(str, after[kind])), kind
        # It still reaches what it used.
        data = {name: (ingress, egress) for name, ingress, egress in after["security"]}["shop.data"]
        assert "shop-worker" in data[0]
        assert not aws.deploy(less).changed

        gone = aws.deploy(less, remove=True)
        assert gone.changed and not aws.deploy(less, remove=True).changed
        left = json.dumps(aws.everything())
        assert "worker" not in left and "thumbs" not in left
        # The same as if it had never been there.
        aws.destroy("shop", destroy_data=True)
        aws.deploy(less)
        now = json.loads(left)
        for kind, there in json.loads(json.dumps(aws.everything())).items():
            if kind != "templates":
                assert now[kind] == there, kind

    def test_a_rule_of_a_listener_goes_with_its_service(self, aws: Account) -> None:
        both = variables(admin={"roles": ["acme.shop.admin"], "port": 8100, "expose": {"hosts": ["admin.example.org"]}})
        aws.deploy(both)
        kept = aws.deploy(variables())
        assert not [line for line in lines(kept) if line.startswith("~ listener")]
        aws.deploy(variables(), remove=True)
        ((_, _, _, listeners),) = [one for one in aws.everything()["balancers"] if one[0] == "shop"]
        assert "admin" not in str(listeners)

    def test_nothing_is_left_of_a_fleet_that_was_destroyed(self, aws: Account) -> None:
        before = aws.everything()
        aws.deploy(variables())
        planned = aws.destroy("shop", check=True, destroy_data=True)
        there = aws.everything()
        assert "- group shop-cache" in lines(planned) and there["hosts"] == 5
        aws.destroy("shop", destroy_data=True)
        assert aws.everything() == before
        assert not aws.destroy("shop", destroy_data=True).changed

    def test_data_and_secrets_stay_and_a_fleet_comes_back_to_them(self, aws: Account) -> None:
        aws.deploy(variables())
        secret, authority = value(aws, "data/cache/users/web/password"), value(aws, "authority/certificate")
        hosts = [one["InstanceId"] for one in group(aws, "shop-cache")["Instances"]]
        gone = aws.destroy("shop")
        assert "stays until -e fleet_destroy_data=shop: shop-cache" in gone.text
        after = aws.everything()
        assert [one[0] for one in after["groups"]] == ["shop-cache"] and after["balancers"] == []
        assert [one[0] for one in after["security"]] == ["shop-cache"]
        assert not aws.destroy("shop").changed
        aws.deploy(variables())
        assert (secret, authority) == (
            value(aws, "data/cache/users/web/password"),
            value(aws, "authority/certificate"),
        )
        assert [one["InstanceId"] for one in group(aws, "shop-cache")["Instances"]] == hosts

    def test_two_fleets_share_nothing(self, aws: Account) -> None:
        aws.deploy(variables())
        alone = aws.everything()
        aws.deploy(variables("shop-staging"))
        both = aws.everything()
        assert (
            both != alone and not aws.deploy(variables()).changed and not aws.deploy(variables("shop-staging")).changed
        )
        aws.destroy("shop-staging", destroy_data=True)
        assert aws.everything() == alone
        assert not aws.deploy(variables()).changed


class TestWaiting:
    def test_hosts_that_never_come_are_named_and_who_uses_them_is_not_begun(
        self, aws: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Observer, "in_service", lambda self, groups: dict.fromkeys(groups, (0, 1)))
            with pytest.raises(AwsError) as error:
                aws.deploy(variables(), patience=0.1)
        assert str(error.value) == "after 0.1 s hosts are not in service: shop-cache (0 of 1)"
        assert [one[0] for one in aws.everything()["groups"]] == ["shop-cache", "shop-thumbs"]
        aws.deploy(variables())
        assert not aws.deploy(variables()).changed


class TestRefusing:
    def test_what_belongs_to_somebody_else_is_left_alone(self, aws: Account) -> None:
        vpc = aws("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        aws("ec2").create_security_group(GroupName="shop-web", Description="theirs", VpcId=vpc)
        aws("ec2").create_launch_template(LaunchTemplateName="shop-worker", LaunchTemplateData={"ImageId": aws.image})
        aws("elbv2").create_target_group(Name="shop-web", Protocol="HTTP", Port=80, VpcId=vpc)
        subnets = [one["SubnetId"] for one in aws("ec2").describe_subnets()["Subnets"]]
        aws("elbv2").create_load_balancer(Name="shop", Subnets=subnets[:2])
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        aws("iam").create_role(RoleName=f"shop-web.{REGION}", AssumeRolePolicyDocument=trust)
        for name in ("data/cache/users/web/password", "data/cache/key", "theirs"):
            aws("ssm").put_parameter(Name=f"/boring/fleets/shop/{name}", Value="theirs", Type="SecureString")
        said = refusal(aws, variables())
        for what in (
            "security group shop-web", "launch template shop-worker", "target group shop-web", "load balancer shop",
            f"role shop-web.{REGION}", "parameter /boring/fleets/shop/data/cache/users/web/password", "parameter /boring/fleets/shop/data/cache/key",
        ):  # fmt: skip
            assert f"fleet_name: the {what} is there and has no tag boring:fleet=shop" in said
        assert "launch template shop-web " not in said
        before = aws.everything()
        aws.destroy("shop", destroy_data=True)
        assert aws.everything() == before

    @pytest.mark.parametrize(
        ("service", "change", "words"),
        [
            ("web", {"port": 8001}, "fleet_services.web.port: the target group shop-web has port 8000, which AWS cannot change to 8001"),
            ("thumbs", {"tls": False}, "fleet_services.thumbs.tls: the target group"),
            ("web", {"secrets": {"KEY": "/shop/key"}}, "fleet_services.web.secrets: there is no parameter /shop/key"),
            (
                "web",
                {"files": [{"path": "/x", "content": "x" * 11000}], "secrets": {f"S{number}": f"/shop/secret/{number:040}" for number in range(80)}},
                "fleet_services.web.files: the user data of its hosts has",
            ),
            (
                "web",
                {"expose": {"certificate": f"arn:aws:acm:{REGION}:123456789012:certificate/none"}},
                "fleet_services.web.expose.certificate: there is no certificate arn:aws:acm",
            ),
            (
                "web",
                {"expose": {"certificate": {"certificate_file": "none.pem", "key_file": "none.key"}}},
                "fleet_services.web.expose.certificate: ",
            ),
        ],
    )  # fmt: skip
    def test_a_change_that_cannot_be(self, aws: Account, service: str, change: dict[str, Any], words: str) -> None:
        aws.deploy(variables())
        assert words in refusal(aws, variables(**{service: change}))

    def test_without_images_and_without_the_network(self, aws: Account) -> None:
        assert (
            "fleet_services.web: there is no image of the family shop-web: run boring.fleet.build_images first"
            in refusal(aws, variables(), images={})
        )
        given = variables()
        given["fleet_network"] = {"vpc_id": "vpc-0123456789abcdef0"}
        assert "fleet_network.vpc_id: there is no VPC vpc-0123456789abcdef0 in eu-central-1" in refusal(aws, given)
        given["fleet_network"] = {"subnet_ids": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]}
        assert "fleet_network.subnet_ids: there is no subnet-0123456789abcdef0" in refusal(aws, given)
        vpc = aws.raw("ec2").create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
        given["fleet_network"] = {"vpc_id": vpc}
        assert "fleet_network.subnet_ids: the VPC has no subnet: make one a zone" in refusal(aws, given)
        aws.raw("ec2").create_subnet(VpcId=vpc, CidrBlock="10.7.1.0/24")
        assert "fleet_network.subnet_ids: the load balancer shop-internal needs subnets in two zones" in refusal(
            aws, given
        )

    def test_a_load_balancer_does_not_move_to_the_internet(self, aws: Account) -> None:
        aws.deploy(variables())
        given = copy.deepcopy(variables())
        given["fleet_network"] = {"clients": ["0.0.0.0/0"]}
        assert "fleet_network.clients: the load balancer shop is internal" in refusal(aws, given)

    def test_without_the_authority_s_key_nothing_is_signed(self, aws: Account) -> None:
        aws.deploy(variables())
        (aws.path / "shop/authority/ca.key").rename(aws.path / "elsewhere")
        assert not aws.deploy(variables()).changed
        assert "bring the directory authority from where the fleet was deployed first" in refusal(
            aws, variables(worker={"port": 1234, "tls": True, "expose": {"hosts": ["w.example.org"]}})
        )
