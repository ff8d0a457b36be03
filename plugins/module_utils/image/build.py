# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image, built only if its inputs changed: digest, look up, skip or build, prove, tidy up."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    reads,
    sbom,
    secrets,
    template,
)
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.fingerprint import Collection, File
from ansible_collections.boring.fleet.plugins.module_utils.image.inputs import Read, texts
from ansible_collections.boring.fleet.plugins.module_utils.image.manifest import Image
from ansible_collections.boring.fleet.plugins.module_utils.image.tags import Described, tags_of
from ansible_collections.boring.fleet.plugins.module_utils.image.template import Template

NO_IMAGE = "no image with this fingerprint"
FORCED = "force: it is built although an image with this fingerprint exists"
PACKAGES = "packages.tsv"  # what the template's play writes down of the finished image
VERIFIED = "boring:verified"
# Honest words: a later proof (another boot, real hardware) writes its own over them.
PROVEN = "built, proven from the inside; not booted"
PROVEN_DRIVER = "built, signed, versions equal; not booted, not loaded on hardware"
KEEP_LOGS = 7 * 86400.0  # seconds
_SKEW = 120.0  # seconds that EC2's clock may be behind ours
_IMAGE_ID = re.compile(r"ami-[0-9a-f]{8,17}(?![0-9a-f])")
LONGEST_GRACE = 120.0  # seconds that Packer gets to clean up: EC2 takes a minute to terminate a machine


