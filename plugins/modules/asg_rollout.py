#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: asg_rollout
short_description: Roll the instances of an Auto Scaling group, one batch at a time, behind health checks
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Replaces the instances of one Auto Scaling group that do not run the group's template, one batch at a time, and
    waits until it is done.
  - New instances are launched first. An old instance goes only once the new one that takes its place is in service,
    healthy in every attached target group and load balancer, and passes every check in O(health_checks) for
    O(min_healthy_time) on end.
  - However it ends, the group is left as it was found. Sizes are restored by difference, so that a scale-out meanwhile
    survives, and only processes that the roll suspended are resumed.
  - All state is kept in tags of the group that do not propagate. A run that was killed is taken up by running the same
    task again.
  - In a playbook on the controller, every change is shown while the task runs.
extends_documentation_fragment:
  - boring.fleet.aws
attributes:
  check_mode:
    description: Reads only, and returns what O(state=planned) does.
    support: full
  diff_mode:
    description: Shows the template of each instance and the sizes, before and after.
    support: full
options:
  group:
    description: The Auto Scaling group.
    type: str
    required: true
    aliases: [name]
  state:
    description:
      - V(completed) rolls to the end. With nothing to do nothing is written.
      - V(planned) returns the plan and writes nothing.
      - V(advanced) does exactly one batch and returns, so that a playbook can run tasks of its own between batches.
      - V(aborted) stops a roll that is under way or was left behind, and puts sizes, suspended processes and lock back.
        Nothing more is replaced.
      - V(rolled_back) puts the template back that was recorded at the start of the last roll, and rolls the instances
        that left it.
    type: str
    choices: [completed, planned, advanced, aborted, rolled_back]
    default: completed
  launch_template:
    description:
      - Launch template to roll to. The group is moved to it first.
      - When omitted, what the group has. V($Latest) and V($Default) are resolved once and pinned for the run. If they
        moved meanwhile, the roll ends at what it pinned and RV(state) is V(superseded).
    type: dict
    suboptions:
      id:
        description: Id of the launch template. Excludes O(launch_template.name).
        type: str
      name:
        description: Name of the launch template. Excludes O(launch_template.id).
        type: str
      version:
        description: Number of the version, V($Latest) or V($Default).
        type: str
        default: $Default
  batch_size:
    description:
      - How many instances are replaced together, as a number or as a share of the group such as V(25%).
      - Where instances weigh differently, a number counts the largest ones.
    type: str
    default: "1"
  max_unavailable:
    description:
      - How far the capacity in service may fall below the desired one, as a number or a share of the group.
      - With V(0) every instance is launched before one is terminated, in a group of one too.
    type: str
    default: "0"
  canary:
    description: While no instance of the new template is proven, a batch is at most this big. V(0) turns this off.
    type: int
    default: 1
  min_healthy_time:
    description: Seconds for which a new instance must pass every check without a break.
    type: float
    default: 10
  bake_time:
    description:
      - Seconds to wait after each batch, with the health of new instances watched all the while.
      - With a bake the next batch is launched only after it.
    type: float
    default: 0
  batch_timeout:
    description:
      - Seconds without any progress after which new instances that are not proven count as failed.
      - When nothing could be launched, or nothing can be terminated, for so long, the roll fails.
      - What lifecycle hooks, up to their global timeouts, and deregistration delays may take comes on top where an instance
        waits for them.
    type: float
    default: 900
  max_failures:
    description:
      - How many failed new instances are tolerated in the whole roll. One more stops it.
      - Failed is one that was not proven in O(batch_timeout), that its lifecycle hook abandoned, or that died; also one that
        died or stays unhealthy after it was proven, while the roll is under way.
      - One that AWS takes, by a Spot interruption or a retirement, or that somebody terminates, is replaced and does not count.
    type: int
    default: 1
  on_failure:
    description:
      - With V(stop) no further old instance is touched, and the group is left in service at its own sizes.
      - With V(rollback) what was replaced is rolled back as with O(state=rolled_back). The task fails all the same.
    type: str
    choices: [stop, rollback]
    default: stop
  health_checks:
    description:
      - Checks of the application, beside EC2's and every attached target group's.
      - They are made from the machine where the module runs, against the instance's private IPv4 address or, where it has none, its
        IPv6 address.
    type: list
    elements: dict
    default: []
    suboptions:
      type:
        description:
          - V(http) sends a GET request.
          - V(tcp) opens a connection.
          - V(command) runs a program with E(INSTANCE_ID), E(INSTANCE_ADDRESS) and E(INSTANCE_ZONE) in its environment.
            Exit code 0 passes.
        type: str
        required: true
        choices: [http, tcp, command]
      port:
        description: Port to connect to. Needed by V(http) and V(tcp).
        type: int
      path:
        description: Path to ask for, V(/) by default. For V(http).
        type: str
      status:
        description: Statuses that pass, such as V(200), V(200-299) or V(200,204). V(200) by default. For V(http).
        type: str
      scheme:
        description:
          - V(http) by default. The certificate of V(https) is not verified by default, since hosts are asked by address and
            certificates are for names; see O(health_checks[].validate_certs).
        type: str
        choices: [http, https]
      validate_certs:
        description: Whether the certificate must be valid, V(false) by default. For V(http) with the scheme V(https).
        type: bool
      ca:
        description: File with the authorities that may have signed it, in PEM; by default those that this machine trusts.
        type: path
      server_name:
        description: Name that the certificate must be for; by default the instance's private address.
        type: str
      timeout:
        description: Seconds for one try, V(5) by default and V(60) for V(command).
        type: float
      argv:
        description: Program and arguments, run without a shell. Needed by V(command).
        type: list
        elements: str
  drain:
    description:
      - Tells an instance that it will leave, before it leaves the load balancer.
      - It is asked again and again until it says that it is drained, with a status of 2xx or exit code 0. One that is not
        healthy is asked once and goes, whatever it answers.
    type: dict
    suboptions:
      type:
        description: As in O(health_checks[].type).
        type: str
        required: true
        choices: [http, command]
      method:
        description: Method of the request, V(POST) by default. For V(http).
        type: str
      port:
        description: Port to connect to. Needed by V(http).
        type: int
      path:
        description: Path to ask for, V(/) by default. For V(http).
        type: str
      scheme:
        description: As in O(health_checks[].scheme).
        type: str
        choices: [http, https]
      validate_certs:
        description: As in O(health_checks[].validate_certs).
        type: bool
      ca:
        description: As in O(health_checks[].ca).
        type: path
      server_name:
        description: As in O(health_checks[].server_name).
        type: str
      timeout:
        description: Seconds for one try, V(5) by default and V(60) for V(command).
        type: float
      argv:
        description: Program and arguments, run without a shell. Needed by V(command).
        type: list
        elements: str
  match:
    description:
      - Which instances are due.
      - V(template) takes those that do not run the template that is rolled out.
      - V(age) takes those older than O(max_age).
      - V(all) takes all that are there when the roll begins.
    type: str
    choices: [template, age, all]
    default: template
  max_age:
    description: Age in seconds beyond which an instance is due. Needed by O(match=age).
    type: float
  instances:
    description:
      - Only these instances, by id.
      - One that the group had and that is gone is no error, it may be replaced already. One that it never had is.
    type: list
    elements: str
    default: []
  standby:
    description:
      - What to do about instances in Standby.
      - V(ignore) leaves them alone, V(fail) refuses the roll.
      - V(replace) terminates those that are due once all others are replaced. They are no part of the capacity, so
        nobody takes their place.
    type: str
    choices: [ignore, replace, fail]
    default: ignore
  protected:
    description:
      - What to do about instances that are protected from scale-in.
      - V(replace) treats them as any other, V(skip) leaves them alone, V(fail) refuses the roll.
    type: str
    choices: [replace, skip, fail]
    default: replace
  raise_max_size:
    description:
      - Whether MaxSize may be raised for as long as the roll needs it.
      - With V(false), a roll for which MaxSize leaves no room is refused.
    type: bool
    default: true
  suspend_az_rebalance:
    description: Suspend AZRebalance during the roll, unless it is suspended already.
    type: bool
    default: true
  strategy:
    description:
      - V(batches) rolls the group as all of this describes.
      - V(instance_refresh) has AWS do it. O(batch_size), O(max_unavailable), O(canary), O(min_healthy_time),
        O(bake_time), O(match), O(standby) and O(protected) become preferences of the refresh, rounded so that AWS never
        takes more than they allow. O(batch_timeout) and O(max_failures) are watched from here, and the refresh is
        cancelled, or with O(on_failure=rollback) rolled back, when they are exceeded.
      - What AWS cannot honour is refused by name, which are O(state=advanced), O(health_checks), O(drain),
        O(instances), O(match=age), and O(on_failure=rollback) where AWS has no numbered version to return to.
      - O(suspend_az_rebalance) has nothing to do then, AWS keeps zones balanced by itself.
    type: str
    choices: [batches, instance_refresh]
    default: batches
  poll_interval:
    description:
      - The shortest time between two polls in seconds. The longest is six times that.
      - In between, the roll looks when it expects an answer, from how long boots took so far.
    type: float
    default: 5
  lock_timeout:
    description: Seconds without a sign of life after which another roll's lock is stale.
    type: float
    default: 900
  events_path:
    description: File to append a JSON line to for every event. M(boring.fleet.rollout_report) makes a page of it.
    type: path
