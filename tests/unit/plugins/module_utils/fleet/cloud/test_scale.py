# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups that grow and shrink: the policy on AWS (moto's), and a simulated cloud in which hosts put what it follows."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.groups import GroupMaker
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.observe import Observer, Where
from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import Seen
from ansible_collections.boring.fleet.plugins.module_utils.host import told
from ansible_collections.boring.fleet.plugins.module_utils.host.metric import Publisher
from localcloud.autoscaling.simulation import SimulatedCloud
from tests.unit.plugins.module_utils.fleet.cloud.account import Account
from tests.unit.plugins.module_utils.fleet.cloud.test_deploy import files, lines, variables
from tests.unit.plugins.module_utils.fleet.fleets import small

CPU = {"metric": "cpu", "target": 60}
WORKERS = 4  # of a host


def policies(aws: Account, group: str = "shop-web") -> list[dict[str, Any]]:
    return list(aws.raw("autoscaling").describe_policies(AutoScalingGroupName=group)["ScalingPolicies"])


class TestPolicy:
    def test_it_comes_with_the_group_changes_with_the_file_and_goes_with_the_key(self, aws: Account) -> None:
        first = aws.deploy(variables(web={"scale": CPU}))
        assert "+ group shop-web: 2 to 4 hosts, scale cpu at 60, warmup 180 s" in lines(first)
        (made,) = policies(aws)
        assert (made["PolicyName"], made["TargetTrackingConfiguration"]["TargetValue"]) == ("scale", 60.0)
        assert not aws.deploy(variables(web={"scale": CPU})).changed

        more = variables(web={"scale": {**CPU, "target": 70.5, "warmup": 60}})
        planned = aws.deploy(more, check=True)
        assert policies(aws) == [made]
        changed = aws.deploy(more)
        assert lines(planned) == lines(changed)
        assert lines(changed) == ["~ group shop-web: scale cpu at 60, warmup 180 s -> cpu at 70.5, warmup 60 s"]
        assert [one for one in aws.operations if one.startswith(("put", "update", "create", "set"))] == [
            "put_scaling_policy"
        ]
        assert not aws.deploy(more).changed

        gone = aws.deploy(variables())
        assert lines(gone) == ["~ group shop-web: scale cpu at 70.5, warmup 60 s -> none"]
        assert policies(aws) == [] and not aws.deploy(variables()).changed

    def test_what_somebody_changed_is_set_right_and_their_own_policy_stays(self, aws: Account) -> None:
        aws.deploy(variables(web={"scale": CPU}))
        about = policies(aws)[0]["TargetTrackingConfiguration"]
        groups = aws.raw("autoscaling")
        theirs = {"AutoScalingGroupName": "shop-web", "PolicyType": "TargetTrackingScaling"}
        for name in ("scale", "theirs"):
            groups.put_scaling_policy(
                **theirs, PolicyName=name, TargetTrackingConfiguration={**about, "TargetValue": 10.0}
            )
        found = aws.deploy(variables(web={"scale": CPU}))
        assert lines(found) == ["~ group shop-web: scale cpu at 10, no warmup -> cpu at 60, warmup 180 s"]
        assert not aws.deploy(variables(web={"scale": CPU})).changed
        aws.deploy(variables())
        assert [one["PolicyName"] for one in policies(aws)] == ["theirs"]

    def test_how_many_hosts_there_are_stays_the_policy_s_decision(self, aws: Account) -> None:
        aws.deploy(variables(web={"scale": CPU}))
        aws.raw("autoscaling").set_desired_capacity(AutoScalingGroupName="shop-web", DesiredCapacity=4)
        assert not aws.deploy(variables(web={"scale": CPU})).changed
        aws.deploy(variables(web={"scale": {**CPU, "target": 50}}))
        (group,) = aws.raw("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=["shop-web"])[
            "AutoScalingGroups"
        ]
        assert group["DesiredCapacity"] == 4

    @pytest.mark.parametrize(("service", "balancer"), [("web", "shop"), ("thumbs", "shop-internal")])
    def test_requests_are_counted_where_clients_come_and_inside_otherwise(
        self, aws: Account, service: str, balancer: str
    ) -> None:
        given = variables(**{service: {"scale": {"metric": "requests", "target": 1000}, "size": {"max": 3}}})
        aws.deploy(given)
        about = policies(aws, f"shop-{service}")[0]["TargetTrackingConfiguration"]["PredefinedMetricSpecification"]
        front, behind = about["ResourceLabel"].split("/targetgroup/")
        (there,) = aws.raw("elbv2").describe_load_balancers(Names=[balancer])["LoadBalancers"]
        targets = aws.raw("elbv2").describe_target_groups(LoadBalancerArn=there["LoadBalancerArn"])["TargetGroups"]
        assert there["LoadBalancerArn"].endswith(f":loadbalancer/{front}") and front.startswith(f"app/{balancer}/")
        assert [one["TargetGroupArn"].partition(":targetgroup/")[2] for one in targets] == [behind]
        assert not aws.deploy(given).changed

    def test_a_metric_of_its_own_is_a_policy_at_once_and_a_roll_for_the_hosts(self, aws: Account) -> None:
        aws.deploy(variables())
        given = variables(web={"scale": {"metric": "busy", "target": 0.7}})
        found = aws.deploy(given)
        assert "~ group shop-web: scale none -> busy at 0.7, warmup 180 s" in lines(found)
        assert "~ role shop-web.eu-central-1: + rights cloudwatch:PutMetricData *" in lines(found)
        assert "roll shop-web: ~ file /etc/fleet/host.json" in lines(found)
        follows = told.read(files(aws, "shop-web")[told.PATH]).follows
        assert follows is not None and (follows.metric, follows.port) == ("busy", 8000)
        assert not aws.deploy(given).changed

    def test_one_that_was_lost_in_the_middle_is_made_by_the_next_run(self, aws: Account) -> None:
        given = variables(web={"scale": CPU})
        aws.deploy(given)
        aws.raw("autoscaling").delete_policy(AutoScalingGroupName="shop-web", PolicyName="scale")
        assert lines(aws.deploy(given)) == ["~ group shop-web: scale none -> cpu at 60, warmup 180 s"]
        assert len(policies(aws)) == 1


