# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options with which modules log in at Redis, Sentinel and NATS."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  password:
    description: The user's password.
    type: str
    required: true
  tls:
    description: Speak TLS. The server's certificate must be for the name or address that is connected to.
    type: bool
    default: true
  ca:
    description: PEM file on the host with the CA to trust; without one, those that the host trusts.
    type: path
  cert:
    description: PEM file on the host with the certificate to show.
    type: path
  key:
    description: PEM file on the host with the key of O(cert).
    type: path
"""