notes:
  - A process on the same machine that held the lock and was killed is recognised as dead, so that the next run goes on
    at once. From another machine its lock has to become stale first.
  - SIGTERM, SIGINT and SIGHUP end the roll in order, with the group left as it was found.
seealso:
  - module: boring.fleet.rollout_report
  - module: amazon.aws.autoscaling_instance_refresh
"""

EXAMPLES = r"""
- name: Roll the group to the newest version of its launch template
  boring.fleet.asg_rollout:
    group: api
    batch_size: 25%
    health_checks:
      - type: http
        port: 8080
        path: /readyz

- name: Show what a roll would do
  boring.fleet.asg_rollout:
    group: api
    state: planned
  register: plan

- name: Move the group to version 7, two at a time, and stop at the first instance that fails
  boring.fleet.asg_rollout:
    group: api
    launch_template:
      name: api
      version: "7"
    batch_size: 2
    max_failures: 0
    bake_time: 60

- name: Replace one batch, then run tasks of your own
  boring.fleet.asg_rollout:
    group: engine
    state: advanced
  register: roll

- name: Let workers finish what they have in hand before they leave
  boring.fleet.asg_rollout:
    group: engine
    drain:
      type: http
      port: 8081
      path: /drain

- name: Replace instances that are older than a week
  boring.fleet.asg_rollout:
    group: api
    match: age
    max_age: 604800

