# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of image_cleanup over a made-up file system: everything planted is found, what may be removed is, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles" / "image_cleanup"
RULES = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__image_cleanup_rules"]
STATE = {"what": "state", "paths": ["/var/lib/redis/**"]}
KEY = (
    "-----BEGIN {}PRIVATE KEY-----\n"
    + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ" * 2
    + "\n-----END {}PRIVATE KEY-----\n"
)

# Where it is planted, what is in it, how it is called when it is found, and whether the role takes it away.
PLANTED = [
    ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n", "machine-id", True),
    ("/var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n", "machine-id", True),
    ("/etc/ssh/ssh_host_ed25519_key", "key", "host key", True),
    ("/var/lib/systemd/random-seed", "x", "random seed", True),
    ("/var/lib/dkms/mok.key", "x", "signing key", True),
    ("/var/lib/shim-signed/mok/MOK.priv", "x", "signing key", False),
    ("/etc/nvme/hostid", "uuid\n", "NVMe host id", True),
    ("/etc/nvme/hostnqn", "nqn.2014-08.org.nvmexpress:uuid:1\n", "NVMe host id", True),
    ("/etc/iscsi/initiatorname.iscsi", "# x\nInitiatorName=iqn.1993-08.org.debian:01:abc\n", "iSCSI initiator name", True),
    ("/var/lib/dhcpcd/duid", "00:01\n", "DHCP identity", True),
    ("/var/lib/dhcpcd/secret", "s\n", "DHCP identity", True),
    ("/etc/dhcpcd.duid", "00:01\n", "DHCP identity", True),
    ("/var/lib/dhcp/dhclient.eth0.leases", "lease {}\n", "DHCP identity", True),
    ("/var/lib/snapd/state.json", "{}", "snapd state", True),
    ("/var/lib/snapd/device/private-keys-v1/a", "x", "snapd state", True),
    ("/etc/ssl/private/ssl-cert-snakeoil.key", KEY.format("", ""), "snakeoil key", True),
    ("/var/lib/cloud/instances/i-1/user-data.txt", "#cloud-config", "instance data", True),
    ("/var/lib/redis/dump.rdb", "x", "state", True),
    ("/root/.ssh/authorized_keys", "ssh-ed25519 x", "key that lets somebody in", True),
    ("/home/admin/.ssh/known_hosts", "x", "known host", True),
    ("/home/admin/.ssh/id_ed25519", KEY.format("OPENSSH ", "OPENSSH "), "SSH key", True),
    ("/root/.bash_history", "ls", "history", True),
    ("/home/admin/.python_history", "1", "history", True),
    ("/root/.ansible/tmp/x", "x", "Ansible's directory", True),
    ("/root/.cache/pip/x", "x", "cache", True),
    ("/root/.aws/credentials", "[default]", "AWS credentials", True),
    ("/home/admin/.aws/config", "[default]", "AWS credentials", True),
    ("/root/.config/gcloud/credentials.db", "x", "cloud credentials", True),
    ("/root/.kube/config", "x", "cluster credentials", True),
    ("/root/.netrc", "machine x login y password z\n", "login of a host", True),
    ("/home/admin/.docker/config.json", '{"auths": {}}', "registry credentials", True),
    ("/root/.git-credentials", "https://u:p@example.org\n", "git credentials", True),
    ("/home/admin/.config/gh/hosts.yml", "github.com: {}", "git credentials", True),
    ("/root/.npmrc", "//registry/:_authToken=x\n", "package token", True),
    ("/root/.pypirc", "[pypi]", "package token", True),
    ("/root/.vault-token", "x", "token", True),
    ("/root/.pgpass", "x", "database password", True),
    ("/root/.gnupg/private-keys-v1.d/a.key", "x", "keyring", True),
    ("/etc/pip.conf", "[global]\nindex-url = https://user:token@example.org/simple\n", "package token", False),
    ("/root/.config/pip/pip.conf", "[global]\nextra-index-url = https://token@example.org/simple\n", "package token", False),
    ("/etc/apt/auth.conf.d/private.conf", "machine example.org login me password x\n", "APT login", False),
    ("/etc/apt/sources.list.d/private.list", "deb https://me:x@example.org/ trixie main\n", "APT login", False),
    ("/etc/apt/apt.conf.d/99proxy", 'Acquire::http::Proxy "http://10.0.0.1:3142";\n', "proxy of the build", False),
    ("/etc/environment", "HTTPS_PROXY=http://me:x@10.0.0.1:3128\n", "proxy password", False),
    ("/etc/systemd/system/docker.service.d/proxy.conf", '[Service]\nEnvironment="HTTP_PROXY=http://me:x@p:1"\n', "proxy password", False),
    ("/etc/NetworkManager/system-connections/home", "[wifi-security]\npsk=x\n", "network password", False),
    ("/etc/krb5.keytab", "x", "Kerberos key", False),
    ("/opt/app/deep/er/tls.pem", "cert\n" + KEY.format("RSA ", "RSA "), "private key", False),
    ("/usr/local/share/.hidden/key", KEY.format("ENCRYPTED ", "ENCRYPTED "), "private key", False),
    ("/srv/pgp.asc", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\n" + "A" * 64 + "\n", "private key", False),
    ("/var/lib/apt/lists/deb_InRelease", "x", "package list", True),
    ("/var/lib/apt/periodic/update-success-stamp", "", "package list", True),
    ("/var/cache/apt/archives/a_1_all.deb", "x", "package", True),
    ("/usr/sbin/policy-rc.d", "exit 101", "start-up guard", True),
    ("/etc/netplan/50-cloud-init.yaml", "network: {}", "network of the build", True),
    ("/var/log/journal/0123456789abcdef/system.journal", "x", "log", True),
    ("/var/log/dpkg.log", "x", "log", True),
    ("/var/log/apt/term.log.1", "x", "log", True),
    ("/tmp/of-the-build/x", "x", "temporary file", True),
]  # fmt: skip

# What looks like it and is none.
HARMLESS = {
    "/etc/iscsi/iscsid.conf": "node.startup = manual\n",
    "/etc/environment.d/10.conf": "HTTP_PROXY=http://proxy:3128\n",
    "/etc/apt/sources.list": "deb https://deb.debian.org/debian trixie main\n",
    "/etc/apt/auth.conf.d/README": "# machine example.org login me password x\n",
    "/home/admin/.npmrc": "fund=false\n",
    "/home/admin/.bashrc": "alias l=ls\n",
    "/home/admin/.config/pip/pip.conf": "[global]\nindex-url = https://example.org/simple\n",
    "/usr/lib/python3/dist-packages/ssh.py": 'MARK = "-----BEGIN OPENSSH PRIVATE KEY-----"\n',
    "/usr/share/doc/stunnel/example.pem": KEY.format("", ""),
    "/opt/app/lib/python3.13/site-packages/tornado/test/test.key": KEY.format("", ""),
    "/var/lib/dpkg/info/stunnel4.list": "/.\n/usr/share/doc/stunnel/example.pem\n",
    "/var/lib/apt/lists/lock": "",
    "/var/log/wtmp": "",
    "/tmp/ansible_command_payload_x/y": "x",
    "/tmp/systemd-private-1/tmp/y": "x",
    "/etc/ssl/certs/ca.pem": "-----BEGIN CERTIFICATE-----\nMIIE\n",
}


def look(verb: str, root: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", (ROLE / "files" / "look.py").read_text(), verb, str(root)],
        input=json.dumps([STATE, *RULES]), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def plant(root: Path, path: str, content: str) -> None:
    real = root / path.lstrip("/")
    real.parent.mkdir(parents=True, exist_ok=True)
    real.write_text(content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, content in HARMLESS.items():
        plant(tmp_path, path, content)
    os.utime(tmp_path / "var/lib/apt/lists", (0, 0))
    return tmp_path


def test_nothing_planted_nothing_found(root: Path) -> None:
    assert look("find", root) == []
    before = {path: path.read_text() for path in root.rglob("*") if path.is_file()}
    look("remove", root)
    assert {path: path.read_text() for path in root.rglob("*") if path.is_file()} == before


def test_everything_planted_is_found_and_what_may_go_goes(root: Path) -> None:
    assert len(PLANTED) >= 40
    for path, content, _, _ in PLANTED:
        plant(root, path, content)
    found = look("find", root)
    for path, _, what, _ in PLANTED:
        directories = [f"{what} {parent}" for parent in Path(path).parents]
        assert f"{what} {path}" in found or any(line in found for line in directories), path
    look("remove", root)
    left = [f"{what} {path}" for path, _, what, goes in PLANTED if not goes]
    assert sorted(look("find", root)) == sorted(left)
    for path, content in HARMLESS.items():
        assert (root / path.lstrip("/")).read_text() == content, path
    assert (root / "etc/machine-id").read_text() == ""
    assert (root / "etc/iscsi/initiatorname.iscsi").read_text() == "GenerateName=yes\n"
    assert (root / "var/log/dpkg.log").read_text() == ""
    assert not (root / "var/log/journal/0123456789abcdef").exists()  # its name is an identity
    assert (root / "var/lib/apt/lists").stat().st_mtime == 0  # Ansible's apt takes lists with a new date for fresh


@pytest.mark.parametrize(
    ("path", "content", "what"), [entry[:3] for entry in PLANTED], ids=[entry[0] for entry in PLANTED]
)
def test_each_by_itself(tmp_path: Path, path: str, content: str, what: str) -> None:
    (tmp_path / "home" / "admin").mkdir(parents=True)
    plant(tmp_path, path, content)
    found = look("find", tmp_path)
    assert found
    assert all(line.startswith(f"{what} ") for line in found), found


def test_a_link_is_removed_and_not_what_it_names(root: Path) -> None:
    plant(root, "/srv/keys", "ssh-ed25519 x")
    (root / "root/.ssh").mkdir(parents=True)
    (root / "root/.ssh/authorized_keys").symlink_to("/srv/keys")
    (root / "var/lib/dbus").mkdir(parents=True)
    (root / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    assert look("find", root) == ["key that lets somebody in /root/.ssh/authorized_keys"]
    look("remove", root)
    assert look("find", root) == []
    assert (root / "srv/keys").exists()
    assert (root / "var/lib/dbus/machine-id").is_symlink()
