# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading Packer's manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import manifest
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.manifest import Image
from ansible_collections.boring.fleet.plugins.module_utils.image.template import Source


def a_build(run: str, artifact: str, **others: Any) -> dict[str, Any]:
    return {
        "name": "cpu",
        "builder_type": "amazon-ebs",
        "files": None,
        "artifact_id": artifact,
        "packer_run_uuid": run,
        **others,
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest.json"


def test_only_the_latest_run_counts(path: Path) -> None:
    path.write_text(
        json.dumps({"builds": [a_build("1", "eu:ami-1"), a_build("2", "eu:ami-2,us:ami-3")], "last_run_uuid": "2"})
    )
    made = manifest.read(path, before="1")
    assert [build["artifact_id"] for build in made["builds"]] == ["eu:ami-2,us:ami-3"]
    assert manifest.images(made, path.parent) == [
        Image("amazon-ebs.cpu", "amazon-ebs", "eu", "ami-2"),
        Image("amazon-ebs.cpu", "amazon-ebs", "us", "ami-3"),
    ]
    assert manifest.run_of(path) == "2"


@pytest.mark.parametrize(
    ("built", "told", "found", "source"),
    [
        (["gpu"], {}, "amazon-ebs.gpu", "amazon-ebs.cpu"),
        (["cpu", "gpu"], {"build": "amazon-ebs.gpu"}, "amazon-ebs.gpu", "amazon-ebs.cpu"),
        (["cpu", "gpu"], {}, "amazon-ebs.cpu", ""),  # one image must not answer for both
        (["cpu", "gpu"], {"build": "somebody's own word"}, "amazon-ebs.cpu", ""),
        (["gpu"], {"build": "somebody's own word"}, "amazon-ebs.gpu", "amazon-ebs.cpu"),
        ([], {}, "amazon-ebs.cpu", ""),
    ],
)
def test_a_source_that_the_build_renames(
    path: Path, built: list[str], told: dict[str, str], found: str, source: str
) -> None:
    """Packer says the name of the source's block; the image is looked up by the name that `only` takes."""
    sources = [Source(f"amazon-ebs.{name}", "amazon-ebs.cpu", told=f"amazon-ebs.{name}") for name in built]
    (image,) = manifest.images({"builds": [a_build("1", "eu:ami-1", custom_data=told)]}, path.parent, sources)
    assert (image.build, image.source) == (found, source)
    assert "source" not in image.as_dict()


def test_an_image_that_is_a_file(path: Path) -> None:
    (path.parent / "out").mkdir()
    (path.parent / "out" / "disk.qcow2").write_bytes(b"disk")
    build = a_build("1", "VM", builder_type="qemu", files=[{"name": "out/disk.qcow2", "size": 4}])
    (image,) = manifest.images({"builds": [build]}, path.parent)
    assert image.as_dict() == {
        "build": "qemu.cpu",
        "builder": "qemu",
        "region": "",
        "id": "VM",
        "name": "disk.qcow2",
        "file": str(path.parent / "out" / "disk.qcow2"),
        "sha256": hashlib.sha256(b"disk").hexdigest(),
    }


def test_an_image_in_a_cloud_has_no_file() -> None:
    assert Image("a.b", "a", "r", "i", "n").as_dict() == {
        "build": "a.b",
        "builder": "a",
        "region": "r",
        "id": "i",
        "name": "n",
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, 'wrote no manifest to .*needs a post-processor "manifest"'),
        ("{", "is not one of Packer's"),
        ("[]", "is not one of Packer's"),
        ("{}", "is not one of Packer's"),
        ('{"builds": [], "last_run_uuid": "2"}', "names no build"),
        (
            '{"builds": [{"name": "a", "packer_run_uuid": "1"}], "last_run_uuid": "1"}',
            "did not write its manifest .* anew",
        ),
    ],
)
def test_manifests_that_are_none(path: Path, content: str | None, said: str) -> None:
    if content is not None:
        path.write_text(content)
    with pytest.raises(ImageError, match=said):
        manifest.read(path, before="1")


@pytest.mark.parametrize("content", [None, "", "[1]", "{}"])
def test_there_was_no_run_before(path: Path, content: str | None) -> None:
    if content is not None:
        path.write_text(content)
    assert manifest.run_of(path) == ""
