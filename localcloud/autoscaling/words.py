# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS's own words: the refusals of Auto Scaling and the texts of its activities, in one place."""

from __future__ import annotations

from datetime import UTC, datetime

from ..errors import ApiError
from .state import (
    DETACHING,
    ENTERING_STANDBY,
    IN_SERVICE,
    STANDBY,
    TERMINATING,
    TERMINATING_STATES,
    WARMED,
    Instance,
    WarmPool,
)


def stamp(now: float) -> str:
    """A time as activities write it: 2026-01-01T00:00:00Z."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def invalid(message: str) -> ApiError:
    return ApiError("ValidationError", message)


def not_modelled(what: str) -> ApiError:
    return ApiError(
        "NotImplemented", f"The local cloud does not model {what} of Amazon EC2 Auto Scaling; AWS does.", 501
    )


def no_launch_configurations(code: str) -> ApiError:
    return ApiError(
        code,
        "The Launch Configuration creation operation is not available in your account. Use launch templates to create "
        "configuration templates for your Auto Scaling groups.",
    )


def no_group(name: str) -> ApiError:
    return invalid(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")


def group_exists(name: str) -> ApiError:
    return ApiError(
        "AlreadyExists", f"AutoScalingGroup by this name already exists - A group with the name {name} already exists"
    )


def no_instance(instance_id: str) -> ApiError:
    return invalid(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")


def not_in_group(instance_id: str, group: str) -> ApiError:
    return invalid(f"The instance {instance_id} is not part of Auto Scaling group {group}.")


def not_in_state(instance_id: str, states: str) -> ApiError:
    return invalid(f"The instance {instance_id} is not in {states}.")


def at_min_size(min_size: int) -> ApiError:
    return invalid(
        f"Currently, desiredSize equals minSize ({min_size}). Terminating instance without replacement will violate "
        "group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size."
    )


def sizes_do_not_fit(name: str, sizes: tuple[int, int, int], verb: str, count: int) -> ApiError:
    low, high, desired = sizes
    return invalid(
        f"AutoScalingGroup {name} has min-size={low}, max-size={high}, and desired-size={desired}. To {verb} {count} "
        f"instance{'' if count == 1 else 's'}, please update the AutoScalingGroup sizes appropriately."
    )


def desired_above_max(value: int, high: int) -> ApiError:
    return invalid(f"New SetDesiredCapacity value {value} is above max value {high} for the AutoScalingGroup.")


def desired_below_min(value: int, low: int) -> ApiError:
    return invalid(f"New SetDesiredCapacity value {value} is below min value {low} for the AutoScalingGroup.")


def desired_out_of_bounds(value: int, low: int, high: int) -> ApiError:
    return invalid(f"Desired capacity:{value} must be between the specified min size:{low} and max size:{high}")


def min_above_max(low: int, high: int) -> ApiError:
    return invalid(f"Max bound, {high}, must be greater than or equal to min bound, {low}")


def activity_blocks(activity_id: str) -> ApiError:
    return ApiError(
        "ScalingActivityInProgress", f"Scaling activity {activity_id} is in progress and blocks this action"
    )


def delete_with_instances() -> ApiError:
    return ApiError(
        "ResourceInUse",
        "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) "
        "still in the group.",
    )


def delete_with_activities() -> ApiError:
    return ApiError(
        "ScalingActivityInProgress",
        "You cannot delete an AutoScalingGroup while there are scaling activities in progress for that group.",
    )


def pending_delete(name: str) -> ApiError:
    return invalid(f"AutoScalingGroup '{name}' is pending delete.")


def no_lifecycle_action(instance_id: str | None, token: str | None) -> ApiError:
    key = f"instance ID {instance_id}" if instance_id else f"token {token}"
    return invalid(f"No active Lifecycle Action found with {key}")


def bad_template(why: str) -> ApiError:
    return invalid(f"You must use a valid fully-formed launch template. {why}")


def no_auto_rollback() -> ApiError:
    return invalid(
        "The request isn't valid. The AutoRollback parameter cannot be set to true when the DesiredConfiguration parameter is "
        "empty. Set AutoRollback to false or specify a desired configuration and try again."
    )


CANCELLED = "Cancelled due to user request."


def abandoned(token: str, why: str) -> str:
    return (
        f"Instance failed to complete user's Lifecycle Action: Lifecycle Action with token {token} was abandoned: {why}"
    )


def target_state(instance: Instance, pool: WarmPool | None) -> str:
    """The steady state that an instance is in or on its way to, in the words of its own metadata."""
    warm = f"{WARMED}{'Stopped' if pool is None else pool.state}"
    if instance.state.startswith(WARMED):
        return f"{WARMED}Terminated" if instance.state == WARMED + TERMINATING else warm
    if instance.state in TERMINATING_STATES:
        return warm if instance.returning else "Terminated"
    return {ENTERING_STANDBY: STANDBY, STANDBY: STANDBY, DETACHING: "Detached"}.get(instance.state, IN_SERVICE)
