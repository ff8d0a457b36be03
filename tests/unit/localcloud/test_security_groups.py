# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2's security groups over HTTP, and what the packet filter is given of them."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from localcloud.balancer.addresses import Network
from localcloud.errors import ApiError
from localcloud.hosts.fence import hardware_address
from localcloud.hosts.groups import Group, Rule
from tests.unit.localcloud.test_server import Running, cloud, refusal, until

__all__ = ["cloud"]
ANYWHERE = Rule("-1", network="0.0.0.0/0")


def group(ec2: Any, name: str) -> str:
    return str(ec2.create_security_group(GroupName=name, Description=name)["GroupId"])


def default(ec2: Any) -> str:
    found = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])["SecurityGroups"]
    return str(found[0]["GroupId"])


def filtered(cloud: Running) -> dict[str, Group]:
    return {one.id: one for one in cloud.cloud.backend().filtered()}


def allow(ec2: Any, group_id: str, **permission: Any) -> None:
    ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[permission])


class TestMembers:
    def test_who_names_no_group_is_in_the_default_one_whose_members_reach_each_other(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        host, group_id = cloud.instance(cloud.run()), default(ec2)
        assert [one["GroupId"] for one in host["SecurityGroups"]] == [group_id]
        assert host["NetworkInterfaces"][0]["MacAddress"] == hardware_address(host["PrivateIpAddress"])
        until(lambda: cloud.podman.containers_)
        made = next(iter(cloud.podman.containers_.values()))
        assert made.spec.mac == hardware_address(host["PrivateIpAddress"]), "what the packet filter knows its frames by"
        assert filtered(cloud) == {
            group_id: Group(
                group_id, (host["PrivateIpAddress"],), ingress=(Rule("-1", group=group_id),), egress=(ANYWHERE,)
            )
        }

    def test_the_groups_of_a_template_s_interface_are_those_of_its_hosts(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        mine = group(ec2, "web")
        ec2.create_launch_template(
            LaunchTemplateName="web",
            LaunchTemplateData={"ImageId": cloud.base(), "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [mine]}]},
        )
        made = ec2.run_instances(LaunchTemplate={"LaunchTemplateName": "web"}, MinCount=1, MaxCount=1)["Instances"][0]
        assert [one["GroupId"] for one in made["SecurityGroups"]] == [mine]
        assert filtered(cloud)[mine].members == (made["PrivateIpAddress"],)

    def test_a_changed_host_leaves_its_old_group_and_a_terminated_one_all(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        first, second = group(ec2, "first"), group(ec2, "second")
        host = cloud.up(SecurityGroupIds=[first])
        address = cloud.instance(host)["PrivateIpAddress"]
        ec2.modify_instance_attribute(InstanceId=host, Groups=[second])
        assert {one.id: one.members for one in filtered(cloud).values()} == {second: (address,)}
        interface = cloud.instance(host)["NetworkInterfaces"][0]
        assert [one["GroupId"] for one in interface["Groups"]] == [second]
        ec2.modify_network_interface_attribute(NetworkInterfaceId=interface["NetworkInterfaceId"], Groups=[first])
        assert {one.id: one.members for one in filtered(cloud).values()} == {first: (address,)}
        assert [one["GroupId"] for one in cloud.instance(host)["SecurityGroups"]] == [first]
        code, _ = refusal(lambda: ec2.modify_instance_attribute(InstanceId=host, Groups=["sg-0123456789abcdef0"]))
        assert code == "InvalidGroup.NotFound"
        ec2.terminate_instances(InstanceIds=[host])
        cloud.until(host, "terminated")
        assert filtered(cloud) == {}

    def test_a_load_balancer_is_a_member(self, cloud: Running) -> None:
        ec2, elb = cloud.client("ec2"), cloud.client("elbv2")
        mine = group(ec2, "door")
        subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]]
        made = elb.create_load_balancer(Name="front", Subnets=subnets, SecurityGroups=[mine])["LoadBalancers"][0]
        assert filtered(cloud)[mine].members == (made["DNSName"],)
        elb.set_security_groups(LoadBalancerArn=made["LoadBalancerArn"], SecurityGroups=[default(ec2)])
        assert mine not in filtered(cloud)


class TestRules:
    def test_what_a_rule_says_is_what_the_filter_gets(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        mine, other = group(ec2, "web"), group(ec2, "other")
        cloud.run(SecurityGroupIds=[mine])
        listed = ec2.create_managed_prefix_list(
            PrefixListName="offices", MaxEntries=2, AddressFamily="IPv4",
            Entries=[{"Cidr": "10.1.0.0/16"}, {"Cidr": "10.2.0.0/16"}],
        )["PrefixList"]["PrefixListId"]  # fmt: skip
        tcp = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 90}
        allow(ec2, mine, **tcp, IpRanges=[{"CidrIp": "10.0.0.0/8"}], Ipv6Ranges=[{"CidrIpv6": "::/0"}])
        allow(ec2, mine, **tcp, UserIdGroupPairs=[{"GroupId": other}])
        allow(ec2, mine, **tcp, PrefixListIds=[{"PrefixListId": listed}])
        allow(ec2, mine, IpProtocol="icmp", FromPort=8, ToPort=-1, IpRanges=[{"CidrIp": "0.0.0.0/0"}])
        allow(ec2, mine, IpProtocol="50", IpRanges=[{"CidrIp": "0.0.0.0/0"}])
        found = filtered(cloud)
        assert found[mine].ingress == (
            Rule("tcp", 80, 90, network="10.0.0.0/8"),
            Rule("tcp", 80, 90, group=other),
            Rule("tcp", 80, 90, network="10.1.0.0/16"),
            Rule("tcp", 80, 90, network="10.2.0.0/16"),
            Rule("icmp", 8, -1, network="0.0.0.0/0"),
            Rule("50", -1, -1, network="0.0.0.0/0"),
        )
        assert found[other] == Group(other), "a group without members is there, since a rule names it"

    def test_a_modified_rule_is_about_somebody_else(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        mine, other = group(ec2, "web"), group(ec2, "other")
        cloud.run(SecurityGroupIds=[mine])
        allow(ec2, mine, IpProtocol="tcp", FromPort=80, ToPort=80, IpRanges=[{"CidrIp": "10.0.0.0/8"}])
        rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [mine]}])[
            "SecurityGroupRules"
        ]
        rule = next(one["SecurityGroupRuleId"] for one in rules if not one["IsEgress"])
        new = {"IpProtocol": "tcp", "FromPort": 81, "ToPort": 82, "ReferencedGroupId": other}
        ec2.modify_security_group_rules(
            GroupId=mine, SecurityGroupRules=[{"SecurityGroupRuleId": rule, "SecurityGroupRule": new}]
        )
        assert filtered(cloud)[mine].ingress == (Rule("tcp", 81, 82, group=other),)
        for bad in ({**new, "ToPort": 70000}, {**new, "ReferencedGroupId": "sg-0123456789abcdef0"}):
            refusal(
                lambda bad=bad: ec2.modify_security_group_rules(
                    GroupId=mine, SecurityGroupRules=[{"SecurityGroupRuleId": rule, "SecurityGroupRule": bad}]
                )
            )
            assert filtered(cloud)[mine].ingress == (Rule("tcp", 81, 82, group=other),)

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"IpProtocol": "tcp"}, "Must specify both from and to ports"),
            ({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 70000}, "TCP/UDP port (70000) out of range"),
            ({"IpProtocol": "17", "FromPort": 9, "ToPort": 8}, "Invalid TCP/UDP port range (9:8)"),
            ({"IpProtocol": "icmp", "FromPort": 300, "ToPort": -1}, "out of range"),
            ({"IpProtocol": "smoke", "FromPort": 1, "ToPort": 1}, "Unknown protocol"),
        ],
    )
    def test_what_the_filter_could_not_take_is_refused(self, cloud: Running, wrong: dict[str, Any], words: str) -> None:
        ec2 = cloud.client("ec2")
        code, message = refusal(lambda: allow(ec2, group(ec2, "web"), **wrong, IpRanges=[{"CidrIp": "0.0.0.0/0"}]))
        assert code == "InvalidParameterValue"
        assert words in message


