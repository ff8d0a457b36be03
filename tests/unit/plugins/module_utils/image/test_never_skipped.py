# SPDX-License-Identifier: GPL-3.0-or-later
"""Never skip a build whose input changed: random edits of random inputs of templates that are made up here."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from tests.unit.plugins.module_utils.image.test_build import World

TEMPLATES, EDITS = 10, 30  # of each
PLACES = ("packer/{}", "packer/deep/er/{}", "shared/{}", "../outside/{}", "~/own/{}")


class Maker:
    """A template with random steps; `files` are all that feeds the image."""

    def __init__(self, world: World, home: Path, chance: random.Random) -> None:
        self.world, self.home, self.chance = world, home, chance
        self.files: list[Path] = []
        self.steps: list[str] = []
        self.settings: list[str] = []
        self.locals: list[str] = []
        self.data: list[str] = []
        self.play: list[str] = []
        self.roles: list[str] = []
        self.number = 0
        for make in chance.sample(self.KINDS, chance.randint(5, len(self.KINDS))):
            make(self)

    def file(self, suffix: str = ".sh", content: str | None = None, place: str | None = None) -> str:
        """A new input; answers how the template calls it."""
        self.number += 1
        where = (place or self.chance.choice(PLACES)).format(f"in{self.number}{suffix}")
        path = self.home / where[2:] if where.startswith("~/") else (self.world.root / where).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content {self.number}\n" if content is None else content)
        self.files.append(path)
        if where.startswith("~/"):
            return where
        return where.removeprefix("packer/") if where.startswith("packer/") else f"../{where}"

    def script(self) -> None:
        self.steps.append(f'provisioner "shell" {{ script = "{self.file()}" }}')

    def scripts(self) -> None:
        self.locals.append(f'scripts = ["{self.file()}", "{self.file()}"]')
        self.steps.append('provisioner "shell" { scripts = [for one in local.scripts : one] }')

    def upload(self) -> None:
        suffix = self.chance.choice([".orig", "~", ".lock.json", ".pkrvars.hcl", ".swp", ".conf"])
        self.steps.append(f'provisioner "file" {{\n source = "{self.file(suffix)}"\n destination = "/tmp/x"\n}}')

    def upload_tree(self) -> None:
        self.number += 1
        name = f"tree{self.number}"
        for _ in range(3):
            self.file(self.chance.choice([".orig", "~", ".conf"]), place=f"shared/{name}/{{}}")
        self.steps.append(f'provisioner "file" {{\n sources = ["../shared/{name}/"]\n destination = "/tmp"\n}}')

    def content(self) -> None:
        called = self.file()
        if called.startswith("~"):
            called = f'${{pathexpand("{called}")}}'
        self.steps.append(f'provisioner "shell" {{ inline = [file("{called}")] }}')

    def rendered(self) -> None:
        inner = self.file(".txt", place="shared/{}")
        outer = self.file(".tpl", content=f'<${{word}}>${{file("{inner}")}}', place="shared/{}")
        self.settings.append(f'user_data = templatefile("{outer}", {{ word = var.family }})')

    def found(self) -> None:
        self.number += 1
        suffix = f".found{self.number}"
        for _ in range(2):
            self.file(suffix, place="shared/sets/{}")
        self.steps.append(
            f'provisioner "shell" {{ inline = [for one in fileset("../shared", "**/*{suffix}") : file("../shared/${{one}}")] }}'
        )

    def chosen(self) -> None:
        self.steps.append(f'provisioner "shell" {{ script = var.family == "web" ? "{self.file()}" : "../absent" }}')

    def local_command(self) -> None:
        self.steps.append(f'provisioner "shell-local" {{ inline = ["sh {self.file(place="shared/{}")} now"] }}')

    def role(self) -> None:
        self.number += 1
        base = self.chance.choice(("play/roles", "~/.ansible/roles"))
        name, below = f"role{self.number}", f"below{self.number}"
        self.file(".yml", content="- ping:\n", place=f"{base}/{name}/tasks/{{}}")
        self.file("~", place=f"{base}/{name}/files/{{}}")
        self.file(".yml", content=f"dependencies: [{below}]\n", place=f"{base}/{name}/meta/{{}}")
        meta = self.files.pop()
        meta = meta.rename(meta.with_name("main.yml"))
        self.file(".yml", content="- ping:\n", place=f"~/.ansible/roles/{below}/handlers/{{}}")
        self.roles.append(name)

    def tasks(self) -> None:
        self.play.append(
            f"    - include_tasks: {self.file('.yml', content='- ping:', place='shared/{}').replace('../', '../', 1)}\n"
        )

    def copied(self) -> None:
        self.play.append(f"    - copy: {{src: {self.file('.conf', place='shared/{}')}, dest: /x}}\n")

    def looked_up(self) -> None:
        self.play.append(
            f"    - debug: {{msg: \"{{{{ lookup('file', '{self.file('.txt', place='shared/{}')}') }}}}\"}}\n"
        )

    KINDS: tuple[Callable[[Maker], None], ...] = (
        script, scripts, upload, upload_tree, content, rendered, found, chosen, local_command, role, tasks, copied, looked_up,
    )  # fmt: skip

    def write(self) -> None:
        root = self.world.root
        if self.play or self.roles:
            (root / "play").mkdir(exist_ok=True)
            roles = f"  roles: [{', '.join(self.roles)}]\n" if self.roles else ""
            (root / "play" / "site.yml").write_text(f"- hosts: all\n{roles}  tasks:\n    - ping:\n{''.join(self.play)}")
            self.steps.append('provisioner "ansible" { playbook_file = "../play/site.yml" }')
            self.files.append(root / "play" / "site.yml")
        template = root / "packer" / "it.pkr.hcl"
        lines = template.read_text().replace("region = var.region", "region = var.region\n" + "\n".join(self.settings))
        lines = lines.replace("  post-processor", "\n".join(self.steps) + "\n  post-processor")
        template.write_text(lines + "locals {\n" + "\n".join(self.locals) + "\n}\n")
        self.files += [template, root / "roles" / "main.yml"]


def edit(path: Path, chance: random.Random, elsewhere: Path) -> str:
    """One change of one file that a build would notice."""
    how = chance.choice(["append", "byte", "replace", "mode", "remove", "link"])
    content = path.read_bytes()
    if how == "append":
        path.write_bytes(content + b"# later\n")
    elif how == "byte":
        at = chance.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif how == "replace":
        path.write_bytes(b"# quite another\n")
    elif how == "mode":
        path.chmod(path.stat().st_mode ^ 0o100)
    elif how == "remove":
        path.unlink()
    else:
        elsewhere.write_bytes(content + b"# of another\n")
        path.unlink()
        path.symlink_to(elsewhere)
    return how


@pytest.mark.parametrize("seed", range(TEMPLATES))
def test_no_edit_of_an_input_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = random.Random(seed)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "checkout").mkdir()
    world = World(tmp_path / "checkout")
    maker = Maker(world, home, chance)
    maker.write()
    plan, built = world.build()
    assert not plan.unknown
    assert world.job().plan().existing == built.images  # an unchanged one is skipped
    skipped = []
    for _ in range(EDITS):
        path = chance.choice(maker.files)
        content, mode = path.read_bytes(), path.stat().st_mode
        how = edit(path, chance, tmp_path / "elsewhere")
        try:
            if not world.job().plan().builds:
                skipped.append(f"{how} {path}")
        except ImageError:
            pass  # refused: not skipped either
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        assert world.job().plan().existing == built.images, "what is put back is the same again"
    assert skipped == []


def test_the_templates_differ(tmp_path: Path) -> None:
    """Ten times the same template would prove little."""
    kinds = set()
    for seed in range(TEMPLATES):
        (tmp_path / str(seed)).mkdir()
        maker = Maker(World(tmp_path / str(seed)), tmp_path / "home", random.Random(seed))
        kinds.add(json.dumps(sorted(step.split('"')[1] for step in maker.steps)) + str(len(maker.files)))
    assert len(kinds) == TEMPLATES
