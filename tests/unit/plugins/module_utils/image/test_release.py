# SPDX-License-Identifier: GPL-3.0-or-later
"""SBOM, the gate on vulnerabilities, and the signed statement."""

from __future__ import annotations

import base64
import datetime
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import cves, provenance, sbom
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.sbom import Package

LISTED = (
    "installed\tzlib1g\t1:1.3.dfsg+really1.3.1-1+b1\tamd64\tzlib\t1:1.3.dfsg+really1.3.1-1\n"
    "config-files\told\t1\tamd64\told\t1\n"
    "installed\tadduser\t3.152\tall\tadduser\t3.152\n"
)
TODAY = datetime.date(2026, 11, 21)


def bom(listed: str = LISTED) -> str:
    return sbom.document(
        sbom.installed(listed),
        name="boring-engine-0123",
        release="debian-13",
        properties={"boring:fingerprint": "0" * 64},
    )


def test_an_sbom_names_every_package_and_its_source(tmp_path: Path) -> None:
    document = json.loads(bom())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    assert [component["purl"] for component in document["components"]] == [
        "pkg:deb/debian/adduser@3.152?arch=all&distro=debian-13",
        "pkg:deb/debian/zlib1g@1%3A1.3.dfsg%2Breally1.3.1-1%2Bb1?arch=amd64&distro=debian-13",
    ]
    assert document["dependencies"][0]["dependsOn"] == [component["bom-ref"] for component in document["components"]]
    path = tmp_path / "x.cdx.json"
    path.write_text(bom())
    assert sbom.read(path) == sbom.installed(LISTED)


def test_the_same_packages_make_the_same_bytes_and_others_do_not() -> None:
    lines = LISTED.splitlines(keepends=True)
    assert bom("".join(reversed(lines))) == bom()
    assert sbom.digest(bom()) == sbom.digest(bom())
    assert bom(LISTED.replace("3.152", "3.153")) != bom()


@pytest.mark.parametrize("listed", ["", "installed\tx\n", "config-files\tx\t1\tall\tx\t1\n", "error: no dpkg\n"])
def test_what_is_no_list_of_packages(listed: str) -> None:
    with pytest.raises(ImageError):
        sbom.installed(listed)


def test_what_is_no_sbom(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for text in ("", "{}", '{"components": []}', '{"components": [{}]}'):
        path.write_text(text)
        with pytest.raises(ImageError):
            sbom.read(path)


# --- The gate ----------------------------------------------------------------------------------------------------------


def cve(status: str, fixed: str = "", urgency: str = "not yet assigned") -> dict[str, Any]:
    return {"releases": {"trixie": {"status": status, "fixed_version": fixed, "urgency": urgency}}}


PACKAGES = [Package("libx", "1.0-1", "amd64", "x", "1.0-1"), Package("x-tools", "1.0-1", "amd64", "x", "1.0-1")]


def judge(found: dict[str, Any], *baseline: dict[str, str]) -> cves.Report:
    return cves.judge(PACKAGES, {"x": found}, "debian-13", cves.read_baseline(list(baseline)), TODAY)


def accept(number: str, expires: str = "2026-12-31") -> dict[str, str]:
    return {"cve": number, "source": "x", "reason": "because", "expires": expires}


def test_a_fix_that_the_image_lacks_is_red_and_once_a_source() -> None:
    report = judge({"CVE-2026-0001": cve("resolved", "1.0-2")})
    assert report.failures == ("CVE-2026-0001 in x 1.0-1 is fixed in 1.0-2: build the image anew",)


@pytest.mark.parametrize(
    "about",
    [
        cve("resolved", "1.0-1"),
        cve("resolved", "0.9-5"),
        cve("resolved", "0"),  # this release never had it
        {"releases": {"bookworm": {"status": "resolved", "fixed_version": "9"}}},
        cve("open", urgency="unimportant"),
    ],
)
def test_what_is_green(about: dict[str, Any]) -> None:
    report = judge({"CVE-2026-0001": about})
    assert report.failures == report.unfixed == ()


def test_what_debian_has_not_fixed_is_told_and_not_red() -> None:
    report = judge({"CVE-2026-0001": cve("open")})
    assert report.failures == ()
    assert [finding.cve for finding in report.unfixed] == ["CVE-2026-0001"]


def test_versions_are_debians_and_not_texts() -> None:
    packages = [Package("x", "6.12.96-1", "amd64", "x", "6.12.96-1")]
    report = cves.judge(packages, {"x": {"CVE-2026-0001": cve("resolved", "6.12.100-1")}}, "debian-13", [], TODAY)
    assert len(report.failures) == 1


def test_the_baseline_accepts_until_its_day_and_not_longer() -> None:
    found = {"CVE-2026-0001": cve("resolved", "1.0-2")}
    assert judge(found, accept("CVE-2026-0001")).failures == ()
    assert judge(found, accept("CVE-2026-0001", "2026-11-21")).failures == ()
    over = judge(found, accept("CVE-2026-0001", "2026-11-20")).failures
    assert [failure.partition(":")[0] for failure in over] == [
        "CVE-2026-0001 in x 1.0-1 is fixed in 1.0-2",
        "CVE-2026-0001 in x was accepted until 2026-11-20",
    ]
    (gone,) = judge({}, accept("CVE-2026-0001")).failures
    assert "the image does not have it" in gone


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"cve": "x"},
        accept("CVE-2026-1"),
        accept("CVE-2026-0001", "soon"),
        {**accept("CVE-2026-0001"), "reason": ""},
    ],
)
def test_a_broken_baseline(entry: dict[str, str]) -> None:
    with pytest.raises(ImageError, match="entry 1 of the baseline"):
        cves.read_baseline([entry])


