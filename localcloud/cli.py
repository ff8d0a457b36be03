# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m localcloud``: a cloud up, stopped, down; what is in it; what it logged."""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from localcloud.hosts import base
from localcloud.hosts.fence import Fence
from localcloud.hosts.fleet import LABEL
from localcloud.hosts.podman import STOP_SECONDS, HostError, Podman, alive
from localcloud.settings import DAEMON, OWN, Directory, Refusal, Settings

PORT, SUBNET, REGION = 4577, "172.31.0.0/16", "eu-central-1"
_UP_SECONDS = 180
_SERVER_STOP_SECONDS = 60


def main(argv: list[str] | None = None) -> int:
    """Run a command; errors are one sentence on stderr."""
    options = _parser().parse_args(argv)
    directory = Directory(options.state_dir, options.name)
    try:
        directory.check()
        command: Callable[[argparse.Namespace, Directory], int] = options.command
        return command(options, directory)
    except (Refusal, HostError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'localcloud'}: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; run the same command again to go on.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m localcloud", description="AWS's API on loopback with real hosts.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    def verb(name: str, command: Callable[[argparse.Namespace, Directory], int], text: str) -> argparse.ArgumentParser:
        found = verbs.add_parser(name, help=text, description=text)
        found.set_defaults(command=command)
        found.add_argument("--name", type=_name, default="main", help="which cloud (main)")
        found.add_argument("--state-dir", type=Path, default=Path("build/localcloud"), help="where clouds keep state")
        return found

    up = verb("up", _up, "Start a cloud, or bring a stopped one back; does nothing if it is up.")
    up.add_argument("--port", type=int, help=f"of the API on 127.0.0.1 ({PORT})")
    up.add_argument("--subnet", type=_subnet, help=f"of the hosts, /16 to /24 ({SUBNET})")
    up.add_argument("--region", help=f"the one region ({REGION}, or AWS_DEFAULT_REGION)")
    up.add_argument("--base", nargs="+", choices=sorted(base.SUITES), help="base images to offer (debian-13)")
    up.add_argument(
        "--reach",
        nargs="*",
        type=_network,
        help="networks that hosts may reach though they are private, such as a mirror's",
    )
    up.add_argument("--rootfs", type=Path, default=Path("build/rootfs"), help="where base images are cached")
    up.add_argument("--quiet", action="store_true", help="print no export lines")
    verb("env", _env, "Print the export lines of a cloud that is up: its endpoint, region and key.")
    faults = verb("faults", _faults, "Print the faults that are armed, after arming those that are given.")
    faults.add_argument("fault", nargs="*", help='a fault as JSON, such as \'{"kind": "boot", "outcome": "hang"}\'')
    faults.add_argument("--clear", action="store_true", help="disarm those that are armed, first")
    verb("stop", _stop, "Stop the API and the hosts; everything is kept for the next up.")
    verb("down", _down, "Take the cloud away: hosts, images, network, state.")
    status = verb("status", _status, "Say what is in the cloud.")
    status.add_argument("--json", action="store_true", help="as JSON")
    logs = verb("logs", _logs, "Print the cloud's log, or a host's journal.")
    logs.add_argument("instance", nargs="?", help="an instance id")
    logs.add_argument("--follow", "-f", action="store_true", help="go on printing")
    bases = verbs.add_parser("base", help="Build base images only; they are cached.")
    bases.add_argument("releases", nargs="*", default=["debian-13"], choices=[*sorted(base.SUITES)])
    bases.add_argument("--rootfs", type=Path, default=Path("build/rootfs"), help="where base images are cached")
    bases.add_argument("--refresh", action="store_true", help="build anew from today's packages")
    bases.set_defaults(command=_base, name="main", state_dir=Path("build/localcloud"))
    return parser


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", text):
        raise argparse.ArgumentTypeError("lower-case letters, digits and hyphens, please")
    return text


