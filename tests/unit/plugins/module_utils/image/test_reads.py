# SPDX-License-Identifier: GPL-3.0-or-later
"""What a template reads: each kind of input that lies outside of its directory changes the fingerprint, or is said to be unknown."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import ansible_reads, fingerprint, reads, template
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

FRAME = """
source "amazon-ebs" "cpu" {
  source_ami = "ami-12345678"
  %(source)s
}
%(top)s
build {
  sources = ["source.amazon-ebs.cpu"]
  %(steps)s
  post-processor "manifest" {}
}
"""


class Checkout:
    """A checkout with a template, and a home beside it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root / "checkout"
        self.home = root / "home"
        self.home.mkdir(parents=True)
        monkeypatch.setenv("HOME", str(self.home))
        self.env: dict[str, str] = {}

    def write(self, files: Mapping[str, str]) -> None:
        for name, content in files.items():
            path = (self.home / name[2:]) if name.startswith("~/") else self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def template(self, steps: str = "", source: str = "", top: str = "") -> None:
        self.write({"packer/it.pkr.hcl": FRAME % {"steps": steps, "source": source, "top": top}})

    def seen(self) -> tuple[dict[str, Any], list[str]]:
        """Everything that the fingerprint is made of, and what cannot be said."""
        seen = template.read(self.root / "packer")
        read = reads.of(seen, self.env)
        found = fingerprint.gather(self.root / "packer", [], reads=read, veiled=seen.veiled)
        return {**found.files, **read.facts}, list(read.unknown)

    def notices(self, name: str, content: str = "changed") -> bool:
        before = self.seen()
        assert not before[1], before[1]
        self.write({name: content})
        return self.seen() != before


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    return Checkout(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("steps", 'provisioner "shell" { script = "../outside/a.sh" }'),
        ("steps", 'provisioner "shell" { scripts = ["${path.root}/../outside/a.sh"] }'),
        ("steps", 'provisioner "shell" { scripts = fileset("..", "outside/*.sh") != [] ? ["../outside/a.sh"] : [] }'),
        ("steps", 'provisioner "shell" { inline = [file("../outside/a.sh")] }'),
        ("steps", 'provisioner "shell" { inline = [templatefile("../outside/a.sh", {})] }'),
        ("steps", 'provisioner "shell" { inline = [for one in fileset("../outside", "*.sh") : one] }'),
        ("steps", 'provisioner "shell" { inline = [local.words] }'),
        ("steps", 'provisioner "powershell" { script = "../outside/a.sh" }'),
        ("steps", 'provisioner "shell-local" { inline = ["sh ../outside/a.sh --really"] }'),
        ("steps", 'provisioner "shell-local" { command = "../outside/a.sh" }'),
        ("steps", 'provisioner "file" {\n source = "../outside/a.sh"\n destination = "/tmp/x"\n}'),
        ("steps", 'provisioner "file" {\n sources = ["../outside/"]\n destination = "/tmp/x"\n}'),
        ("steps", 'provisioner "file" {\n content = file("../outside/a.sh")\n destination = "/tmp/x"\n}'),
        ("steps", 'provisioner "puppet-masterless" { manifest_file = "../outside/a.sh" }'),
        ("steps", 'provisioner "salt-masterless" { local_state_tree = "../outside/a.sh" }'),
        ("steps", 'provisioner "chef-solo" { cookbook_paths = ["../outside"] }'),
        (
            "steps",
            'dynamic "provisioner" {\n for_each = ["a"]\n labels = ["shell"]\n content { script = "../outside/${provisioner.value}.sh" }\n}',
        ),
        ("steps", 'post-processors {\n post-processor "shell-local" { script = "../outside/a.sh" }\n}'),
        ("source", 'user_data_file = "../outside/a.sh"'),
        ("source", 'user_data = file("../outside/a.sh")'),
        ("source", 'user_data = templatefile("../outside/a.sh", { a = 1 })'),
        ("source", "tags = { words = local.words }"),
    ],
)
def test_a_file_outside_of_the_templates_directory(checkout: Checkout, where: str, text: str) -> None:
    checkout.write({"outside/a.sh": "one"})
    checkout.template(**{where: text}, top='locals { words = file("${path.root}/../outside/a.sh") }')
    assert checkout.notices("outside/a.sh")


