# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One kernel module for one kernel: built by dkms, and proven without believing it.

dkms of Debian 12 and 13 ends well when headers are missing ("skipped"), when signing failed, and when it made nothing.
What counts here is what `modinfo -k KERNEL` finds afterwards. The running kernel plays no part.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

# Debian 12 and 13 read every *.conf there, the last one wins.
_DROP_IN = "etc/dkms/framework.conf.d/zz-boring-fleet.conf"
_NO_KEY = "/dev/null/no-key"  # cannot be written to: dkms would put a key of its own into the image
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_STATUS = re.compile(
    r"^(?P<name>[^/, ]+)[/, ]+(?P<version>[^, ]+), (?P<kernel>[^, ]+), (?P<arch>[^:]+): (?P<state>\w+)(?P<rest>.*)$"
)
_ERRORS = (
    re.compile(r"^\S+?:\d+(?::\d+)?: (?:fatal )?error: .+"),  # a compiler's
    re.compile(r"^ERROR: modpost: .+"),
    re.compile(r"^(?:ld|\S+/ld)(?:\.\w+)?: .+"),
    re.compile(r"^.*\berror: .+", re.IGNORECASE),
    re.compile(r"^make(?:\[\d+\])?: \*\*\* .+"),
)


@dataclass(frozen=True)
class Ran:
    """How a program ended, and all that it said."""

    code: int
    said: str


Run = Callable[[Sequence[str], float], Ran]


@dataclass(frozen=True)
class Wanted:
    """The module, the kernel, and who must have signed it. Paths are of the machine; key and certificate go together."""

    name: str
    version: str
    kernel: str
    signed: bool = True
    signer: str = ""  # the signer's common name; "": anybody's signature will do
    signing_key: str = ""
    signing_certificate: str = ""
    timeout: float = 1800.0


@dataclass(frozen=True)
class Built:
    """One module as `modinfo` tells of it."""

    name: str
    file: str
    version: str
    vermagic: str
    license: str
    signer: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Done:
    changed: bool
    modules: tuple[Built, ...] = ()


def run(argv: Sequence[str], seconds: float) -> Ran:
    """Run a program, in English. Raises ImageError when it is missing or not done in time."""
    try:
        done = subprocess.run(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"},
        )
    except FileNotFoundError as exc:
        raise ImageError(f"there is no {argv[0]} on this machine: install its package (dkms, kmod)") from exc
    except subprocess.TimeoutExpired as exc:
        raise ImageError(f"{' '.join(argv[:2])} was not done in {seconds:g} s: raise timeout") from exc
    return Ran(done.returncode, done.stdout)


