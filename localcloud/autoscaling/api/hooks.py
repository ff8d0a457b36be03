# SPDX-License-Identifier: GPL-3.0-or-later
"""Lifecycle hooks, and the actions that somebody has to complete."""

from __future__ import annotations

from typing import Any

from localcloud.autoscaling import shapes, words
from localcloud.autoscaling.api.base import Api, Params
from localcloud.autoscaling.state import LAUNCHING, TERMINATION, Group, Hook, HookWait
from localcloud.errors import ApiError

MAX_HOOKS = 50


class Hooks(Api):
    def _op_put_lifecycle_hook(self, params: Params, region: str) -> None:
        self._put_hook(self._live_group(params, region), params)

    @staticmethod
    def _put_hook(group: Group, params: Params) -> None:
        name = params["LifecycleHookName"]
        old = group.hooks.get(name)
        transition = params.get("LifecycleTransition") or (old.transition if old else None)
        if transition is None:
            raise words.invalid("Lifecycle transition is required for a new lifecycle hook.")
        if transition not in (LAUNCHING, TERMINATION):
            raise words.invalid(f"Invalid Lifecycle Transition {transition}.")
        heartbeat = params.get("HeartbeatTimeout", old.heartbeat if old else 3600)
        if not 30 <= heartbeat <= 7200:
            raise words.invalid("Heartbeat timeout must be between 30 and 7200 seconds.")
        result = params.get("DefaultResult", old.default_result if old else "ABANDON")
        if result not in ("CONTINUE", "ABANDON"):
            raise words.invalid(f"Invalid Lifecycle Action result {result}. Use CONTINUE or ABANDON.")
        if params.get("NotificationTargetARN"):
            raise words.not_modelled("lifecycle hooks with a notification target (SNS, SQS)")
        if old is None and len(group.hooks) >= MAX_HOOKS:
            raise ApiError(
                "LimitExceeded", f"The limit of {MAX_HOOKS} lifecycle hooks per AutoScalingGroup is reached."
            )
        group.hooks[name] = Hook(
            name=name,
            transition=transition,
            heartbeat=heartbeat,
            default_result=result,
            metadata=params.get("NotificationMetadata", old.metadata if old else None),
            target_arn=None,
            role_arn=params.get("RoleARN", old.role_arn if old else None),
        )

    def _op_describe_lifecycle_hooks(self, params: Params, region: str) -> dict[str, Any]:
        group = self._group(params, region)
        names = params.get("LifecycleHookNames")
        hooks = [hook for hook in group.hooks.values() if not names or hook.name in names]
        return {"LifecycleHooks": [shapes.hook(hook, group) for hook in hooks]}

    def _op_delete_lifecycle_hook(self, params: Params, region: str) -> None:
        group = self._live_group(params, region)
        name = params["LifecycleHookName"]
        if name not in group.hooks:
            raise words.invalid(f"No Lifecycle Hook found with name {name}")
        hook = group.hooks.pop(name)
        for instance in group.instances.values():  # AWS completes what waits for it: ABANDON at launch, else CONTINUE
            for wait in instance.waits:
                if wait.hook == name and wait.result is None:
                    wait.result = "ABANDON" if hook.transition == LAUNCHING else "CONTINUE"

    def _op_complete_lifecycle_action(self, params: Params, region: str) -> None:
        if params["LifecycleActionResult"] not in ("CONTINUE", "ABANDON"):
            raise words.invalid(
                f"Invalid Lifecycle Action result {params['LifecycleActionResult']}. Use CONTINUE or ABANDON."
            )
        self._wait(params, region).result = params["LifecycleActionResult"]

    def _op_record_lifecycle_action_heartbeat(self, params: Params, region: str) -> None:
        wait = self._wait(params, region)
        wait.deadline = min(self._clock.now() + wait.heartbeat, wait.last)

    def _wait(self, params: Params, region: str) -> HookWait:
        group = self._group(params, region)
        name, token = params["LifecycleHookName"], params.get("LifecycleActionToken")
        instance_id = params.get("InstanceId")
        for instance in [*group.instances.values(), *group.warm.values()]:
            for wait in instance.waits if instance.state.endswith(":Wait") else ():
                ours = wait.token == token if token else instance.id == instance_id
                if wait.hook == name and ours and wait.result is None:
                    return wait
        raise words.no_lifecycle_action(instance_id, token)
