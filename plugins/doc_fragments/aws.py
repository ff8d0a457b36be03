# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that every module talking to AWS shares."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  region:
    description:
      - Region to work in.
      - When omitted, E(AWS_REGION), E(AWS_DEFAULT_REGION) and the profile's own, in this order.
    type: str
  profile:
    description:
      - Named profile of the AWS configuration files.
      - When omitted, E(AWS_PROFILE) and boto3's other sources of credentials.
      - Excludes O(access_key).
    type: str
  endpoint_url:
    description:
      - URL to talk to in place of AWS's own, for a local cloud or another implementation.
      - When omitted, E(AWS_ENDPOINT_URL).
    type: str
  access_key:
    description:
      - Access key id. Needs O(secret_key).
    type: str
  secret_key:
    description:
      - Secret access key. Needs O(access_key).
    type: str
  session_token:
    description:
      - Token of temporary credentials.
    type: str
requirements:
  - boto3 >= 1.28 on the machine where the module runs
"""