class Dkms:
    """One module for one kernel. `root` is where the machine's files are, `run` runs its programs."""

    def __init__(self, wanted: Wanted, *, run: Run = run, root: Path = Path("/")) -> None:
        for what in (wanted.name, wanted.version, wanted.kernel):
            if not _NAME.fullmatch(what):
                raise ImageError(f"{what!r} is not the name or version of a module or kernel: correct it")
        if bool(wanted.signing_key) != bool(wanted.signing_certificate):
            raise ImageError("signing_key and signing_certificate go together: give both or none")
        if wanted.signed and not wanted.signing_key and not wanted.signer:
            raise ImageError(
                "a signed module needs signing_key and signing_certificate, or the signer who signed it before: give them, "
                "or set signed to false"
            )
        self._wanted = wanted
        self._run = run
        self._root = root
        self._what = f"{wanted.name} {wanted.version} for the kernel {wanted.kernel}"

    def present(self, *, check: bool = False) -> Done:
        """Build, install and prove it; nothing when what is there passes the proof already."""
        wanted = self._wanted
        problem = self._problem()
        if not problem:
            return Done(False, tuple(self._modules()))
        # Built but not installed, as when it came out of a cache: good enough if it passes the same proof.
        built = self._state() == "built"
        if not built:
            self._look_for_keys()
        if not self._path(f"lib/modules/{wanted.kernel}/build/Makefile").exists():
            raise ImageError(
                f"nothing can be built for the kernel {wanted.kernel}, because its headers are not installed: install "
                f"linux-headers-{wanted.kernel} at the kernel's own version"
            )
        if not self._path(f"usr/src/{wanted.name}-{wanted.version}/dkms.conf").exists():
            raise ImageError(
                f"there is no source of {wanted.name} {wanted.version} in /usr/src: install the package that has it, or "
                "correct the name and version"
            )
        if check:
            return Done(True)
        if built:
            self._dkms("install", "--force")
            self._depmod()
        if not built or self._problem():
            self._look_for_keys()
            self._build()
        if problem := self._problem():
            raise ImageError(f"dkms ended well, but {problem}")
        return Done(True, tuple(self._modules()))

    def absent(self, *, check: bool = False) -> Done:
        """Remove it from this kernel; its source stays for others."""
        if self._state() is None:
            return Done(False)
        if not check:
            self._dkms("remove")
            if self._state() is not None:
                raise ImageError(f"dkms ended well, but {self._what} is still there")
        return Done(True)

    # --- Parts -------------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        drop_in = self._path(_DROP_IN)
        drop_in.parent.mkdir(parents=True, exist_ok=True)
        key = self._wanted.signing_key or _NO_KEY
        certificate = self._wanted.signing_certificate or _NO_KEY
        drop_in.write_text(f"mok_signing_key={key}\nmok_certificate={certificate}\n", encoding="utf-8")
        try:
            if self._state() is not None:
                self._dkms("remove")  # what failed the proof
            self._dkms("build")
            self._dkms("install", "--force")
        finally:
            drop_in.unlink(missing_ok=True)
        self._depmod()

    def _look_for_keys(self) -> None:
        wanted = self._wanted
        for path, name in ((wanted.signing_key, "signing_key"), (wanted.signing_certificate, "signing_certificate")):
            if path and not (self._root / path.lstrip("/")).is_file():
                raise ImageError(f"the {name} {path} is not a file on this machine: correct the path, or copy it there")

    def _depmod(self) -> None:
        """Let the kernel know its modules: dkms leaves it out when there is no modules.dep yet."""
        done = self._run(["depmod", self._wanted.kernel], 300)
        if done.code:
            raise ImageError(f"depmod failed for the kernel {self._wanted.kernel}: {last_line(done.said)}")

    def _dkms(self, verb: str, *more: str) -> None:
        wanted = self._wanted
        argv = ["dkms", verb, "-m", wanted.name, "-v", wanted.version, "-k", wanted.kernel, *more]
        done = self._run(argv, wanted.timeout)
        if done.code:
            log = self._log()
            reason = first_error(log) or first_error(done.said) or last_line(done.said)
            raise ImageError(f"dkms {verb} of {self._what} failed: {reason}")

    def _log(self) -> str:
        """The compiler's output of the build that failed."""
        try:
            path = self._path(f"var/lib/dkms/{self._wanted.name}/{self._wanted.version}/build/make.log")
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _state(self) -> str | None:
        """What dkms says of it: built, installed; None when it knows nothing of this kernel."""
        wanted = self._wanted
        done = self._run(["dkms", "status", "-m", wanted.name, "-v", wanted.version, "-k", wanted.kernel], 60)
        for line in done.said.splitlines():
            found = _STATUS.match(line)
            if found and (found["name"], found["version"], found["kernel"]) == (
                wanted.name,
                wanted.version,
                wanted.kernel,
            ):
                return found["state"]
        return None

    def _problem(self) -> str:
        """Why what is there cannot be relied on; empty when it can."""
        wanted = self._wanted
        state = self._state()
        if state != "installed":
            return f"{self._what} is {state or 'not built'}, not installed"
        files = self._files()
        if not files:
            return f"{self._what} has no module"
        for name in files:
            built = self._modinfo(name)
            if built is None:
                return f"the module {name} of {self._what} is not found by modinfo"
            if "/updates/" not in built.file:
                return f"the kernel {wanted.kernel} would load {built.file} instead of dkms's {name}"
            if built.vermagic.partition(" ")[0] != wanted.kernel:
                return f"the module {name} of {self._what} is built for another kernel: {built.vermagic}"
            if wanted.signed and not built.signer:
                return f"the module {name} of {self._what} is not signed"
            if wanted.signed and wanted.signer and built.signer != wanted.signer:
                return f"the module {name} of {self._what} is signed by {built.signer}, not by {wanted.signer}"
        return ""

    def _files(self) -> list[str]:
        """Names of the modules that dkms built."""
        base = self._path(f"var/lib/dkms/{self._wanted.name}/{self._wanted.version}/{self._wanted.kernel}")
        return sorted({path.name.partition(".ko")[0] for path in base.glob("*/module/*.ko*")})

    def _modules(self) -> list[Built]:
        return [built for name in self._files() if (built := self._modinfo(name))]

    def _modinfo(self, name: str) -> Built | None:
        done = self._run(["modinfo", "-k", self._wanted.kernel, name], 60)
        return None if done.code else parse_modinfo(name, done.said)

    def _path(self, relative: str) -> Path:
        return self._root / relative


def parse_modinfo(name: str, said: str) -> Built | None:
    """What `modinfo` prints of one module; the first of each field counts."""
    fields: dict[str, str] = {}
    for line in said.splitlines():
        key, colon, value = line.partition(":")
        if colon and not key.startswith((" ", "\t")):
            fields.setdefault(key.strip(), value.strip())
    if not fields.get("filename") or not fields.get("vermagic"):
        return None
    return Built(
        name,
        fields["filename"],
        fields.get("version", ""),
        fields["vermagic"],
        fields.get("license", ""),
        fields.get("signer", ""),
    )


def first_error(log: str) -> str:
    """The first complaint of a compiler's output, else of a linker's, else of make's; empty when there is none."""
    lines = [line.strip() for line in log.splitlines()]
    for pattern in _ERRORS:
        for line in lines:
            if pattern.match(line):
                return line[:400]
    return ""


def last_line(said: str) -> str:
    return next((line.strip()[:400] for line in reversed(said.splitlines()) if line.strip()), "it said nothing")


def as_facts(done: Done) -> dict[str, Any]:
    """For the module's answer."""
    return {"changed": done.changed, "modules": [built.as_dict() for built in done.modules]}
