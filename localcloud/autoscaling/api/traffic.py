# SPDX-License-Identifier: GPL-3.0-or-later
"""Target groups, load balancers and other sources of traffic of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localcloud.autoscaling import shapes, words
from localcloud.autoscaling.api.base import Api, Params, page
from localcloud.autoscaling.state import IN_SERVICE, Group
from localcloud.errors import ApiError


class Traffic(Api):
    def _attach_places(self, group: Group, arns: Sequence[str], names: Sequence[str]) -> None:
        for places, what in ((arns, "Target Groups"), (names, "Load Balancers")):
            for place in places:
                try:
                    self.model.targets.health(place)
                except ApiError as refusal:
                    raise words.invalid(
                        f"Provided {what} may not be valid. Please ensure they exist and try again."
                    ) from refusal
        fresh = [place for place in arns if place not in group.target_groups]
        fresh_names = [place for place in names if place not in group.load_balancers]
        group.target_groups += fresh
        group.load_balancers += fresh_names
        self.model.register_all(group, [*fresh, *fresh_names])

    def _op_attach_load_balancer_target_groups(self, params: Params, region: str) -> None:
        self._attach_places(self._live_group(params, region), params["TargetGroupARNs"], [])

    def _op_attach_load_balancers(self, params: Params, region: str) -> None:
        self._attach_places(self._live_group(params, region), [], params["LoadBalancerNames"])

    def _op_detach_load_balancer_target_groups(self, params: Params, region: str) -> None:
        self._detach_places(self._live_group(params, region), params["TargetGroupARNs"], "Target Groups")

    def _op_detach_load_balancers(self, params: Params, region: str) -> None:
        self._detach_places(self._live_group(params, region), params["LoadBalancerNames"], "Load Balancers")

    def _detach_places(self, group: Group, places: Sequence[str], what: str) -> None:
        attached = group.target_groups if what == "Target Groups" else group.load_balancers
        for place in places:
            if place not in attached:
                raise words.invalid(f"Trying to remove {what} that are not part of the group")
        for place in places:
            attached.remove(place)
        self.model.deregister_all(group, places)

    def _op_describe_load_balancer_target_groups(self, params: Params, region: str) -> dict[str, Any]:
        group = self._group(params, region)
        rows = [
            {"LoadBalancerTargetGroupARN": arn, "State": self._place_state(group, arn)} for arn in group.target_groups
        ]
        return page("LoadBalancerTargetGroups", rows, params, default=100, most=100)

    def _op_describe_load_balancers(self, params: Params, region: str) -> dict[str, Any]:
        group = self._group(params, region)
        rows = [{"LoadBalancerName": n, "State": self._place_state(group, n)} for n in group.load_balancers]
        return page("LoadBalancers", rows, params, default=100, most=100)

    def _place_state(self, group: Group, place: str) -> str:
        """Adding: some are not registered; Added: all are; InService: one is healthy."""
        try:
            health = self.model.targets.health(place)
        except ApiError:
            return "Removed"
        serving = [i.id for i in group.instances.values() if i.state == IN_SERVICE]
        if any(i in health and health[i].state == "healthy" for i in serving):
            return "InService"
        return "Added" if all(i in health for i in serving) else "Adding"

    def _op_attach_traffic_sources(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        self._attach_sources(group, params["TrafficSources"])

    def _attach_sources(self, group: Group, sources: list[dict[str, str]]) -> None:
        kinds = [_source_type(source) for source in sources]
        self._attach_places(
            group,
            [source["Identifier"] for source, kind in zip(sources, kinds, strict=True) if kind == "elbv2"],
            [source["Identifier"] for source, kind in zip(sources, kinds, strict=True) if kind == "elb"],
        )
        for source, kind in zip(sources, kinds, strict=True):
            entry = {"Identifier": source["Identifier"], "Type": kind}
            if kind not in ("elb", "elbv2") and entry not in group.traffic_sources:
                group.traffic_sources.append(entry)

    def _op_detach_traffic_sources(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        for source in params["TrafficSources"]:
            kind = _source_type(source)
            if kind in ("elb", "elbv2"):
                what = "Load Balancers" if kind == "elb" else "Target Groups"
                self._detach_places(group, [source["Identifier"]], what)
            else:
                group.traffic_sources = [s for s in group.traffic_sources if s["Identifier"] != source["Identifier"]]

    def _op_describe_traffic_sources(self, params: Params, region: str) -> dict[str, Any]:
        group = self._group(params, region)
        wanted = params.get("TrafficSourceType")
        rows = []
        for source in shapes.traffic_sources(group):
            if wanted in (None, source["Type"]):
                known = source["Type"] in ("elb", "elbv2")
                state = self._place_state(group, source["Identifier"]) if known else "InService"
                rows.append(source | {"State": state, "TrafficSource": source["Identifier"]})
        return page("TrafficSources", rows, params, default=50, most=50)


def _source_type(source: dict[str, str]) -> str:
    if source.get("Type"):
        return source["Type"]
    identifier = source["Identifier"]
    if ":targetgroup/" in identifier:
        return "vpc-lattice" if ":vpc-lattice:" in identifier else "elbv2"
    return "elb"
