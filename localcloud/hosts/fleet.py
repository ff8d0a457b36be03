# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of one cloud: what each one should be, what it is, and the steps from here to there.

Everybody else says what they want (launch, stop, start, reboot, terminate) and gets control back at once;
``observe``, called by the cloud's ticker, does the rest. Steps that talk to podman run on worker threads and are short:
nothing waits for a boot or a shutdown but ``observe`` itself, which looks at the host's systemd through /proc.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from localcloud.clock import Clock
from localcloud.hosts.disks import Disks
from localcloud.hosts.podman import STOP_SECONDS, HostError, HostSpec, Podman, alive, boot_state

LOG = logging.getLogger(__name__)
BOOT_SECONDS = 300
"""A host that is not up by then is impaired."""
LABEL = "localcloud"
"""The label on containers and networks that names their cloud."""
_REBOOT_EXIT = 129  # how a container ends whose systemd asked the kernel to reboot
_RETRY_SECONDS = 5
_Result = TypeVar("_Result")


class Goal(StrEnum):
    """What a host should be."""

    UP = "up"
    STOPPED = "stopped"
    GONE = "gone"


class Phase(StrEnum):
    """What a host is."""

    NEW = "new"  # no container yet
    BOOTING = "booting"
    UP = "up"
    IMPAIRED = "impaired"  # its boot takes longer than BOOT_SECONDS
    ENDING = "ending"  # its services are stopping
    DOWN = "down"
    GONE = "gone"


@dataclass
class Host:
    """One host and all that is needed to bring it back after a restart."""

    id: str
    image: str
    address: str
    hostname: str
    mac: str = ""  # of its network interface; podman's choice when empty
    goal: Goal = Goal.UP
    phase: Phase = Phase.NEW
    reboot: bool = False  # come up once more after going down
    since: float = 0.0  # unix seconds, when the phase began
    pid: int = 0  # of its systemd
    port: int = 0  # the interface of this machine that its network hangs on
    boot_fault: str = ""  # injected: hang (its boot never ends) or die (in the middle of it)
    busy: bool = False  # a step is under way
    pause_until: float = 0.0  # the last step failed; the next is not tried before


class Observer:
    """What the cloud wants to hear of its hosts. Called with the cloud's lock held."""

    def came_up(self, host: Host) -> None: ...
    def impaired(self, host: Host) -> None: ...
    def stopped(self, host: Host) -> None: ...
    def died(self, host: Host) -> None:
        """It ended although nobody asked for it: powered off from inside, or killed."""

    def gone(self, host: Host) -> None: ...
    def failed(self, host: Host, reason: str) -> None:
        """It could not be created; it is taken away next."""