class Fleet:
    """A service on a simulated cloud, whose hosts work on `jobs` at a time between them and say so every half minute."""

    def __init__(self) -> None:
        self.cloud = SimulatedCloud(boot=60.0, healthy_after=10.0, deregistration_delay=30.0, shutdown=5.0)
        scale = {"metric": "busy_ratio", "target": 0.7, "port": 9100}
        self.group = lists(read_fleet(small(web={"size": {"min": 2, "max": 8}, "scale": scale})))["groups"][0]
        # Its hosts are nobody's who could complete a hook.
        self.group["lifecycle_hooks"] = []
        tags = [{"Key": key, "Value": value, "PropagateAtLaunch": True} for key, value in self.group["tags"].items()]
        self.cloud.create_group(self.group["name"], size=2, MinSize=2, MaxSize=8, target_groups=0, Tags=tags)
        (file,) = [one["content"] for one in self.group["template"]["files"] if one["path"] == told.PATH]
        self.told = told.read(file)
        self.jobs = 0
        self.calls = Calls(self.cloud.client, clock=self.cloud.now, sleep=self.cloud.sleep)

    def deploy(self, *, scale: bool = True) -> list[str]:
        """What a deploy does to the group; the calls that change something."""
        observer = Observer(self.calls, Where("shop", "eu-central-1"))
        seen = Seen("shop", "123456789012", "vpc-1", (), (), (), {}, groups=observer._groups())
        before = self.calls.counted.copy()
        wanted = self.group if scale else {**self.group, "scale": None}
        GroupMaker(self.calls, seen, observer, 60).change(self.group["name"], wanted, self.group["tags"])
        return list(self.calls.counted - before)

    @property
    def hosts(self) -> int:
        return len(self.cloud.in_service(self.group["name"]))

    def put(self, namespace: str, metric: str, dimensions: Any, value: float) -> None:
        given = [{"Name": name, "Value": each} for name, each in dimensions.items()]
        self.cloud.client("cloudwatch").put_metric_data(
            Namespace=namespace, MetricData=[{"MetricName": metric, "Dimensions": given, "Value": value}]
        )

    def work(self, minutes: int) -> list[int]:
        """How many hosts there were after each minute."""
        found = []
        for _ in range(minutes):
            for _ in range(2):
                share = min(1.0, self.jobs / (self.hosts * WORKERS))
                text = f"# TYPE busy_ratio gauge\nbusy_ratio {share}\n"
                for _ in range(self.hosts):
                    Publisher(lambda *_, text=text: (200, text), self.put)(self.told)
                self.cloud.sleep(30)
            found.append(self.hosts)
        return found


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


class TestUnderLoad:
    def test_it_grows_until_the_metric_is_held_and_shrinks_again(self, fleet: Fleet) -> None:
        fleet.deploy()
        fleet.jobs = 3
        assert set(fleet.work(5)) == {2}
        fleet.jobs = 14  # 5 hosts of 4 workers at 0.7
        grown = fleet.work(25)
        assert grown[0] == 2 and grown == sorted(grown) and grown[-1] == 5, grown
        assert set(fleet.work(20)) == {5}, "it is held there"
        fleet.jobs = 3
        shrunk = fleet.work(40)
        assert shrunk == sorted(shrunk, reverse=True) and shrunk[-1] == 2, shrunk

    def test_it_stays_within_the_file_s_bounds(self, fleet: Fleet) -> None:
        fleet.deploy()
        fleet.jobs = 1000
        assert fleet.work(40)[-1] == 8
        fleet.jobs = 0
        assert fleet.work(60)[-1] == 2

    def test_without_it_nobody_decides(self, fleet: Fleet) -> None:
        assert fleet.deploy() == ["PutScalingPolicy"] and fleet.deploy() == []
        assert fleet.cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
        assert fleet.deploy(scale=False) == ["DeletePolicy"] and fleet.deploy(scale=False) == []
        assert not fleet.cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
        fleet.jobs = 1000
        assert set(fleet.work(20)) == {2}
