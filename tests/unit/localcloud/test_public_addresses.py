# SPDX-License-Identifier: GPL-3.0-or-later
"""No host of a local cloud has an address that belongs to somebody on the Internet."""

from types import SimpleNamespace

from moto.ec2.models.elastic_network_interfaces import NetworkInterface

import localcloud.ec2.backend  # noqa: F401 - what it changes in moto is what is tested


def test_the_public_address_is_the_private_one() -> None:
    interface = SimpleNamespace(public_ip_auto_assign="true", private_ip_address="172.31.0.9", public_ip=None)
    NetworkInterface.check_auto_public_ip(interface)  # type: ignore[arg-type]
    assert interface.public_ip == "172.31.0.9"