class Fleet:
    """All hosts of one cloud.

    :param name: the cloud's; containers are called ``lc-NAME-ID``, its network ``lc-NAME``.
    :param lock: the cloud's; held by whoever calls, and taken by the workers when they report.
    :param workers: run the steps (a few threads if none are given).
    """

    def __init__(
        self,
        name: str,
        seeds: Path,
        podman: Podman,
        *,
        clock: Clock,
        lock: threading.RLock,
        workers: Executor | None = None,
        disks: Disks | None = None,
    ) -> None:
        self.name = name
        self.network = f"lc-{name}"
        self.observer = Observer()
        self._seeds = seeds
        self.disks = disks or Disks(seeds.with_name("disks"))
        self.podman = podman
        self._clock = clock
        self._lock = lock
        self._hosts: dict[str, Host] = {}
        self._workers = workers or ThreadPoolExecutor(max_workers=8, thread_name_prefix="host")

    # -- what others want ------------------------------------------------------------------------------------------

    def launch(self, host: Host) -> None:
        """Begin to bring a host up. Its seed must lie in ``seed_directory(host.id)``."""
        host.since = self._clock.now()
        self._hosts[host.id] = host

    def stop(self, host_id: str) -> None:
        self._want(host_id, Goal.STOPPED)

    def start(self, host_id: str) -> None:
        self._want(host_id, Goal.UP)

    def reboot(self, host_id: str) -> None:
        host = self._hosts.get(host_id)
        if host is not None and host.goal is Goal.UP:
            host.reboot = True

    def terminate(self, host_id: str) -> None:
        self._want(host_id, Goal.GONE)

    def kill(self, host_id: str) -> None:
        """Inject a fault: the host dies at once, as if its power was cut."""
        self._signal(self._hosts[host_id], "KILL")

    def get(self, host_id: str) -> Host | None:
        return self._hosts.get(host_id)

    def hosts(self) -> list[Host]:
        return list(self._hosts.values())

    def container(self, host_id: str) -> str:
        return f"lc-{self.name}-{host_id}"

    def seed_directory(self, host_id: str) -> Path:
        return self._seeds / host_id

    def commit(self, host_id: str, tag: str) -> None:
        """Make an image of a host's disk. Takes seconds: call it without the cloud's lock. Raises HostError."""
        self.podman.commit(self.container(host_id), tag)

    def background(self, work: Callable[[], None]) -> None:
        """Do something on a worker, without the cloud's lock."""
        self._workers.submit(work)

    def _want(self, host_id: str, goal: Goal) -> None:
        host = self._hosts.get(host_id)
        if host is not None and host.goal is not Goal.GONE:
            host.goal = goal
            host.reboot = False

    # -- how it comes about ----------------------------------------------------------------------------------------

    def observe(self) -> None:
        """Take every host one step further. Cheap: a look at /proc for each host that has nothing to do."""
        now = self._clock.now()
        for host in list(self._hosts.values()):
            if not host.busy and now >= host.pause_until:
                self._advance(host, now)

    def _advance(self, host: Host, now: float) -> None:
        ending = host.goal is not Goal.UP or host.reboot
        name = self.container(host.id)
        match host.phase:
            case Phase.NEW if host.goal is Goal.GONE:
                self._gone(host)
            case Phase.NEW if host.goal is Goal.UP:
                self._step(host, lambda: self._create(host), lambda begun: self._begun(host, *begun), self._not_created)
            case Phase.BOOTING | Phase.UP | Phase.IMPAIRED if not alive(host.pid):
                if ending:
                    self._ended(host)
                else:
                    self._step(
                        host, lambda: self.podman.exit_code(name), lambda code: self._died(host, code), self._vanished
                    )
            case Phase.BOOTING | Phase.UP | Phase.IMPAIRED if ending:
                self._enter(host, Phase.ENDING)
                self._signal(host, "RTMIN+3")  # systemd stops everything in order, and ends
            case Phase.BOOTING | Phase.IMPAIRED if host.boot_fault != "hang":
                self._step(host, lambda: boot_state(host.pid), lambda state: self._booted(host, state))
            case Phase.BOOTING if now - host.since > BOOT_SECONDS:
                self._booted(host, "hung")
            case Phase.ENDING if not alive(host.pid):
                self._ended(host)
            case Phase.ENDING if now - host.since > STOP_SECONDS:
                LOG.warning("%s did not stop within %d s and is killed", host.id, STOP_SECONDS)
                self._signal(host, "KILL")
            case Phase.DOWN if host.goal is Goal.GONE:
                self._step(host, lambda: self.podman.remove(name), lambda _: self._gone(host))
            case Phase.DOWN if host.goal is Goal.UP:
                host.reboot = False
                self._step(host, lambda: self._start(name), lambda begun: self._begun(host, *begun), self._not_started)

    def _create(self, host: Host) -> tuple[int, int]:
        name = self.container(host.id)
        self.podman.run(
            HostSpec(
                name=name,
                image=host.image,
                hostname=host.hostname,
                network=self.network,
                address=host.address,
                mac=host.mac,
                seed=self.seed_directory(host.id),
                disks=self.disks.folder(host.id),
                labels={LABEL: self.name, "instance": host.id},
            )
        )
        try:
            return self._where(name)
        except HostError:
            self.podman.remove(name)
            raise

    def _start(self, name: str) -> tuple[int, int]:
        self.podman.start(name)
        try:
            return self._where(name)
        except HostError:
            self.podman("kill", "--signal=KILL", name)
            raise

    def _where(self, name: str) -> tuple[int, int]:
        """The process of a host that was started, and its port; no port if it ended already."""
        pid = self.podman.pid(name)
        try:
            return pid, self.podman.port(pid) if pid else 0
        except HostError:
            if alive(pid):
                raise
            return pid, 0

    def _begun(self, host: Host, pid: int, port: int) -> None:
        host.pid, host.port = pid, port
        self._enter(host, Phase.BOOTING)
        if host.boot_fault == "die":
            host.boot_fault = ""
            self.kill(host.id)

    def _booted(self, host: Host, state: str) -> None:
        seconds = self._clock.now() - host.since
        if state in {"running", "degraded"}:
            LOG.info("%s is up after %.1f s (%s)", host.id, seconds, state)
            self._enter(host, Phase.UP)
            self.observer.came_up(host)
        elif host.phase is Phase.BOOTING and seconds > BOOT_SECONDS:
            LOG.warning("%s is not up after %d s (%s)", host.id, BOOT_SECONDS, state)
            self._enter(host, Phase.IMPAIRED)
            self.observer.impaired(host)

    def _ended(self, host: Host) -> None:
        host.pid = host.port = 0
        self._enter(host, Phase.DOWN)
        if host.goal is Goal.STOPPED:
            self.observer.stopped(host)

    def _died(self, host: Host, code: int) -> None:
        host.pid = host.port = 0
        self._enter(host, Phase.DOWN)
        if code != _REBOOT_EXIT and host.goal is Goal.UP:  # after a reboot from inside it is started again
            LOG.warning("%s ended by itself (status %d)", host.id, code)
            host.goal = Goal.STOPPED
            self.observer.died(host)

    def _vanished(self, host: Host, reason: str) -> None:
        LOG.warning("%s is lost: %s", host.id, reason)
        host.pid, host.port, host.phase, host.goal = 0, 0, Phase.NEW, Goal.GONE

    def _not_created(self, host: Host, reason: str) -> None:
        LOG.warning("%s could not be launched: %s", host.id, reason)
        host.goal = Goal.GONE
        self.observer.failed(host, reason)

    def _not_started(self, host: Host, reason: str) -> None:
        LOG.warning("%s could not be started: %s", host.id, reason)
        host.goal = Goal.STOPPED
        self.observer.died(host)

    def _signal(self, host: Host, signal: str) -> None:
        name = self.container(host.id)

        def send() -> None:
            with contextlib.suppress(HostError):  # it may have ended this very moment
                self.podman("kill", f"--signal={signal}", name)

        self._step(host, send, lambda _: None)

    def _gone(self, host: Host) -> None:
        self._enter(host, Phase.GONE)
        del self._hosts[host.id]
        shutil.rmtree(self.seed_directory(host.id), ignore_errors=True)
        self.observer.gone(host)

    def _enter(self, host: Host, phase: Phase) -> None:
        host.phase = phase
        host.since = self._clock.now()

    def _step(
        self,
        host: Host,
        work: Callable[[], _Result],
        report: Callable[[_Result], None],
        failed: Callable[[Host, str], None] | None = None,
    ) -> None:
        """Do ``work`` on a worker, without the lock; then ``report`` or ``failed`` with it. One step a host at a time."""
        host.busy = True

        def run() -> None:
            try:
                result = work()
            except HostError as error:
                with self._lock:
                    host.busy = False
                    if failed is None:
                        LOG.warning("%s: %s", host.id, error)
                        host.pause_until = self._clock.now() + _RETRY_SECONDS
                    else:
                        failed(host, str(error))
            except Exception:
                LOG.exception("%s: a step failed", host.id)
                with self._lock:
                    host.busy = False
                    host.pause_until = self._clock.now() + _RETRY_SECONDS
            else:
                with self._lock:
                    host.busy = False
                    report(result)

        self._workers.submit(run)

    # -- coming back -----------------------------------------------------------------------------------------------

    def dump(self) -> list[dict[str, Any]]:
        """All hosts as JSON-able values."""
        return [asdict(host) for host in self._hosts.values()]

    def load(self, hosts: Iterable[dict[str, Any]]) -> None:
        """Take over hosts from ``dump``; what became of their containers meanwhile is looked up.

        Hosts that should be up but are down are started again. Containers of this cloud that nobody knows are removed.
        Raises HostError.
        """
        containers = {container.name: container for container in self.podman.containers(**{LABEL: self.name})}
        for values in hosts:
            host = Host(**{**values, "goal": Goal(values["goal"]), "phase": Phase(values["phase"]), "busy": False})
            self._hosts[host.id] = host
            found = containers.pop(self.container(host.id), None)
            if found is None:
                if host.phase is not Phase.NEW:
                    self._vanished(host, "its container was removed")
            elif alive(found.pid):
                if found.pid != host.pid or not host.port:  # its root may have renamed what the port is found by
                    host.pid, host.port = found.pid, self.podman.port(found.pid)
                if host.phase in {Phase.NEW, Phase.DOWN}:
                    self._enter(host, Phase.BOOTING)
            else:
                host.pid = host.port = 0
                self._enter(host, Phase.DOWN)
        self.podman.remove(*containers)

    def settled(self) -> bool:
        """Whether every host is what it should be, or known not to come to it."""
        return all(
            host.phase in {Phase.UP, Phase.IMPAIRED} if host.goal is Goal.UP else host.phase is Phase.DOWN
            for host in self._hosts.values()
        )

    def close(self) -> None:
        """Let the steps that are under way finish; hosts stay as they are."""
        self._workers.shutdown(wait=True, cancel_futures=True)
