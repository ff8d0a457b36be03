# SPDX-License-Identifier: GPL-3.0-or-later
"""What a template says about itself, without Packer."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import template
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

PACKER = Path(__file__).parents[5] / "packer"

FOREIGN = """
packer {
  required_plugins {
    amazon = {
      version = ">= 1.2"
      source  = "github.com/hashicorp/amazon"
    }
  }
}
variable "release" { default = "13" }
variable "licence" {
  type      = string
  sensitive = true
}
variable "db_password" { default = "" }
locals {
  pattern = "debian-${local.short}-amd64-*"
  short   = var.release
}
source "amazon-ebs" "one" {
  region = "us-east-1"
  source_ami_filter {
    filters     = { name = local.pattern, "ena-support" = true, hidden = join("", ["x"]) }
    owners      = ["136693071363"]
    most_recent = true
  }
}
source "amazon-ebs" "two" { source_ami = "ami-12345678" }
source "qemu" "disk" {}
build {
  name    = "all"
  sources = ["source.amazon-ebs.one", "source.qemu.disk"]
  source "source.amazon-ebs.two" { name = "renamed" }
  post-processors {
    post-processor "manifest" { output = "out/${var.release}.json" }
  }
}
"""


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    (tmp_path / "it.pkr.hcl").write_text(FOREIGN)
    return tmp_path


def test_our_template() -> None:
    seen = template.read(
        PACKER,
        only=["amazon-ebs.cpu"],
        var_files=[PACKER / "images/cpu.pkrvars.hcl", PACKER / "services/engine.pkrvars.hcl"],
        given={"region": "eu-west-3", "manifest": "/run/manifest.json"},
    )
    assert seen.family == "engine"
    assert seen.builds == ("amazon-ebs.cpu",)
    assert seen.manifest == "/run/manifest.json"
    assert seen.plugins == {
        "github.com/hashicorp/amazon": "= 1.8.1",
        "github.com/hashicorp/ansible": "= 1.0.3",
        "github.com/hashicorp/googlecompute": "= 1.1.6",
        "github.com/hashicorp/qemu": "= 1.0.9",
    }
    (source,) = seen.sources
    assert source.region == "eu-west-3"
    assert source.image is None
    assert source.owners == ("136693071363",)
    assert source.filters == {"name": "debian-13-amd64-*", "state": "available"}


def test_a_pinned_source_image_wins_over_the_filter() -> None:
    seen = template.read(PACKER, variables={"source_image": "ami-0123456789abcdef0"})
    assert seen.sources[0].image == "ami-0123456789abcdef0"


def test_a_foreign_template(foreign: Path) -> None:
    seen = template.read(foreign)
    assert seen.builds == ("amazon-ebs.one", "amazon-ebs.renamed", "qemu.disk")
    one, two, disk = seen.sources
    assert one.filters == {"name": "debian-13-amd64-*", "ena-support": "true"}
    assert (one.region, one.owners) == ("us-east-1", ("136693071363",))
    assert (two.image, two.on_ec2, two.declared) == ("ami-12345678", True, "amazon-ebs.two")
    assert not disk.on_ec2
    assert seen.manifest == "out/13.json"
    assert seen.plugins == {"github.com/hashicorp/amazon": ">= 1.2"}
    assert seen.family == foreign.name
    assert seen.secrets == {"licence", "db_password"}


@pytest.mark.parametrize(
    ("only", "builds"),
    [
        (["amazon-ebs.one"], ["amazon-ebs.one"]),
        (["all.amazon-ebs.one"], ["amazon-ebs.one"]),
        (["amazon-ebs.*"], ["amazon-ebs.one", "amazon-ebs.renamed"]),
        (["*.disk"], ["qemu.disk"]),
        (["absent"], []),
    ],
)
def test_only(foreign: Path, only: list[str], builds: list[str]) -> None:
    assert list(template.read(foreign, only=only).builds) == builds


def test_references_without_quotes(tmp_path: Path) -> None:
    (tmp_path / "it.pkr.hcl").write_text('source "null" "x" {}\nbuild {\n  sources = [\n    source.null.x,\n  ]\n}\n')
    assert template.read(tmp_path).builds == ("null.x",)


def test_variables_in_packers_order(foreign: Path) -> None:
    def release() -> object:
        return template.read(
            foreign,
            given=given,
            var_files=var_files,
            variables=variables,
        ).values["release"]

    given, var_files, variables = {}, [], {}  # type: ignore[var-annotated]
    assert release() == "13"
    given = {"release": "given"}
    assert release() == "given"
    (foreign / "x.auto.pkrvars.hcl").write_text('release = "automatic"')
    assert release() == "automatic"
    (foreign / "a.pkrvars.hcl").write_text('release = "first"')
    (foreign / "b.pkrvars.json").write_text('{"release": "second"}')
    var_files = [foreign / "a.pkrvars.hcl", foreign / "b.pkrvars.json"]
    assert release() == "second"
    variables = {"release": "last"}
    assert release() == "last"


def test_a_template_that_is_not_hcl_is_packers_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "it.pkr.hcl").write_text('source "amazon-ebs" {{{')
    seen = template.read(tmp_path)
    assert (seen.sources, seen.manifest) == ((), None)


def test_no_template(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"holds no \*\.pkr\.hcl"):
        template.read(tmp_path)
    with pytest.raises(ImageError, match="is not a directory"):
        template.read(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.pkrvars.hcl", 'x = "', "line 1"),
        ("a.pkrvars.json", "[1]", "is broken: it holds no object"),
        ("a.pkrvars.json", "{", "is broken"),
    ],
)
def test_a_broken_variables_file(foreign: Path, name: str, content: str, said: str) -> None:
    (foreign / name).write_text(content)
    with pytest.raises(ImageError, match=said):
        template.read(foreign, var_files=[foreign / name])


def test_a_missing_variables_file(foreign: Path) -> None:
    with pytest.raises(ImageError, match=r"absent.pkrvars.hcl cannot be read: No such file"):
        template.read(foreign, var_files=[foreign / "absent.pkrvars.hcl"])
