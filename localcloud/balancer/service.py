# SPDX-License-Identifier: GPL-3.0-or-later
"""ELBv2 over HAProxy: moto keeps the resources, HAProxy carries the traffic and measures, this ties them together."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from localcloud import acm
from localcloud.autoscaling.ports import TargetHealth
from localcloud.balancer import attributes, health, refusals, render, tls
from localcloud.balancer.addresses import Addresses, Loopback
from localcloud.balancer.haproxy import BalancerError, port_refusal
from localcloud.balancer.health import Phase, Registration, ServerStatus
from localcloud.balancer.model import Server, TargetGroup, View, backend_name, encrypted
from localcloud.balancer.upstream import (
    backend,
    backends,
    deregistration_delay,
    has_policy,
    target_group,
    used_groups,
    view,
)
from localcloud.clock import Clock
from localcloud.errors import ApiError
from localcloud.faults import Faults
from localcloud.service import Service

log = logging.getLogger(__name__)

_REVIVE_SECONDS = 1.0  # between two attempts to bring a dead HAProxy back

# What changes moto's resources, and so perhaps HAProxy's configuration; and how a creation is taken back.
_UNDO = {"CreateListener": "DeleteListener", "CreateRule": "DeleteRule"}
_MODIFIES = {
    "ModifyListener": "ListenerArn",
    "ModifyRule": "RuleArn",
    "ModifyTargetGroup": "TargetGroupArn",
    "ModifyTargetGroupAttributes": "TargetGroupArn",
    "ModifyLoadBalancerAttributes": "LoadBalancerArn",
    "ModifyListenerAttributes": "ListenerArn",
    "AddListenerCertificates": "ListenerArn",
    "RemoveListenerCertificates": "ListenerArn",
    "SetSubnets": "LoadBalancerArn",
}
_DELETES = ("DeleteLoadBalancer", "DeleteListener", "DeleteRule", "DeleteTargetGroup", "SetRulePriorities")


@dataclass(frozen=True)
class Instance:
    """An EC2 instance, as far as a load balancer cares."""

    address: str
    state: str  # running, stopped, terminated, ...
    zone: str
    vpc: str


class Instances(Protocol):
    """EC2's instances."""

    def find(self, region: str, instance_id: str) -> Instance | None:
        """The instance, or None if EC2 does not know it."""
        ...


class Proxy(Protocol):
    """What is asked of HAProxy; localcloud.balancer.haproxy.Haproxy is the one that there is."""

    def running(self) -> bool: ...
    def store(self, files: Mapping[str, bytes]) -> None: ...
    def apply(self, config: str, state: str) -> None: ...
    def command(self, text: str) -> str: ...
    def stop(self) -> None: ...