class TestDeletion:
    def test_a_group_that_somebody_has_stays(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        mine, other = group(ec2, "web"), group(ec2, "other")
        host = cloud.up(SecurityGroupIds=[mine])
        allow(ec2, other, IpProtocol="tcp", FromPort=1, ToPort=1, UserIdGroupPairs=[{"GroupId": mine}])
        in_use = ("DependencyViolation", f"resource {mine} has a dependent object")
        assert refusal(lambda: ec2.delete_security_group(GroupId=mine)) == in_use
        ec2.terminate_instances(InstanceIds=[host])
        cloud.until(host, "terminated")
        assert refusal(lambda: ec2.delete_security_group(GroupId=mine)) == in_use, "a rule names it"
        ec2.delete_security_group(GroupId=other)
        ec2.delete_security_group(GroupId=mine)

    def test_the_default_group_goes_with_its_vpc_only(self, cloud: Running) -> None:
        ec2 = cloud.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        found = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
        assert refusal(lambda: ec2.delete_security_group(GroupId=found[0]["GroupId"]))[0] == "CannotDelete"
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
        assert refusal(lambda: ec2.delete_vpc(VpcId=vpc))[0] == "DependencyViolation"
        again = ec2.describe_security_groups(GroupIds=[found[0]["GroupId"]])["SecurityGroups"]
        assert again == found
        ec2.delete_subnet(SubnetId=subnet)
        ec2.delete_vpc(VpcId=vpc)


def test_metadata_options_that_are_not_named_stay(cloud: Running) -> None:
    ec2, host = cloud.client("ec2"), cloud.run(MetadataOptions={"HttpPutResponseHopLimit": 3})
    ec2.modify_instance_metadata_options(InstanceId=host, HttpEndpoint="disabled")
    found = cloud.instance(host)["MetadataOptions"]
    assert (found["HttpEndpoint"], found["HttpTokens"], found["HttpPutResponseHopLimit"]) == ("disabled", "required", 3)


def test_load_balancers_are_where_no_host_can_be() -> None:
    held: list[set[str]] = []
    subnets = [ipaddress.IPv4Network("10.0.192.0/19")]
    network = Network(ipaddress.IPv4Network("10.0.0.0/16"), lambda: subnets, lambda wanted: held.append(set(wanted)))
    first = network.choose("cloud/region/web", [])
    assert ipaddress.IPv4Address(first) in ipaddress.IPv4Network("10.0.224.0/19")
    assert network.choose("cloud/region/web", []) == first
    assert network.choose("cloud/region/web", [first]) != first
    network.hold({first, "127.70.1.1"})
    assert held == [{first}], "loopback addresses are there already"
    subnets.append(ipaddress.IPv4Network("10.0.224.0/19"))
    with pytest.raises(ApiError, match="TooManyLoadBalancers"):
        network.choose("cloud/region/web", [])
