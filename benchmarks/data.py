# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles redis and nats against the same packages with a minimal configuration written by hand, on one host.

Both have the same certificates, TLS, password and persistence; the roles add users with rules, accounts, limits and the
sandbox. A ratio is the median of the rounds' ratios: the machine's mood touches both. Rounds go through every order, because
what ran before is felt by what runs next. The load comes from outside the host, over its network. `make bench-data` runs it.

What was lost is counted by the Molecule scenarios redis_cluster and nats_cluster. They run then, both at once, unless
nothing that they test changed since they passed.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402

from benchmarks import figures, nats_load  # noqa: E402
from localcloud.scratch import ProgramError, run  # noqa: E402

SCENARIO = ROOT / "molecule" / "bench_data"
PLACE = ROOT / "build" / "bench" / "data"  # the scenario's own files, its CA too
ORDERS = list(itertools.permutations(("role", "stock", "plain")))
ROUNDS = 4 * len(ORDERS)  # of nine, the middle ratio of one load was 0.97 once and 0.91 half an hour later
SECONDS = 1.0  # of load a round and server
CLIENTS = 50
USER, PASSWORD = "app", "correct-horse-battery-staple-app"
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{ROOT / 'build' / 'venv' / 'bin'}:{ROOT / 'build' / 'bin'}:{os.environ['PATH']}",
    "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
    "ANSIBLE_HOME": str(ROOT / "build" / "ansible"),
    "XDG_CACHE_HOME": str(ROOT / "build" / "cache"),
}
OURS = {**ENVIRONMENT, "MOLECULE_EPHEMERAL_DIRECTORY": str(PLACE)}

Load = Callable[[], float]  # requests a second


class BenchError(Exception):
    """One sentence for the person at the terminal."""


def run_scenario(scenario: str) -> None:
    """Whole; its tests keep what they counted."""
    run(scenario, ["molecule", "test", "-s", scenario], 2700, environment=ENVIRONMENT)


def count_losses() -> tuple[int, list[str]]:
    """Confirmed writes lost in the cluster scenarios, and a line for each thing that was done to them."""
    missing = [scenario for scenario in figures.SOURCES if figures.kept(scenario) is None]
    if missing:
        print(f"bench: counting what clusters lose, {' and '.join(missing)} (some fifteen minutes) ...", flush=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(run_scenario, missing))  # list(): an error of a thread is raised here
    lost, lines = 0, []
    for scenario in figures.SOURCES:
        kept = figures.kept(scenario)
        if kept is None:
            raise BenchError(f"something that {scenario} tests changed while it ran; run this again")
        for what, found in kept.items():
            lost += found["lost"]
            beside = (
                f" (acknowledged by the master alone: {found['lost_unconfirmed']})"
                if "lost_unconfirmed" in found
                else ""
            )
            lines.append(
                f"bench: {scenario.replace('_', ' ')}, {what}: lost {found['lost']} of "
                f"{found.get('confirmed', found['acknowledged'])}{beside}, longest pause {found['longest_pause_ms']} ms, "
                f"errors of a client that retries {found['errors']}"
            )
    return lost, lines


