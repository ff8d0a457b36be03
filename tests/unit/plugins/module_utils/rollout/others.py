# SPDX-License-Identifier: GPL-3.0-or-later
"""What others than the roll do to a group, and what AWS answers: for the tests of situations and of schedules."""

from __future__ import annotations

from typing import Any

FULL = "There are not enough free addresses in subnet 'subnet-a' to satisfy the requested number of instances."
QUOTA = "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket."


def keep_alive(w: Any, transition: str, *, heartbeat: int, alive: float) -> None:
    """A lifecycle hook that sends heartbeats for so many seconds for each instance, and then completes."""
    w.cloud.handle(
        "autoscaling",
        "PutLifecycleHook",
        {
            "AutoScalingGroupName": "web",
            "LifecycleHookName": "own",
            "LifecycleTransition": f"autoscaling:EC2_INSTANCE_{transition}",
            "HeartbeatTimeout": heartbeat,
            "DefaultResult": "ABANDON",
        },
    )
    began: dict[str, float] = {}

    def beat() -> None:
        now = w.cloud.now()
        state = w.cloud.autoscaling.group("web", "eu-central-1")
        if state is None:
            return
        for instance in list(state.instances.values()):
            if not instance.state.endswith(":Wait"):
                continue
            since = began.setdefault(instance.id, now)
            what = "CompleteLifecycleAction" if now - since >= alive else "RecordLifecycleActionHeartbeat"
            params = {"LifecycleHookName": "own", "AutoScalingGroupName": "web", "InstanceId": instance.id}
            w.cloud.handle(
                "autoscaling", what, params | ({"LifecycleActionResult": "CONTINUE"} if "Comp" in what else {})
            )
        w.cloud.at(50, beat)

    w.cloud.at(1, beat)
