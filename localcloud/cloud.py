# SPDX-License-Identifier: GPL-3.0-or-later
"""One local cloud, put together: hosts, EC2, Auto Scaling, load balancers, their state and the ticker that moves them."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from moto.elbv2.models import elbv2_backends

from localcloud import balancer
from localcloud.autoscaling.service import AutoScaling
from localcloud.balancer.addresses import Network
from localcloud.clock import Clock, SystemClock
from localcloud.cloudwatch.service import CloudWatch
from localcloud.ec2.backend import HostBackend, World, backend_of, install
from localcloud.ec2.launch import ACCOUNT
from localcloud.ec2.ports import Ec2
from localcloud.faults import Faults
from localcloud.hosts.fence import Fence, Gate, Ground
from localcloud.hosts.fleet import Fleet, Phase
from localcloud.hosts.podman import HostError, Podman
from localcloud.service import Service
from localcloud.settings import Settings
from localcloud.state import Store

LOG = logging.getLogger(__name__)
TICK_SECONDS = 0.25
_SAVE_SECONDS = 1.0
_RESUME_SECONDS = 120
_MINUTE = 60.0


class Cloud:
    """One cloud. There is one a process, since moto's state is the process's.

    ``lock`` guards everything: a request or a tick holds it from beginning to end, so that services may call each other.
    """

    def __init__(self, settings: Settings, directory: Path, podman: Podman, clock: Clock | None = None) -> None:
        os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
        os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"  # AWS's own
        self.settings = settings
        self.lock = threading.RLock()
        self.faults = Faults()
        # What there was last time is known again: hosts that come back ask for their secrets before all is ready.
        self.loaded = False
        self.ready = False
        self.failure: Exception | None = None
        self._clock = clock or SystemClock()
        self._store = Store(directory)
        self._saved_at = self._swept_at = 0.0
        self._gate: Gate | None = None  # once the packet filter is in force
        self._unguarded = ""  # why it does not say what security groups say
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._run, name="ticker", daemon=True)
        self.fleet = Fleet(settings.name, directory / "seeds", podman, clock=self._clock, lock=self.lock)
        self.world = World(
            settings.name, settings.region, ipaddress.IPv4Network(settings.subnet),
            self.fleet, self._clock, self.faults, self.lock,
        )  # fmt: skip
        ports = Ec2(self.backend)
        self.balancer = balancer.create(settings.name, directory / "haproxy", ACCOUNT, self._clock, self.faults)
        self.autoscaling = AutoScaling(
            hosts=ports, targets=self.balancer, templates=ports, subnets=ports, clock=self._clock, faults=self.faults
        )
        self.cloudwatch = CloudWatch(self._clock, self.autoscaling.alarm, self.autoscaling.has_policy)
        self.autoscaling.alarms = self.cloudwatch
        self.services: dict[str, Service] = {
            "autoscaling": self.autoscaling,
            "elasticloadbalancing": self.balancer,
            "monitoring": self.cloudwatch,
        }
        """Our own, by the name in a signature."""
        self.more_parts: list[Callable[[], None]] = []  # called with each tick

    def backend(self) -> HostBackend:
        """EC2 of the cloud's region."""
        return backend_of(self.settings.region)

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Come up: the network, the state of last time, its hosts. Raises HostError, BalancerError or StateError."""
        podman = self.fleet.podman
        podman.ensure_network(self.fleet.network, self.settings.subnet)
        settings = self.settings
        bridge = podman.bridge(self.fleet.network)
        self.close_off(Fence(settings.name, bridge, settings.gateway, settings.port, tuple(settings.reach)))
        HostBackend.world = self.world
        state = self._store.load()
        install(self.world)
        with self.lock:
            self.backend().register_bases(self.settings.bases)
            if state is not None:
                self.fleet.load(state["fleet"])
                self.autoscaling.load(state["autoscaling"])
                self.balancer.load(state["balancer"])
                self.cloudwatch.load(state.get("cloudwatch", {}))  # states of earlier versions have none
            else:
                self.fleet.load([])
        self.loaded = True
        self.guard()
        self._resume()
        self.balancer.start()
        self.save()
        self._ticker.start()
        self.ready = True

    def close_off(self, fence: Fence) -> None:
        """Put the packet filter in force. Raises HostError."""
        self._gate = fence.up()
        if self._gate is not None:
            self.balancer.addresses = Network(self.world.subnet, self._subnets, self._gate.hold)

    def _subnets(self) -> list[ipaddress.IPv4Network]:
        return [ipaddress.IPv4Network(subnet.cidr_block) for subnet in self.backend().describe_subnets()]

    def guard(self) -> None:
        """Let through what the security groups of hosts and load balancers say now. Raises HostError."""
        if self._gate is None:
            return
        with self.lock:
            backend = self.backend()
            balancers = backend.balancers()
            ground = Ground(
                groups=backend.filtered(),
                balancers=tuple(sorted(balancers)),
                unbound=tuple(sorted(address for address, groups in balancers.items() if not groups)),
                ports={host.port: host.address for host in self.fleet.hosts() if host.port},
            )
            self._gate.apply(ground)

    def _guard_again(self) -> None:
        """With each tick; what cannot be done now is tried with the next one, and the log says so once."""
        said, self._unguarded = self._unguarded, ""
        try:
            self.guard()
        except HostError as error:
            self._unguarded = str(error)
            if self._unguarded != said:
                LOG.warning("security groups are not in force: %s", error)

    def start_in_background(self, failed: Callable[[], None]) -> None:
        """``start`` on a thread of its own, so that the API can say meanwhile that it is not ready.

        :param failed: called when it cannot come up; ``failure`` then says why.
        """

        def run() -> None:
            try:
                self.start()
            except Exception as error:
                self.failure = error
                failed()

        threading.Thread(target=run, name="start", daemon=True).start()

    def _resume(self) -> None:
        """Bring back the hosts that were up, before Auto Scaling looks at them and takes them for dead."""
        deadline = time.monotonic() + _RESUME_SECONDS
        while not self.fleet.settled() and time.monotonic() < deadline:
            with self.lock:
                self.fleet.observe()
            self._guard_again()
            time.sleep(TICK_SECONDS)

    def close(self) -> None:
        """Save and stop everything but the hosts."""
        self.ready = self.loaded = False
        self._stop.set()
        if self._ticker.is_alive():
            self._ticker.join(timeout=30)
        self.fleet.close()
        with self.lock:
            try:
                self.save()
            finally:
                self.balancer.stop()

    def save(self) -> None:
        """Write what changed to disk. Raises StateError."""
        with self.lock:
            self._store.save(
                {
                    "fleet": self.fleet.dump(),
                    "autoscaling": self.autoscaling.dump(),
                    "balancer": self.balancer.dump(),
                    "cloudwatch": self.cloudwatch.dump(),
                }
            )

    def make_room(self) -> None:
        """What comes before a change: raise StateError if it could not be saved."""
        with self.lock:
            self._store.make_room()

    def undo(self) -> None:
        """Take back a change that cannot be kept: all is what it was when it was saved last, and hosts follow."""
        with self.lock:
            services = self._store.restore()
            self.autoscaling.load(services["autoscaling"])
            self.balancer.load(services["balancer"])
            self.cloudwatch.load(services.get("cloudwatch", {}))
            for host in self.fleet.hosts():
                if self.backend().get_instance_by_id(host.id) is None:
                    self.fleet.terminate(host.id)
                elif host.phase is Phase.UP:
                    self.fleet.observer.came_up(host)

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            for part in (
                self.fleet.observe, self.autoscaling.tick, self.balancer.tick, self.cloudwatch.tick, self._guard_again, self._settle_disks,
                self._housekeeping, *self.more_parts,
            ):  # fmt: skip
                with self._logged():
                    part()

    def _settle_disks(self) -> None:
        self.backend().settle_disks()

    def _housekeeping(self) -> None:
        now = self._clock.now()
        if now - self._saved_at >= _SAVE_SECONDS:
            self._saved_at = now
            self.save()
        if now - self._swept_at >= _MINUTE:
            self._swept_at = now
            self.backend().forget_terminated()

    @contextlib.contextmanager
    def _logged(self) -> Iterator[None]:
        """With the lock; whatever goes wrong is logged, and the next tick comes."""
        try:
            with self.lock:
                yield
        except Exception:
            LOG.exception("a tick failed")

    # -- what there is ---------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """What there is, for people: instances, groups, load balancers, images."""
        with self.lock:
            backend, region = self.backend(), self.settings.region
            groups = self.autoscaling.handle("DescribeAutoScalingGroups", {}, region)["AutoScalingGroups"]
            return {
                "name": self.settings.name,
                "ready": self.ready,
                "pid": os.getpid(),
                "endpoint": self.settings.endpoint,
                "inside": self.settings.inside,
                "region": region,
                "subnet": self.settings.subnet,
                "instances": [
                    {
                        "id": instance.id,
                        "name": _tag(instance, "Name"),
                        "state": instance.state,
                        "address": instance.private_ip,
                        "image": instance.image_id,
                        "container": self.fleet.container(instance.id),
                    }
                    for reservation in backend.reservations.values()
                    for instance in reservation.instances
                    if instance.state != "terminated"
                ],
                "groups": [
                    {
                        "name": group["AutoScalingGroupName"],
                        "desired": group["DesiredCapacity"],
                        "in_service": sum(i["LifecycleState"] == "InService" for i in group["Instances"]),
                    }
                    for group in groups
                ],
                "load_balancers": [
                    {"name": item.name, "address": item.dns_name}
                    for item in elbv2_backends[ACCOUNT][region].load_balancers.values()
                ],
                "images": [
                    {"id": ami.id, "name": ami.name, "owner": ami.owner_id} for ami in backend.amis.values()
                ],
            }  # fmt: skip


def _tag(resource: Any, key: str) -> str:
    return next((str(tag["value"]) for tag in resource.get_tags() if tag["key"] == key), "")