def test_what_a_directory_that_is_uploaded_gets(checkout: Checkout) -> None:
    checkout.write({"outside/a": "one"})
    checkout.template('provisioner "file" {\n source = "../outside"\n destination = "/tmp/x"\n}')
    for name in ("outside/b", "outside/c~", "outside/d.orig", "outside/.git/e", "outside/f.lock.json"):
        assert checkout.notices(name), name


def test_a_new_file_that_a_pattern_finds(checkout: Checkout) -> None:
    checkout.write({"outside/a.sh": "one"})
    checkout.template('provisioner "shell" { inline = [join(",", fileset("../outside", "**/*.sh"))] }')
    assert checkout.notices("outside/deeper/b.sh")
    assert not checkout.notices("outside/b.txt")


def test_what_is_no_input_does_not_count(checkout: Checkout) -> None:
    checkout.write({"outside/a.sh": "one", "outside/key": "one"})
    checkout.template(
        'provisioner "file" {\n direction = "download"\n source = "/var/log/x"\n destination = "../outside/a.sh"\n}\n'
        'provisioner "shell" {\n only = ["amazon-ebs.other"]\n script = "../absent.sh"\n}',
        'ssh_private_key_file = "../outside/key"',
        'locals { unused = file("../outside/a.sh") }',
    )
    assert not checkout.notices("outside/a.sh")
    assert not checkout.notices("outside/key")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            'provisioner "shell" { script = "../absent.sh" }',
            "it.pkr.hcl, line 9: the provisioner shell names .*absent.sh, which does not exist",
        ),
        (
            'provisioner "shell" { script = "~nobody-of-this-name/a.sh" }',
            "the provisioner shell names .*nobody-of-this-name",
        ),
        ('provisioner "shell" { scripts = ["absent.sh"] }', "the provisioner shell names .*absent.sh"),
        ('provisioner "file" {\n source = "../absent/"\n destination = "x"\n}', "the provisioner file names .*absent"),
        ('provisioner "ansible" { playbook_file = "../absent.yml" }', "the provisioner ansible names .*absent.yml"),
        ('provisioner "ansible" {\n playbook_file = "it.yml"\n galaxy_file = "../absent.yml"\n}', "names .*absent.yml"),
        (
            'provisioner "ansible" {\n playbook_file = "it.yml"\n extra_arguments = ["-e", "@../absent.yml"]\n}',
            "takes variables from ../absent.yml",
        ),
        (
            'provisioner "shell" { inline = [file("../absent.sh")] }',
            r"the file .*absent.sh that file\(\) reads does not exist",
        ),
    ],
)
def test_a_missing_file_is_refused(checkout: Checkout, steps: str, said: str) -> None:
    checkout.template(steps)
    checkout.write({"packer/it.yml": "[]"})
    with pytest.raises(ImageError, match=said) as caught:
        checkout.seen()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ('provisioner "shell" { script = "a-${timestamp()}.sh" }', "reads a file whose path cannot be said"),
        ('provisioner "shell" { script = "{{ pwd }}/a.sh" }', "reads a file whose path cannot be said"),
        (
            'provisioner "file" {\n source = "out.tar"\n destination = "x"\n generated = true\n}',
            r"which is made while Packer builds \(generated\)",
        ),
        ('provisioner "puppet-masterless" { manifest_file = timestamp() }', "reads a file whose path cannot be said"),
        ('provisioner "ansible" { playbook_file = build.ID }', "takes a playbook_file that cannot be said"),
    ],
)
def test_what_cannot_be_said_is_said_to_be_so(checkout: Checkout, steps: str, said: str) -> None:
    checkout.template(steps)
    (sentence,) = checkout.seen()[1]
    assert re.search(said, sentence)