class Balancer:
    """ELBv2 of one cloud: a localcloud Service that moves with time, and the Targets of its Auto Scaling groups.

    Target registrations are kept here (moto knows one port a target and calls every target healthy); load balancers,
    listeners, rules and target groups are moto's. All methods may be called from several threads.

    :param cloud: the cloud's name; load balancers' addresses are derived from it.
    :param account: the AWS account id that moto keeps its state under.
    :param upstream: moto's ELBv2 (localcloud.balancer.upstream.MotoElbv2).
    :param faults: ``target`` faults meet the next instances that are registered.

    ``addresses`` says where new load balancers are.
    """

    def __init__(
        self,
        *,
        cloud: str,
        account: str,
        upstream: Service,
        proxy: Proxy,
        instances: Instances,
        clock: Clock,
        faults: Faults | None = None,
    ) -> None:
        self._cloud = cloud
        self._account = account
        self._upstream = upstream
        self._proxy = proxy
        self._instances = instances
        self._clock = clock
        self._faults = faults or Faults()
        self.addresses: Addresses = Loopback()
        self._lock = threading.RLock()
        self._targets: dict[str, list[Registration]] = {}
        self._view = View()
        self._files: set[str] = set()  # names of the PEM files that HAProxy was last given
        self._applied: str | None = None  # the settings that HAProxy runs with; None: it does not run
        self._revive_at = 0.0

    # -- the API -------------------------------------------------------------------------------------------------

    def handle(self, operation: str, params: dict[str, Any], region: str) -> dict[str, Any]:
        """Run one ELBv2 operation; see localcloud.service.Service."""
        with self._lock:
            answer = self._handle(operation, params, region)
            for listener in answer.get("Listeners") or []:
                _dress(listener)
            if operation == "DescribeSSLPolicies":
                for policy in answer["SslPolicies"]:
                    policy["SupportedLoadBalancerTypes"] = ["application", "network"]
            return answer

    def _handle(self, operation: str, params: dict[str, Any], region: str) -> dict[str, Any]:
        if operation == "DescribeTargetHealth":
            return self._describe(params, region)
        move = {"RegisterTargets": self._register, "DeregisterTargets": self._deregister}.get(operation)
        if move is not None:
            move(params["TargetGroupArn"], params["Targets"])
            return {}
        if (there := self._same(operation, params, region)) is not None:
            return there
        if operation == "CreateTargetGroup":
            params = attributes.complete_group(params)
        self._refuse(operation, params, region)
        if operation == "CreateLoadBalancer":
            return self._create_load_balancer(params, region)
        if operation == "CreateTargetGroup":
            return self._create_target_group(params, region)
        if operation in _UNDO:
            return self._create(operation, params, region)
        if operation == "ModifyTargetGroupAttributes":
            _say_what_is_ignored(params)
        if operation in _MODIFIES:
            with self._undoing(region, params[_MODIFIES[operation]]):
                answer = self._modify(operation, params, region)
                self._sync()
            return answer
        answer = self._upstream.handle(operation, params, region)
        if operation in _DELETES:
            if operation == "DeleteTargetGroup":
                self._targets.pop(params["TargetGroupArn"], None)
            self._sync_later_if_it_fails()
        return answer

    def _modify(self, operation: str, params: dict[str, Any], region: str) -> dict[str, Any]:
        if operation == "AddListenerCertificates":
            listener = self._listener(params["ListenerArn"], region)
            there = listener.certificates if listener is not None else []
            new = [item for item in params["Certificates"] if item["CertificateArn"] not in there]
            self._upstream.handle(operation, {**params, "Certificates": new}, region)
            return {"Certificates": [{**item, "IsDefault": False} for item in params["Certificates"]]}
        if operation != "ModifyListener":
            return self._upstream.handle(operation, params, region)
        # moto knows no TLS here, and forgets the further certificates
        own = {"Protocol", "Certificates", "SslPolicy", "AlpnPolicy"}
        self._upstream.handle(operation, {key: params[key] for key in params if key not in own}, region)
        listener = self._listener(params["ListenerArn"], region)
        listener.protocol = params.get("Protocol") or listener.protocol
        if given := [item["CertificateArn"] for item in params.get("Certificates") or []]:
            listener.certificates = [*given, *(arn for arn in listener.certificates[1:] if arn not in given)]
        listener.ssl_policy = params.get("SslPolicy") or listener.ssl_policy or tls.DEFAULT_POLICY
        listener.alpn_policy = params.get("AlpnPolicy") or listener.alpn_policy
        if not encrypted(listener.protocol):
            listener.certificates = []
        listener.certificate = listener.certificates[0] if listener.certificates else None
        return self._upstream.handle("DescribeListeners", {"ListenerArns": [listener.arn]}, region)

    def _listener(self, arn: str, region: str) -> Any:
        every = backend(self._account, region).load_balancers.values()
        return next((balancer.listeners[arn] for balancer in every if arn in balancer.listeners), None)

    # -- Targets, for Auto Scaling ---------------------------------------------------------------------------------

    def register(self, arn: str, instance_id: str) -> None:
        """Register an instance on the group's own port. Raises ApiError TargetGroupNotFound, InvalidTarget."""
        with self._lock:
            self._register(arn, [{"Id": instance_id}])

    def deregister(self, arn: str, instance_id: str) -> None:
        """Begin to drain an instance on every port. One that is not registered is no error."""
        with self._lock:
            self._deregister(arn, [{"Id": instance_id}])

    def health(self, arn: str) -> dict[str, TargetHealth]:
        """Every target by instance id, as of the last tick; of several ports the worst counts."""
        with self._lock:
            self._group(arn)
            found: dict[str, TargetHealth] = {}
            for item in self._targets.get(arn, ()):
                if item.target not in found or found[item.target].state == "healthy":
                    found[item.target] = item.health
            return found

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bring HAProxy up for what there is; one that a killed localcloud left behind is taken over.

        :raises BalancerError: HAProxy is missing, a listener's port is in use, ...
        """
        with self._lock:
            self._sync()

    def stop(self) -> None:
        """End HAProxy; registrations stay."""
        with self._lock:
            self._proxy.stop()
            self._view, self._applied = View(), None

    def tick(self) -> None:
        """Move targets on: take in what HAProxy measured, end drains that are over, bring a dead HAProxy back."""
        with self._lock:
            if self._view.listeners and (self._applied is None or not self._proxy.running()):
                self._revive()
            elif self._files and set(view(list(backends(self._account).values())).files) != self._files:
                self._sync_later_if_it_fails()  # a certificate was imported again
            self._reconcile()

    def dump(self) -> Any:
        """The registrations; everything else is moto's."""
        with self._lock:
            return {
                arn: [{**asdict(item), "phase": item.phase.value} for item in items]
                for arn, items in self._targets.items()
                if items
            }

    def load(self, state: Any) -> None:
        """Take registrations from ``dump``. Targets are checked anew before they get traffic; drains go on."""
        with self._lock:
            self._targets = {arn: [_registration(entry) for entry in entries] for arn, entries in (state or {}).items()}

    # -- resources: moto's, then HAProxy's -------------------------------------------------------------------------

    def _refuse(self, operation: str, params: dict[str, Any], region: str) -> None:
        for item in params.get("Certificates") or [] if operation != "RemoveListenerCertificates" else []:
            if not acm.exists(self._account, region, item.get("CertificateArn") or ""):
                raise ApiError("CertificateNotFound", f"Certificate '{item.get('CertificateArn')}' not found")
        named = params.get("Names") or [] if operation == "DescribeSSLPolicies" else [params.get("SslPolicy")]
        for policy in named:
            if policy and not has_policy(policy):
                raise ApiError("SSLPolicyNotFound", f"SSL policy '{policy}' not found")
        refusals.check(operation, params, backend(self._account, region))
        if operation in ("CreateListener", "ModifyListener") and params.get("Port") is not None:
            self._refuse_port(params, region)

    def _refuse_port(self, params: dict[str, Any], region: str) -> None:
        moto = backend(self._account, region)
        port = int(params["Port"])
        if "ListenerArn" in params:
            listener = next(iter(moto.describe_listeners(None, [params["ListenerArn"]])))
            if int(listener.port) == port:
                return
            balancer = moto.load_balancers[listener.load_balancer_arn]
        else:
            found = moto.load_balancers.get(params["LoadBalancerArn"])
            if found is None:
                return  # moto says so
            balancer = found
        reason = port_refusal(balancer.dns_name, port)
        if reason:
            raise ApiError("InvalidConfigurationRequest", reason)

    def _same(self, operation: str, params: dict[str, Any], region: str) -> dict[str, Any] | None:
        """What there is already, where a creation asks for the very same: it succeeds again, as on AWS."""
        moto = backend(self._account, region)

        def described(key: str, **asked: Any) -> list[dict[str, Any]]:
            found = list(self._upstream.handle(f"Describe{key}", asked, region)[key])
            for one in found if key == "Listeners" else []:
                _dress(one)
            return found

        if operation == "CreateLoadBalancer":
            arns = [item.arn for item in moto.load_balancers.values() if item.name == params["Name"]]
            found = described("LoadBalancers", LoadBalancerArns=arns) if arns else []
            return {"LoadBalancers": found} if found and attributes.same_balancer(params, found[0]) else None
        if operation == "CreateTargetGroup":
            arns = [item.arn for item in moto.target_groups.values() if item.name == params["Name"]]
            found = described("TargetGroups", TargetGroupArns=arns) if arns else []
            return {"TargetGroups": found} if found and attributes.same_group(params, found[0]) else None
        if operation == "CreateListener" and params["LoadBalancerArn"] in moto.load_balancers:
            found = described("Listeners", LoadBalancerArn=params["LoadBalancerArn"])
            found = [item for item in found if attributes.same_listener(params, item)]
            return {"Listeners": found} if found else None
        return None

    def _create_target_group(self, params: dict[str, Any], region: str) -> dict[str, Any]:
        answer = self._upstream.handle("CreateTargetGroup", params, region)
        for item in answer["TargetGroups"]:
            group = self._group(item["TargetGroupArn"])
            group.attributes = attributes.defaults(attributes.GROUPS[attributes.group_kind(group.protocol)])
            if group.target_type == "ip" and "preserve_client_ip.enabled" in group.attributes:
                group.attributes["preserve_client_ip.enabled"] = "false"
        return answer

    def _create_load_balancer(self, params: dict[str, Any], region: str) -> dict[str, Any]:
        params = {"Type": "application", "Scheme": "internet-facing", "IpAddressType": "ipv4", **params}
        if params["Type"] == "application" and not params.get("SecurityGroups"):
            params = {**params, "SecurityGroups": self._default_group(params, region)}
        answer = self._upstream.handle("CreateLoadBalancer", params, region)
        every = backends(self._account)
        taken = {item.dns_name for moto in every.values() for item in moto.load_balancers.values()}
        address = self.addresses.choose(f"{self._cloud}/{region}/{params['Name']}", taken)
        for item in answer["LoadBalancers"]:
            made = every[region].load_balancers[item["LoadBalancerArn"]]
            made.dns_name = address
            made.attrs = attributes.defaults(attributes.BALANCERS[made.type])
        try:
            self._hold()
        except BalancerError as error:
            for item in answer["LoadBalancers"]:
                self._upstream.handle("DeleteLoadBalancer", {"LoadBalancerArn": item["LoadBalancerArn"]}, region)
            raise ApiError("InternalFailure", str(error), 500) from error
        arns = [item["LoadBalancerArn"] for item in answer["LoadBalancers"]]
        return {
            "LoadBalancers": self._upstream.handle("DescribeLoadBalancers", {"LoadBalancerArns": arns}, region)[
                "LoadBalancers"
            ]
        }

    def _hold(self) -> None:
        """Have the addresses of all load balancers on this machine, and of those only. Raises BalancerError."""
        every = backends(self._account).values()
        self.addresses.hold({item.dns_name for moto in every for item in moto.load_balancers.values()})

    def _default_group(self, params: dict[str, Any], region: str) -> list[str]:
        """The default security group of the VPC that a load balancer is in."""
        ec2 = backend(self._account, region).ec2_backend
        subnets = [*params.get("Subnets", []), *(item["SubnetId"] for item in params.get("SubnetMappings", []))]
        vpcs = {zone[one].vpc_id for one in subnets for zone in ec2.subnets.values() if one in zone}
        return [str(group.id) for vpc in vpcs for group in ec2.groups[vpc].values() if group.name == "default"]

    def _create(self, operation: str, params: dict[str, Any], region: str) -> dict[str, Any]:
        answer = self._upstream.handle(operation, params, region)
        try:
            self._sync()
        except BalancerError as error:
            kind = operation.removeprefix("Create")
            arn = answer[f"{kind}s"][0][f"{kind}Arn"]
            self._upstream.handle(_UNDO[operation], {f"{kind}Arn": arn}, region)
            self._sync_later_if_it_fails()
            raise ApiError("InvalidConfigurationRequest", str(error)) from error
        return answer

    @contextmanager
    def _undoing(self, region: str, arn: str) -> Iterator[None]:
        """Put a moto resource back as it was if HAProxy does not take its new form."""
        try:
            resource = backend(self._account, region)._get_resource_by_arn(arn)
        except Exception:  # moto's refusal comes from the operation itself, in its own words
            resource = None
        # subnets are EC2's: the copy must name the same ones
        memo = {id(subnet): subnet for subnet in getattr(resource, "subnets", ())}
        saved = copy.deepcopy(vars(resource), memo) if resource is not None else {}
        try:
            yield
        except BalancerError as error:
            if resource is not None:
                vars(resource).clear()
                vars(resource).update(saved)
            self._sync_later_if_it_fails()
            raise ApiError("InvalidConfigurationRequest", str(error)) from error

    def _sync_later_if_it_fails(self) -> None:
        try:
            self._sync()
        except BalancerError as error:
            self._applied = None  # tick tries again
            log.warning("%s", error)

    def _sync(self) -> None:
        """Make HAProxy serve what moto holds: a reload if settings changed, the runtime API for targets."""
        self._hold()
        every = list(backends(self._account).values())
        for moto in every:
            used = used_groups(moto)
            for kept in moto.target_groups.values():
                # moto forgets to take a deleted load balancer out
                kept.load_balancer_arns = [balancer.arn for balancer in used.get(kept.arn, [])]
        self._view = view(every)
        settings = render.config(self._view)
        if not self._view.listeners:
            self._proxy.stop()
            self._applied = None
        elif settings != self._applied or not self._proxy.running():
            known = self._known()
            servers = []
            for group, item in self._serving():
                server = self._server(group, item)
                servers.append((server, group))
                if not render.has_state(known, server):
                    item.begin(Phase.INITIAL, health.REGISTERING, self._clock.now())
            if self._view.files:
                self._proxy.store(self._view.files)
            self._files = set(self._view.files)
            self._proxy.apply(
                render.config(self._view, [server for server, _ in servers]), render.state(known, servers)
            )
            self._applied = settings
        self._reconcile()

    def _known(self) -> str:
        """What a running HAProxy knows of its servers; if none runs, that its ports can be had."""
        if self._proxy.running():
            return self._proxy.command("show servers state")
        for listener in self._view.listeners:
            reason = port_refusal(listener.address, listener.port)
            if reason:
                raise BalancerError(reason)
        return ""

    def _revive(self) -> None:
        now = self._clock.now()
        if now < self._revive_at:
            return
        self._revive_at = now + _REVIVE_SECONDS
        if self._applied is not None:
            log.warning("HAProxy is gone; it is started again")
        self._sync_later_if_it_fails()

    # -- targets ---------------------------------------------------------------------------------------------------

    def _group(self, arn: str) -> Any:
        parts = arn.split(":")
        moto = backends(self._account).get(parts[3]) if len(parts) > 5 else None
        group = moto.target_groups.get(arn) if moto else None
        if group is None:
            raise ApiError("TargetGroupNotFound", "One or more target groups not found")
        return group

    def _register(self, arn: str, targets: Iterable[dict[str, Any]]) -> None:
        group = self._group(arn)
        wanted = [
            (target["Id"], int(target.get("Port") or group.port), target.get("AvailabilityZone")) for target in targets
        ]
        refusals.targets(
            group, [target for target, _, _ in wanted], lambda one: self._instances.find(group.region_name, one)
        )
        items = self._targets.setdefault(arn, [])
        for target, port, zone in wanted:
            item = next((one for one in items if (one.target, one.port) == (target, port)), None)
            if item is None:
                sick = group.target_type == "instance" and self._faults.target_outcome() is not None
                items.append(Registration(target, port, zone, since=self._clock.now(), sick=sick))
            elif item.phase is Phase.DRAINING:
                item.begin(Phase.INITIAL, health.REGISTERING, self._clock.now())
        self._reconcile()

    def _deregister(self, arn: str, targets: Iterable[dict[str, Any]]) -> None:
        group = self._group(arn)
        for target in targets:
            for item in self._targets.get(arn, ()):
                if item.target == target["Id"] and target.get("Port") in (None, item.port):
                    self._drain(item, deregistration_delay(group))
        self._reconcile()

    def _drain(self, item: Registration, delay: int) -> None:
        if item.phase is not Phase.DRAINING:
            now = self._clock.now()
            item.begin(Phase.DRAINING, health.DRAINING, now)
            item.until = now + delay

    def _describe(self, params: dict[str, Any], region: str) -> dict[str, Any]:
        arn = params["TargetGroupArn"]
        group = self._group(arn)
        self._reconcile()
        check_port = target_group(group).check.port
        items = self._targets.get(arn, [])
        answers: list[Registration] = []
        for wanted in params.get("Targets") or []:
            same = [item for item in items if item.target == wanted["Id"] and wanted.get("Port") in (None, item.port)]
            port = int(wanted.get("Port") or group.port)
            answers += same or [Registration(wanted["Id"], port, health=health.NOT_REGISTERED)]
        return {"TargetHealthDescriptions": [_description(item, check_port) for item in answers or items]}

    def _serving(self) -> Iterator[tuple[TargetGroup, Registration]]:
        """The targets that HAProxy has to know and that may get traffic."""
        for group in self._view.groups:
            for item in self._targets.get(group.arn, ()):
                if item.phase is not Phase.DRAINING and self._outside(group, item) is None:
                    yield group, item

    def _server(self, group: TargetGroup, item: Registration) -> Server:
        address = item.target
        if address.startswith("i-"):
            found = self._instances.find(group.arn.split(":")[3], address)
            address = found.address if found else "127.0.0.1"
        return Server(group.backend, item.server, address, item.port, item.sick)

    def _outside(self, group: TargetGroup, item: Registration) -> TargetHealth | None:
        """Why a registered target is not used at all, if it is not."""
        if not item.target.startswith("i-"):
            return None
        found = self._instances.find(group.arn.split(":")[3], item.target)
        if found is None or found.state != "running":
            return health.invalid_state(found.state if found else "terminated")
        moto = backend(self._account, group.arn.split(":")[3])
        zones = {
            zone.zone_name for balancer in used_groups(moto).get(group.arn, ()) for zone in balancer.availability_zones
        }
        return None if found.zone in zones else health.WRONG_ZONE

    def _reconcile(self) -> None:
        """Bring HAProxy's servers and our registrations together; what cannot be done yet is done by a later tick."""
        now = self._clock.now()
        if self._view.listeners and self._applied is None:
            return  # HAProxy does not have our settings; tick tries again
        status: dict[tuple[str, str], ServerStatus] = {}
        if self._applied is not None:
            try:
                status = health.parse(
                    self._proxy.command("show stat -1 4 -1"), self._proxy.command("show servers state")
                )
            except BalancerError as error:
                log.warning("%s", error)
                return
        commands: list[str] = []
        kept: set[tuple[str, str]] = set()
        used = {group.arn: group for group in self._view.groups}
        for arn, items in self._targets.items():
            group = used.get(arn)
            for item in list(items):
                key = (backend_name(arn), item.server)
                if group is None:
                    self._rest(arn, item)
                else:
                    commands += self._move(group, item, status.get(key), now)
                if item.phase is Phase.DRAINING and (now >= item.until or group is None):
                    items.remove(item)
                elif group is not None:
                    kept.add(key)
        for key, one in status.items():
            if key not in kept:
                commands.append(_remove(one, cut=True))
        for command in commands:
            self._run(command)

    def _rest(self, arn: str, item: Registration) -> None:
        """A target of a group that no load balancer uses."""
        if item.phase is not Phase.DRAINING:
            item.phase, item.health = Phase.INITIAL, health.NOT_IN_USE
            if self._terminated(arn, item):
                self._drain(item, 0)

    def _terminated(self, arn: str, item: Registration) -> bool:
        if not item.target.startswith("i-"):
            return False
        found = self._instances.find(arn.split(":")[3], item.target)
        return found is None or found.state == "terminated"

    def _move(self, group: TargetGroup, item: Registration, status: ServerStatus | None, now: float) -> list[str]:
        """Take one target a step further; the commands that HAProxy needs for it."""
        if item.phase is Phase.DRAINING:
            return _leave(status) if status and now < item.until else []
        outside = self._outside(group, item)
        if outside is not None:
            if self._terminated(group.arn, item):
                self._drain(item, deregistration_delay(self._group(group.arn)))
            else:
                item.phase, item.health = Phase.INITIAL, outside
            return [_remove(status, cut=True)] if status else []
        server = self._server(group, item)
        name = f"{server.backend}/{server.name}"
        if status is None or status.maint or (status.address, status.port) != (server.address, server.port):
            item.phase, item.health = Phase.INITIAL, health.REGISTERING
            if status is not None:
                return [_remove(status, cut=True)]  # the next tick adds it anew
            return [
                f"add server {name} {server.address}:{server.port} {render.server_options(group)}{render.own_options(server)};"
                f"set server {name} health up;set server {name} state drain;enable health {name}"
            ]
        if item.phase is Phase.INITIAL:
            item.health = health.CHECKING
            if status.up and not status.passed:
                return []
            item.phase, item.since = Phase.SERVING, now
        item.health = health.HEALTHY if status.up else health.failure(status, item.health)
        return [f"set server {name} state ready"] if status.drain else []

    def _run(self, command: str) -> None:
        try:
            said = self._proxy.command(command).strip()
        except BalancerError as error:
            log.warning("%s", error)
            return
        done = all(line in ("", "New server registered.", "Server deleted.") for line in said.splitlines())
        if not done:
            log.info("%s: HAProxy says: %s", command.split(";", maxsplit=1)[0], said.replace("\n", " "))


