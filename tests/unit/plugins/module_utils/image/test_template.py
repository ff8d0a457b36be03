# SPDX-License-Identifier: GPL-3.0-or-later
"""What a template says about itself, without Packer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
  default   = ""
}
variable "db_password" { default = "" }
locals {
  pattern = "debian-${local.short}-amd64-*"
  short   = var.release
}
source "amazon-ebs" "one" {
  region = "us-east-1"
  source_ami_filter {
    filters     = { name = local.pattern, "ena-support" = true, joined = join("", ["x"]) }
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
        only=["amazon-ebs.debian"],
        var_files=[PACKER / "images/cpu.pkrvars.hcl", PACKER / "services/engine.pkrvars.hcl"],
        given={"region": "eu-west-3", "manifest": "/run/manifest.json"},
    )
    assert seen.family == "engine"
    assert seen.builds == ("amazon-ebs.debian",)
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
    seen = template.read(
        PACKER,
        var_files=[PACKER / "images/cpu.pkrvars.hcl", PACKER / "services/api.pkrvars.hcl"],
        variables={"source_image": "ami-0123456789abcdef0"},
    )
    assert seen.sources[0].image == "ami-0123456789abcdef0"


def test_a_foreign_template(foreign: Path) -> None:
    seen = template.read(foreign)
    assert seen.builds == ("all.amazon-ebs.one", "all.amazon-ebs.renamed", "all.qemu.disk")
    one, two, disk = seen.sources
    assert one.filters == {"name": "debian-13-amd64-*", "ena-support": "true", "joined": "x"}
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
        (["amazon-ebs.one"], ["all.amazon-ebs.one"]),
        (["all.amazon-ebs.one"], ["all.amazon-ebs.one"]),
        (["amazon-ebs.*"], ["all.amazon-ebs.one", "all.amazon-ebs.renamed"]),
        (["*.disk"], ["all.qemu.disk"]),
        (["all.{qemu,null}.*"], ["all.qemu.disk"]),
    ],
)
def test_only(foreign: Path, only: list[str], builds: list[str]) -> None:
    assert list(template.read(foreign, only=only).builds) == builds


def test_references_without_quotes(tmp_path: Path) -> None:
    (tmp_path / "it.pkr.hcl").write_text(
        'source "null" "x" {}\nbuild {\n  sources = [\n    source.null.x,\n  ]\n  post-processor "manifest" {}\n}\n'
    )
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


# --- Refused before anything is asked of AWS or Packer ---------------------------------------------------------------

PLAIN = """
variable "family" { default = "web" }
source "amazon-ebs" "cpu" {
  source_ami_filter {
    owners  = ["136693071363"]
    filters = { name = "debian-13-*" }
  }
}
build {
  sources = ["source.amazon-ebs.cpu"]
  post-processor "manifest" {}
}
"""


def written(directory: Path, text: str, name: str = "it.pkr.hcl") -> Path:
    (directory / name).write_text(text)
    return directory


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (
            PLAIN.replace('post-processor "manifest" {}', ""),
            {},
            'the build amazon-ebs.cpu has no post-processor "manifest"',
        ),
        (
            PLAIN.replace('post-processor "manifest" {}', 'post-processor "manifest" { except = ["amazon-ebs.cpu"] }'),
            {},
            'no post-processor "manifest"',
        ),
        (PLAIN + 'variable "size" {}', {}, "the variable size has no value"),
        (PLAIN + 'variable "lock" {}', {}, "the variable lock has no value"),
        (PLAIN, {"variables": {"family": [float("inf")]}}, "gives family a number that is none"),
        (PLAIN, {"variables": {"family": 10**400}}, "gives family a number that is none, or is larger"),
        (PLAIN, {"variables": {"family": json.loads("[" * 80 + "]" * 80)}}, "nests more than 60 levels deep"),
        (PLAIN, {"variables": {"sise": 1}}, "variables gives sise, which the template .* does not declare"),
        (PLAIN, {"variables": {"Family": "x"}}, "did you mean family?"),
        (PLAIN.replace("{", "{{{", 1), {}, r"it.pkr.hcl, line 2: '\{' was not expected"),
        (PLAIN.replace('"web"', "local.nothing"), {}, "there is no local nothing"),
        (PLAIN.replace('"debian-13-*"', "var.nothing"), {}, "there is no variable nothing"),
        (
            PLAIN.replace('"debian-13-*"', "data.amazon-ami.nothing.name"),
            {},
            "there is no data source amazon-ami.nothing",
        ),
        (PLAIN.replace("source.amazon-ebs.cpu", "source.amazon-ebs.gpu"), {}, "there is no source amazon-ebs.gpu"),
        (PLAIN, {"only": ["absent"]}, "only is absent, and the builds of .* are amazon-ebs.cpu"),
        ('variable "a" { default = 1 }', {}, "has no build with a source"),
        (
            PLAIN + "locals {\n  a = local.b\n  b = local.a\n}".replace("a = ", "a = "),
            {"use": "local.a"},
            "local.a hangs on itself",
        ),
        (PLAIN.replace('owners  = ["136693071363"]', ""), {}, "does not say whose image it starts from"),
        (PLAIN.replace('["136693071363"]', "[]"), {}, "does not say whose image it starts from"),
        (PLAIN.replace('["136693071363"]', '[""]'), {}, "does not say whose image it starts from"),
    ],
)
def test_refused_at_plan_time(tmp_path: Path, text: str, options: dict[str, Any], said: str) -> None:
    if use := options.pop("use", None):
        text = text.replace('"debian-13-*"', use)
    with pytest.raises(ImageError, match=said) as caught:
        template.read(written(tmp_path, text), **options)
    assert "\n" not in str(caught.value)


def test_a_long_chain_of_locals_is_a_sentence(tmp_path: Path) -> None:
    chain = "".join(f"  a{number} = local.a{number + 1}\n" for number in range(5000))
    text = PLAIN.replace('"debian-13-*"', "local.a0") + "locals {\n" + chain + '  a5000 = "x"\n}\n'
    with pytest.raises(ImageError, match="hangs on more than 60 others"):
        template.read(written(tmp_path, text))


def test_a_template_in_json_is_the_same(tmp_path: Path) -> None:
    document = {
        "variable": {"family": {"default": "web"}, "release": {"type": "string", "default": "13"}},
        "source": {
            "amazon-ebs": {
                "cpu": {
                    "source_ami_filter": {"owners": ["136693071363"], "filters": {"name": "debian-${var.release}-*"}}
                }
            }
        },
        "build": {
            "name": "all",
            "sources": ["source.amazon-ebs.cpu"],
            "provisioner": [{"shell": {"script": "a.sh"}}],
            "post-processor": {"manifest": {"output": "out.json"}},
        },
    }
    seen = template.read(written(tmp_path, json.dumps(document), "it.pkr.json"))
    assert seen.builds == ("all.amazon-ebs.cpu",)
    assert seen.sources[0].filters == {"name": "debian-13-*"}
    assert seen.manifest == "out.json"
    assert [(step.kind, step.type) for step in seen.steps if step.kind == "provisioner"] == [("provisioner", "shell")]


# --- What a source starts from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('["136693071363"]', '[env("OWNER")]'),
        ('["136693071363"]', "[var.owner]"),
        ('["136693071363"]', "data.amazon-parameterstore.owner.value"),
        ('["136693071363"]', '[regex("[0-9]+", "136693071363")]'),
        ('{ name = "debian-13-*" }', "{ name = data.http.name.body }"),
        ('{ name = "debian-13-*" }', '{ name = "debian-13-*", "tag:a" = timestamp() }'),
        ('{ name = "debian-13-*" }', "data.http.name.body"),
        (
            'filters = { name = "debian-13-*" }',
            'filters = { name = "x" }\n filter {\n name = "tag:a"\n values = [timestamp()]\n}',
        ),
    ],
)
def test_an_owner_or_filter_that_cannot_be_read_asks_nothing(tmp_path: Path, old: str, new: str) -> None:
    """A question without it finds images of strangers, and Packer would start from one."""
    text = (
        PLAIN.replace(old, new)
        + """
      variable "owner" { default = env("OWNER") }
      data "http" "name" { url = "https://example.org" }
      data "amazon-parameterstore" "owner" { name = "x" }
    """
    )
    seen = template.read(written(tmp_path, text))
    assert (seen.sources[0].lookup, seen.sources[0].image) == (None, None)
    assert any(
        "cannot be looked up, because its owners or filters cannot be read" in said for said in seen.trace.unknown
    )


def test_every_filter_is_asked(tmp_path: Path) -> None:
    text = PLAIN.replace(
        'filters = { name = "debian-13-*" }',
        'filters = { name = "a" }\n include_deprecated = true\n filter {\n name = "tag:a"\n values = ["b", "c"]\n}\n'
        'dynamic "filter" {\n for_each = ["x", "y"]\n content {\n name = "tag:${filter.value}"\n value = filter.key\n}\n}',
    )
    lookup = template.read(written(tmp_path, text)).sources[0].lookup
    assert lookup is not None
    assert lookup.filters == (("name", ("a",)), ("tag:a", ("b", "c")), ("tag:x", ("0",)), ("tag:y", ("1",)))
    assert lookup.deprecated


def test_a_data_source_of_an_image_is_a_lookup(tmp_path: Path) -> None:
    text = (
        PLAIN[: PLAIN.index("source ")]
        + """
      data "amazon-ami" "base" {
        owners      = ["136693071363"]
        most_recent = true
        region      = "eu-west-1"
        filters     = { name = "debian-13-*" }
      }
      data "amazon-ami" "unused" {
        owners  = [env("X")]
        filters = { name = "x" }
      }
      source "amazon-ebs" "cpu" { source_ami = data.amazon-ami.base.id }
      build {
        sources = ["source.amazon-ebs.cpu"]
        post-processor "manifest" {}
      }
    """
    )
    seen = template.read(written(tmp_path, text))
    assert seen.data == {
        "data.amazon-ami.base": template.Lookup(("136693071363",), (("name", ("debian-13-*",)),), "eu-west-1")
    }
    assert seen.sources[0].data == "data.amazon-ami.base"
    assert not seen.trace.unknown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'data "hcp-packer-version" "v" { bucket_name = "a" }',
            "the data source hcp-packer-version.v asks somebody else",
        ),
        (
            'data "amazon-parameterstore" "v" { name = "a" }',
            "the data source amazon-parameterstore.v asks somebody else",
        ),
        ('data "http" "v" { url = "a" }', "the data source http.v asks somebody else"),
    ],
)
def test_other_data_sources_are_unknown_where_something_hangs_on_them(tmp_path: Path, text: str, said: str) -> None:
    name = text.split('"')[1]
    seen = template.read(written(tmp_path, PLAIN + text))
    assert not seen.trace.unknown
    seen = template.read(
        written(
            tmp_path,
            PLAIN.replace('"web"', '"web"').replace(
                "post-processor", f'provisioner "shell" {{\n inline = [data.{name}.v.body]\n}}\n post-processor', 1
            )
            + text,
        )
    )
    (sentence,) = seen.trace.unknown
    assert said in sentence


@pytest.mark.parametrize("inside", [True, False])
def test_a_bucket_of_hcp_is_unknown(tmp_path: Path, inside: bool) -> None:
    block = 'hcp_packer_registry {\n bucket_name = "web"\n}\n'
    text = PLAIN.replace("post-processor", f"{block} post-processor", 1) if inside else PLAIN + block
    (sentence,) = template.read(written(tmp_path, text)).trace.unknown
    assert "hangs on a bucket of HCP Packer" in sentence


def test_an_environment_variable_is_unknown_until_the_variable_has_a_value(tmp_path: Path) -> None:
    text = PLAIN.replace('"web"', 'env("FAMILY")').replace(
        "post-processor", 'provisioner "shell" {\n inline = [var.family]\n}\n post-processor', 1
    )
    written(tmp_path, text)
    (sentence,) = template.read(tmp_path).trace.unknown
    assert 'env("FAMILY") is read from the environment' in sentence
    assert not template.read(tmp_path, variables={"family": "web"}).trace.unknown


def test_a_build_has_its_blocks_name(tmp_path: Path) -> None:
    blocks = "".join(
        f'build {{\n name = "{name}"\n sources = ["source.amazon-ebs.cpu"]\n post-processor "manifest" {{\n custom_data = {{ build = '
        f'"${{build.name}}.${{source.type}}.${{source.name}}" }}\n}}\n}}\n'
        for name in ("a", "b")
    )
    seen = template.read(written(tmp_path, PLAIN[: PLAIN.index("build {")] + blocks))
    assert seen.builds == ("a.amazon-ebs.cpu", "b.amazon-ebs.cpu")
    assert [source.told for source in seen.sources] == ["a.amazon-ebs.cpu", "b.amazon-ebs.cpu"]
    assert not seen.trace.unknown
    assert template.read(tmp_path, only=["b.*"]).builds == ("b.amazon-ebs.cpu",)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (
            'build {\n sources = ["source.amazon-ebs.cpu"]\n post-processor "manifest" {}\n}\n' * 2,
            "two builds are called amazon-ebs.cpu",
        ),
        (
            'build {\n source "source.amazon-ebs.cpu" { name = "x" }\n sources = ["source.amazon-ebs.cpu"]\n post-processor "manifest" {}\n}\n',
            "several builds are made of the source amazon-ebs.cpu",
        ),
    ],
)
def test_builds_whose_images_nobody_can_tell_apart(tmp_path: Path, build: str, said: str) -> None:
    seen = template.read(written(tmp_path, PLAIN[: PLAIN.index("build {")] + build))
    assert any(said in sentence for sentence in seen.trace.unknown)


def test_a_dynamic_block_is_there_when_it_is(tmp_path: Path) -> None:
    text = PLAIN.replace(
        "source_ami_filter {",
        'source_ami = var.image\n dynamic "source_ami_filter" {\n for_each = var.image == "" ? [1] : []\n content {',
    )
    text = text.replace("filters = { name", "filters = { name").replace(
        'debian-13-*" }\n  }', 'debian-13-*" }\n  }\n  }'
    )
    written(tmp_path, text + 'variable "image" { default = "" }')
    assert template.read(tmp_path).sources[0].lookup is not None
    pinned = template.read(tmp_path, variables={"image": "ami-12345678"}).sources[0]
    assert (pinned.lookup, pinned.image) == (None, "ami-12345678")


# --- Secrets ---------------------------------------------------------------------------------------------------------


def test_files_with_secrets_count_without_them(tmp_path: Path) -> None:
    template_text = (
        PLAIN + 'variable "pin" {\n  default   = "1234"\n  sensitive = true\n}\nvariable "size" { default = 1 }\n'
    )
    written(tmp_path, template_text)
    written(tmp_path, 'pin = "5678"\nsize = 2\n', "a.pkrvars.hcl")
    written(tmp_path, '{"pin": "9012", "size": 3}', "b.pkrvars.json")
    files = [tmp_path / "a.pkrvars.hcl", tmp_path / "b.pkrvars.json"]
    seen = template.read(tmp_path, var_files=files)
    assert set(seen.veiled) == {tmp_path / "it.pkr.hcl", *files}
    assert seen.hidden == {"pin": "'9012'"}
    for content in seen.veiled.values():
        assert not any(pin in content for pin in (b"1234", b"5678", b"9012"))
    assert b"size = 2" in seen.veiled[files[0]]
    assert b'"size": 3' in seen.veiled[files[1]]
    assert "1234" not in repr(seen.values.get("size"))


@pytest.mark.parametrize(
    ("declared", "secret"),
    [
        ('variable "pin" { sensitive = true }', True),
        ('variable "db_password" { type = string }', True),
        ('variable "api_key" {}', True),
        ('variable "github_token" {}', True),
        ('variable "http_tokens" { type = string }', False),
        ('variable "use_password" { type = bool }', False),
        ('variable "compass" {}', False),
    ],
)
def test_what_is_a_secret(tmp_path: Path, declared: str, secret: bool) -> None:
    written(tmp_path, PLAIN + declared.replace("}", "\n default = null\n}").replace("{ ", "{\n "))
    assert bool(template.read(tmp_path).secrets) == secret


def test_a_secret_default_in_json(tmp_path: Path) -> None:
    document = json.loads('{"variable": {"pin": {"default": "1234", "sensitive": true}, "size": {"default": 1}}}')
    written(tmp_path, PLAIN)
    written(tmp_path, json.dumps(document), "more.pkr.json")
    seen = template.read(tmp_path)
    assert b"1234" not in seen.veiled[tmp_path / "more.pkr.json"]
    assert b'"size"' in seen.veiled[tmp_path / "more.pkr.json"]


# --- Our own template ------------------------------------------------------------------------------------------------


def settings(**variables: Any) -> dict[str, Any]:
    chosen = [PACKER / "images/cpu.pkrvars.hcl", PACKER / "services/engine.pkrvars.hcl"]
    seen = template.read(PACKER, only=["amazon-ebs.debian"], var_files=chosen, variables=variables)
    return dict(next(step.values for step in seen.steps if step.kind == "source"))


def test_the_builder_lets_in_the_machine_that_builds_and_not_the_world() -> None:
    by_default = settings()
    assert by_default["temporary_security_group_source_public_ip"] is True
    assert by_default["temporary_security_group_source_cidrs"] == []
    inside = settings(ssh_interface="private_ip")
    assert inside["temporary_security_group_source_public_ip"] is False
    assert inside["temporary_security_group_source_cidrs"] == ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
    named = settings(ssh_cidrs=["192.0.2.0/24"])
    assert named["temporary_security_group_source_public_ip"] is False
    assert named["temporary_security_group_source_cidrs"] == ["192.0.2.0/24"]


def test_sources_are_called_what_they_are() -> None:
    chosen = [PACKER / "images/gpu.pkrvars.hcl", PACKER / "services/engine.pkrvars.hcl"]
    seen = template.read(PACKER, var_files=chosen)
    assert seen.builds == ("amazon-ebs.debian", "googlecompute.debian", "qemu.debian")
    assert [source.build for source in seen.sources] == [source.declared for source in seen.sources]
