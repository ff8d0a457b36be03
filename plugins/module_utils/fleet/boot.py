# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is when it boots: the data of its launch template, with the cloud-config in it. Pure, nothing secret, and readable back."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet.environment import AUTHORITY
from ansible_collections.boring.fleet.plugins.module_utils.fleet.groups import ENVIRONMENT_FILE
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import KIND

# What the program of the role host_secrets reads.
WANTED_FILE: Final = "/etc/host-secrets/wanted.json"
# Of a service that serves HTTPS itself.
CERTIFICATE_FILE, KEY_FILE = "/etc/fleet/certificate.pem", "/etc/fleet/key.pem"
# Which certificate a host took when it booted: with another one its group is due for a roll.
CERTIFICATE_DIGEST: Final = "/etc/fleet/certificate.digest"
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html
MOST: Final = 16384
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html: data volumes are /dev/sdf to /dev/sdp.
_DISK: Final = "/dev/sdf"
_HEAD: Final = "#cloud-config\n"
_SURROGATES: Final = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")
_VARIABLE: Final = re.compile(r'^([^="\n]+)="((?:[^"\\]|\\.)*)"$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class HostSecrets:
    """How hosts ask for their secrets, as the role host_secrets takes it; empty for AWS's own."""

    endpoint: str = ""
    metadata: str = ""
    region: str = ""
    seconds: int = 120


def files(
    group: Mapping[str, Any],
    secrets: HostSecrets,
    certificate: Mapping[str, Any] | None,
    authority: str,
    digest: str = "",
) -> list[dict[str, Any]]:
    """The files of a host of the group, as cloud-init's `write_files` takes them.

    `certificate` is that of the service itself, if it serves TLS, and `digest` what tells it from the one before; `authority` the PEM of
    the fleet's.
    """
    template = group["template"]
    found = [dict(file) for file in template["files"]]
    there = {file["path"] for file in found}
    wanted = list(template.get("secret_files", ()))
    if template["secrets"]:
        wanted.append(_secret(template["secrets_file"], environment=dict(template["secrets"])))
    if certificate and group["kind"] != "data":
        wanted += [
            _secret(CERTIFICATE_FILE, parameter=certificate["certificate"]),
            _secret(KEY_FILE, parameter=certificate["key"]),
        ]
    if certificate and digest:
        found.append(_file(CERTIFICATE_DIGEST, f"{digest}\n"))
    if template["authority"] and AUTHORITY not in there:
        found.append(_file(AUTHORITY, authority))
    if wanted and WANTED_FILE not in there:
        found.append(_file(WANTED_FILE, wanted_json(wanted, secrets)))
    return found


def wanted_json(wanted: Sequence[Mapping[str, Any]], secrets: HostSecrets) -> str:
    """Which secrets go where, as roles/host_secrets writes it."""
    content = {
        "endpoint": secrets.endpoint,
        "files": [{"owner": "root", "group": "root", **file} for file in wanted],
        "metadata": secrets.metadata,
        "region": secrets.region,
        "seconds": secrets.seconds,
    }
    return json.dumps(content, indent=4, sort_keys=True) + "\n"


def user_data(written: Sequence[Mapping[str, Any]]) -> str:
    """Files as cloud-config, in JSON, which is YAML but for pairs of surrogates: YAML wants the character itself."""
    text = json.dumps({"write_files": list(written)}, sort_keys=True)
    return f"{_HEAD}{_SURROGATES.sub(_character, text)}\n"


def _character(pair: re.Match[str]) -> str:
    return str(json.loads(f'"{pair[0]}"'))


def template_data(group: Mapping[str, Any], text: str, *, image: str, security_group: str) -> dict[str, Any]:
    """The data of the group's launch template, as EC2's API takes it. `text` is the user data."""
    template = group["template"]
    tags = [{"Key": key, "Value": value} for key, value in sorted({**group["tags"], KIND: group["kind"]}.items())]
    found: dict[str, Any] = {
        "ImageId": image,
        "InstanceType": template["instance_type"],
        "SecurityGroupIds": [security_group],
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": template["metadata"]["tokens"],
            "HttpPutResponseHopLimit": template["metadata"]["hop_limit"],
        },
        "UserData": base64.b64encode(text.encode()).decode(),
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
    }
    if template["instance_profile"]:
        found["IamInstanceProfile"] = {"Name": template["instance_profile"]}
    if template["disk"]:
        disk = {"VolumeSize": template["disk"], "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
        found["BlockDeviceMappings"] = [{"DeviceName": _DISK, "Ebs": disk}]
    return found


def digest(value: Any) -> str:
    """Of any JSON-clean value, to compare it by."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def facts(data: Mapping[str, Any], security: Mapping[str, str]) -> dict[str, Any]:
    """What a plan shows of launch template data; variables and files as digests. `security` are names of security groups by id."""
    groups = [security.get(one, one) for one in data.get("SecurityGroupIds") or ()]
    disks = [one.get("Ebs", {}).get("VolumeSize", 0) for one in data.get("BlockDeviceMappings") or ()]
    profile = data.get("IamInstanceProfile") or {}
    variables, written = _read(data.get("UserData") or "")
    return {
        "image": data.get("ImageId") or "",
        "instance_type": data.get("InstanceType") or "",
        "security_group": groups[0] if groups else "",
        "instance_profile": profile.get("Name") or str(profile.get("Arn") or "").rpartition("/")[2],
        "disk": disks[0] if disks else 0,
        "variable": {name: digest(value) for name, value in variables.items()},
        "file": {path: digest(file) for path, file in written.items()},
    }


def _read(encoded: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The variables and the other files of user data that `user_data` wrote; nothing of any other."""
    try:
        text = base64.b64decode(encoded).decode()
        listed = json.loads(text.removeprefix(_HEAD))["write_files"]
        there = {str(file["path"]): file for file in listed}
        wanted = json.loads(there[WANTED_FILE]["content"])["files"] if WANTED_FILE in there else []
    except (ValueError, KeyError, TypeError):
        return {}, {}
    variables: dict[str, str] = {}
    for name, value in _VARIABLE.findall(str(there.pop(ENVIRONMENT_FILE, {}).get("content", ""))):
        variables[name] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
    for file in wanted:
        variables |= file.get("environment") or {}
    if wanted:  # the variables are shown by themselves
        there[WANTED_FILE] = [{**file, "environment": bool(file.get("environment"))} for file in wanted]
    return variables, there


def _secret(path: str, **what: Any) -> dict[str, Any]:
    return {"path": path, **what}


def _file(path: str, content: str) -> dict[str, Any]:
    return {"path": path, "owner": "root:root", "permissions": "0644", "content": content}