def _dress(listener: dict[str, Any]) -> None:
    """A description as AWS gives it: the default certificate only, and nothing of TLS where there is none."""
    if encrypted(listener.get("Protocol")):
        listener["Certificates"] = listener.get("Certificates", [])[:1]
        if listener["Protocol"] == "HTTPS":
            listener["MutualAuthentication"] = {"Mode": "off"}
    else:
        for key in ("SslPolicy", "Certificates"):
            listener.pop(key, None)
    if not listener.get("AlpnPolicy"):
        listener.pop("AlpnPolicy", None)


def _say_what_is_ignored(params: dict[str, Any]) -> None:
    for item in params.get("Attributes") or []:
        if item["Key"] == "slow_start.duration_seconds" and str(item["Value"]) != "0":
            log.warning("slow start is not modelled: a target gets its full share at once")


def _leave(status: ServerStatus) -> list[str]:
    """No new request from now on; without a connection left the target is gone from HAProxy at once, as in AWS."""
    if not status.sessions:
        return [_remove(status, cut=False)]
    return [] if status.drain or status.maint else [f"set server {status.backend}/{status.name} state drain"]


def _remove(status: ServerStatus, cut: bool) -> str:
    name = f"{status.backend}/{status.name}"
    shut = f"shutdown sessions server {name};" if cut and status.sessions else ""
    return f"set server {name} state maint;{shut}del server {name}"


def _registration(entry: dict[str, Any]) -> Registration:
    phase = Phase(entry["phase"])
    if phase is Phase.DRAINING:
        return Registration(**{**entry, "phase": phase, "health": health.DRAINING})
    return Registration(**{**entry, "phase": Phase.INITIAL, "health": health.REGISTERING})


def _description(item: Registration, check_port: int | None) -> dict[str, Any]:
    target: dict[str, Any] = {"Id": item.target, "Port": item.port}
    if item.zone is not None:
        target["AvailabilityZone"] = item.zone
    verdict = {"State": item.health.state, "Reason": item.health.reason, "Description": item.health.description}
    return {
        "Target": target,
        "HealthCheckPort": str(check_port or item.port),
        "TargetHealth": {key: value for key, value in verdict.items() if value is not None},
    }