@pytest.mark.parametrize("text", ["", "<html>", "[]", '{"x": {}}'])
def test_half_of_the_data_is_no_data(text: str) -> None:
    with pytest.raises(ImageError, match="fetch it anew"):
        cves.read_tracker(text)


# --- The statement -----------------------------------------------------------------------------------------------------

TAGS = {"boring:fingerprint": "ab" * 32, "boring:family": "engine", "boring:source": "ami-0123456789abcdef0"}


def test_a_statement_says_what_the_image_was_made_of() -> None:
    made = provenance.statement(image="ami-1", region="eu-central-1", tags=TAGS, sbom="cd" * 32, verified="booted")
    assert made["subject"] == [{"name": "eu-central-1/ami-1", "digest": {"boringFingerprint": "ab" * 32}}]
    assert made["predicate"]["runDetails"]["byproducts"] == [{"name": "sbom.cdx.json", "digest": {"sha256": "cd" * 32}}]
    with pytest.raises(ImageError, match="no tag boring:fingerprint"):
        provenance.statement(image="ami-1", region="eu-central-1", tags={}, sbom="", verified="")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl signs")
def test_the_signature_is_verified_by_openssl_alone(tmp_path: Path) -> None:
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True, timeout=30
    )
    subprocess.run(
        ["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True, capture_output=True, timeout=30
    )
    made = provenance.statement(image="ami-1", region="r", tags=TAGS, sbom="", verified="")
    text = provenance.sign(made, key)
    assert text == provenance.sign(made, key)
    assert "PRIVATE" not in text
    envelope = json.loads(text)
    payload = base64.b64decode(envelope["payload"])
    assert json.loads(payload) == made

    def verified(about: bytes) -> bool:
        (tmp_path / "message").write_bytes(provenance.authenticated(about))
        (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
        argv = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(public)]
        argv += ["-in", str(tmp_path / "message"), "-sigfile", str(tmp_path / "signature")]
        return subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0

    assert verified(payload)
    assert not verified(payload.replace(b"ami-1", b"ami-2"))


def test_a_key_that_is_none(tmp_path: Path) -> None:
    made = provenance.statement(image="ami-1", region="r", tags=TAGS, sbom="", verified="")
    with pytest.raises(ImageError, match="is not a file"):
        provenance.sign(made, tmp_path / "absent")
    (tmp_path / "key").write_text("secret that must not be shown")
    with pytest.raises(ImageError, match="openssl did not sign") as error:
        provenance.sign(made, tmp_path / "key")
    assert "secret" not in str(error.value)