# --- Ansible ---------------------------------------------------------------------------------------------------------

PLAY = 'provisioner "ansible" {\n playbook_file = "../play/site.yml"\n %s\n}'


def play(checkout: Checkout, tasks: str = "", *, head: str = "", step: str = "") -> None:
    checkout.template(PLAY % step)
    checkout.write({"play/site.yml": f"- hosts: all\n{head}\n  tasks:\n    - ansible.builtin.ping:\n{tasks}"})


@pytest.mark.parametrize(
    ("name", "tasks", "head"),
    [
        ("play/site.yml", "", ""),
        ("play/group_vars/all.yml", "", ""),
        ("play/other.yml", "    - ansible.builtin.include_tasks: other.yml\n", ""),
        ("play/deep/er.yml", "    - import_tasks:\n        file: deep/er.yml\n", ""),
        ("shared/tasks.yml", "    - include_tasks: ../shared/tasks.yml\n", ""),
        ("shared/vars.yml", "", "  vars_files: [../shared/vars.yml]"),
        ("shared/vars.yml", "    - ansible.builtin.include_vars: ../shared/vars.yml\n", ""),
        ("shared/conf", "    - copy: {src: ../shared/conf, dest: /etc/conf}\n", ""),
        (
            "shared/conf",
            "    - ansible.builtin.copy:\n        src: '{{ playbook_dir }}/../shared/conf'\n        dest: /etc/conf\n",
            "",
        ),
        ("shared/conf", "    - copy: src=../shared/conf dest=/etc/conf\n", ""),
        ("shared/conf", "    - script: ../shared/conf --now\n", ""),
        ("shared/conf.j2", "    - template: {src: ../shared/conf.j2, dest: /etc/conf}\n", ""),
        ("shared/tree/a", "    - copy: {src: ../shared/tree/, dest: /etc/}\n", ""),
        ("shared/conf", "    - copy: {content: \"{{ lookup('file', '../shared/conf') }}\", dest: /x}\n", ""),
        (
            "shared/conf",
            "    - copy: {src: '{{ item }}', dest: /x}\n      loop: [../shared/conf, ../shared/other]\n",
            "",
        ),
        ("shared/conf", "    - copy: {src: '{{ item.src }}', dest: /x}\n      loop: [{src: ../shared/conf}]\n", ""),
        ("shared/conf", "    - copy: {src: '{{ which }}/conf', dest: /x}\n", "  vars: {which: ../shared}"),
        ("shared/conf", "    - block:\n        - copy: {src: ../shared/conf, dest: /x}\n", ""),
    ],
)
def test_what_a_playbook_names(checkout: Checkout, name: str, tasks: str, head: str) -> None:
    checkout.write({name: "[]", "shared/other": "x"})
    play(checkout, tasks, head=head)
    content = (checkout.root / name).read_text()
    assert checkout.notices(name, content + "\n# later")


ROLE = "- ansible.builtin.debug:\n"


