# SPDX-License-Identifier: GPL-3.0-or-later
"""Warm pools."""

from __future__ import annotations

from typing import Any

from localcloud.autoscaling import shapes, warmpool, words
from localcloud.autoscaling.api.base import Api, Params, page
from localcloud.autoscaling.state import WarmPool


class WarmPools(Api):
    def _op_put_warm_pool(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        if group.mixed is not None:
            raise words.invalid(
                "You can't add a warm pool to an Auto Scaling group that has a mixed instances policy or a launch template "
                "or launch configuration that requests Spot Instances."
            )
        pool = group.warm_pool or WarmPool()
        if pool.deleting:
            raise words.invalid(f"The warm pool of AutoScalingGroup {group.name} is pending delete.")
        prepared = params.get("MaxGroupPreparedCapacity", pool.max_prepared)
        group.warm_pool = WarmPool(
            min_size=params.get("MinSize", pool.min_size),
            max_prepared=None if prepared == -1 else prepared,  # -1 takes the limit back
            state=params.get("PoolState", pool.state),
            reuse_on_scale_in=(params.get("InstanceReusePolicy") or {}).get("ReuseOnScaleIn", pool.reuse_on_scale_in),
        )

    def _op_describe_warm_pool(self, params: Params, region: str) -> dict[str, Any]:
        group = self._group(params, region)
        found = page("Instances", [shapes.instance(i) for i in group.warm.values()], params, default=50, most=50)
        if group.warm_pool is not None:
            found["WarmPoolConfiguration"] = shapes.warm_pool(group.warm_pool)
        return found

    def _op_delete_warm_pool(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        if group.warm_pool is None:
            raise words.invalid(f"No warm pool found for AutoScalingGroup {group.name}")
        group.warm_pool.deleting = True  # until its instances are gone
        for instance in list(group.warm.values()):
            cause = f"At {words.stamp(self._clock.now())} the warm pool was deleted by a user request."
            warmpool.terminate(self.model, group, instance, cause, self._clock.now())
