# SPDX-License-Identifier: GPL-3.0-or-later
"""Packer as a program, with small programs in its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.aws.session import AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.image import packer
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError

Program = Callable[..., Path]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    def write(body: str, name: str = "packer", folder: str = "bin") -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n" + textwrap.dedent(body))
        path.chmod(0o755)
        return path

    return write


# --- Which one ---------------------------------------------------------------------------------------------------


def test_the_given_one(program: Program, tmp_path: Path) -> None:
    path = program('[ "$1" = version ] && echo "Packer v1.13.2-beta1"')
    assert packer.find(str(path), tmp_path, {}) == packer.Packer(path, "1.13.2-beta1")


def test_the_one_on_path_goes_before_the_projects_own(program: Program, tmp_path: Path) -> None:
    on_path, own = program("echo Packer v1.12.0"), program("echo Packer v1.12.1", folder="build/bin")
    template = tmp_path / "packer"
    assert packer.find(None, template, {"PATH": str(on_path.parent)}).path == on_path
    assert packer.find(None, template, {"PATH": ""}).path == own
    program("echo Packer v1.6.6")  # Debian's
    assert packer.find(None, template, {"PATH": str(on_path.parent)}).path == own


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo Packer v1.11.9", "is Packer 1.11.9, which is too old: install Packer 1.12 or newer, or build"),
        ("echo cracklib", "does not answer to `packer version`"),
        ("exit 3", "does not answer to `packer version`"),
    ],
)
def test_one_that_will_not_do(program: Program, tmp_path: Path, body: str, said: str) -> None:
    path = program(body)
    with pytest.raises(ImageError, match=said):
        packer.find(str(path), tmp_path, {})
    with pytest.raises(ImageError, match=said):
        packer.find(None, tmp_path / "packer", {"PATH": str(path.parent)})


def test_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"there is no packer on PATH: install Packer 1.12 or newer, or build"):
        packer.find(None, tmp_path / "packer", {"PATH": str(tmp_path)})
    with pytest.raises(ImageError, match="absent is not a program"):
        packer.find(str(tmp_path / "absent"), tmp_path, {})


def test_versions_of_plugins(program: Program) -> None:
    path = program(
        """
        [ "$1 $2" = "plugins installed" ] || exit 1
        echo /x/github.com/hashicorp/amazon/packer-plugin-amazon_v1.8.1_x5.0_linux_amd64
        echo /x/github.com/hashicorp/amazon/packer-plugin-amazon_v1.10.0_x5.0_linux_amd64
        echo /x/github.com/hashicorp/ansible/packer-plugin-ansible_v1.0.3-dev_x5.0_linux_amd64
        echo something else
        """
    )
    amazon, ansible = "github.com/hashicorp/amazon", "github.com/hashicorp/ansible"
    assert packer.plugins(path, {amazon: "= 1.8.1"}, {}) == {amazon: "1.8.1"}
    assert packer.plugins(path, {amazon: ">= 1.2"}, {}) == {amazon: "1.10.0"}
    assert packer.plugins(path, {}, {}) == {amazon: "1.10.0", ansible: "1.0.3-dev"}
    assert packer.plugins(path, {"github.com/x/y": "~> 2"}, {}) == {"github.com/x/y": "missing, ~> 2"}
    # Exact pins need no answer of Packer's.
    assert packer.plugins(Path("/nonexistent"), {amazon: "= 1.8.1", ansible: "1.0.3"}, {}) == {
        amazon: "1.8.1",
        ansible: "1.0.3",
    }


# --- How it is run -----------------------------------------------------------------------------------------------


def test_environment(tmp_path: Path) -> None:
    template = tmp_path / "ansible_collections" / "boring" / "fleet" / "packer"
    (template.parent / "build" / "packer-plugins").mkdir(parents=True)
    inherited = {"PATH": "/bin", "PKR_VAR_family": "mine", "ANSIBLE_COLLECTIONS_PATH": "/other", "HOME": "/root"}
    env = packer.environment(inherited, template, {"PKR_VAR_fingerprint": "f"})
    assert "PKR_VAR_family" not in env
    assert env["PKR_VAR_fingerprint"] == "f"
    assert env["PATH"] == f"{Path(sys.executable).parent}:/bin"
    assert env["PACKER_PLUGIN_PATH"] == str(template.parent / "build" / "packer-plugins")
    assert env["ANSIBLE_COLLECTIONS_PATH"] == f"{tmp_path}:/other"
    assert env["CHECKPOINT_DISABLE"] == "1"
    assert packer.environment({"PACKER_PLUGIN_PATH": "/mine"}, template, {})["PACKER_PLUGIN_PATH"] == "/mine"


def test_credentials_only_when_given() -> None:
    assert packer.credentials(AwsOptions(region="eu", endpoint_url="http://x", access_key="a", secret_key="s")) == {
        "AWS_REGION": "eu",
        "AWS_ENDPOINT_URL": "http://x",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "s",
    }
    assert packer.credentials(AwsOptions()) == {}


def test_values_are_not_on_the_command_line() -> None:
    assert packer.arguments(Path("/p"), ["a.b", "c.d"], [Path("/v")]) == [
        "/p", "build", "-color=false", "-on-error=cleanup", "-only=a.b,c.d", "-var-file=/v", ".",
    ]  # fmt: skip


def supervise(
    path: Path, tmp_path: Path, *, seconds: float = 20, grace: float = 5, stop: Callable[[], str] = str
) -> packer.Ended:
    return packer.supervise(
        [str(path)], cwd=tmp_path, env={"PATH": os.environ["PATH"]}, log=tmp_path / "log", seconds=seconds, grace=grace, stop=stop
    )  # fmt: skip


def alive(pid_file: Path) -> bool:
    """Whether the process runs; a zombie that nobody has collected does not."""
    try:
        return Path(f"/proc/{pid_file.read_text().strip()}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid_file: Path) -> bool:
    end = time.monotonic() + 5
    while alive(pid_file) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid_file)


def test_to_its_end(program: Program, tmp_path: Path) -> None:
    path = program("echo out; echo err >&2; exit 7")
    assert supervise(path, tmp_path) == packer.Ended(7)
    assert (tmp_path / "log").read_text() == "out\nerr\n"


def test_on_expiry_it_may_clean_up(program: Program, tmp_path: Path) -> None:
    path = program("trap 'echo cleaned; exit 1' INT; echo begun; while :; do sleep 0.1; done")
    assert supervise(path, tmp_path, seconds=0.5) == packer.Ended(1, "timeout")
    assert (tmp_path / "log").read_text() == "begun\ncleaned\n"


def test_what_does_not_listen_is_killed_with_its_children(program: Program, tmp_path: Path) -> None:
    path = program("trap '' INT TERM; sleep 300 & echo $! > child; wait; sleep 300")
    began = time.monotonic()
    assert supervise(path, tmp_path, seconds=0.5, grace=1) == packer.Ended(-signal.SIGKILL, "timeout")
    assert time.monotonic() - began < 10
    assert gone(tmp_path / "child")


def test_a_child_left_behind_is_killed(program: Program, tmp_path: Path) -> None:
    path = program("sleep 300 & echo $! > child")
    assert supervise(path, tmp_path) == packer.Ended(0)
    assert gone(tmp_path / "child")


def test_stopping_is_asked_for_all_the_time(program: Program, tmp_path: Path) -> None:
    path = program("echo $$ > pid; exec sleep 300")

    def stop() -> str:
        return "SIGTERM" if (tmp_path / "pid").exists() else ""

    assert supervise(path, tmp_path, stop=stop) == packer.Ended(-signal.SIGINT, "SIGTERM")


def test_when_we_are_killed_it_is_told(program: Program, tmp_path: Path) -> None:
    path = program("trap 'echo told > told; exit 1' TERM; echo $$ > pid; while :; do sleep 0.1; done")
    code = f"""
        import sys
        from pathlib import Path
        sys.path[:0] = {sys.path!r}
        from ansible_collections.boring.fleet.plugins.module_utils.image import packer
        packer.supervise(["{path}"], cwd=Path("{tmp_path}"), env={{"PATH": "/usr/bin:/bin"}}, log=Path("{tmp_path}/log"),
                         seconds=60, grace=1, stop=str)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    try:
        end = time.monotonic() + 20
        while not (tmp_path / "pid").exists() and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert gone(tmp_path / "pid")
    assert (tmp_path / "told").exists()