- name: Return to what the instances ran before the last roll
  boring.fleet.asg_rollout:
    group: api
    state: rolled_back

- name: Have AWS roll the group as an instance refresh, and wait for it
  boring.fleet.asg_rollout:
    group: api
    strategy: instance_refresh
    batch_size: 25%

- name: Stop a roll and put the group back
  boring.fleet.asg_rollout:
    group: api
    state: aborted
"""

RETURN = r"""
group:
  description: The Auto Scaling group.
  returned: always
  type: str
  sample: api
state:
  description:
    - How it ended.
    - V(superseded) means that the template moved while it was being rolled out.
  returned: always
  type: str
  sample: completed
done:
  description: Whether no instance is due any more.
  returned: always
  type: bool
plan:
  description: What was to be done.
  returned: always
  type: dict
  contains:
    batches:
      description: Batches of instances in order. AWS's choice of zones for new ones may change the order on the way.
      type: list
      elements: list
      sample: [[{instance_id: i-0abc, zone: eu-central-1a, reasons: [runs version 1, not 2]}]]
    sizes:
      description: Sizes before, during and after, each with C(min), C(max) and C(desired).
      type: dict
    surge:
      description: By how much the desired capacity is raised for the roll.
      type: int
    warm_pool:
      description: Instances of the warm pool that are recycled first. Only with a warm pool that holds such.
      type: list
      elements: dict
    refusals:
      description: Sentences that say why the roll is refused, empty when it is not.
      type: list
      elements: str
replaced:
  description:
    - Each old instance with the new one that took its place, and the seconds from launch to that.
    - One in Standby served nobody and has no successor, C(new) is empty then.
  returned: always
  type: list
  elements: dict
  sample: [{old: i-0abc, new: i-0def, seconds: 104.2}]
failures:
  description: New instances that failed, with AWS's own words where there are any.
  returned: always
  type: list
  elements: dict
  sample: [{instance_id: i-0def, reason: "target group api reports unhealthy for 900 s (batch_timeout)"}]
sizes:
  description: The group's sizes before, at their widest and after, each with C(min), C(max) and C(desired).
  returned: always
  type: dict
api_calls:
  description: How often each AWS operation was called.
  returned: always
  type: dict
  sample: {DescribeAutoScalingGroups: 21, TerminateInstanceInAutoScalingGroup: 3}
lowest_in_service:
  description:
    - The least capacity that was seen in service and healthy everywhere, of an idle run that of its only look.
    - Null when the group could not be looked at.
  returned: always
  type: int
seconds:
  description: How long it took.
  returned: always
  type: float
msg:
  description: On failure what failed, on which instance, why, and in what state the group was left.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.aws.session import ARGUMENT_SPEC
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.entry import run
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.options import ARGUMENTS


def main() -> None:
    module = AnsibleModule(
        argument_spec={**ARGUMENT_SPEC, **ARGUMENTS},
        supports_check_mode=True,
    )
    result = run(module.params, module.check_mode)
    for warning in result.warnings:
        module.warn(warning)
    if result.failed:
        module.fail_json(msg=result.message, **result.as_dict())
    module.exit_json(msg=result.message, **result.as_dict())


if __name__ == "__main__":
    main()
