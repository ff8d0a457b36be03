# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of both processes, all from the environment, so that no secret is on a command line: CONVERSION_*, and what a fleet says."""

from __future__ import annotations

import ipaddress
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from . import __version__, tls
from .errors import SettingsError

MIB = 1024 * 1024
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Settings:
    """Checked settings. Times in seconds, sizes in bytes. Passwords stay out of repr()."""

    nats_url: str
    nats_user: str
    nats_password: str = field(repr=False)
    nats_ca_file: str
    nats_replicas: int
    redis_url: str
    redis_user: str
    redis_password: str = field(repr=False)
    redis_ca_file: str
    listen_host: str
    listen_port: int
    probe_host: str
    probe_port: int | None  # None: probes are on the port of the API
    keys_file: Path | None
    trusted_proxies: tuple[Network, ...]
    version: str
    work_dir: Path
    max_body: int
    inline_max: int
    wait: float
    accept_timeout: float
    max_uploads: int
    uploads_per_address: int
    max_connections: int
    header_seconds: float
    body_seconds: float
    least_speed: float
    speed_seconds: float
    retention: float
    dead_retention: float
    max_queued: int
    cache_ttl: float
    cache_max: int
    gpu_pixels: int
    gpu_source: int
    engine_class: str
    workers: int
    job_seconds: float
    job_memory: int
    job_output: int
    ack_wait: float
    attempts: int
    lame_duck: float
    drain: float
    drain_allow: tuple[Network, ...]


@dataclass(frozen=True)
class Server:
    """Where NATS or Redis is and who we are there. The password stays out of repr()."""

    url: str
    user: str
    password: str = field(repr=False)
    ca_file: str


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env

    def text(self, name: str, default: str = "") -> str:
        return self.env.get(f"CONVERSION_{name}", "") or default

    def number(self, name: str, default: float, low: float, high: float) -> float:
        raw = self.text(name, str(default))
        try:
            value = float(raw)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise SettingsError(f"CONVERSION_{name} is '{raw}': set it to a number from {low:g} to {high:g}.")
        return value

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        return int(self.number(name, default, low, high))

    def one_of(self, name: str, words: tuple[str, ...]) -> str:
        """One of some words, the first by default."""
        raw = self.text(name, words[0])
        if raw not in words:
            raise SettingsError(f"CONVERSION_{name} is '{raw}': set it to {' or '.join(words)}.")
        return raw

    def server(self, kind: str, fleet: str, schemes: tuple[str, str]) -> Server:
        """Where NATS or Redis is. In a fleet these variables are called after the data service; our own count where there are any."""
        own = f"CONVERSION_{kind}"
        start = own if self.env.get(f"{own}_URL") else fleet if self.env.get(f"{fleet}_URL") else own
        url = self._url(f"{start}_URL", schemes)
        found = Server(url, *(self.env.get(f"{start}_{end}", "") for end in ("USER", "PASSWORD", "CA_FILE")))
        if found.ca_file and url and not url.startswith(f"{schemes[1]}://"):
            raise SettingsError(
                f"{start}_CA_FILE is set, and {start}_URL is in plain text: write {schemes[1]}://host:port, or leave the file out."
            )
        if found.ca_file:
            tls.context(found.ca_file, f"{start}_CA_FILE")
        return found

    def _url(self, name: str, schemes: tuple[str, str]) -> str:
        raw = self.env.get(name, "")
        if not raw:
            return ""
        try:
            parts = urlsplit(raw)
            good = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            good, parts = False, urlsplit("")
        if not good:
            raise SettingsError(
                f"{name} is not an address: write it as {schemes[0]}://host:port or {schemes[1]}://host:port."
            )
        if parts.password or parts.username:
            start = name.removesuffix("_URL")
            raise SettingsError(
                f"{name} holds a user or password, which would show in logs: set {start}_USER and _PASSWORD instead."
            )
        return raw

    def networks(self, name: str, default: str) -> tuple[Network, ...]:
        raw = self.text(name, default)
        try:
            return tuple(ipaddress.ip_network(item.strip()) for item in raw.split(",") if item.strip())
        except ValueError as exc:
            raise SettingsError(f"CONVERSION_{name} is '{raw}': write networks as in 10.0.0.0/8,127.0.0.0/8.") from exc