def test_a_program_that_cannot_start(program: Program, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="absent cannot be started: No such file"):
        supervise(tmp_path / "absent", tmp_path)


# --- What it says when it fails ----------------------------------------------------------------------------------

ANSIBLE = """\
amazon-ebs.cpu: output will be in this color.

==> amazon-ebs.cpu: Connected to SSH!
==> amazon-ebs.cpu: Provisioning with shell script: /tmp/packer-shell1
    amazon-ebs.cpu: status: done
==> amazon-ebs.cpu: Provisioning with Ansible...
==> amazon-ebs.cpu: Executing Ansible: ansible-playbook -e x=s3cret
    amazon-ebs.cpu:
    amazon-ebs.cpu: TASK [tiny : Write] ****
    amazon-ebs.cpu: changed: [default]
    amazon-ebs.cpu:
    amazon-ebs.cpu: TASK [tiny : Install it] ****
    amazon-ebs.cpu: [ERROR]: Task failed: Module failed: non-zero return code
    amazon-ebs.cpu: Origin: /x/roles/tiny/tasks/main.yml:4:3
    amazon-ebs.cpu: fatal: [default]: FAILED! => {"changed": true, "msg": "non-zero return code", "rc": 3, "stdout": "one",\
 "stderr": "Traceback (most recent call last):\\n  File \\"x\\", line 1\\n    x()\\nValueError: the key s3cret is wrong"}
    amazon-ebs.cpu:
    amazon-ebs.cpu: PLAY RECAP *******
    amazon-ebs.cpu: default                    : ok=9    changed=3    unreachable=0    failed=1    skipped=1
==> amazon-ebs.cpu: Provisioning step had errors: Running the cleanup provisioner, if present...
==> amazon-ebs.cpu: Terminating the source AWS instance...
Build 'amazon-ebs.cpu' errored after 1 minute 2 seconds: Error executing Ansible: Non-zero exit status: exit status 2

==> Some builds didn't complete successfully and had errors:
--> amazon-ebs.cpu: Error executing Ansible: Non-zero exit status: exit status 2
"""