@pytest.mark.parametrize(
    ("where", "entry", "step"),
    [
        ("play/roles/web", "web", ""),
        ("~/.ansible/roles/web", "web", ""),
        ("~/.ansible/roles/web", "{role: web}", ""),
        ("shared/roles/web", "web", 'ansible_env_vars = ["ANSIBLE_ROLES_PATH=../shared/roles"]'),
        ("shared/roles/web", "web", 'roles_path = "../shared/roles"'),
        ("shared/roles/web", "../shared/roles/web", ""),
        ("~/.ansible/collections/ansible_collections/own/fleet/roles/web", "own.fleet.web", ""),
        ("shared/ansible_collections/own/fleet/roles/web", "own.fleet.web", 'collections_path = "../shared"'),
    ],
)
@pytest.mark.parametrize("how", ["roles", "include_role", "loop", "extra"])
def test_a_role_wherever_it_is_found(checkout: Checkout, where: str, entry: str, step: str, how: str) -> None:
    checkout.write({f"{where}/tasks/main.yml": ROLE, f"{where}/files/conf~": "x"})
    name = entry.removeprefix("{role: ").removesuffix("}")
    if how == "roles":
        play(checkout, head=f"  roles: [{entry}]", step=step)
    elif how == "include_role":
        play(checkout, f"    - ansible.builtin.include_role: {{name: {name}}}\n", step=step)
    elif how == "loop":
        play(checkout, f"    - include_role: {{name: '{{{{ item }}}}'}}\n      loop: ['{name}']\n", step=step)
    else:
        step += '\n extra_arguments = ["--extra-vars", jsonencode({ wanted = local.wanted })]'
        play(
            checkout,
            "    - include_role: {name: '{{ one }}'}\n      loop: '{{ wanted }}'\n      loop_control: {loop_var: one}\n",
            step=step,
        )
        checkout.write({"packer/names.pkr.hcl": f'locals {{ wanted = ["{name}"] }}\n'})
    assert checkout.notices(f"{where}/tasks/main.yml", ROLE + "# later")
    assert checkout.notices(f"{where}/templates/new.j2")
    assert checkout.notices(f"{where}/files/conf~")


def test_a_role_in_the_users_home_does_not_hang_on_where_the_checkout_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for place in ("a", "b/c/d/e"):
        one = Checkout(tmp_path / place, monkeypatch)
        one.write({"~/.ansible/roles/web/tasks/main.yml": ROLE})
        play(one, head="  roles: [web]")
        seen.append(one.seen())
    assert seen[0] == seen[1]
    assert "role web/tasks/main.yml" in seen[0][0]


@pytest.mark.parametrize("dependency", ["base", "{role: base}", "{name: base, when: false_by_luck}"])
def test_what_a_role_hangs_on(checkout: Checkout, dependency: str) -> None:
    checkout.write(
        {
            "play/roles/web/meta/main.yml": f"dependencies: [{dependency}]\n",
            "~/.ansible/roles/base/tasks/main.yml": ROLE,
            "~/.ansible/roles/base/meta/main.yml": "dependencies: [{role: deepest}]\n",
            "~/.ansible/roles/deepest/tasks/main.yml": ROLE,
        }
    )
    play(checkout, head="  roles: [web]")
    assert checkout.notices("~/.ansible/roles/base/tasks/main.yml", ROLE + "# later")
    assert checkout.notices("~/.ansible/roles/deepest/tasks/main.yml", ROLE + "# later")


def test_roles_that_hang_on_each_other_end(checkout: Checkout) -> None:
    checkout.write(
        {"play/roles/a/meta/main.yml": "dependencies: [b]\n", "play/roles/b/meta/main.yml": "dependencies: [a]\n"}
    )
    play(checkout, head="  roles: [a]")
    assert not checkout.seen()[1]


def test_a_playbook_that_imports_another(checkout: Checkout) -> None:
    checkout.write({"shared/more.yml": "- hosts: all\n  roles: [web]\n", "shared/roles/web/tasks/main.yml": ROLE})
    checkout.template(PLAY % "")
    checkout.write({"play/site.yml": "- import_playbook: ../shared/more.yml\n"})
    assert checkout.notices("shared/roles/web/tasks/main.yml", ROLE + "# later")


def test_a_module_of_a_collection_and_what_it_imports(checkout: Checkout) -> None:
    base = "~/.ansible/collections/ansible_collections/own/fleet"
    checkout.write(
        {
            f"{base}/plugins/modules/thing.py": "from ansible_collections.own.fleet.plugins.module_utils.core import work\n",
            f"{base}/plugins/module_utils/core.py": "work = 1\n",
            f"{base}/plugins/modules/other.py": "x = 1\n",
        }
    )
    play(checkout, "    - own.fleet.thing:\n")
    assert checkout.notices(f"{base}/plugins/module_utils/core.py", "work = 2\n")
    assert checkout.notices(
        f"{base}/plugins/modules/thing.py", "from ansible_collections.own.fleet.plugins.module_utils import core\n"
    )
    assert not checkout.notices(f"{base}/plugins/modules/other.py")
    checkout.write({f"{base}/MANIFEST.json": "{}"})
    assert checkout.notices(f"{base}/MANIFEST.json", '{"version": 2}')


