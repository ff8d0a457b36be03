# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the answers of AWS mean. Pure. Which hosts are behind is what a roll decides (`rollout.decisions.roles.due`), and never another rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet import names
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import (
    GPU,
    KIND,
    SERVICE,
    VERSION,
    WAITS,
    Certificate,
    FleetStatus,
    Found,
    Host,
    Machine,
    Roll,
    Seen,
    Status,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions import wording
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.roles import due
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import decode, decode_record
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import (
    Group,
    Instance,
    Observation,
    RolloutError,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import (
    TAG_JOURNAL,
    TAG_RECORD,
    Journal,
)

_DAY: Final = 86400.0
_IN_SERVICE: Final = "in service: "  # what a host writes before that in its tag
# Without them AWS replaces nothing that dies.
_NEEDED: Final = ("Launch", "Terminate", "HealthCheck", "ReplaceUnhealthy", "AddToLoadBalancer")
_NOTHING: Final = Machine()


def judge(
    seen: Seen, now: float, *, fleet: str, region: str, model: Mapping[str, Any], warn_days: int = 30
) -> FleetStatus:
    """The fleet's status. `model` is what the module fleet_model returned for its file, empty without one."""
    wanted = {one["for"]: one for one in model.get("groups", ())}
    public = {
        rule["for"]
        for balancer in model.get("load_balancers", ())
        for listener in balancer["listeners"]
        for rule in listener["rules"]
    }
    found: dict[str, Found] = {}
    for one in sorted(
        seen.groups, key=lambda one: (one.group.name != names.group(fleet, _service_of(one.group)), one.group.name)
    ):
        service = _service_of(one.group)
        found[one.group.name if service in found else service] = one  # a second group of a service has its own name
    order = [*wanted, *sorted(found.keys() - wanted.keys())]
    services = []
    for service in order:
        entry, group = wanted.get(service), found.get(service)
        in_file = service in wanted if wanted else None
        if group is None:
            services.append(_missing(service, wanted[service], exposed=service in public))
        else:
            services.append(_status(service, group, seen, now, entry, in_file=in_file, exposed=service in public))
    return FleetStatus(
        fleet,
        region,
        now,
        tuple(services),
        tuple(seen.balancers),
        tuple(_certificates(seen.ends, now, warn_days)),
        tuple(seen.unknown),
    )


def _service_of(group: Group) -> str:
    return group.tags.get(SERVICE) or group.name


def _missing(service: str, wanted: Mapping[str, Any], *, exposed: bool) -> Status:
    return Status(
        service,
        "",
        wanted["kind"],
        True,
        version=wanted["tags"].get(VERSION, ""),
        uses=tuple(wanted["uses"]),
        exposed=exposed,
        isolated=bool(wanted["template"]["isolated"]),
        problems=("it is in the file, and there is no group of it: run boring.fleet.deploy",),
    )


def _status(
    service: str,
    found: Found,
    seen: Seen,
    now: float,
    wanted: Mapping[str, Any] | None,
    *,
    in_file: bool | None,
    exposed: bool,
) -> Status:
    group = found.group
    roll = last_roll(group, now, found.policy.lock_timeout)
    behind = behind_of(found, seen.machines, now)
    lacks = bool(wanted and wanted["template"]["may_lack_gpu"])
    look = Observation(group=group, health=found.health)
    hosts = tuple(
        _host(instance, look, seen.machines.get(instance.id, _NOTHING), behind.get(instance.id, ()), may_lack_gpu=lacks)
        for instance in sorted(group.instances, key=lambda one: (one.zone, one.id))
    )
    image = found.image or _common_image(hosts)
    problems = [*_problems(found, hosts, now)]
    if found.scaling:
        problems += _complaints(group.instances, seen.machines)
    if why := seen.silent.get(service):
        problems.append(why)
    if in_file is False:
        problems.append("it is not in the file any more: deploy takes it away with -e fleet_remove=true")
    template = found.target.template if found.target else group.template
    return Status(
        service,
        group.name,
        str(wanted["kind"]) if wanted else "data" if group.tags.get(KIND) == "data" else "service",
        in_file,
        version=group.tags.get(VERSION, ""),
        template=template.label if template else "",
        image=image,
        image_name=seen.images.get(image, ""),
        min=group.min,
        max=group.max,
        desired=group.desired,
        hosts=hosts,
        roll=roll,
        problems=tuple(problems),
        scaling=found.scaling,
        uses=tuple(wanted["uses"]) if wanted else (),
        exposed=exposed,
        isolated=bool(wanted and wanted["template"]["isolated"]),
    )


def behind_of(found: Found, machines: Mapping[str, Machine], now: float) -> dict[str, tuple[str, ...]]:
    """Which hosts a roll would replace, and why. A roll that is under way, or was cut off, began when its journal says."""
    if found.target is None:
        return {}
    left = _journal(found.group)
    born = {
        instance.id: at for instance in found.group.instances if (at := machines.get(instance.id, _NOTHING).launched)
    }
    return due(found.group, found.target, found.policy, left.started if left else now, born)


def _journal(group: Group) -> Journal | None:
    value = group.tags.get(TAG_JOURNAL)
    try:
        return decode(value) if value else None
    except RolloutError:
        return None


def _common_image(hosts: Iterable[Host]) -> str:
    """The image of hosts that are not behind, if they agree."""
    images = {host.image for host in hosts if not host.behind}
    return images.pop() if len(images) == 1 else ""


def _host(
    instance: Instance, look: Observation, machine: Machine, behind: tuple[str, ...], *, may_lack_gpu: bool
) -> Host:
    why = look.verdict(instance)
    if why and ":Wait" in instance.state and (said := machine.tags.get(WAITS)):
        why += f": {said}"
    if machine.trouble:
        why = f"{why}; {machine.trouble}" if why else machine.trouble
    gpu = machine.tags.get(GPU, "ok")
    if gpu.partition(" ")[0].rstrip(":,;") != "ok" and not may_lack_gpu:
        why = f"{why}; GPU: {gpu}" if why else f"GPU: {gpu}"
    return Host(
        instance.id,
        instance.zone,
        instance.state,
        machine.tags.get(VERSION, ""),
        machine.image,
        why,
        ", ".join(behind),
    )


def _problems(found: Found, hosts: tuple[Host, ...], now: float) -> Iterable[str]:
    group = found.group
    if group.status:
        yield f"AWS is deleting the group ({group.status})"
    if found.no_target:
        yield found.no_target
    stopped = [f"{name} ({why})" for name, why in sorted(group.suspended.items()) if name in _NEEDED]
    if stopped:
        yield f"suspended, so that AWS does not replace what dies: {', '.join(stopped)}; resume them"
    yield from found.idle
    images = {host.image for host in hosts if host.image and not host.behind}
    if len(images) > 1:
        yield f"hosts of the same launch template version run different images ({', '.join(sorted(images))}): roll with match=all"
    if any(host.why for host in hosts) or len(hosts) < group.desired:
        failed = next((one for one in found.activities if one.status in ("Failed", "Cancelled")), None)
        succeeded = next((one.started for one in found.activities if one.status == "Successful"), 0.0)
        if failed and failed.started >= succeeded:
            yield f"the last activity that failed, {ago(now - failed.started)}: {wording.reason(failed)}"


def _complaints(instances: Iterable[Instance], machines: Mapping[str, Machine]) -> Iterable[str]:
    """What hosts in service cannot do from time to time: of a group that follows a metric, that may be to put it, and nothing else tells so."""
    of: dict[str, list[str]] = {}
    for instance in instances:
        said = machines.get(instance.id, _NOTHING).tags.get(WAITS, "")
        if instance.state == "InService" and said.startswith(_IN_SERVICE):
            of.setdefault(said.removeprefix(_IN_SERVICE), []).append(instance.id)
    for why, ids in of.items():
        more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        yield f"{ids[0]}{more}, in service: {why}"


def last_roll(group: Group, now: float, lock_timeout: float) -> Roll:
    """What the tags of a group tell of its last roll."""
    value = group.tags.get(TAG_JOURNAL)
    if value:
        try:
            left = decode(value)
        except RolloutError as exc:
            return Roll("unreadable", str(exc))
        began = f"began {ago(now - left.started)}"
        kind = "roll back" if left.back else "roll"
        to = f"to version {left.target.template.version}" if left.target.template.version else "to another template"
        failed = f", {left.failed} {'host' if left.failed == 1 else 'hosts'} failed so far" if left.failed else ""
        if now - left.beat <= lock_timeout:
            return Roll("under way", f"a {kind} {to} by {left.owner} {began}{failed}", left.owner, left.started)
        words = f"a {kind} {to} by {left.owner} {began} and was cut off {ago(now - left.beat)}{failed}"
        return Roll(
            "cut off", f"{words}: roll again, which goes on, or give it up with state=aborted", left.owner, left.started
        )
    value = group.tags.get(TAG_RECORD)
    record = decode_record(value) if value else None
    if record is None:
        return Roll("unreadable", f"its tag {TAG_RECORD} cannot be read") if value else Roll("none", "never rolled")
    began = f"the last roll, {ago(now - record.started)},"
    if record.unfinished:
        why = "was stopped by state=aborted" if record.stopped >= record.started else "did not replace all hosts"
        state = "stopped" if record.stopped >= record.started else "unfinished"
        return Roll(state, f"{began} {why}: see its report, mend the reason, roll again", "", record.started)
    return Roll("done", f"last roll {ago(now - record.started)}", "", record.started)


def _certificates(found: Mapping[str, float], now: float, warn_days: int) -> Iterable[Certificate]:
    for name, end in sorted(found.items(), key=lambda item: (item[1], item[0])):
        days = int((end - now) // _DAY)
        words = ""
        if end <= now:
            words = f"{name} ended {ago(now - end)}: renew it now"
        elif days < warn_days or end - now <= warn_days * _DAY:
            words = f"{name} ends in {days} {'day' if days == 1 else 'days'}: renew it"
        yield Certificate(name, end, days, words)


def ago(seconds: float) -> str:
    """How long ago, for people."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if whole >= 2 * size:
            return f"{whole // size} {unit} ago"
    return f"{whole} s ago"