SHELL = """\
==> null.x: Provisioning with shell script: /tmp/it
==> null.x: \x1b[1;32mfirst\x1b[0m
==> null.x: Traceback (most recent call last):
==> null.x:   File "x", line 1
==> null.x: KeyError: 'a'
    null.x: E: Unable to locate package nothing
==> null.x: Provisioning step had errors: Running the cleanup provisioner, if present...
==> null.x: other build's noise
Build 'null.x' errored after 3 milliseconds: Script exited with non-zero exit status: 100. Allowed exit codes are: [0]
"""


def test_a_failed_play_is_told_by_task_message_and_output() -> None:
    assert packer.failure(ANSIBLE, ["s3cret"]).splitlines() == [
        "amazon-ebs.cpu failed in its provisioner Ansible: Error executing Ansible: Non-zero exit status: exit status 2",
        "task tiny : Install it: non-zero return code",
        "stdout: one",
        "stderr: ValueError: the key ******** is wrong",
    ]


def test_a_failed_script_is_told_by_its_last_lines() -> None:
    assert packer.failure(SHELL).splitlines() == [
        "null.x failed in its provisioner shell script: /tmp/it: Script exited with non-zero exit status: 100. "
        "Allowed exit codes are: [0]",
        "first",
        "KeyError: 'a'",
        "E: Unable to locate package nothing",
    ]


def test_a_failure_before_any_provisioner() -> None:
    log = "==> amazon-ebs.cpu: Prevalidating AMI Name: x\n==> amazon-ebs.cpu: Error: AMI Name: 'x' is used by ami-1\n"
    log += "Build 'amazon-ebs.cpu' errored after 1 second: Error: AMI Name: 'x' is used by an existing AMI: ami-1\n"
    said = packer.failure(log)
    assert said.startswith("amazon-ebs.cpu failed: Error: AMI Name: 'x' is used by an existing AMI: ami-1\n")


def test_a_template_that_packer_refuses() -> None:
    said = packer.failure(
        "Error: Missing plugins\n\nThe following plugins are required, but not installed:\n* amazon\n"
    )
    assert (
        said
        == "Packer failed: no build was finished\nError: Missing plugins\nThe following plugins are required, but not installed:\n* amazon"
    )


@pytest.mark.parametrize("log", ["", "\n", "==> \n", "fatal: [x]: FAILED! => {broken\n"])
def test_hardly_a_log(log: str) -> None:
    assert packer.failure(log).startswith("Packer failed: no build was finished")