@pytest.mark.parametrize(
    ("requirements", "known"),
    [
        ("roles:\n  - {name: web, version: 1.2.3}\n", True),
        ("roles:\n  - {name: web, src: 'https://example.org/web.git', version: v1.2.3}\n", True),
        ("- {src: 'https://example.org/web.git', version: 0123456789abcdef0123456789abcdef01234567}\n", True),
        ("collections:\n  - {name: own.fleet, version: '==1.2.3'}\n", True),
        ("roles:\n  - {name: web, version: main}\n", False),
        ("roles:\n  - {name: web, version: develop-2}\n", False),
        ("roles:\n  - web\n", False),
        ("collections:\n  - own.fleet\n", False),
        ("collections:\n  - {name: own.fleet, version: '>=1.0.0'}\n", False),
        ("collections:\n  - {name: own.fleet, version: '*'}\n", False),
    ],
)
def test_requirements_are_known_by_exact_versions_only(checkout: Checkout, requirements: str, known: bool) -> None:
    role = "own.fleet.web" if "collections" in requirements else "web"
    play(checkout, head=f"  roles: [{role}]", step='galaxy_file = "../play/requirements.yml"')
    checkout.write({"play/requirements.yml": requirements})
    unknown = checkout.seen()[1]
    assert bool(unknown) != known
    if not known:
        assert "write an exact version or a commit" in unknown[0]
    before = checkout.seen()
    checkout.write({"play/requirements.yml": requirements + "# later\n"})
    assert checkout.seen() != before


def test_a_role_that_galaxy_installed_counts_by_its_version_until_somebody_edits_it(checkout: Checkout) -> None:
    """Whether it is installed already differs from machine to machine."""
    play(checkout, head="  roles: [web]", step='galaxy_file = "../play/requirements.yml"')
    checkout.write({"play/requirements.yml": "roles:\n  - {name: web, version: 1.2.3}\n"})
    before = checkout.seen()
    checkout.write(
        {
            "~/.ansible/roles/web/tasks/main.yml": ROLE,
            "~/.ansible/roles/web/meta/.galaxy_install_info": "version: 1.2.3\n",
        }
    )
    assert checkout.seen() == before
    edited = checkout.home / ".ansible/roles/web/tasks/main.yml"
    os.utime(edited, (time.time() + 3600,) * 2)
    assert checkout.seen() != before
    checkout.write({"~/.ansible/roles/web/meta/.galaxy_install_info": "version: 1.2.2\n"})
    assert checkout.seen() != before


@pytest.mark.parametrize(
    ("tasks", "head", "said"),
    [
        ("", "  roles: [absent]", "takes the role absent, which is not found on this machine"),
        ("    - include_role: {name: '{{ nobody_says }}'}\n", "", "takes a role that is only known when it runs"),
        ("    - copy: {src: '{{ nobody_says }}', dest: /x}\n", "", "uploads a file that is only known when it runs"),
        ("    - copy: {src: '{{ nobody_says }}/x', dest: /x}\n", "", "uploads a file that is only known when it runs"),
        ("    - copy: {content: \"{{ lookup('env', 'X') }}\", dest: /x}\n", "", r"asks lookup\('env', ...\)"),
        ("    - copy: {content: \"{{ lookup('url', 'https://x') }}\", dest: /x}\n", "", r"asks lookup\('url', ...\)"),
        (
            "    - copy: {content: \"{{ lookup('ansible.builtin.pipe', 'date') }}\", dest: /x}\n",
            "",
            r"asks lookup\('pipe', ...\)",
        ),
        ("   - broken: [\n", "", "site.yml of the provisioner ansible .* cannot be read, because it is no YAML"),
    ],
)
def test_what_a_playbook_does_not_tell(checkout: Checkout, tasks: str, head: str, said: str) -> None:
    play(checkout, tasks, head=head)
    (sentence,) = checkout.seen()[1]
    assert re.search(said, sentence)