def load(env: Mapping[str, str] | None = None, *, port: int) -> Settings:
    """Settings from `env` (the process's own by default); SettingsError names the variable at fault."""
    read = _Reader(os.environ if env is None else env)
    work_dir = Path(read.text("WORK_DIR", tempfile.gettempdir()))
    if not (work_dir.is_dir() and os.access(work_dir, os.W_OK)):
        raise SettingsError(f"CONVERSION_WORK_DIR {work_dir} is not a writable directory: create it or name another.")
    nats, redis = read.server("NATS", "BUS", ("nats", "tls")), read.server("REDIS", "CACHE", ("redis", "rediss"))
    return Settings(
        nats_url=nats.url,
        nats_user=nats.user,
        nats_password=nats.password,
        nats_ca_file=nats.ca_file,
        nats_replicas=read.whole("NATS_REPLICAS", 1, 1, 5),
        redis_url=redis.url,
        redis_user=redis.user,
        redis_password=redis.password,
        redis_ca_file=redis.ca_file,
        listen_host=read.text("LISTEN_HOST", "127.0.0.1"),
        listen_port=read.whole("LISTEN_PORT", port, 0, 65535),
        probe_host=read.text("PROBE_HOST", read.text("LISTEN_HOST", "127.0.0.1")),
        probe_port=read.whole("PROBE_PORT", 0, 0, 65535) if read.text("PROBE_PORT") else None,
        keys_file=Path(read.text("KEYS_FILE")) if read.text("KEYS_FILE") else None,
        trusted_proxies=read.networks("TRUSTED_PROXIES", ""),
        version=_version(read.text("RELEASE_FILE")),
        work_dir=work_dir,
        max_body=read.whole("MAX_BODY", 100 * MIB, 1, 10_000 * MIB),
        inline_max=read.whole("INLINE_MAX", 2 * MIB, 0, 64 * MIB),
        wait=read.number("WAIT", 20, 0, 300),
        accept_timeout=read.number("ACCEPT_TIMEOUT", 10, 0.1, 120),
        max_uploads=read.whole("MAX_UPLOADS", 64, 1, 10_000),
        uploads_per_address=read.whole("UPLOADS_PER_ADDRESS", 16, 1, 10_000),
        max_connections=read.whole("MAX_CONNECTIONS", 4096, 16, 1_000_000),
        header_seconds=read.number("HEADER_SECONDS", 10, 0.1, 300),
        body_seconds=read.number("BODY_SECONDS", 600, 1, 86400),
        least_speed=read.number("LEAST_SPEED", 1024, 1, 1e9),
        speed_seconds=read.number("SPEED_SECONDS", 10, 0.1, 300),
        retention=read.number("RETENTION", 6 * 3600, 60, 30 * 86400),
        dead_retention=read.number("DEAD_RETENTION", 7 * 86400, 60, 365 * 86400),
        max_queued=read.whole("MAX_QUEUED", 10_000, 1, 10_000_000),
        cache_ttl=read.number("CACHE_TTL", 86400, 1, 30 * 86400),
        cache_max=read.whole("CACHE_MAX", 8 * MIB, 0, 256 * MIB),
        gpu_pixels=read.whole("GPU_PIXELS", 1 << 20, 0, 10**9),
        gpu_source=read.whole("GPU_SOURCE", 32 * MIB, 0, 10_000 * MIB),
        engine_class=read.one_of("CLASS", ("cpu", "gpu")),
        workers=read.whole("WORKERS", min(4, os.cpu_count() or 1), 1, 256),
        job_seconds=read.number("JOB_SECONDS", 60, 0.1, 3600),
        job_memory=read.whole("JOB_MEMORY", 2048 * MIB, 128 * MIB, 1024 * 1024 * MIB),
        job_output=read.whole("JOB_OUTPUT", 512 * MIB, 1 * MIB, 10_000 * MIB),
        ack_wait=read.number("ACK_WAIT", 15, 1, 600),
        attempts=read.whole("ATTEMPTS", 5, 1, 100),
        lame_duck=read.number("LAME_DUCK", 5, 0, 300),
        drain=read.number("DRAIN", 30, 1, 3600),
        drain_allow=read.networks("DRAIN_ALLOW", "127.0.0.0/8,::1/128"),
    )


def _version(release_file: str) -> str:
    """The version that an image gave itself, else the package's own."""
    if release_file:
        try:
            text = Path(release_file).read_text(encoding="utf-8").strip()
        except OSError as exc:
            raise SettingsError(f"CONVERSION_RELEASE_FILE {release_file} cannot be read: {exc.strerror}.") from exc
        if text:
            return text[:64]
    return __version__


def read_env_file(path: Path) -> dict[str, str]:
    """Variables in a systemd EnvironmentFile as our role writes it: NAME="value", with \\ before \\ and "."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise SettingsError(f"{path} cannot be read: {exc.strerror}.") from exc
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r'([A-Z_][A-Z0-9_]*)=(?:"((?:[^"\\]|\\.)*)"|([^"\\]*))', line.rstrip())
        if match is None:
            raise SettingsError(f'{path} line {number} is not of the form NAME="value".')  # not the line: a secret
        name, quoted, plain = match.groups()
        found[name] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return found