@dataclass(frozen=True)
class Request:
    """What the user asked for; paths are absolute."""

    template: Path
    inputs: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    unknown: str = "build"  # or refuse, or ignore
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
    files: Collection
    given: Mapping[Path, File]  # variables files and the lock
    reads: Read
    unknown: tuple[str, ...] = ()  # what the image hangs on and cannot be said, in sentences
    warnings: tuple[str, ...] = ()  # what will be refused one day
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
        seen = self._read(self._planned())
        warnings = combination.check(seen, request.lock, today=datetime.fromtimestamp(self._wall(), UTC).date())
        with ThreadPoolExecutor(2) as pool:  # Packer is slow to say its version; EC2 can be asked meanwhile
            tools = pool.submit(self._tools, seen)
            read = reads.of(seen, self._env)
            if request.unknown == "refuse":
                self._refuse(read.unknown)
            found = pool.submit(self._source_images, seen)
            files = self._gather(seen, read)
            sources = found.result()
            program, versions = tools.result()
        var_files = {path: fingerprint.read_given(path, "variables file", seen.veiled) for path in request.var_files}
        lock = fingerprint.read_given(request.lock, "lock") if request.lock else None
        inputs = fingerprint.Inputs(
            files=files.files,
            facts=read.facts,
            builds=seen.builds,
            var_files=tuple(var_files[path] for path in request.var_files),
            variables={name: value for name, value in request.variables.items() if name not in seen.secrets},
            lock=lock,
            source_images=sources,
            tools={"packer": program.version, **versions},
        )
        digest, digests = inputs.fingerprint(), inputs.digests()
        existing, found_changes, unsure = self._existing(seen, digest)
        unknown = [*read.unknown, *unsure]
        reasons: tuple[str, ...] = ()
        newest = ""
        if existing is None:
            reasons, newest = self._reasons(seen, digests)
            reasons = found_changes or reasons
        elif request.force:
            reasons = (FORCED,)
        elif unknown and request.unknown != "ignore":
            if unsure and request.unknown == "refuse":
                self._refuse(unsure)
            reasons = tuple(f"not known to be unchanged: {sentence}" for sentence in unknown)
        return Plan(
            fingerprint=digest,
            existing=existing or (),
            reasons=reasons,
            template=seen,
            packer=program,
            tags={cloud.FAMILY: seen.family, **fingerprint.to_tags(digests)},
            source_images=sources,
            files=files,
            given={**var_files, **({request.lock: lock} if request.lock and lock else {})},
            reads=read,
            unknown=tuple(unknown),
            warnings=warnings,
            newest=newest,
        )

    def _planned(self) -> dict[str, Any]:
        """What is given to the template before anything is known of the build; for evaluating it, not for the fingerprint."""
        return {"lock": str(self._request.lock)} if self._request.lock else {}

    def _refuse(self, unknown: Iterable[str]) -> None:
        if sentences := "; ".join(unknown):
            raise ImageError(f"unknown is refuse, and not all that feeds the image can be known: {sentences}")

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

    def _gather(self, seen: Template, read: Read) -> Collection:
        request = self._request
        outputs = [seen.manifest or "packer-manifest.json", *reads.outputs(seen)]
        return fingerprint.gather(
            request.template,
            request.inputs,
            reads=read,
            exclude=request.exclude,
            ignore=[request.template / output for output in outputs],
            veiled=seen.veiled,
        )

    def _tools(self, seen: Template) -> tuple[packer.Packer, dict[str, str]]:
        program = packer.find(self._request.packer, self._request.template, self._env)
        return program, packer.plugins(program.path, seen.plugins, self._env)

    def _source_images(self, seen: Template) -> dict[str, str]:
        """Build, or name of a data source -> the image that it starts from now."""
        found = {name: self._looked_up(lookup, name) for name, lookup in seen.data.items()}
        for source in seen.sources:
            if source.image or source.data:
                found[source.build] = source.image or found[source.data]
            elif source.lookup:
                found[source.build] = self._looked_up(source.lookup, source.build)
        return found

    def _looked_up(self, lookup: template.Lookup, what: str) -> str:
        return cloud.resolve(self._ec2(lookup.region or self._request.region), lookup, what)

    def _regions(self, seen: Template) -> dict[str | None, list[template.Source]]:
        """Region -> the sources on EC2 whose images end up there."""
        regions: dict[str | None, list[template.Source]] = {}
        for source in seen.sources:
            if source.on_ec2:
                regions.setdefault(source.region or self._request.region, []).append(source)
        return regions

    def _existing(self, seen: Template, digest: str) -> tuple[tuple[Image, ...] | None, tuple[str, ...], list[str]]:
        """Confirmed images of this fingerprint, one for each build; None when one is missing, or nothing can be looked up.

        Then what of the secrets changed since, and what cannot be said of them.
        """
        if any(not source.on_ec2 for source in seen.sources):
            return None, (), []
        images: list[Image] = []
        changed: list[str] = []
        unsure: list[str] = []
        for region, sources in self._regions(seen).items():
            ec2 = self._ec2(region)
            found = cloud.with_fingerprint(ec2, digest)
            for source in sources:
                image = cloud.newest(one for one in found if _is_of(one, source))
                if image is None:
                    return None, (), []
                identity, name = str(image["ImageId"]), str(image.get("Name", ""))
                images.append(
                    Image(source.build, source.type, cloud.region_of(ec2), identity, name, source=source.declared)
                )
                if not seen.hidden:
                    continue
                differ = secrets.changed(self._cache, identity, seen.hidden)
                changed += [f"{_called(name)} changed" for name in differ or ()]
                if differ is None:
                    unsure.append(
                        f"{', '.join(map(_called, sorted(seen.hidden)))}: secrets are in no tag, and this machine did not build {identity}, so it "
                        "cannot say whether they are the same: set unknown to ignore if they do not change what is in the image"
                    )
        if changed:
            return None, tuple(sorted(set(changed))), []
        return tuple(images), (), unsure

    def _reasons(self, seen: Template, digests: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
        """What changed since the newest image of the same build, and that image's id."""
        for region, sources in self._regions(seen).items():
            image = cloud.newest_of_builds(self._ec2(region), seen.family, [source.build for source in sources])
            if image is None:
                continue
            before = fingerprint.from_tags(tags_of(image))
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
            # Whoever held the lock before us may have built the very same; what is to be built all the same is built.
            existing = None if plan.existing else self._existing(plan.template, plan.fingerprint)
            if existing and existing[0] and not (existing[2] and self._request.unknown == "build"):
                return Built(existing[0])
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
        begun = self._wall()
        taken = self._taken(plan)
        given = self._given(plan, scratch, builder, grace, len(set(taken.values())))
        seen = self._read(given)
        output = request.template / (seen.manifest or "packer-manifest.json")
        before = manifest.run_of(output)
        log = self._log(seen, plan.fingerprint)
        failed = True
        try:
            ended = self._supervise(
                packer.arguments(plan.packer.path, self._only(seen), [*request.var_files, self._variables(scratch)]),
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
            self._still_the_same(plan, seen)
            told = self._told(plan, scratch)
            plan = replace(plan, tags={**plan.tags, cloud.FINGERPRINT: plan.fingerprint, **told.tags})
            images = tuple(
                self._confirmed(image, plan) for image in manifest.images(made, request.template, seen.sources)
            )
            made = {**made, **told.manifest}
            failed = False
            if log != self._request.log:
                log.unlink(missing_ok=True)
            return Built(images, made, tuple(_not_found_again(images)))
        except ImageError as exc:
            failed = False
            known = {*taken, *plan.source_images.values()}
            mentioned = self._mentioned(seen, output, before, log) - known
            left = self._unconfirmed(seen, builder, mentioned, begun, taken)
            self._tidy(seen, builder)
            raise ImageError(f"{exc}{left}") from exc
        finally:
            if failed:
                self._tidy(seen, builder)

    def _only(self, seen: Template) -> tuple[str, ...]:
        """What Packer is to build: by whole names where the user left out the name of the build's block."""
        matched = [name for name in seen.builds if template.matches(name, self._request.only)]
        return self._request.only if matched or not self._request.only else seen.builds

    def _taken(self, plan: Plan) -> dict[str, str]:
        """Id -> name of the images that have this fingerprint in their names already."""
        part = plan.fingerprint[:12]
        taken: dict[str, str] = {}
        for region in self._regions(plan.template):
            taken |= cloud.named_with(self._ec2(region), part)
        return taken

    def _still_the_same(self, plan: Plan, built: Template) -> None:
        """Raises ImageError when what feeds the image was changed while it was made. `built` is the template as Packer got it."""
        try:
            seen = self._read(self._planned())
            changed = fingerprint.changed_meanwhile(plan.files, self._gather(seen, plan.reads))
            asked = reads.of(seen, self._env).facts
        except ImageError as exc:
            raise ImageError(
                f"the inputs were changed while the image was built, so it is not what they say: {exc}"
            ) from exc
        changed += sorted(
            name for name in plan.reads.facts.keys() | asked.keys() if plan.reads.facts.get(name) != asked.get(name)
        )
        changed += [
            path.name for path, file in plan.given.items() if fingerprint.read_given(path, "file", seen.veiled) != file
        ]
        if seen.hidden != plan.template.hidden:
            changed.append("a secret")
        if any(source.lookup or source.data for source in built.sources):  # Packer looked for itself
            now = self._source_images(seen)
            changed += [
                f"source image of {name}" for name, image in plan.source_images.items() if now.get(name) != image
            ]
        if changed:
            raise ImageError(
                f"the inputs were changed while the image was built ({', '.join(changed[:10])}), so it does not get this fingerprint: run this "
                "again"
            )

    def _mentioned(self, seen: Template, output: Path, before: str, log: Path) -> set[str]:
        """Ids of images that Packer wrote of, into its manifest or its log."""
        mentioned: set[str] = set()
        with contextlib.suppress(ImageError):
            made = manifest.images(manifest.read(output, before=before), seen.directory, seen.sources)
            mentioned |= {image.id for image in made}
        with contextlib.suppress(OSError):
            mentioned |= set(_IMAGE_ID.findall(log.read_text(encoding="utf-8", errors="replace")))
        return mentioned

    def _unconfirmed(
        self, seen: Template, builder: str, mentioned: set[str], begun: float, taken: Mapping[str, str]
    ) -> str:
        """Mark what Packer made before it failed, and name it in half a sentence; nothing when it made none."""
        marked: list[str] = []
        trouble = ""
        for region in self._regions(seen):
            ec2 = self._ec2(region)
            part = str(seen.values.get("fingerprint", ""))[:12]
            try:
                new = set(cloud.named_with(ec2, part)) - set(taken) if part else set()
                found = sorted({*new, *cloud.made_by(ec2, builder, mentioned, begun - _SKEW)})
                if found:
                    marked += [f"{image} in {cloud.region_of(ec2)}" for image in found]
                    cloud.unconfirm(ec2, found, builder, "its build did not end well")
            except ImageError as exc:
                trouble = f"; what else it made in {cloud.region_of(ec2)} could not be marked: {exc}"
        if not marked:
            return trouble
        return f"; it had made {', '.join(marked)} by then, which nobody confirmed: it is not found again, and image_janitor removes it{trouble}"

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

    def _given(self, plan: Plan, scratch: Path, builder: str, grace: float, taken: int) -> dict[str, Any]:
        """Variables for a template that declares them; Packer overlooks the others."""
        temporary = {
            cloud.BUILDER: builder,
            cloud.EXPIRES: str(int(self._wall() + self._request.timeout + grace)),
        }
        given: dict[str, Any] = {
            "fingerprint": plan.fingerprint,
            # The fingerprint itself comes last, when the image is confirmed; until then it is as temporary as the rest.
            "image_tags": {**plan.tags, **temporary},
            "run_tags": {**temporary, cloud.FINGERPRINT: plan.fingerprint},
            "manifest": str(scratch / "manifest.json"),
            "packages": str(scratch / PACKAGES),
            "revision": str(taken + 1) if taken else "",  # EC2 takes a name only once
        }
        if self._request.region:
            given["region"] = self._request.region
        if self._request.lock:
            given["lock"] = str(self._request.lock)
        sources = set(plan.source_images.values())
        if len(sources) == 1:
            given["source_image"] = sources.pop()
        return given

    def _variables(self, scratch: Path) -> Path:
        """The user's variables as a file that only we can read; the last one, so that it wins like `-var`."""
        path = scratch / "variables.pkrvars.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(dict(self._request.variables)), encoding="utf-8")
        return path

    def _confirmed(self, image: Image, plan: Plan) -> Image:
        if not image.builder.startswith("amazon-"):
            return image
        tags = {**plan.tags, cloud.BUILD: image.build, cloud.CONFIRMED: image.source}
        if below := plan.source_images.get(image.build):
            tags[cloud.SOURCE] = below
        if not image.source:  # nobody can say which build's it is: it has its tags, and is never found again
            tags = {name: value for name, value in tags.items() if name not in (cloud.BUILD, cloud.CONFIRMED)}
        if plan.template.hidden:
            secrets.remember(self._cache, image.id, plan.template.hidden)
        name = cloud.confirm(self._ec2(image.region or None), image.id, tags)
        return replace(image, name=name)

    def _what_happened(self, ended: packer.Ended, log: Path, seen: Template) -> str:
        text = log.read_text(encoding="utf-8", errors="replace")
        hidden = [word for name in seen.secrets for word in _words(seen.values.get(name))]
        where = f"all that Packer said is in {log}"
        if ended.because == "timeout":
            last = packer.failure(text, hidden).splitlines()[-1:]
            at = f", the last thing being: {last[0]}" if last else ""
            return f"the build took longer than its timeout of {self._request.timeout:g} s{at}; raise timeout, {where}"
        if ended.because:
            return (
                f"the build was stopped ({ended.because}); what it had started is gone, run it again to build the image"
            )
        return f"{packer.failure(text, hidden)}\n({where})"

    def _tidy(self, seen: Template, builder: str) -> None:
        """What Packer was not allowed to clean up itself."""
        for region in self._regions(seen):
            cloud.remove_leftovers(
                self._ec2(region), builder, deadline=self._clock() + 120, clock=self._clock, sleep=self._sleep
            )


def _is_of(image: Described, source: template.Source) -> bool:
    """Whether an image was confirmed as one of this build and this source."""
    tags = tags_of(image)
    return tags.get(cloud.BUILD) == source.build and tags.get(cloud.CONFIRMED) == source.declared


def _called(name: str) -> str:
    return name if name.startswith("local ") else f"variable {name}"


def _not_found_again(images: Sequence[Image]) -> Iterator[str]:
    """What to tell of images on EC2 of which nobody can say what build they are of."""
    for name in sorted({image.build for image in images if image.builder.startswith("amazon-") and not image.source}):
        yield (
            f"Packer's manifest calls a build {name}, and several are made of that source: its image will not be found again, and is built "
            f"with each run; write {template.CUSTOM_DATA} into the post-processor manifest"
        )


def _words(value: Any) -> Iterator[str]:
    """The texts and numbers in a secret; those of one or two digits are in every line."""
    if isinstance(value, int | float) and not isinstance(value, bool) and len(str(value)) > 2:
        yield str(value)
    yield from texts(value)


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