def test_what_only_the_run_decides_among_a_roles_own_files_is_known(checkout: Checkout) -> None:
    tasks = (
        "- include_tasks: '{{ ansible_os_family }}.yml'\n- template: {src: '{{ ansible_distribution }}.j2', dest: /x}\n"
        "- command: mktemp\n  register: made\n- copy: {src: '{{ made.stdout }}', dest: /x}\n"
        "- copy: {src: \"{{ (dir ~ 'x') | hash('sha256') }}\", dest: /x}\n"
        "- copy: {src: '{{ nobody_says }}', remote_src: true, dest: /x}\n"
    )
    checkout.write({"play/roles/web/tasks/main.yml": tasks})
    play(checkout, head="  roles: [web]")
    assert not checkout.seen()[1]


def test_a_task_that_never_runs_names_nothing(checkout: Checkout) -> None:
    play(
        checkout,
        "    - include_role: {name: absent}\n      when: lock != ''\n",
        step='extra_arguments = ["--extra-vars", jsonencode({ lock = "" })]',
    )
    assert not checkout.seen()[1]
    play(
        checkout,
        "    - include_role: {name: absent}\n      when: lock != ''\n",
        step='extra_arguments = ["--extra-vars", jsonencode({ lock = "x" })]',
    )
    assert len(checkout.seen()[1]) == 1


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("shared/vars.yml", 'extra_arguments = ["-e", "@../shared/vars.yml"]'),
        ("shared/vars.json", 'extra_arguments = ["--extra-vars=@../shared/vars.json"]'),
        ("shared/hosts", 'inventory_file = "../shared/hosts"'),
        ("shared/inventory/group_vars/all.yml", 'inventory_directory = "../shared/inventory"'),
        ("shared/become.exe", 'extra_arguments = ["--become-exe=../shared/become.exe"]'),
        ("packer/ansible.cfg", ""),
    ],
)
def test_what_the_provisioner_is_given(checkout: Checkout, name: str, step: str) -> None:
    checkout.write({name: "{}" if "vars" in name else "x = 1"})
    play(checkout, step=step)
    if name.endswith("ansible.cfg"):
        checkout.write({name: "[defaults]\nforks = 1\n"})
        assert checkout.notices(name, "[defaults]\nforks = 2\n")
    else:
        assert checkout.notices(name, "{a: 1}" if name.endswith("yml") else '{"a": 1}')


def test_a_password_of_a_vault_is_no_input(checkout: Checkout) -> None:
    checkout.write({"shared/word": "1234"})
    play(checkout, step='extra_arguments = ["--vault-password-file=../shared/word", "--private-key=../shared/word"]')
    assert not checkout.notices("shared/word", "5678")


def test_what_runs_on_the_machine_itself(checkout: Checkout) -> None:
    checkout.write(
        {
            "play/site.yml": "- hosts: all\n  roles: [web]\n",
            "shared/web/tasks/main.yml": ROLE,
            "shared/web/files/a~": "x",
        }
    )
    checkout.template(
        'provisioner "ansible-local" {\n playbook_file = "../play/site.yml"\n role_paths = ["../shared/web"]\n}'
    )
    assert checkout.notices("shared/web/tasks/main.yml", ROLE + "# later")
    assert checkout.notices("shared/web/files/a~")