def _subnet(text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not 16 <= network.prefixlen <= 24 or not network.is_private:
        raise argparse.ArgumentTypeError("a private IPv4 network from /16 to /24, please")
    return str(network)


def _network(text: str) -> str:
    try:
        return str(ipaddress.IPv4Network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- commands ------------------------------------------------------------------------------------------------------


def _up(options: argparse.Namespace, directory: Directory) -> int:
    podman = Podman()
    podman.require()
    _refuse_namesakes(directory)
    directory.make()
    before = Settings.read(directory.path)
    if before is not None and options.subnet not in {None, before.subnet}:
        raise Refusal(f"Cloud {options.name} has the network {before.subnet}; take it down before you choose another.")
    if before is None:  # there may be processes whose files were deleted under them
        _end_server(directory)
        _end(directory.proxies())
    elif directory.server():
        if options.port not in {None, before.port}:
            raise Refusal(f"Cloud {options.name} is up on port {before.port}; stop it before you choose another.")
        _wait_ready(directory, before)
        _announce(options, before)
        return 0
    wanted = options.base or ([b.release for b in before.bases] if before else ["debian-13"])
    settings = Settings(
        name=options.name,
        port=options.port or (before.port if before else PORT),
        subnet=options.subnet or (before.subnet if before else SUBNET),
        region=options.region or (before.region if before else os.environ.get("AWS_DEFAULT_REGION") or REGION),
        bases=[base.ensure(release, options.rootfs, podman, _tell) for release in wanted],
        reach=(before.reach if before else []) if options.reach is None else options.reach,
        **({"key": before.key} if before else {}),
    )
    settings.write(directory.path)
    with directory.log.open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", DAEMON, directory.path],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_root()), os.environ.get("PYTHONPATH", "")])},
        )  # fmt: skip
    try:
        _wait_ready(directory, settings, server)
    except Refusal:
        if before is None:
            _down(options, directory)  # nothing was made that is worth keeping
        raise
    _announce(options, settings)
    return 0


def _refuse_namesakes(directory: Directory) -> None:
    if places := directory.namesakes():
        raise Refusal(
            f"A cloud {directory.name} is up, and its files are in {places[0]}: take that one down "
            f"(--state-dir {places[0].parent}), or choose another --name."
        )


def _root() -> Path:
    return Path(__file__).resolve().parent.parent


def _announce(options: argparse.Namespace, settings: Settings) -> None:
    if not options.quiet:
        for key, value in settings.environment.items():
            print(f"export {key}={value}")


def _wait_ready(directory: Directory, settings: Settings, server: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + _UP_SECONDS
    while time.monotonic() < deadline:
        if server is not None and server.poll() is not None:
            raise Refusal(directory.last_words() or f"The server ended: {directory.log} says more.")
        with suppress(OSError, ValueError, http.client.HTTPException):
            health = _ask(settings, "health", seconds=5)
            if health.get("name") == directory.name and health.get("ready"):
                return
        time.sleep(0.1)
    raise Refusal(f"Cloud {directory.name} is not ready after {_UP_SECONDS} s: {directory.log} says more.")


def _ask(settings: Settings, path: str, seconds: float, method: str = "GET", body: str = "") -> dict[str, Any]:
    """What a cloud says to its owner."""
    url = f"{settings.endpoint}/_localcloud/{path}"
    request = AWSRequest(method=method, url=url, data=body.encode())
    SigV4Auth(Credentials(settings.key.access_key, settings.key.secret_key), OWN, settings.region).add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", settings.port, timeout=seconds)
    try:
        connection.request(method, f"/_localcloud/{path}", body.encode() or None, dict(request.headers.items()))
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return answer


def _running(directory: Directory) -> Settings:
    settings = Settings.read(directory.path)
    if settings is None or not directory.server():
        raise Refusal(
            f"Cloud {directory.name} is not up: start it with `python -m localcloud up --name {directory.name}`."
        )
    return settings


def _env(options: argparse.Namespace, directory: Directory) -> int:
    options.quiet = False
    _announce(options, _running(directory))
    return 0


def _faults(options: argparse.Namespace, directory: Directory) -> int:
    settings = _running(directory)
    if options.clear:
        _ask(settings, "faults", 30, "DELETE")
    for fault in options.fault:
        if "error" in (answer := _ask(settings, "faults", 30, "POST", fault)):
            raise Refusal(answer["error"])
    for armed in _ask(settings, "faults", 30)["faults"]:
        print(json.dumps(armed))
    return 0


def _stop(_: argparse.Namespace, directory: Directory) -> int:
    podman = Podman()
    podman.require()
    _end_server(directory)
    running = [c.name for c in podman.containers(**{LABEL: directory.name}) if c.state == "running"]
    if running:
        podman("stop", f"--time={STOP_SECONDS}", *running, seconds=STOP_SECONDS + 60)
    return 0


def _end_server(directory: Directory) -> None:
    """Ask the server to end, and wait until its process is gone; kill it if it does not."""
    _end([pid for pid in [directory.server()] if pid])


def _end(pids: list[int]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + _SERVER_STOP_SECONDS
        while any(map(alive, pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not any(map(alive, pids)):
            return


def _down(_: argparse.Namespace, directory: Directory) -> int:
    podman = Podman()
    podman.require()
    _refuse_namesakes(directory)
    _end_server(directory)
    _end(directory.proxies())  # a server that was killed leaves one behind
    podman.remove(*[container.name for container in podman.containers(**{LABEL: directory.name})])
    podman.untag(podman.images(f"localhost/lc-{directory.name}/"))
    podman.remove_network(f"lc-{directory.name}")
    Fence(directory.name, "", "", 0).down()
    shutil.rmtree(directory.path, ignore_errors=True)
    with suppress(OSError):
        directory.path.parent.rmdir()  # if it was the last cloud
    return 0


def _status(options: argparse.Namespace, directory: Directory) -> int:
    settings = Settings.read(directory.path)
    if settings is None or not directory.server():
        state = "down" if settings is None else "stopped"
        print(json.dumps({"name": directory.name, "state": state}) if options.json else f"{directory.name}: {state}")
        return 0
    about = {"state": "up", **_ask(settings, "status", seconds=30)}
    if options.json:
        print(json.dumps(about, indent=2))
        return 0
    print(f"{about['name']}: up at {about['endpoint']}, region {about['region']}, hosts in {about['subnet']}")
    for instance in about["instances"]:
        print(f"  {instance['id']}  {instance['state']:<13} {instance['address']:<15} {instance['name']}")
    for group in about["groups"]:
        print(f"  group {group['name']}: {group['in_service']} of {group['desired']} in service")
    for balancer in about["load_balancers"]:
        print(f"  load balancer {balancer['name']}: http://{balancer['address']}/")
    for image in about["images"]:
        print(f"  image {image['id']}  {image['name']}")
    return 0


def _logs(options: argparse.Namespace, directory: Directory) -> int:
    if options.instance:
        container = f"lc-{directory.name}-{options.instance}"
        command = ["podman", "exec", container, "journalctl", "--no-pager", *(["--follow"] if options.follow else [])]
    elif not directory.log.exists():
        raise Refusal(f"There is no cloud {directory.name} in {directory.path.parent}.")
    else:
        command = ["tail", "--lines=200", *(["--follow"] if options.follow else []), str(directory.log)]
    return subprocess.run(command, check=False).returncode


def _base(options: argparse.Namespace, _: Directory) -> int:
    podman = Podman()
    podman.require()
    for release in options.releases:
        print(base.ensure(release, options.rootfs, podman, _tell, refresh=options.refresh).alias)
    return 0
