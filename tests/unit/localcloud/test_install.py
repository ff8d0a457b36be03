# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet is put behind moto's EC2, whoever looked at that before."""

from __future__ import annotations

from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

from moto.ec2.models import ec2_backends

from localcloud.ec2.backend import HostBackend, backend_of, install
from localcloud.ec2.launch import ACCOUNT
from tests.unit.localcloud.test_server import forget_moto


def test_a_backend_that_was_there_before_is_replaced() -> None:
    forget_moto()
    try:
        before = ec2_backends[ACCOUNT]["eu-central-1"]
        assert not isinstance(before, HostBackend)
        world: Any = SimpleNamespace(region="eu-central-1", subnet=ip_network("10.1.0.0/16"), fleet=SimpleNamespace())
        assert isinstance(install(world), HostBackend)
        assert install(world) is backend_of("eu-central-1")
    finally:
        forget_moto()