@pytest.mark.parametrize(
    "content",
    [
        "&a [*a]\n",
        "- hosts: all\n  tasks: " + "[" * 3000 + "]" * 3000,
        "- hosts: all\n  vars: &v {a: *v}\n",
        "x" * 3_000_000,
        "- 1\n- [2]\n- {3: 4}\n",
        "- hosts: all\n  tasks:\n    - copy: {src: '" + "{{ " * 300_000 + "'}\n",
        "- hosts: all\n  tasks:\n    - copy: {src: '{{" + " " * 900_000 + "'}\n",
        '- hosts: all\n  tasks:\n    - copy: {content: "' + "lookup('file', '" * 60_000 + '"}\n',
        "- hosts: all\n  vars:\n"
        + "".join(f"    v{n}: '{{{{ v{n + 1} }}}}{{{{ v{n + 1} }}}}'\n" for n in range(60))
        + "  tasks:\n    - copy: {src: '{{ v0 }}'}\n",
        "- hosts: all\n  vars:\n    a0: &a0 [x]\n"
        + "".join(f"    a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
        + "  tasks:\n    - debug: {msg: *a11}\n",
    ],
    ids=[
        "circle",
        "deep",
        "circle of variables",
        "large",
        "no play",
        "braces",
        "blanks",
        "lookups",
        "doubling",
        "aliases",
    ],
)
def test_a_playbook_that_is_none_ends_in_time(checkout: Checkout, content: str) -> None:
    checkout.template(PLAY % "")
    checkout.write({"play/site.yml": content})
    began = time.process_time()
    checkout.seen()
    assert time.process_time() - began < 20


def test_a_template_in_json_reads_the_same(checkout: Checkout) -> None:
    checkout.write(
        {
            "outside/a.sh": "one",
            "packer/it.pkr.json": json.dumps(
                {
                    "source": {
                        "amazon-ebs": {"cpu": {"source_ami": "ami-12345678", "user_data": '${file("../outside/a.sh")}'}}
                    },
                    "build": [
                        {
                            "sources": ["amazon-ebs.cpu"],
                            "provisioner": {"shell": {"scripts": ["../outside/a.sh"]}},
                            "post-processor": {"manifest": {}},
                        }
                    ],
                }
            ),
        }
    )
    assert checkout.notices("outside/a.sh")


ROOT = Path(__file__).resolve().parents[5]


@pytest.mark.parametrize(
    ("service", "roles"),
    [
        ("platform", {"kernel", "nvidia_driver", "host_checks", "image_verify", "image_cleanup"}),
        ("data", {"base", "redis", "nats", "host_checks", "image_verify", "image_cleanup"}),
        ("api", {"base", "host_secrets", "conversion_service", "conversion_api"}),
        ("engine", {"base", "host_secrets", "conversion_service", "conversion_engine"}),
    ],
)
def test_our_own_template_names_its_roles(service: str, roles: set[str]) -> None:
    """playbooks/vars/images.yml lists none of them."""
    lock = ROOT / "packer/locks/debian-13-amd64-proprietary.lock.json"
    seen = template.read(
        ROOT / "packer",
        only=["amazon-ebs.debian"],
        var_files=[ROOT / "packer/images/gpu.pkrvars.hcl", ROOT / f"packer/services/{service}.pkrvars.hcl"],
        given={"lock": str(lock)},
    )
    read = reads.of(seen, {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build/collections")})
    assert list(read.unknown) == []
    assert roles <= {path.name for path in read.sources}
    files = fingerprint.gather(ROOT / "packer", [], reads=read).files
    assert {f"../roles/{role}/meta/main.yml" for role in roles} <= set(files)
    assert {"../plugins/modules/dkms_module.py", "../plugins/module_utils/image/dkms.py"} <= set(files)


def test_our_own_template_takes_no_driver_without_a_lock() -> None:
    chosen = [ROOT / "packer/images/cpu.pkrvars.hcl", ROOT / "packer/services/data.pkrvars.hcl"]
    seen = template.read(ROOT / "packer", only=["amazon-ebs.debian"], var_files=chosen)
    read = reads.of(seen, {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build/collections")})
    assert not {"kernel", "nvidia_driver"} & {path.name for path in read.sources}


def test_a_python_that_cannot_read_playbooks_says_so(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    play(checkout)
    monkeypatch.setattr(ansible_reads, "yaml", None)
    (sentence,) = checkout.seen()[1]
    assert "has no PyYAML to read it with" in sentence
