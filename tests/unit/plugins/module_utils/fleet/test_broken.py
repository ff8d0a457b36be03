# SPDX-License-Identifier: GPL-3.0-or-later
"""Broken fleet files, each with its sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import FleetError
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import holds_fleet, read_fleet
from ansible_collections.boring.fleet.plugins.module_utils.fleet.rules import Known
from tests.unit.plugins.module_utils.fleet.fleets import GONE, changed, shop, small

NAN = float("nan")
ARN = "arn:aws:acm:eu-central-1:123456789012:certificate/a"

# What is changed in shop.yml, what to, and the one mistake that must come of it: its path and its words.
# fmt: off
BROKEN: list[tuple[str, Any, str, str]] = [
    ("fleet_name", "Shop", "fleet_name", "Shop must be lower-case letters, digits and dashes, begin with a letter and have at most 21 characters"),
    ("fleet_name", 7, "fleet_name", "must be lower-case letters, digits and dashes, begin with a letter and have at most 21 characters, not a number; put it in quotes"),
    ("fleet_name", "aaaaaaaaaaaaaaaaaaaaaa", "fleet_name", "aaaaaaaaaaaaaaaaaaaaaa must be lower-case letters, digits and dashes, begin with a letter and have at most 21 characters"),
    ("fleet_name", None, "fleet_name", "is empty: give it a value"),
    ("fleet_name", "9shop", "fleet_name", "9shop must be lower-case letters, digits and dashes, begin with a letter and have at most 21 characters"),
    ("fleet_name", GONE, "fleet_name", "is missing: name of the fleet"),
    ("fleet_region", "frankfurt", "fleet_region", "frankfurt must be a region such as eu-central-1"),
    ("fleet_region", GONE, "fleet_region", "is missing: name the region, such as eu-central-1"),
    ("fleet_servces", {}, "fleet_servces", "there is no such variable; did you mean fleet_services?"),
    ("fleet_network", ["vpc-0abc"], "fleet_network", "must be a mapping, not a list"),
    ("fleet_network.vpc", "vpc-0abc", "fleet_network.vpc", "there is no such key; did you mean vpc_id?"),
    ("fleet_network.vpc_id", "default", "fleet_network.vpc_id", "default must be the id of a VPC such as vpc-0abc"),
    ("fleet_network.subnet_ids", "subnet-0abc", "fleet_network.subnet_ids", "must be a list, not text"),
    ("fleet_network.subnet_ids", ["subnet-0abc"], "fleet_network.subnet_ids", "is one subnet: load balancers and groups need two, in different zones"),
    ("fleet_network.subnet_ids", ["subnet-0abc", "subnet-0abc"], "fleet_network.subnet_ids[1]", "subnet-0abc is here twice"),
    ("fleet_network.clients", [], "fleet_network.clients", "is an empty list: name at least one, or leave the key out"),
    ("fleet_network.clients", ["10.0.0.7/8"], "fleet_network.clients[0]", "10.0.0.7/8 has bits beyond its mask: write 10.0.0.0/8, or 10.0.0.7/32"),
    ("fleet_network.clients", ["10.0.0.7"], "fleet_network.clients[0]", "10.0.0.7 is an address: write 10.0.0.7/32 for it alone"),
    ("fleet_network.clients", ["everybody"], "fleet_network.clients[0]", "everybody is no network such as 10.0.0.0/16"),
    ("fleet_network.clients", [10], "fleet_network.clients[0]", "must be a network such as 10.0.0.0/16, not a number: put it in quotes"),
    ("fleet_machines", {}, "fleet_machines", "has no class: name one, or leave it out for a cpu of t3.medium"),
    ("fleet_machines.cpu.instance_type", "t4g.medium", "fleet_machines.cpu.instance_type", "t4g.medium is an ARM machine, and images are built for amd64: take one such as t3.medium"),
    ("fleet_machines.cpu.instance_type", "g5.xlarge", "fleet_machines.cpu.instance_type", "g5.xlarge has a GPU, and the profile cpu no driver for it: take the profile gpu, or a machine without a GPU"),
    ("fleet_machines.cpu.instance_type", "large", "fleet_machines.cpu.instance_type", "large is no instance type such as t3.medium"),
    ("fleet_machines.gpu.instance_type", "t3.medium", "fleet_machines.gpu.instance_type", "t3.medium has no GPU of NVIDIA, for which the profile gpu is: take one such as g5.xlarge, or say may_lack_gpu: true"),
    ("fleet_machines.gpu", None, "fleet_machines.gpu", "must be a mapping, not nothing"),
    ("fleet_machines.cpu.profile", GONE, "fleet_machines.cpu.profile", "is missing: profile of the image: a file in `packer/images`"),
    ("fleet_machines.cpu.may_lack_gpu", True, "fleet_machines.cpu.may_lack_gpu", "means nothing for the profile cpu, which has no GPU"),
    ("fleet_machines.cpu.may_lack_gpu", "perhaps", "fleet_machines.cpu.may_lack_gpu", "must be true or false, not perhaps"),
    ("fleet_machines.cpu.image", "ami-0abc", "fleet_machines.cpu.image", "there is no such key; there are clocks, gpus, instance_type, lock, may_lack_gpu, mig, power_limit, profile"),
    ("fleet_machines.cpu.gpus", 8, "fleet_machines.cpu.gpus", "means nothing for the profile cpu, which has no GPU"),
    ("fleet_machines.cpu.mig", [], "fleet_machines.cpu.mig", "means nothing for the profile cpu, which has no GPU"),
    ("fleet_machines.cpu.power_limit", 300, "fleet_machines.cpu.power_limit", "means nothing for the profile cpu, which has no GPU"),
    ("fleet_machines.cpu.clocks", {"min": 210, "max": 1410}, "fleet_machines.cpu.clocks", "means nothing for the profile cpu, which has no GPU"),
    ("fleet_machines.gpu.mig", ["3g.40gb"], "fleet_machines.gpu.mig", "g5.xlarge has GPUs without MIG: take one such as p4d.24xlarge, or leave mig out"),
    ("fleet_machines.gpu.mig", ["half"], "fleet_machines.gpu.mig[0]", "half must be a MIG profile such as 3g.40gb"),
    ("fleet_machines.gpu.mig", "3g.40gb", "fleet_machines.gpu.mig", "must be a list, not text"),
    ("fleet_machines.gpu.gpus", 0, "fleet_machines.gpu.gpus", "0 is less than 1"),
    ("fleet_machines.gpu.power_limit", "300W", "fleet_machines.gpu.power_limit", "must be a whole number, not 300W"),
    ("fleet_machines.gpu.clocks", {"min": 1410, "max": 210}, "fleet_machines.gpu.clocks.max", "210 is less than min 1410"),
    ("fleet_machines.gpu.clocks", {"min": 210}, "fleet_machines.gpu.clocks.max", "is missing: the highest, in MHz"),
    ("fleet_data.bus.kind", "rabbitmq", "fleet_data.bus.kind", "must be nats or redis, not rabbitmq"),
    ("fleet_data.bus.kind", "nat", "fleet_data.bus.kind", "must be nats or redis, not nat; did you mean nats?"),
    ("fleet_data.bus.kind", ["nats"], "fleet_data.bus.kind", "must be nats or redis, not a list"),
    ("fleet_data.bus.nodes", 2, "fleet_data.bus.nodes", "2 is even, and half of them is no majority: give 1, 3 or 5"),
    ("fleet_data.bus.nodes", 7, "fleet_data.bus.nodes", "there are no clusters of 7 here: give 1, 3 or 5"),
    ("fleet_data.bus.nodes", 1, "fleet_data.bus.nodes", "1 is not enough, as NATS keeps messages, and they go with the one host: give 3 or 5, or say may_lose_data: true"),
    ("fleet_data.store.nodes", 1, "fleet_data.store.nodes", "1 is not enough, as a store keeps its data, and they go with the one host: give 3 or 5, or say may_lose_data: true"),
    ("fleet_data.bus.nodes", True, "fleet_data.bus.nodes", "must be a whole number, not true"),
    ("fleet_data.bus.nodes", 0, "fleet_data.bus.nodes", "0 is less than 1"),
    ("fleet_data.bus.purpose", "store", "fleet_data.bus.purpose", "is for Redis: leave it out, NATS always keeps its messages"),
    ("fleet_data.store.purpose", "stroe", "fleet_data.store.purpose", "must be cache or store, not stroe; did you mean store?"),
    ("fleet_data.store.machine", "gpu", "fleet_data.store.machine", "gpu is a class with a GPU, which a data service has no use for: name another class"),
    ("fleet_data.store.machine", "cup", "fleet_data.store.machine", "there is no class cup; did you mean cpu?"),
    ("fleet_data.store.disk", "20 parsecs", "fleet_data.store.disk", "must be a size in GB or TB such as 20GB, not 20 parsecs"),
    ("fleet_data.store.disk", 0, "fleet_data.store.disk", "0 must be from 1GB to 16TB"),
    ("fleet_data.store.limits", {"memroy": "1GB"}, "fleet_data.store.limits.memroy", "redis has no such limit; did you mean memory?"),
    ("fleet_data.store.limits", {"memory": 1}, "fleet_data.store.limits.memory", "must be a size such as 256MB, not 1"),
    ("fleet_data.web", {"kind": "redis"}, "fleet_data.web", "fleet_services has a web too: call one of them something else"),
    ("fleet_data.Bus", {"kind": "nats"}, "fleet_data.Bus", "the name must be lower-case letters, digits and single dashes between them, begin with a letter and have at most 63 characters"),
    ("fleet_data.store.password", "hunter2", "fleet_data.store.password", "there is no such key; there are disk, kind, limits, machine, may_lose_data, nodes, plaintext, purpose"),
    ("fleet_services.my_web", {"roles": ["a.b.c"]}, "fleet_services.my_web", "the name must be lower-case letters, digits and single dashes between them, begin with a letter and have at most 63 characters"),
    ("fleet_services.web-", {"roles": ["a.b.c"]}, "fleet_services.web-", "the name must be lower-case letters, digits and single dashes between them, begin with a letter and have at most 63 characters"),
    ("fleet_services", ["web"], "fleet_services", "must be a mapping, not a list"),
    ("fleet_services.web", "registry.example.org/web:1", "fleet_services.web", "must be a mapping, not text"),
    ("fleet_services.web", None, "fleet_services.web", "must be a mapping, not nothing"),
    ("fleet_services.web.prot", 8000, "fleet_services.web.prot", "there is no such key; did you mean port?"),
    ("fleet_services.web.replicas", 3, "fleet_services.web.replicas", "there is no such key; there are container, egress, environment, expose, files, health, inputs, isolated, machine, port, role_files, role_variables, roles, roll, scale, secrets, size, tls, uses, version"),
    ("fleet_services.web.roles", ["acme.shop.web"], "fleet_services.web", "has both roles and a container: leave one of them out"),
    ("fleet_services.thumbs.roles", GONE, "fleet_services.thumbs", "has neither roles nor a container: give one of them"),
    ("fleet_services.thumbs.roles", ["thumbs"], "fleet_services.thumbs.roles[0]", "thumbs must be the full name of a role such as acme.shop.web"),
    ("fleet_services.thumbs.roles", [], "fleet_services.thumbs.roles", "is an empty list: name at least one, or leave the key out"),
    ("fleet_services.web.machine", "cuda", "fleet_services.web.machine", "there is no class cuda; there are cpu, gpu"),
    ("fleet_services.web.machine", {"profile": "cpu"}, "fleet_services.web.machine", "must be the name of a class, not a mapping"),
    ("fleet_services.web.container", "registry.example.org/web:1", "fleet_services.web.container", "must be a mapping, not text"),
    ("fleet_services.web.container.image", "web:1", "fleet_services.web.container.image", "web:1 does not say which registry: write it as registry.example.org/web:1"),
    ("fleet_services.web.container.image", "registry.example.org/web", "fleet_services.web.container.image", "registry.example.org/web has neither digest nor tag: write @sha256:... or a tag such as :1.4.2"),
    ("fleet_services.web.container.image", "registry.example.org/web@sha256:abc", "fleet_services.web.container.image", "registry.example.org/web@sha256:abc has no whole digest: sha256: and 64 hexadecimal digits"),
    ("fleet_services.web.container.image", "registry.example.org/Web:1", "fleet_services.web.container.image", "registry.example.org/Web:1 is no image such as registry.example.org/web@sha256:... (its name is in lower case)"),
    ("fleet_services.web.container.image", GONE, "fleet_services.web.container.image", "is missing: OCI image with its registry, by digest; a tag is resolved to one when the machine's image is built"),
    ("fleet_services.web.container.command", [], "fleet_services.web.container.command", "is empty: name a program, or leave it out for the image's own"),
    ("fleet_services.web.container.command", "serve 'it", "fleet_services.web.container.command", "cannot be split into words: no closing quotation"),
    ("fleet_services.web.container.command", ["serve", None], "fleet_services.web.container.command", "holds nothing: put each word in quotes"),
    ("fleet_services.web.container.user", "web user", "fleet_services.web.container.user", "web user must be a user or a number, with a group after a colon if need be"),
    ("fleet_services.web.container.port", 70000, "fleet_services.web.container.port", "70000 is more than 65535"),
    ("fleet_services.web.role_variables", {"a": 1}, "fleet_services.web.role_variables", "are for roles, and this service is a container: use environment"),
    ("fleet_services.thumbs.role_variables", {"a": NAN}, "fleet_services.thumbs.role_variables.a", "must be something that JSON can hold, not nan"),
    ("fleet_services.web.version", 1.1, "fleet_services.web.version", "must be text, not the number 1.1: put it in quotes, as 1.10 without them is 1.1"),
    ("fleet_services.web.version", "1.1 beta", "fleet_services.web.version", "1.1 beta must be letters, digits and . _ + -, at most 100 of them"),
    ("fleet_services.web.version", True, "fleet_services.web.version", "must be text, not true or false"),
    ("fleet_services.web.size.max", 1, "fleet_services.web.size.max", "1 is less than min 2"),
    ("fleet_services.web.size.desired", 11, "fleet_services.web.size.desired", "11 is more than max 10"),
    ("fleet_services.web.size.desired", 1, "fleet_services.web.size.desired", "1 is less than min 2"),
    ("fleet_services.web.size.min", -1, "fleet_services.web.size.min", "-1 is less than 0"),
    ("fleet_services.web.size.max", 10**30, "fleet_services.web.size.max", "a number of some 30 digits is more than 5000"),
    ("fleet_services.web.scale", 60, "fleet_services.web.scale", "must be a mapping, not a number"),
    ("fleet_services.web.scale", {"metric": "cpu"}, "fleet_services.web.scale.target", "is missing: where it is held, as the average of the hosts: above it hosts are added, well below it they are taken away"),
    ("fleet_services.web.scale", {"metric": "cpu", "taget": 60}, "fleet_services.web.scale.taget", "there is no such key; did you mean target?"),
    ("fleet_services.web.scale", {"metric": "cpu", "target": 0}, "fleet_services.web.scale.target", "0 must be more than 0"),
    ("fleet_services.web.scale", {"metric": "cpu", "target": NAN}, "fleet_services.web.scale.target", "must be a number, not nan"),
    ("fleet_services.web.scale", {"metric": "cpu", "target": True}, "fleet_services.web.scale.target", "must be a number, not true"),
    ("fleet_services.web.scale", {"metric": "requests", "target": 1e12}, "fleet_services.web.scale.target", "1000000000000.0 is more than 1000000000"),
    ("fleet_services.web.scale", {"metric": "cpu", "target": 101.5}, "fleet_services.web.scale.target", "101.5 is more than 100 percent of a processor"),
    ("fleet_services.web.scale", {"metric": "CPU", "target": 60}, "fleet_services.web.scale.metric", "CPU is called cpu here"),
    ("fleet_services.web.scale", {"metric": "ALBRequestCountPerTarget", "target": 60}, "fleet_services.web.scale.metric", "ALBRequestCountPerTarget is called requests here"),
    ("fleet_services.web.scale", {"metric": "queue depth", "target": 60}, "fleet_services.web.scale.metric", "queue depth must be cpu, requests or the name of a metric that the service serves: letters, digits and underscores"),
    ("fleet_services.web.scale", {"metric": "jobs_total", "target": 60}, "fleet_services.web.scale.metric", "jobs_total is a counter by its name, and only grows: take a metric that falls when hosts are added"),
    ("fleet_services.web.scale", {"metric": 5, "target": 60}, "fleet_services.web.scale.metric", "must be cpu, requests or the name of a metric that the service serves, not a number: put it in quotes"),
    ("fleet_services.web.scale", {"metric": "cpu", "target": 60, "port": 9100}, "fleet_services.web.scale.port", "is for a metric of the service's own, and AWS measures cpu: leave it out"),
    ("fleet_services.web.scale", {"metric": "cpu", "target": 60, "warmup": -1}, "fleet_services.web.scale.warmup", "-1 is less than 0"),
    ("fleet_services.sandbox.scale", {"metric": "requests", "target": 60}, "fleet_services.sandbox.scale.metric", "requests are counted by a load balancer, and there is none in front of it: expose it, or name it in the uses of another service"),
    ("fleet_services.sandbox.scale", {"metric": "busy", "target": 60}, "fleet_services.sandbox.scale.metric", "an isolated service has no way to tell AWS its busy: take cpu or requests"),
    ("fleet_data.bus.scale", {"metric": "cpu", "target": 60}, "fleet_data.bus.scale", "there is no such key; there are disk, kind, limits, machine, may_lose_data, nodes, plaintext, purpose"),
    ("fleet_services.web.size.min", True, "fleet_services.web.size.min", "must be a whole number, not true"),
    ("fleet_services.web.size.max", 2.5, "fleet_services.web.size.max", "must be a whole number, not 2.5"),
    ("fleet_services.web.size.max", NAN, "fleet_services.web.size.max", "must be a whole number, not nan"),
    ("fleet_services.web.size", 3, "fleet_services.web.size", "must be a mapping, not a number"),
    ("fleet_services.web.size.minimum", 1, "fleet_services.web.size.minimum", "there is no such key; did you mean min?"),
    ("fleet_services.web.port", 0, "fleet_services.web.port", "0 is less than 1"),
    ("fleet_services.web.port", "http", "fleet_services.web.port", "must be a whole number, not http"),
    ("fleet_services.web.port", 22, "fleet_services.web.port", "22 is SSH's: take another one"),
    ("fleet_services.web.health", "up", "fleet_services.web.health", "up must be a path such as /up: it begins with / and has no blanks"),
    ("fleet_services.web.expose.hosts", "shop.example.org", "fleet_services.web.expose.hosts", "must be a list, not text"),
    ("fleet_services.web.expose.hosts", ["https://shop.example.org"], "fleet_services.web.expose.hosts[0]", "https://shop.example.org must be a name such as shop.example.org or *.example.org, at most 128 characters, without https:// and port"),
    ("fleet_services.web.expose.paths", ["api"], "fleet_services.web.expose.paths[0]", "api must be a path such as /api: it begins with /, has no other wildcard than /* at its end, at most 80 characters"),
    ("fleet_services.web.expose.paths", [], "fleet_services.web.expose.paths", "is an empty list: name at least one, or leave the key out"),
    ("fleet_services.web.expose.certificate", "shop.pem", "fleet_services.web.expose.certificate", "shop.pem is no ARN of a certificate in ACM (arn:aws:acm:REGION:ACCOUNT:certificate/ID), and no mapping of certificate_file and key_file"),
    ("fleet_services.web.expose.certificate", {"certificate_file": "shop.pem"}, "fleet_services.web.expose.certificate.key_file", "is missing: the private key, PEM"),
    ("fleet_services.web.expose.certificate", "arn:aws:acm:us-east-1:123456789012:certificate/a", "fleet_services.web.expose.certificate", "is in us-east-1, and a load balancer in eu-central-1 takes only one of its own region"),
    ("fleet_services.web.expose.port", 80, "fleet_services.web.expose.port", "80 is where plain HTTP is redirected to HTTPS: take another one"),
    ("fleet_services.web.expose.host", "shop.example.org", "fleet_services.web.expose.host", "there is no such key; did you mean hosts?"),
    ("fleet_services.sandbox.expose", {"hosts": ["shop.example.org"], "certificate": "arn:aws:acm:eu-central-1:123456789012:certificate/a"}, "fleet_services.sandbox.expose", "shop.example.org with the path / is exposed by web already"),
    ("fleet_services.sandbox.expose", {"port": 443}, "fleet_services.sandbox.expose.port", "443 is HTTPS for web already: one port cannot be both"),
    ("fleet_services.web.uses", ["web"], "fleet_services.web.uses[0]", "web cannot use itself"),
    ("fleet_services.web.uses", ["buss"], "fleet_services.web.uses[0]", "there is no buss; did you mean bus?"),
    ("fleet_services.web.uses", ["mail"], "fleet_services.web.uses[0]", "there is no mail; there are bus, cache, sandbox, store, thumbs, web"),
    ("fleet_services.web.uses", ["bus", "bus"], "fleet_services.web.uses[1]", "bus is here twice"),
    ("fleet_services.web.uses", "bus", "fleet_services.web.uses", "must be a list, not text"),
    ("fleet_services.web.uses", [None], "fleet_services.web.uses[0]", "must be the name of a service or a data service, not nothing"),
    ("fleet_services.thumbs.uses", ["web"], "fleet_services.thumbs.uses", "goes round in a circle: thumbs uses web, which uses thumbs; one of them must not use the next"),
    ("fleet_services.web.environment", {"BUS_URL": "nats://localhost"}, "fleet_services.web.environment.BUS_URL", "comes from uses already, for bus: leave it out"),
    ("fleet_services.web.environment", {"RAILS-ENV": "production"}, "fleet_services.web.environment.RAILS-ENV", "the name must be letters, digits and underscores, and not begin with a digit"),
    ("fleet_services.web.environment", {1: "a"}, "fleet_services.web.environment.1", "the name must be text, not a number: put it in quotes"),
    ("fleet_services.web.environment", {"A": None}, "fleet_services.web.environment.A", "must be text, a number, true or false, not nothing"),
    ("fleet_services.web.environment", {"A": ["b"]}, "fleet_services.web.environment.A", "must be text, a number, true or false, not a list"),
    ("fleet_services.web.environment", {"A": "b\nc"}, "fleet_services.web.environment.A", "has more than one line or other control characters: write a file with `files` instead"),
    ("fleet_services.web.environment", {"A": "b\ufffe"}, "fleet_services.web.environment.A", "has a character that Unicode keeps for no text, for which systemd would drop the whole environment: take it out"),
    ("fleet_services.web.environment", {"A": NAN}, "fleet_services.web.environment.A", "must be text, a number, true or false, not nan"),
    ("fleet_services.web.environment", ["RAILS_ENV=production"], "fleet_services.web.environment", "must be a mapping, not a list"),
    ("fleet_services.web.secrets", {"SECRET_KEY_BASE": "hunter2"}, "fleet_services.web.secrets.SECRET_KEY_BASE", "must be the path of a parameter such as /shop/secret_key_base, and never the secret itself: letters, digits and _ . -, at most 15 levels"),
    ("fleet_services.web.secrets", {"A": "/aws/reference/x"}, "fleet_services.web.secrets.A", "begins with /aws or /ssm, which Parameter Store keeps for AWS"),
    ("fleet_services.web.secrets", {"A": "/boring/fleets/other/data/bus/users/web/password"}, "fleet_services.web.secrets.A", "is below /boring/, where fleets keep their own: name uses instead, or another path"),
    ("fleet_services.web.secrets", {"RAILS_ENV": "/shop/env"}, "fleet_services.web.secrets.RAILS_ENV", "is in environment too: leave one of them out"),
    ("fleet_services.web.secrets", {"BUS_PASSWORD": "/shop/bus"}, "fleet_services.web.secrets.BUS_PASSWORD", "comes from uses already, for bus: leave it out"),
    ("fleet_services.web.secrets", {"A": 7}, "fleet_services.web.secrets.A", "must be the path of a parameter such as /shop/secret_key_base, and never the secret itself"),
    ("fleet_services.web.files", [{"path": "/etc/a", "permissions": 420}], "fleet_services.web.files[0].permissions", "must be a mode such as '0644', not 420: put it in quotes, as 0644 without them is the number 420"),
    ("fleet_services.web.files", [{"content": "a"}], "fleet_services.web.files[0].path", "is missing: path on the host"),
    ("fleet_services.web.files", [{"path": "etc/a"}], "fleet_services.web.files[0].path", "etc/a must be an absolute path"),
    ("fleet_services.web.files", [{"path": "/etc/a"}, {"path": "/etc/a", "content": "b"}], "fleet_services.web.files[1].path", "is the path of files[0] too"),
    ("fleet_services.web.files", [{"path": "/etc/fleet/environment"}], "fleet_services.web.files[0].path", "is written by this collection: take another path than /etc/fleet/ and /etc/fleet-release"),
    ("fleet_services.web.files", [{"path": "/etc/a", "content": "x" * 20_000}], "fleet_services.web.files", "are 20019 bytes together with the environment, and user data takes 12000: put them into the image"),
    ("fleet_services.web.files", [{"path": "/etc/a", "content": {}}], "fleet_services.web.files[0].content", "must be text, not a mapping"),
    ("fleet_services.sandbox.uses", ["bus"], "fleet_services.sandbox.uses", "is not for an isolated service, which reaches nothing of the fleet: leave one of them out"),
    ("fleet_services.sandbox.secrets", {"A": "/shop/a"}, "fleet_services.sandbox.secrets", "an isolated service cannot fetch secrets from Parameter Store: add its address with port 443 to egress"),
    ("fleet_services.sandbox.isolated", 2, "fleet_services.sandbox.isolated", "must be true or false, not 2"),
    ("fleet_services.web.egress", ["10.0.0.0/8:443", "0.0.0.0/0"], "fleet_services.web.egress[1]", "0.0.0.0/0 has no port: write it as 0.0.0.0/0:443 or [::/0]:443"),
    ("fleet_services.web.egress", ["10.0.0.0/8:http"], "fleet_services.web.egress[0]", "10.0.0.0/8:http has the port http: give one from 1 to 65535, or a range such as 8000-8010"),
    ("fleet_services.web.egress", ["[::/0:443"], "fleet_services.web.egress[0]", "[::/0:443 has half of its brackets: write it as [::/0]:443"),
    ("fleet_services.web.egress", ["169.254.169.254/32:80"], "fleet_services.web.egress[0]", "169.254.169.254/32:80 is the instance's own metadata and its like, which egress cannot open"),
    ("fleet_services.web.egress", ["10.0.0.1/8:443"], "fleet_services.web.egress[0]", "10.0.0.1/8 has bits beyond its mask: write 10.0.0.0/8, or 10.0.0.1/32"),
    ("fleet_services.web.egress", ["10.0.0.0/8:5432"], "fleet_services.web.secrets", "a service whose egress has no port 443 cannot fetch secrets from Parameter Store: add its address with port 443 to egress"),
    ("fleet_services.web.roll", {"batchsize": 2}, "fleet_services.web.roll.batchsize", "there is no such key; did you mean batch_size?"),
    ("fleet_services.web.roll", {"batch_size": "150%"}, "fleet_services.web.roll.batch_size", "is '150%': a share of the group is at most 100%"),
    ("fleet_services.web.roll", {"group": "web"}, "fleet_services.web.roll.group", "there is no such key; there are bake_time, batch_size, batch_timeout, canary, drain, health_checks, instances, lock_timeout, match, max_age, max_failures, max_unavailable, min_healthy_time, on_failure, poll_interval, protected, raise_max_size, standby, strategy, suspend_az_rebalance"),
    ("fleet_services.web.roll", {"on_failure": "panic"}, "fleet_services.web.roll.on_failure", "must be stop or rollback, not panic"),
    ("fleet_services.web.roll", {"canary": "one"}, "fleet_services.web.roll.canary", "must be a whole number, not one"),
    ("fleet_services.web.roll", {"max_failures": -1}, "fleet_services.web.roll.max_failures", "is -1: it must be at least 0"),
    ("fleet_services.web.roll", {"health_checks": [{"type": "http"}]}, "fleet_services.web.roll.health_checks[0]", "type http needs port"),
    ("fleet_services.web.roll", {"match": "age"}, "fleet_services.web.roll", "match=age needs max_age: the age in seconds beyond which an instance is due"),
    ("fleet_services.web.roll", {"strategy": "instance_refresh", "drain": {"type": "http", "port": 1}}, "fleet_services.web.roll.drain", "cannot be honoured by strategy=instance_refresh, which tells nobody before it terminates: use strategy=batches, or give the group a lifecycle hook"),
    ("fleet_overrides", {"fleet_servces": {}}, "fleet_overrides.fleet_servces", "there is no such variable; did you mean fleet_services?"),
    ("fleet_overrides", ["a"], "fleet_overrides", "must be a mapping, not a list"),
    ("fleet_overrides", {"fleet_services": {"web": {"size": {"max": 1}}}}, "fleet_services.web.size.max", "1 is less than min 2"),
]
# fmt: on


def mistakes(variables: dict[str, Any], known: Known | None = None) -> list[tuple[str, str]]:
    with pytest.raises(FleetError) as refused:
        read_fleet(variables, known=known)
    assert str(refused.value) == "\n".join(f"{one.path}: {one.words}" for one in refused.value.mistakes)
    return [(one.path, one.words) for one in refused.value.mistakes]


def test_the_fleet_that_they_begin_from_is_taken() -> None:
    assert read_fleet(shop()).order == ("bus", "cache", "store", "sandbox", "thumbs", "web")


@pytest.mark.parametrize(("where", "value", "path", "words"), BROKEN)
def test_each_has_its_sentence(where: str, value: Any, path: str, words: str) -> None:
    assert mistakes(changed(where, value)) == [(path, words)]


SCALE = {"metric": "busy", "target": 1}


@pytest.mark.parametrize(
    ("service", "path", "words"),
    [
        ({"size": {"min": 2, "max": 2}, "port": 80, "scale": SCALE}, "scale", "min and max are both 2, which leaves nothing to decide: make max more than min, or leave scale out"),
        ({"port": 80, "scale": {"metric": "cpu", "target": 60}}, "scale", "min and max are both 1, which leaves nothing to decide: make max more than min, or leave scale out"),
        ({"size": {"min": 0, "max": 2}, "port": 80, "scale": SCALE}, "size.min", "0 leaves no host to measure, from which the group would never grow again: give 1 or more, or leave scale out"),
        ({"size": {"max": 2}, "scale": SCALE}, "scale.metric", "busy is the service's own, and there is no port at which its /metrics is: give scale a port"),
        ({"size": {"max": 2}, "port": 80, "egress": ["10.0.0.0/8:5432"], "scale": SCALE}, "egress", "has no port 443, on which hosts tell AWS their busy: add it"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed(service: dict[str, Any], path: str, words: str) -> None:
    assert mistakes(small(web=service)) == [(f"fleet_services.web.{path}", words)]


@pytest.mark.parametrize(
    "change",
    [
        {"scale": {**SCALE, "port": 9100}},
        {"scale": SCALE, "port": 80},
        {"scale": {"metric": "cpu", "target": "60.5"}, "isolated": True},
    ],
)
def test_what_can_be_followed(change: dict[str, Any]) -> None:
    assert read_fleet(small(web={"size": {"max": 2}, **change})).services["web"].scale


def test_what_is_wrong_with_the_size_is_said_once() -> None:
    given = small(web={"size": {"min": 3, "max": 2}, "port": 80, "scale": SCALE})
    assert mistakes(given) == [("fleet_services.web.size.max", "2 is less than min 3")]


def test_all_mistakes_come_at_once_and_in_order() -> None:
    variables = shop(name="Shop", regoin="eu-west-1", network={"clients": ["all"]})
    del variables["fleet_region"]
    variables["fleet_services"]["web"] |= {"prot": 8000, "size": {"min": 2, "max": 1}, "uses": ["buss"]}
    variables["fleet_data"]["store"]["nodes"] = 2
    assert [path for path, dummy in mistakes(variables)] == [
        "fleet_data.store.nodes",
        "fleet_name",
        "fleet_network.clients[0]",
        "fleet_regoin",
        "fleet_services.web.prot",
        "fleet_services.web.size.max",
        "fleet_services.web.uses[0]",
    ]


def test_a_mistake_does_not_bring_others_with_it() -> None:
    # The misspelt key would be the service's container, its class is unreadable, and web uses it all the same.
    variables = shop()
    thumbs = variables["fleet_services"]["thumbs"]
    thumbs["role"] = thumbs.pop("roles")
    variables["fleet_machines"]["gpu"] = "g5.xlarge"
    assert mistakes(variables) == [
        ("fleet_machines.gpu", "must be a mapping, not text"),
        ("fleet_services.thumbs.role", "there is no such key; did you mean roles?"),
    ]


def test_a_service_without_port_is_named_where_it_matters() -> None:
    assert mistakes(changed("fleet_services.thumbs.port", GONE)) == [
        ("fleet_services.thumbs.health", "needs port: without it there is none that can be asked"),
        ("fleet_services.web.uses[2]", "thumbs has no port, and so nothing to use"),
    ]


def test_entries_of_lists_keep_their_numbers() -> None:
    variables = changed("fleet_services.web.uses", ["Bus", "bus", "mail", 7])
    variables["fleet_services"]["web"]["files"] = [{"path": "etc/a"}, {"path": "/etc/fleet/b"}]
    assert [path for path, dummy in mistakes(variables)] == [
        "fleet_services.web.files[0].path",
        "fleet_services.web.files[1].path",
        "fleet_services.web.uses[0]",
        "fleet_services.web.uses[2]",
        "fleet_services.web.uses[3]",
    ]


def test_circles_are_drawn_once_each() -> None:
    ring = {name: {"port": 1, "uses": [after]} for name, after in zip("abcxy", "bcayx", strict=True)}
    assert mistakes(small(**ring)) == [
        ("fleet_services.a.uses", "goes round in a circle: a uses b, which uses c, which uses a; one of them must not use the next"),
        ("fleet_services.x.uses", "goes round in a circle: x uses y, which uses x; one of them must not use the next"),
    ]  # fmt: skip


def test_a_long_chain_is_no_circle() -> None:
    chain = {f"s{number}": {"port": 1, "uses": [f"s{number + 1}"] if number < 1500 else []} for number in range(1501)}
    assert read_fleet(small(**chain)).order[0] == "s1500"


def test_profiles_and_locks_must_be_there() -> None:
    known = Known(frozenset({"cpu", "gpu-tesla"}), lambda path: path == "locks/there.json")
    variables = changed("fleet_machines.cpu.lock", "locks/there.json")
    assert mistakes(variables, known) == [
        ("fleet_machines.gpu.lock", "there is no file locks/debian-13-amd64-proprietary.lock.json, neither below packer/ nor from where you are"),
        ("fleet_machines.gpu.profile", "there is no profile gpu; there are cpu, gpu-tesla"),
    ]  # fmt: skip


def test_a_fleet_of_nothing() -> None:
    assert mistakes({"fleet_name": "shop", "fleet_region": "eu-central-1"}) == [
        ("fleet_services", "there is none, and no fleet_data either: name at least one")
    ]


def test_without_a_usual_class_a_machine_must_be_named() -> None:
    machines = {name: {"profile": "cpu", "instance_type": "t3.medium"} for name in ("small", "large")}
    assert mistakes({**small(web={}), "fleet_machines": machines}) == [
        (
            "fleet_services.web.machine",
            "is missing, and no class of fleet_machines is called cpu; there are large, small",
        )
    ]


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        (
            ["*.eu.example.org"],
            "*.eu.example.org and *.example.org of a stand for some of the same names: write those names out",
        ),
        (["*.example.org"], "*.example.org with the path / is exposed by a already"),
        ([], None),
    ],
)
def test_who_answers_is_never_left_to_chance(hosts: list[str], words: str | None) -> None:
    variables = small(a={"port": 1, "expose": {"hosts": ["*.example.org"]}}, b={"port": 1, "expose": {"hosts": hosts}})
    if words is None:
        read_fleet(variables)
    else:
        assert mistakes(variables) == [("fleet_services.b.expose", words)]


def test_plain_http_does_not_take_what_is_redirected() -> None:
    secure = {"port": 1, "expose": {"hosts": ["a.example.org"], "certificate": ARN}}
    plain = {"port": 1, "expose": {"hosts": ["a.example.org"]}}
    assert mistakes(small(a=secure, b=plain)) == [
        ("fleet_services.b.expose", "a.example.org with the path / is exposed by a already")
    ]


def test_more_rules_than_a_load_balancer_has() -> None:
    hosts = [f"h{number}.example.org" for number in range(101)]
    assert mistakes(small(a={"port": 1, "expose": {"hosts": hosts}})) == [
        ("fleet_services", "expose 101 hosts and paths on one port, and a load balancer takes 100 rules: use a wildcard host or fewer paths")
    ]  # fmt: skip
    read_fleet(small(a={"port": 1, "expose": {"hosts": hosts[:100]}}))


@pytest.mark.parametrize(
    ("kind", "name"), [("redis", "admin"), ("redis", "exporter"), ("redis", "responder"), ("nats", "system")]
)
def test_a_service_is_no_user_that_the_data_service_has_itself(kind: str, name: str) -> None:
    data = {"store": {"kind": kind, "nodes": 3, **({"purpose": "store"} if kind == "redis" else {})}}
    assert mistakes({**small(**{name: {"uses": ["store"]}}), "fleet_data": data}) == [
        (
            f"fleet_services.{name}.uses[0]",
            f"store has a user {name} of its own, so that no service of that name can use it: give the service another name",
        )
    ]
    read_fleet({**small(web={"uses": ["store"]}, **{name: {}}), "fleet_data": data})


@pytest.mark.parametrize("secret", ["hunter2", "hunter2\n", ["hunter2"], {"hunter2": 1}])
@pytest.mark.parametrize("where", ["secrets", "environment"])
def test_what_may_be_a_secret_is_never_shown(secret: Any, where: str) -> None:
    value = secret if where == "secrets" else f"{secret}\0"
    (found,) = mistakes(changed(f"fleet_services.web.{where}", {"KEY": value}))
    assert "hunter2" not in " ".join(found)


def test_values_from_the_command_line_are_text() -> None:
    variables = shop(network='{"clients": ["10.0.0.0/8"]}')
    web = variables["fleet_services"]["web"]
    web |= {"port": "8000", "size": {"min": "2", "max": "10"}, "isolated": "no", "tls": "True"}
    fleet = read_fleet(variables)
    assert (fleet.network.clients, fleet.services["web"].port) == (("10.0.0.0/8",), 8000)
    assert (fleet.services["web"].size.max, fleet.services["web"].isolated, fleet.services["web"].tls) == (
        10,
        False,
        True,
    )
    assert mistakes(shop(network='{"clients": [')) == [("fleet_network", "must be a mapping, not text")]


def test_variables_of_others_are_left_alone() -> None:
    others = {
        "fleet_state_dir": ".",
        "fleet_images": {},
        "fleet_api_size": {},
        "service": 1,
        "servces": 1,
        "fleet": None,
        "x": float("nan"),
    }
    assert read_fleet({**shop(), **others}) == read_fleet(shop())
    assert not holds_fleet({**others, "fleet_name": "shop", "fleet_region": "eu-central-1"})
    for name in ("fleet_data", "fleet_network", "fleet_servces", "fleet-services", "fleet_overides"):
        assert holds_fleet({**others, name: None})


def test_roles_must_be_installed() -> None:
    assert mistakes(shop(), Known(has_role=lambda role: False)) == [
        (
            "fleet_services.thumbs.roles[0]",
            "there is no role acme.shop.thumbs with tasks/install.yml: install its collection first",
        )
    ]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**30, 10**40) | st.floats() | st.text() | st.sampled_from(["web", "bus", "/", "0.0.0.0/0:443"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers() | st.none() | st.booleans(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(value: Any, *before: Any) -> list[tuple[Any, ...]]:
    """The way to every value in a document."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for key, part in parts for way in [(*before, key), *places(part, *before, key)]]


@settings(max_examples=400, deadline=None)
@given(way=st.sampled_from(places(shop())), value=ANY)
def test_anything_anywhere_is_read_or_refused(way: tuple[Any, ...], value: Any) -> None:
    variables: Any = shop()
    at = variables
    for part in way[:-1]:
        at = at[part]
    at[way[-1]] = value
    try:
        json.dumps(lists(read_fleet(variables)), allow_nan=False)
    except FleetError as refused:
        assert refused.mistakes
        assert all(one.path.startswith("fleet_") and one.words.isprintable() for one in refused.mistakes)
