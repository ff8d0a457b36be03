# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2 as an Auto Scaling group uses it: the ports of localcloud.autoscaling, over moto and the fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.core.exceptions import ServiceException
from moto.elbv2.models import elbv2_backends

from localcloud.autoscaling.ports import HostStatus, LaunchOrder
from localcloud.ec2 import launch
from localcloud.ec2.backend import HostBackend
from localcloud.ec2.launch import ACCOUNT
from localcloud.errors import ApiError
from localcloud.hosts.fleet import Phase


class Ec2:
    """Hosts, Templates and Subnets in one.

    :param backend: gives the region's EC2; asked anew each time, since loading a state replaces it.
    """

    def __init__(self, backend: Callable[[], HostBackend]) -> None:
        self._backend = backend

    # -- Hosts -----------------------------------------------------------------------------------------------------

    def launch(self, order: LaunchOrder) -> str:
        wanted: dict[str, Any] = {"LaunchTemplateId": order.template_id, "Version": str(order.template_version)}
        with _as_api_error():
            reservation = self._backend().run_instances(
                order.image_id or "",
                1,
                None,
                [],
                launch_template=wanted,
                subnet_id=order.subnet_id,
                instance_type=order.instance_type or "m1.small",
                is_instance_type_default=order.instance_type is None,
                region_name=self._backend().region_name,
                tags={"instance": dict(order.tags)},
                client_token=order.client_token or None,
                instance_market_options="spot" if order.spot else None,
            )
        return str(reservation.instances[0].id)

    def statuses(self, ids: Iterable[str]) -> dict[str, HostStatus]:
        backend = self._backend()
        states = {i.id: i.state for r in backend.reservations.values() for i in r.instances}
        return {instance_id: self._status(instance_id, states.get(instance_id)) for instance_id in ids}

    def _status(self, instance_id: str, state: str | None) -> HostStatus:
        if state is None or state == "terminated":
            return HostStatus.GONE
        if state == "pending":
            return HostStatus.PENDING
        if state != "running":
            return HostStatus.STOPPED
        host = self._backend().world.fleet.get(instance_id)
        return HostStatus.IMPAIRED if host is None or host.phase is Phase.IMPAIRED else HostStatus.UP

    def terminate(self, instance_id: str) -> None:
        backend = self._backend()
        if backend.get_instance_by_id(instance_id) is not None:
            with _as_api_error():
                backend.terminate_instances([instance_id])
            elbv2_backends[ACCOUNT][backend.region_name].notify_terminate_instances([instance_id])

    def stop(self, instance_id: str) -> None:
        with _as_api_error():
            self._backend().stop_instances([instance_id])

    def start(self, instance_id: str) -> None:
        with _as_api_error():
            self._backend().start_instances([instance_id])

    def instance_type(self, instance_id: str) -> str:
        with _as_api_error():
            return str(self._backend().get_instance(instance_id).instance_type)

    # -- Templates -------------------------------------------------------------------------------------------------

    def resolve(self, id_or_name: str, version: str) -> tuple[str, str, int]:
        backend = self._backend()
        with _as_api_error():
            if id_or_name.startswith("lt-"):
                template = backend.get_launch_template(id_or_name)
            else:
                template = backend.get_launch_template_by_name(id_or_name)
            number = int(template.get_version(version).number)
        return template.id, template.name, number

    def check(self, template_id: str, version: str, instance_type: str | None, image_id: str | None) -> None:
        backend = self._backend()
        with _as_api_error():
            data = dict(backend.get_launch_template(template_id).get_version(version).data)
            own = {"ImageId": image_id, "InstanceType": instance_type}
            launch.check(backend, {**data, **{key: value for key, value in own.items() if value}})

    # -- Subnets ---------------------------------------------------------------------------------------------------

    def zone(self, subnet_id: str) -> str:
        with _as_api_error():
            return str(self._backend().get_subnet(subnet_id).availability_zone)

    def default_subnet(self, zone: str) -> str:
        with _as_api_error():
            return self._backend().zone_subnet(zone)


@contextmanager
def _as_api_error() -> Iterator[None]:
    try:
        yield
    except ServiceException as error:
        raise ApiError(error.code, error.message) from None
