# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every key of a fleet file, once: what reads it, its schema and its table all come from here."""

from __future__ import annotations

from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet import values
from ansible_collections.boring.fleet.plugins.module_utils.fleet.shapes import (
    REQUIRED,
    Anything,
    Checked,
    Choice,
    Either,
    Flag,
    Key,
    Keys,
    ListOf,
    MapOf,
    Number,
    Shape,
    Text,
    Whole,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.options import ARGUMENTS

MOST_HOSTS: Final = 5000
NAME: Final = r"(?=.{1,63}$)[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
_NAME_MUST: Final = (
    "be lower-case letters, digits and single dashes between them, begin with a letter and have at most 63 characters"
)
_VARIABLE: Final = r"[A-Za-z_][A-Za-z0-9_]{0,254}"
_VARIABLE_MUST: Final = "be letters, digits and underscores, and not begin with a digit"
_PORT: Final = Whole(1, 65535)
_FILE: Final = Text("be the path of a file on this machine")
_SUBNETS: Final = ListOf(Text("be the id of a subnet such as subnet-0abc", r"subnet-[0-9a-f]+"))
_MACHINE: Final = Key(
    Text("be the name of a class", NAME), "Class of `fleet_machines`. Default: the only class, or `cpu`."
)
_ABSOLUTE: Final = Text("be an absolute path", r"/[^\s].*")

NETWORK: Final = Keys(
    {
        "vpc_id": Key(
            Text("be the id of a VPC such as vpc-0abc", r"vpc-[0-9a-f]+"),
            "The VPC. Default: the account's default VPC.",
        ),
        "subnet_ids": Key(
            _SUBNETS,
            "Subnets of hosts, in several zones. Default: one a zone of the VPC.",
            [],
        ),
        "public_subnet_ids": Key(
            _SUBNETS,
            "Subnets of the load balancer that clients reach. Default: those of the hosts.",
            [],
        ),
        "clients": Key(
            ListOf(Checked(values.network, "10.0.0.0/16"), fewest=1),
            "Networks from which clients may reach the load balancer. With a public one it is on the internet. Default: the VPC.",
        ),
    },
    "`fleet_network`",
)

CLOCKS: Final = Keys(
    {
        "min": Key(Whole(1, 10_000), "The lowest, in MHz.", REQUIRED),
        "max": Key(Whole(1, 10_000), "The highest, in MHz.", REQUIRED),
    },
    "`clocks`",
)

MACHINE: Final = Keys(
    {
        "profile": Key(
            Text("be the name of a profile such as cpu or gpu", r"[a-z0-9][a-z0-9.-]*"),
            "Profile of the image: a file in `packer/images`.",
            REQUIRED,
        ),
        "lock": Key(
            Text("be the path of a lock file"),
            "Lock file of kernel and driver, below `packer/` or absolute. Default: the newest kernel, no lock.",
        ),
        "instance_type": Key(Checked(values.instance_type, "t3.medium"), "Instance type.", REQUIRED),
        "may_lack_gpu": Key(
            Flag(), "Takes hosts of a GPU profile into service that have no GPU, as those of a local cloud.", False
        ),
        "gpus": Key(
            Whole(1, 64),
            "GPUs of a host: one with fewer does not enter service. Default: as many as the host has, at least 1.",
        ),
        "mig": Key(
            ListOf(Text("be a MIG profile such as 3g.40gb", r"[1-9]g\.[1-9][0-9]{0,3}gb(\+[a-z0-9.]+)?"), repeats=True),
            "MIG devices that each GPU is divided into, `[]` for MIG off. Default: as the GPU is.",
        ),
        "power_limit": Key(Whole(50, 2000), "Watts that each GPU may draw. Default: the GPU's own limit."),
        "clocks": Key(CLOCKS, "Clock of each GPU. Default: the driver's choice."),
    },
    "A class of `fleet_machines`",
)

LIMITS: Final[dict[str, dict[str, tuple[str, Shape]]]] = {
    "nats": {
        "memory": ("nats_jetstream_max_memory", Checked(values.amount, "256MB")),
        "file": ("nats_jetstream_max_file", Checked(values.amount, "4GB")),
        "sync": ("nats_sync_interval", Checked(values.interval, "10s")),
        "payload": ("nats_max_payload", Checked(values.amount, "1MB")),
        "connections": ("nats_max_connections", Whole(1, 1_000_000)),
        "accounts": ("nats_account_limits", MapOf(Anything(), r"[A-Za-z0-9_-]+", "be the name of an account")),
    },
    "redis": {"memory": ("redis_maxmemory", Checked(values.amount, "256MB"))},
}

DATA: Final = Keys(
    {
        "kind": Key(Choice(("nats", "redis")), "What runs: `nats` or `redis`.", REQUIRED),
        "machine": _MACHINE,
        "nodes": Key(Whole(1, 1000), "1, 3 or 5. Default: 1 for a cache or with `may_lose_data`, else 3."),
        "purpose": Key(
            Choice(("cache", "store")),
            "Of Redis: a `cache` may start empty, a `store` loses nothing. Default: `cache`.",
        ),
        "disk": Key(
            Checked(values.gibibytes, "20GB", ("string", "integer"), "str or int"),
            "Size of the data disk, such as `20GB`. Default: none for a cache, else 20GB.",
        ),
        "limits": Key(
            MapOf(Anything(), r".+", "be text"),
            "What the role takes: `memory`, of NATS also `file`, `sync`, `payload`, `connections` and `accounts`.",
            {},
        ),
        "may_lose_data": Key(Flag(), "Allows one node for something that is kept: it is lost with its host.", False),
        "plaintext": Key(Flag(), "No TLS, for clients and among nodes.", False),
    },
    "A data service in `fleet_data`",
)

SIZE: Final = Keys(
    {
        "min": Key(Whole(0, MOST_HOSTS), "Fewest hosts. Default: 1."),
        "max": Key(Whole(1, MOST_HOSTS), "Most hosts. Default: as many as `min` or `desired`."),
        "desired": Key(Whole(0, MOST_HOSTS), "Hosts of a new group; later scaling decides. Default: `min`."),
    },
    "`size`",
)

SCALE: Final = Keys(
    {
        "metric": Key(
            Checked(values.metric, "cpu"),
            "What is followed: `cpu`, the percentage at which the hosts' processors are busy; `requests`, a minute and host, from the load balancer; "
            "or the name of a metric that the service itself serves at `/metrics`, as Prometheus text.",
            REQUIRED,
        ),
        "target": Key(
            Number(1_000_000_000),
            "Where it is held, as the average of the hosts: above it hosts are added, well below it they are taken away.",
            REQUIRED,
        ),
        "warmup": Key(Whole(0, 3600), "Seconds for which a new host is given time to take its share of the load.", 180),
        "port": Key(
            _PORT, "Port of `/metrics` on the host, for a metric of the service's own. Default: the service's `port`."
        ),
    },
    "`scale`",
)

CONTAINER: Final = Keys(
    {
        "image": Key(
            Checked(values.image, "registry.example.org/web@sha256:" + "0" * 64),
            "OCI image with its registry, by digest; a tag is resolved to one when the machine's image is built.",
            REQUIRED,
        ),
        "command": Key(
            Checked(values.command, ["/bin/true"], ("array", "string"), "list or str"),
            "Takes the place of the image's `CMD`, after its `ENTRYPOINT`. Default: the image's own.",
        ),
        "user": Key(
            Text(
                "be a user or a number, with a group after a colon if need be",
                r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?",
            ),
            "User of the image; it owns its files, and is never root on the host. Default: the image's own.",
        ),
        "port": Key(_PORT, "Port inside the container. Default: the service's `port`."),
    },
    "`container`",
)

CERTIFICATE: Final = Keys(
    {
        "certificate_file": Key(
            _FILE, "Certificate with its chain, PEM, on this machine; imported into ACM.", REQUIRED
        ),
        "key_file": Key(_FILE, "The private key, PEM.", REQUIRED),
    },
    "`certificate`, if it is not an ARN",
)

EXPOSE: Final = Keys(
    {
        "hosts": Key(
            ListOf(Checked(values.host, "shop.example.org")),
            "Names that clients ask for, such as `shop.example.org` or `*.example.org`. Default: any.",
            [],
        ),
        "paths": Key(ListOf(Checked(values.path, "/"), fewest=1), "Paths, each with everything below it.", ["/"]),
        "certificate": Key(
            Either(
                Checked(values.certificate, "arn:aws:acm:eu-central-1:123456789012:certificate/example"), CERTIFICATE
            ),
            "ARN of a certificate in ACM, or files. Without one the service is on plain HTTP.",
        ),
        "port": Key(_PORT, "Port of the load balancer. Default: 443 with a certificate, else 80."),
    },
    "`expose`",
)

FILE_ENTRY: Final = Keys(
    {
        "path": Key(_ABSOLUTE, "Path on the host.", REQUIRED),
        "content": Key(Anything("str"), "What is in it. Nothing secret: user data can be read by others.", ""),
        "owner": Key(Text("be user:group", r"[a-z_][a-z0-9_-]*(:[a-z_][a-z0-9_-]*)?"), "User and group.", "root:root"),
        "permissions": Key(Checked(values.permissions, "0644"), "Mode, in quotes.", "0644"),
        "encoding": Key(Text("be an encoding such as b64", r"[a-z0-9+/]+"), "As cloud-init has it, such as `b64`."),
        "append": Key(Flag(), "Append to a file of the image.", False),
        "defer": Key(Flag(), "Write it at the end of the boot, when users of packages are there.", False),
    },
    "An entry of `files`",
)


def _roll_option(argument: dict[str, Any]) -> Key:
    return Key(
        Anything(
            {"str": "str", "int": "int", "float": "float", "bool": "bool", "list": "list"}.get(argument["type"], "dict")
        ),
        "As in `asg_rollout`.",
    )


# Options that the collection sets itself when it rolls a fleet
_OWN: Final = ("group", "state", "launch_template", "events_path")
ROLL: Final = Keys({name: _roll_option(argument) for name, argument in ARGUMENTS.items() if name not in _OWN}, "`roll`")

SERVICE: Final = Keys(
    {
        "machine": _MACHINE,
        "roles": Key(
            ListOf(
                Text("be the full name of a role such as acme.shop.web", r"[a-z0-9_]+\.[a-z0-9_]+\.[a-z0-9_]+"),
                fewest=1,
            ),
            "Roles whose `install` entry point goes into its image. Exactly one of `roles` and `container`.",
        ),
        "container": Key(CONTAINER, "An OCI image that is put into the machine's image and run by systemd."),
        "role_variables": Key(
            MapOf(Anything(), r"[A-Za-z_][A-Za-z0-9_]*", "be the name of a variable"),
            "Variables of its roles, in its image. Nothing secret.",
            {},
        ),
        "role_files": Key(
            MapOf(
                Text("be a path that does not begin with /", r"[^/].*"),
                r"[A-Za-z_][A-Za-z0-9_]*",
                "be the name of a variable",
            ),
            "Variables of its roles that are paths on this machine, from the directory above `packer/`. What is there belongs to `inputs` too.",
            {},
        ),
        "inputs": Key(
            ListOf(Text("be a path or a glob")),
            "Files that feed its image beside its roles, as `image_build` takes them.",
            [],
        ),
        "version": Key(
            Checked(values.version, "1.0", ("string", "integer"), "str or int"),
            "Version that is released, in quotes. It is in the image, in `/etc/fleet-release` and in tags.",
        ),
        "size": Key(SIZE, "How many hosts.", {}),
        "scale": Key(SCALE, "What decides how many, between `min` and `max`. Without it nothing does."),
        "port": Key(_PORT, "Where it serves. Without it, it serves nobody."),
        "health": Key(Checked(values.health, "/"), "Path that answers 200 when a host is ready. Default: `/`."),
        "tls": Key(Flag(), "It serves HTTPS itself, with a certificate of the fleet's authority.", False),
        "expose": Key(
            EXPOSE, "Puts it behind the fleet's load balancer. Without it only services that use it reach it."
        ),
        "uses": Key(
            ListOf(Text("be the name of a service or a data service", NAME)),
            "Data services and services that it may reach. All others are closed.",
            [],
        ),
        "environment": Key(
            MapOf(Checked(values.variable, "", ("string", "number", "boolean"), "str"), _VARIABLE, _VARIABLE_MUST),
            "Environment of its process. Nothing secret.",
            {},
        ),
        "secrets": Key(
            MapOf(Checked(values.parameter, "/shop/secret_key_base"), _VARIABLE, _VARIABLE_MUST),
            "Environment variables whose values are in Parameter Store: the path of each parameter.",
            {},
        ),
        "files": Key(ListOf(FILE_ENTRY), "Files that a host gets when it boots, as cloud-init's `write_files`.", []),
        "isolated": Key(
            Flag(), "Reaches nothing of the fleet, no instance metadata, and outside only what `egress` lists.", False
        ),
        "egress": Key(
            ListOf(Checked(values.egress, "0.0.0.0/0:443")),
            "What it may reach outside, as `cidr:port`, by TCP. Default: everything, of an isolated one nothing.",
        ),
        "roll": Key(ROLL, "Options of `asg_rollout` for its group.", {}),
    },
    "A service in `fleet_services`",
)

DEFAULT_MACHINES: Final = {"cpu": {"profile": "cpu", "instance_type": "t3.medium"}}


def _named(of: Shape) -> MapOf:
    return MapOf(of, NAME, _NAME_MUST)


FILE: Final = Keys(
    {
        "fleet_name": Key(
            Text(
                "be lower-case letters, digits and dashes, begin with a letter and have at most 21 characters",
                r"[a-z][a-z0-9-]{0,20}",
            ),
            "Name of the fleet. Fleets of one account never touch each other.",
            REQUIRED,
        ),
        "fleet_region": Key(
            Text("be a region such as eu-central-1", r"[a-z]{2}(-[a-z]+)+-[0-9]"),
            "AWS region. Default: that of the environment (`AWS_REGION`), else `eu-central-1`.",
        ),
        "fleet_network": Key(NETWORK, "Where it is, and who its clients are.", {}),
        "fleet_machines": Key(
            _named(MACHINE), "Classes of hosts. One that nothing names costs nothing.", DEFAULT_MACHINES
        ),
        "fleet_data": Key(_named(DATA), "Services with state, run by roles of this collection.", {}),
        "fleet_services": Key(_named(SERVICE), "Services without state, yours.", {}),
        "fleet_overrides": Key(
            MapOf(Anything(), r"fleet_[a-z]+", "be a variable of this file"),
            "What another fleet has different, laid over these variables key by key: a list takes the place of a list, an empty key takes one away.",
            {},
        ),
    },
    "The file",
)

TABLES: Final = (FILE, NETWORK, MACHINE, CLOCKS, DATA, SERVICE, SIZE, SCALE, CONTAINER, EXPOSE, CERTIFICATE, FILE_ENTRY)
