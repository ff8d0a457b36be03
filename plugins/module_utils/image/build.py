# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image, built only if its inputs changed: digest, look up, skip or build, prove, tidy up."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.image import (
    cloud,
    combination,
    fingerprint,
    manifest,
    packer,
    sbom,
    template,
)
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.manifest import Image
from ansible_collections.boring.fleet.plugins.module_utils.image.template import Template

NO_IMAGE = "no image with this fingerprint"
FORCED = "force: it is built although an image with this fingerprint exists"
PACKAGES = "packages.tsv"  # what the template's play writes down of the finished image
VERIFIED = "boring:verified"
# Honest words: a later proof (another boot, real hardware) writes its own over them.
PROVEN = "built, proven from the inside; not booted"
PROVEN_DRIVER = "built, signed, versions equal; not booted, not loaded on hardware"
KEEP_LOGS = 7 * 86400.0  # seconds
LONGEST_GRACE = 120.0  # seconds that Packer gets to clean up: EC2 takes a minute to terminate a machine


@dataclass(frozen=True)
class Request:
    """What the user asked for; paths are absolute."""

    template: Path
    inputs: tuple[str, ...]
    only: tuple[str, ...] = ()
    var_files: tuple[Path, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    lock: Path | None = None
    force: bool = False
    timeout: float = 3600.0
    packer: str | None = None
    region: str | None = None
    log: Path | None = None


@dataclass(frozen=True)
class Plan:
    """Whether an image has to be built, and why. `existing` are the images that make it unnecessary."""

    fingerprint: str
    existing: tuple[Image, ...]
    reasons: tuple[str, ...]
    template: Template
    packer: packer.Packer
    tags: Mapping[str, str]
    source_images: Mapping[str, str]
    newest: str = ""  # id of the newest image of the same build, when one must be built

    @property
    def builds(self) -> bool:
        return bool(self.reasons)


@dataclass(frozen=True)
class Built:
    """What a build made; without a manifest another run made it while this one waited."""

    images: tuple[Image, ...]
    manifest: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Told:
    """What a build says about its image: tags for it, and entries for the manifest."""

    tags: Mapping[str, str]
    manifest: Mapping[str, Any]


class ImageBuild:
    """The request, carried out. Clock, sleep, clients and processes come from outside.

    `ec2` gives the client of a region (None: the configured one), `supervise` runs a program as `packer.supervise` does.
    """

    def __init__(
        self,
        request: Request,
        *,
        ec2: Callable[[str | None], Any],
        env: Mapping[str, str],
        cache: Path,
        supervise: Callable[..., packer.Ended] = packer.supervise,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._request = request
        self._ec2 = ec2
        self._env = packer.environment(env, request.template, {})
        self._cache = cache
        self._supervise = supervise
        self._clock, self._wall, self._sleep = clock, wall, sleep

    # --- Is there one? -------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Digest every input, and look for an image that has the same fingerprint."""
        request = self._request
        seen = self._read({})
        combination.check(seen, request.lock, today=datetime.fromtimestamp(self._wall(), UTC).date())
        with ThreadPoolExecutor(2) as pool:  # Packer is slow to say its version; EC2 can be asked meanwhile
            tools = pool.submit(self._tools, seen)
            sources = self._source_images(seen)
            files = fingerprint.collect(
                request.template, request.inputs, ignore=[request.template / (seen.manifest or "packer-manifest.json")]
            )
            program, versions = tools.result()
        inputs = fingerprint.Inputs(
            files=files,
            builds=request.only,
            var_files=tuple(fingerprint.read_given(path, "variables file") for path in request.var_files),
            variables=request.variables,
            lock=fingerprint.read_given(request.lock, "lock") if request.lock else None,
            source_images=sources,
            tools={"packer": program.version, **versions},
        )
        digest = inputs.fingerprint()
        digests = inputs.digests()
        existing = self._existing(seen, digest)
        reasons: tuple[str, ...] = ()
        newest = ""
        if existing is None:
            reasons, newest = self._reasons(seen, digests)
        elif request.force:
            reasons = (FORCED,)
        return Plan(
            fingerprint=digest,
            existing=existing or (),
            reasons=reasons,
            template=seen,
            packer=program,
            tags={
                cloud.FINGERPRINT: digest,
                cloud.FAMILY: seen.family,
                **fingerprint.to_tags(digests),
            },
            source_images=sources,
            newest=newest,
        )

    def _read(self, given: Mapping[str, Any]) -> Template:
        request = self._request
        region = {"region": request.region} if request.region else {}
        return template.read(
            request.template,
            only=request.only,
            var_files=request.var_files,
            variables=request.variables,
            given={**region, **given},
        )

    def _tools(self, seen: Template) -> tuple[packer.Packer, dict[str, str]]:
        program = packer.find(self._request.packer, self._request.template, self._env)
        return program, packer.plugins(program.path, seen.plugins, self._env)

    def _source_images(self, seen: Template) -> dict[str, str]:
        resolved = {
            source.build: cloud.resolve(self._ec2(source.region or self._request.region), source)
            for source in seen.sources
            if source.on_ec2
        }
        return {build: image for build, image in resolved.items() if image}

    def _regions(self, seen: Template) -> dict[str | None, list[str]]:
        """Region -> the builds on EC2 that end up there. A template that hides its sources may build anything there."""
        regions: dict[str | None, list[str]] = {} if seen.sources else {self._request.region: []}
        for source in seen.sources:
            if source.on_ec2:
                regions.setdefault(source.region or self._request.region, []).append(source.build)
        return regions

    def _existing(self, seen: Template, digest: str) -> tuple[Image, ...] | None:
        """Images of this fingerprint, one for each build; None when one is missing, or nothing can be looked up."""
        if any(not source.on_ec2 for source in seen.sources):
            return None
        images: list[Image] = []
        for region, builds in self._regions(seen).items():
            ec2 = self._ec2(region)
            found = cloud.with_fingerprint(ec2, digest)
            for build in builds or [""]:
                # An image that does not say which build it is of counts for each.
                image = cloud.newest(
                    one for one in found if cloud.tags_of(one).get(cloud.BUILD, build) == build or not build
                )
                if image is None:
                    return None
                known = build or cloud.tags_of(image).get(cloud.BUILD, "")
                name = str(image.get("Name", ""))
                images.append(Image(known, known.partition(".")[0], cloud.region_of(ec2), str(image["ImageId"]), name))
        return tuple(images)

    def _reasons(self, seen: Template, digests: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
        """What changed since the newest image of the same build, and that image's id."""
        for region, builds in self._regions(seen).items():
            image = cloud.newest_of_builds(self._ec2(region), seen.family, builds)
            if image is None:
                continue
            before = fingerprint.from_tags(cloud.tags_of(image))
            now = fingerprint.from_tags(fingerprint.to_tags(digests))
            changed = fingerprint.changes(before, now) if before else []
            return tuple(changed) or (NO_IMAGE,), str(image["ImageId"])
        return (NO_IMAGE,), ""

    # --- Make one ------------------------------------------------------------------------------------------------

    def build(self, plan: Plan, stop: Callable[[], str] = lambda: "") -> Built:
        """Build what the plan says. Raises ImageError; then nothing of it is left running.

        `stop` is asked all the time, and gives a reason to give up as soon as there is one.
        """
        end = self._clock() + self._request.timeout
        with self._alone(plan, end, stop):
            # Whoever held the lock before us may have built the very same.
            existing = None if self._request.force else self._existing(plan.template, plan.fingerprint)
            if existing:
                return Built(existing)
            with tempfile.TemporaryDirectory(prefix="boring-image-") as scratch:
                return self._run(plan, Path(scratch), end, stop)

    @contextlib.contextmanager
    def _alone(self, plan: Plan, end: float, stop: Callable[[], str]) -> Iterator[None]:
        """One build of a fingerprint at a time on this machine; on others the image's name, which EC2 keeps unique."""
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._cache / f"{plan.fingerprint[:2]}.lock"  # never removed, so there are at most 256
        with path.open("w", encoding="utf-8") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if self._clock() >= end or stop():
                        raise ImageError(
                            f"another run on this machine builds the same image and did not end in {self._request.timeout:g} s: "
                            "wait for it, or end it"
                        ) from None
                    self._sleep(0.5)
            yield

    def _run(self, plan: Plan, scratch: Path, end: float, stop: Callable[[], str]) -> Built:
        request = self._request
        builder = uuid.uuid4().hex
        grace = min(LONGEST_GRACE, max(15.0, request.timeout / 10))
        given = self._given(plan, scratch, builder, grace)
        seen = self._read(given)
        output = request.template / (seen.manifest or "packer-manifest.json")
        before = manifest.run_of(output)
        log = self._log(seen, plan.fingerprint)
        failed = True
        try:
            ended = self._supervise(
                packer.arguments(plan.packer.path, request.only, [*request.var_files, self._variables(scratch)]),
                cwd=request.template,
                # Packer's Ansible plugin leaves the private key of the build's machine in the directory for temporary files.
                env={
                    **self._env,
                    **{f"PKR_VAR_{name}": _as_packer_reads(value) for name, value in given.items()},
                    "TMPDIR": str(scratch),
                },
                log=log,
                seconds=max(1.0, end - self._clock()),
                grace=grace,
                stop=stop,
            )
            if ended.because or ended.code:
                raise ImageError(self._what_happened(ended, log, seen))
            made = manifest.read(output, before=before)
            told = self._told(plan, scratch)
            plan = replace(plan, tags={**plan.tags, **told.tags})
            images = tuple(
                self._confirmed(image, plan) for image in manifest.images(made, request.template, seen.sources)
            )
            made = {**made, **told.manifest}
            failed = False
            if log != self._request.log:
                log.unlink(missing_ok=True)
            return Built(images, made, tuple(_not_found_again(images, seen)))
        finally:
            if failed:
                self._tidy(seen, builder)

    def _told(self, plan: Plan, scratch: Path) -> Told:
        """What is in the image, as it said itself before it was finished, and what of it is proven."""
        packages = scratch / PACKAGES
        gpu = plan.template.values.get("gpu")
        driver = isinstance(gpu, Mapping) and gpu.get("driver", "none") != "none"
        if not packages.is_file():  # a template that does not tell
            return Told({}, {})
        listed = sbom.installed(packages.read_text(encoding="utf-8"))
        name = f"{plan.template.family}-{plan.fingerprint[:12]}"
        text = sbom.document(
            listed,
            name=name,
            release=combination.release_of(plan.template.values) or "debian",
            properties={cloud.FINGERPRINT: plan.fingerprint, cloud.FAMILY: plan.template.family},
        )
        path = self._cache / f"{name}.cdx.json"
        path.write_text(text, encoding="utf-8")
        verified = PROVEN_DRIVER if driver else PROVEN
        return Told(
            {sbom.TAG: sbom.digest(text), VERIFIED: verified},
            {
                "sbom": {"file": str(path), "sha256": sbom.digest(text), "packages": len(listed)},
                "verified": verified,
            },
        )

    def _log(self, seen: Template, digest: str) -> Path:
        """Where Packer's output goes. Logs of failed builds in our own directory are kept for a week."""
        for old in self._cache.glob("*.log"):
            with contextlib.suppress(FileNotFoundError):
                if old.stat().st_mtime < self._wall() - KEEP_LOGS:
                    old.unlink()
        return self._request.log or self._cache / f"{seen.family}-{digest[:12]}.log"

    def _given(self, plan: Plan, scratch: Path, builder: str, grace: float) -> dict[str, Any]:
        """Variables for a template that declares them; Packer overlooks the others."""
        given: dict[str, Any] = {
            "fingerprint": plan.fingerprint,
            "image_tags": dict(plan.tags),
            "run_tags": {
                cloud.BUILDER: builder,
                cloud.FINGERPRINT: plan.fingerprint,
                cloud.EXPIRES: str(int(self._wall() + self._request.timeout + grace)),
            },
            "manifest": str(scratch / "manifest.json"),
            "packages": str(scratch / PACKAGES),
            "revision": self._revision(plan),
        }
        if self._request.region:
            given["region"] = self._request.region
        if self._request.lock:
            given["lock"] = str(self._request.lock)
        sources = set(plan.source_images.values())
        if len(sources) == 1:
            given["source_image"] = sources.pop()
        return given

    def _revision(self, plan: Plan) -> str:
        """Empty for the first image of a fingerprint, then 2, 3, ...: EC2 takes a name only once."""
        part = plan.fingerprint[:12]
        taken = set[str]().union(
            *(cloud.names_with(self._ec2(region), part) for region in self._regions(plan.template))
        )
        return str(len(taken) + 1) if taken else ""

    def _variables(self, scratch: Path) -> Path:
        """The user's variables as a file that only we can read; the last one, so that it wins like `-var`."""
        path = scratch / "variables.pkrvars.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(dict(self._request.variables)), encoding="utf-8")
        return path

    def _confirmed(self, image: Image, plan: Plan) -> Image:
        if not image.builder.startswith("amazon-"):
            return image
        name = cloud.confirm(self._ec2(image.region or None), image.id, {**plan.tags, cloud.BUILD: image.build})
        return Image(image.build, image.builder, image.region, image.id, name)

    def _what_happened(self, ended: packer.Ended, log: Path, seen: Template) -> str:
        text = log.read_text(encoding="utf-8", errors="replace")
        secrets = [str(seen.values[name]) for name in seen.secrets if isinstance(seen.values.get(name), str)]
        where = f"all that Packer said is in {log}"
        if ended.because == "timeout":
            last = packer.failure(text, secrets).splitlines()[-1:]
            at = f", the last thing being: {last[0]}" if last else ""
            return f"the build took longer than its timeout of {self._request.timeout:g} s{at}; raise timeout, {where}"
        if ended.because:
            return (
                f"the build was stopped ({ended.because}); what it had started is gone, run it again to build the image"
            )
        return f"{packer.failure(text, secrets)}\n({where})"

    def _tidy(self, seen: Template, builder: str) -> None:
        """What Packer was not allowed to clean up itself."""
        for region in self._regions(seen):
            cloud.remove_leftovers(
                self._ec2(region), builder, deadline=self._clock() + 120, clock=self._clock, sleep=self._sleep
            )


def _not_found_again(images: Sequence[Image], seen: Template) -> Iterator[str]:
    """What to tell of images on EC2 whose build is none that the next run would look for."""
    if not seen.builds:  # a template that hides its sources: it is looked for any
        return
    for name in sorted({image.build for image in images if image.builder.startswith("amazon-")} - set(seen.builds)):
        yield (
            f"Packer's manifest calls a build {name}, and the template's are {', '.join(seen.builds)}: its image will not be "
            'found again, and is built with each run; write custom_data = {build = "${source.type}.${source.name}"} into '
            "the post-processor manifest"
        )


def _as_packer_reads(value: Any) -> str:
    """A value for PKR_VAR_*: strings as they are, the rest as an expression (JSON is one)."""
    return value if isinstance(value, str) else json.dumps(value)


def cache_directory(env: Mapping[str, str]) -> Path:
    """Where locks and the logs of failed builds are."""
    base = env.get("XDG_CACHE_HOME") or os.path.join(env.get("HOME") or tempfile.gettempdir(), ".cache")  # noqa: PTH118
    return Path(base) / "boring.fleet" / "image_build"


def as_diff(plan: Plan) -> dict[str, str]:
    """Before and after for `--diff`."""
    before = plan.newest or ", ".join(image.id for image in plan.existing) or "no image"
    after = "".join(f"{reason}\n" for reason in plan.reasons)
    return {"before": f"{before}\n", "after": f"{after}{plan.template.family}, fingerprint {plan.fingerprint}\n"}