def converge(tag: str) -> float:
    """Apply the role again; seconds. It must change nothing."""
    began = time.monotonic()
    said = run(
        f"a second run of the role {tag}",
        ["ansible-playbook", "--inventory", str(PLACE / "inventory"), "--tags", tag, str(SCENARIO / "converge.yml")],
        300, environment={**OURS, "ANSIBLE_CONFIG": str(PLACE / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    seconds = time.monotonic() - began
    if " changed=0 " not in said:
        raise BenchError(f"a second run of the role {tag} changed something:\n{said[-2000:]}")
    return seconds


def redis_load(host: str, port: int, *words: str, tls: bool = True) -> Load:
    """One command by redis-benchmark, which counts requests; so many as the round before says are enough."""
    secure = ["--tls", "--cacert", str(PLACE / "ca" / "ca.pem")] if tls else []
    argv = [
        "redis-benchmark", "-h", host, "-p", str(port), *secure, "--user", USER, "-a", PASSWORD,
        "-c", str(CLIENTS), "-r", "100000", "--csv",
    ]  # fmt: skip
    rate = 20_000.0

    def load() -> float:
        nonlocal rate
        said = run("redis-benchmark", [*argv, "-n", str(int(rate * SECONDS)), *words], 120)
        rows = [row for row in csv.reader(io.StringIO(said)) if len(row) > 2 and row[1].replace(".", "").isdigit()]
        if len(rows) != 1:
            raise BenchError(f"redis-benchmark gave no figures: {said[-300:]}")
        rate = float(rows[0][1])
        return rate

    return load


def nats_load_of(host: str, port: int, kind: Callable[[nats_load.Server, float], float], *, tls: bool = True) -> Load:
    server = nats_load.Server(host, port, USER, PASSWORD, str(PLACE / "ca" / "ca.pem") if tls else None)
    return lambda: kind(server, SECONDS)


@dataclass(frozen=True)
class Compared:
    """Medians of requests a second, and of the rounds' ratios to the minimal configuration."""

    what: str
    role: float
    stock: float
    plain: float
    ratio: float
    tls: float  # of plain text, both minimal


def compare(what: str, **loads: Load) -> Compared:
    """As many rounds in each order. The first round is thrown away."""
    rounds: list[dict[str, float]] = []
    for number in range(ROUNDS + 1):
        found = {name: loads[name]() for name in ORDERS[number % len(ORDERS)]}
        if number:
            rounds.append(found)
    middle = {name: statistics.median(found[name] for found in rounds) for name in loads}
    low, ratio, high = statistics.quantiles((found["role"] / found["stock"] for found in rounds), n=4)
    compared = Compared(
        what, **middle, ratio=ratio,
        tls=statistics.median(found["stock"] / found["plain"] for found in rounds),
    )  # fmt: skip
    print(
        f"bench: {what:<28} {compared.role:>9,.0f}/s role {compared.stock:>9,.0f}/s stock {compared.plain:>9,.0f}/s stock in "
        f"plain text; role {ratio:.2f} of stock (half of the rounds {low:.2f} to {high:.2f}), TLS {compared.tls:.2f} of plain text",
        flush=True,
    )
    return compared


def measure() -> tuple[float, float]:
    """Make the host, measure, and take it away; the lowest ratio of Redis and of NATS."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    print("bench: a host with both roles, and beside them both with a minimal configuration ...", flush=True)
    try:
        for verb in ("create", "prepare", "converge"):
            run(f"molecule {verb} of bench_data", ["molecule", verb, "-s", "bench_data"], 600, environment=OURS)
        [instance] = yaml.safe_load((PLACE / "instance_config.yml").read_text())
        host = instance["address"]
        redis = [
            compare(
                f"redis {name}",
                role=redis_load(host, 6379, *words), stock=redis_load(host, 16380, *words),
                plain=redis_load(host, 16379, *words, tls=False),
            )
            for name, words in (
                ("SET", ("SET", "app:__rand_int__", "x" * 64)),
                ("GET", ("GET", "app:__rand_int__")),
                ("SET, 16 at once", ("-P", "16", "SET", "app:__rand_int__", "x" * 64)),
            )
        ]  # fmt: skip
        nats = [
            compare(
                f"nats {name}",
                role=nats_load_of(host, 4222, kind), stock=nats_load_of(host, 14223, kind),
                plain=nats_load_of(host, 14222, kind, tls=False),
            )
            for name, kind in (("there and back", nats_load.core), ("stored in a stream", nats_load.jetstream))
        ]  # fmt: skip
        for tag in ("redis", "nats"):
            print(f"bench: a second run of the role {tag} changes nothing, in {converge(tag):.1f} s", flush=True)
    finally:
        run("molecule destroy of bench_data", ["molecule", "destroy", "-s", "bench_data"], 120, environment=OURS)
    return min(each.ratio for each in redis), min(each.ratio for each in nats)


def main() -> None:
    run("making the base image", [sys.executable, "-m", "localcloud", "base", "debian-13"], 900)
    redis, nats = measure()
    lost, lines = count_losses()
    print("\n".join(lines))
    print(f"bench-data: redis {redis:.2f} of stock, nats {nats:.2f} of stock, lost {lost}")


if __name__ == "__main__":
    try:
        main()
    except (BenchError, ProgramError) as exc:
        sys.exit(f"bench: {exc}")
    except KeyboardInterrupt:
        sys.exit(130)
