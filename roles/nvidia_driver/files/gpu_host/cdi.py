# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container needs of this host's GPUs: as a specification of the Container Device Interface, and as settings of a systemd unit.

Made anew at each boot, so that it fits the driver and the MIG devices of this boot. NVIDIA's own tool (nvidia-ctk) writes the specification
where it is installed; where it is not, as with Debian's driver, this does. Unlike NVIDIA's it has no hooks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpu_host import state
from gpu_host.host import Host

SPECIFICATION = "run/cdi/nvidia.json"
_KIND, _VERSION = "nvidia.com/gpu", "0.5.0"
# The driver's libraries: all have its version, and a program in a container must use the host's.
_LIBRARY = re.compile(
    r"lib(?:cuda|cudadebugger|nvcuvid|nvoptix|nvidia-[a-z0-9-]+|EGL_nvidia|GLX_nvidia|GLESv1_CM_nvidia|GLESv2_nvidia)\.so[.0-9]*"
)
_PROGRAMS = ("usr/bin/nvidia-smi",)
_FOR_ALL = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")


def refresh(host: Host, units: Sequence[str]) -> list[str]:
    """Write the specification, and a drop-in for each unit that runs a container by systemd itself; says what it did."""
    made, where = _by_nvidia(host), host.root / SPECIFICATION
    specification = made or own(host)
    if not made:
        state.write(where, specification)
    said = [f"/{SPECIFICATION} has {len(specification.get('devices', []))} devices"]
    for unit in units:
        state.write_text(host.root / "run/systemd/system" / f"{unit}.d" / "50-gpu.conf", drop_in(specification))
        said.append(f"{unit} gets the devices and libraries of all of them")
    if units:
        status, words = host.run(["systemctl", "daemon-reload"])
        if status:
            said.append(f"systemd did not take the settings: {words}")
    return said


def _by_nvidia(host: Host) -> dict[str, Any]:
    """NVIDIA's specification; empty where its tool is not installed or fails."""
    if not (host.root / "usr/bin/nvidia-ctk").exists():
        return {}
    (host.root / SPECIFICATION).parent.mkdir(parents=True, exist_ok=True)
    status, dummy = host.run(["nvidia-ctk", "cdi", "generate", "--format=json", f"--output=/{SPECIFICATION}"])
    try:
        found = json.loads((host.root / SPECIFICATION).read_text(encoding="utf-8")) if status == 0 else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def own(host: Host) -> dict[str, Any]:
    """The specification, of what is in /dev and what the dynamic linker knows."""
    dev = host.root / "dev"
    numbers = (
        sorted(int(node.name[6:]) for node in dev.glob("nvidia[0-9]*") if node.name[6:].isdecimal())
        if dev.is_dir()
        else []
    )
    common = [f"/dev/{name}" for name in _FOR_ALL if (dev / name).exists()]
    common += (
        sorted(f"/dev/nvidia-caps/{node.name}" for node in (dev / "nvidia-caps").glob("*"))
        if (dev / "nvidia-caps").is_dir()
        else []
    )
    mounts = [*libraries(host), *(f"/{name}" for name in _PROGRAMS if (host.root / name).exists())]
    each = {str(number): [f"/dev/nvidia{number}"] for number in numbers}
    if numbers:
        each["all"] = [node for nodes in each.values() for node in nodes]
    return {
        "cdiVersion": _VERSION,
        "kind": _KIND,
        "devices": [{"name": name, "containerEdits": {"deviceNodes": _nodes(nodes)}} for name, nodes in each.items()],
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void"],  # else NVIDIA's runtime, where it is, adds them once more
            "deviceNodes": _nodes(common),
            "mounts": [
                {"hostPath": path, "containerPath": path, "options": ["ro", "nosuid", "nodev", "bind"]}
                for path in mounts
            ],
        },
    }


def _nodes(paths: Iterable[str]) -> list[dict[str, str]]:
    return [{"path": path} for path in paths]


def libraries(host: Host) -> list[str]:
    """The driver's libraries under every name by which they are loaded, as /usr/lib/x86_64-linux-gnu/libcuda.so.1."""
    dummy, said = host.run(["/usr/sbin/ldconfig", "-p"])
    found = [line.rpartition(" => ") for line in said.splitlines()]
    return sorted(
        {
            path
            for name, arrow, path in found
            if arrow and _LIBRARY.fullmatch(path.rpartition("/")[2]) and "(libc6" in name
        }
    )


def drop_in(specification: Mapping[str, Any]) -> str:
    """The device `all` as settings of a unit. What is mounted is read-only; a path that the host does not have is no failure."""
    chosen = [device for device in specification.get("devices", []) if device.get("name") == "all"]
    edits = [specification.get("containerEdits", {}), *(device.get("containerEdits", {}) for device in chosen)]
    nodes = sorted({node["path"] for edit in edits for node in edit.get("deviceNodes", [])})
    mounts = {(mount["hostPath"], mount["containerPath"]) for edit in edits for mount in edit.get("mounts", [])}
    lines = [
        "# Written by boring.fleet.nvidia_container when the host booted",
        "[Service]",
        "PrivateDevices=no",
        "DevicePolicy=closed",
    ]
    lines += [f"DeviceAllow={_escaped(path)} rw" for path in nodes]
    lines += [f"BindReadOnlyPaths=-{_escaped(host)}:{_escaped(inside)}" for host, inside in sorted(mounts)]
    return "\n".join(lines) + "\n"


def _escaped(path: str) -> str:
    """For systemd, to which % begins a specifier."""
    return path.replace("%", "%%").replace(" ", r"\x20")
