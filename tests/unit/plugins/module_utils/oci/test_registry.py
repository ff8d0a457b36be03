# SPDX-License-Identifier: GPL-3.0-or-later
"""Images by tag and by digest, out of a registry that asks, refuses, sends elsewhere and breaks off."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.oci import edge
from ansible_collections.boring.fleet.plugins.module_utils.oci.archive import intact
from ansible_collections.boring.fleet.plugins.module_utils.oci.reference import OciError, parse
from ansible_collections.boring.fleet.plugins.module_utils.oci.registry import Registry
from tests.fakes.oci_image import Image, digest, file, index, layer
from tests.fakes.registry import State, registry

WEB = Image([layer(file("bin/web", os.urandom(70_000))), layer(file("etc/motd", "hello"))], {"Cmd": ["/bin/web"]})
ARM = replace(WEB, architecture="arm64")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with registry() as state:
        yield state


def of(server: State, version: str = ":1", architecture: str = "amd64", seconds: float = 5) -> Registry:
    image = parse(f"{server.address}/shop/web{version}")
    return replace(edge.registry(image, architecture, seconds=seconds), sleep=lambda _seconds: None)


def log_in(home: Path, server: State, password: str = "pa:ss-word") -> None:  # noqa: S107 - a test's own
    auth = base64.b64encode(f"clerk:{password}".encode()).decode()
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {server.address: {"auth": auth}}}))


def test_a_tag_stands_for_the_digest_of_its_manifest(server: State) -> None:
    server.add(WEB, "1")
    assert of(server).resolve() == digest(WEB.manifest)


def test_a_tag_for_several_architectures_stands_for_the_digest_of_the_list(server: State) -> None:
    for each in (WEB, ARM):
        server.add(each)
    named = server.add_index(index([ARM, WEB]), "1")
    assert of(server).resolve() == named
    assert of(server, architecture="arm64").resolve() == named


@pytest.mark.parametrize("auth", ["", "basic", "bearer"])
def test_what_is_fetched_is_the_image_for_this_architecture(server: State, tmp_path: Path, auth: str) -> None:
    log_in(tmp_path, server)
    server.auth = auth
    for each in (WEB, ARM):
        server.add(each)
    named = server.add_index(index([ARM, WEB]), "1")
    archive = tmp_path / "deep" / "web.tar"
    of(server, f"@{named}").fetch(archive)
    with tarfile.open(archive) as tar:
        entry = json.load(tar.extractfile("index.json"))["manifests"][0]  # type: ignore[arg-type]
        for name, content in {**WEB.blobs, digest(WEB.manifest): WEB.manifest}.items():
            assert tar.extractfile(f"blobs/{name.replace(':', '/')}").read() == content  # type: ignore[union-attr]
        assert len(tar.getnames()) == 2 + 3 + len(WEB.layers)
        assert digest(tar.extractfile(f"blobs/{named.replace(':', '/')}").read()) == named  # type: ignore[union-attr]
    assert entry["digest"] == named
    assert [path.name for path in archive.parent.iterdir()] == ["web.tar"]


def test_a_piece_that_breaks_off_is_fetched_again(server: State, tmp_path: Path) -> None:
    server.add(WEB, "1")
    server.breaks = {digest(WEB.layers[0]): 2}
    server.fail = {"/manifests/1": [503, 429]}
    of(server).fetch(tmp_path / "web.tar")
    with tarfile.open(tmp_path / "web.tar") as tar:
        names = [name for name in tar.getnames() if name.startswith("blobs")]
        assert len(names) == len(set(names)) == 4
        for name in names:
            assert digest(tar.extractfile(name).read()) == name.removeprefix("blobs/").replace("/", ":")  # type: ignore[union-attr]
    server.breaks = {digest(WEB.layers[0]): 9}
    with pytest.raises(OciError, match=r"a piece of .*/shop/web:1 broke off"):
        of(server).fetch(tmp_path / "other.tar")
    assert not list(tmp_path.glob("other*"))


@pytest.mark.parametrize("stalls", [False, True])
def test_a_manifest_that_does_not_come_whole_is_asked_for_again(server: State, stalls: bool) -> None:
    server.add(WEB, "1")
    server.stalls, server.breaks = stalls, {"/manifests/1": 1}
    patience = 1 if stalls else 5
    assert of(server, seconds=patience).resolve() == digest(WEB.manifest)
    assert [path for _method, path, _given in server.asked].count("/v2/shop/web/manifests/1") == 2
    server.breaks = {"/manifests/1": 9}
    with pytest.raises(OciError, match=r"what describes .*/shop/web:1 broke off: .*(early|timed out)"):
        of(server, seconds=patience).resolve()


def test_a_configuration_that_does_not_come_whole_is_asked_for_again(server: State) -> None:
    server.add(WEB, "1")
    server.breaks = {digest(WEB.configuration): 2}
    assert of(server).resolve() == digest(WEB.manifest)
    server.breaks = {digest(WEB.configuration): 9}
    assert "broke off: its answer ended" in refused(server)


def test_a_token_that_does_not_come_whole_is_asked_for_again(server: State, tmp_path: Path) -> None:
    log_in(tmp_path, server)
    server.auth, server.breaks = "bearer", {"/token": 1}
    server.add(WEB, "1")
    assert of(server).resolve() == digest(WEB.manifest)
    server.breaks = {"/token": 9}
    assert "does not answer: its answer ended" in refused(server)


def test_two_that_fetch_one_image_do_not_spoil_it(server: State, tmp_path: Path) -> None:
    named = server.add(WEB, "1")
    server.breaks = {digest(WEB.layers[0]): 1}
    slow = replace(of(server), sleep=lambda _seconds: of(server).fetch(tmp_path / "web.tar"))
    slow.fetch(tmp_path / "web.tar")
    assert intact(tmp_path / "web.tar", named, "amd64")
    assert [path.name for path in tmp_path.iterdir()] == ["web.tar"]


def test_what_a_killed_one_left_goes_after_a_day(server: State, tmp_path: Path) -> None:
    server.add(WEB, "1")
    for name, age in (("killed", 100_000), ("at_work", 1000)):
        (tmp_path / f"web.tar.{name}.part").mkdir()
        (tmp_path / f"web.tar.{name}.part" / "web.tar").write_bytes(b"half")
        os.utime(tmp_path / f"web.tar.{name}.part", (time.time() - age,) * 2)
    of(server).fetch(tmp_path / "web.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.tar", "web.tar.at_work.part"]


def test_a_folder_that_cannot_be_made(server: State, tmp_path: Path) -> None:
    server.add(WEB, "1")
    (tmp_path / "file").write_text("")
    with pytest.raises(OciError, match=r"/shop/web:1 cannot be written to .*/file/web.tar: File exists"):
        of(server).fetch(tmp_path / "file" / "web.tar")


def damaged_layer(path: Path) -> None:
    content = path.read_bytes()
    place = content.index(WEB.layers[0]) + len(WEB.layers[0]) - 1
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


def damaged_index(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"manifests"', b'"manifestz"'))


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [damaged_layer, damaged_index, cut_off, emptied])
def test_an_archive_that_is_spoilt_is_fetched_again(
    server: State, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    for each in (WEB, ARM):
        server.add(each)
    named = server.add_index(index([ARM, WEB]), "1")
    keeper = of(server, f"@{named}")
    path, missing = keeper.keep(tmp_path)
    assert (path.name, missing) == (f"{named.partition(':')[2]}-amd64.tar", True)
    asked = len(server.asked)
    assert keeper.keep(tmp_path) == (path, False)
    assert len(server.asked) == asked, "what is there is not asked for"
    spoil(path)
    assert keeper.keep(tmp_path, fetch=False) == (path, True)
    assert not intact(path, named, "amd64")
    assert keeper.keep(tmp_path) == (path, True)
    assert intact(path, named, "amd64")
    assert not intact(path, digest(WEB.manifest), "amd64")


def test_the_login_goes_to_the_registry_and_not_where_it_sends(server: State, tmp_path: Path) -> None:
    log_in(tmp_path, server)
    server.auth = "basic"
    server.add(WEB, "1")
    with registry() as other:
        other.blobs = server.blobs
        server.elsewhere = f"http://{other.address}"
        of(server).fetch(tmp_path / "web.tar")
        assert {given for _method, _path, given in other.asked} == {""}
        assert len(other.asked) == 3
    server.elsewhere = "http://registry.example.org"
    with pytest.raises(OciError, match="without TLS"):
        of(server).fetch(tmp_path / "other.tar")


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_login_of_netrc_takes_no_place(server: State, tmp_path: Path, auth: str) -> None:
    (tmp_path / ".netrc").write_text("default login clerk password of-netrc\n")
    (tmp_path / ".netrc").chmod(0o600)
    log_in(tmp_path, server)
    server.auth = auth
    server.add(WEB, "1")
    of(server).fetch(tmp_path / "web.tar")
    of_netrc = "Basic " + base64.b64encode(b"clerk:of-netrc").decode()
    assert of_netrc not in {given for _method, _path, given in server.asked}


def test_a_token_may_be_bought_by_another(server: State, tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    config = {"auths": {f"http://{server.address}": {}, f"https://{server.address}": {"identitytoken": "identity"}}}
    (tmp_path / ".docker" / "config.json").write_text(json.dumps(config))
    server.auth = "bearer"
    server.add(WEB, "1")
    assert of(server).resolve() == digest(WEB.manifest)
    assert ("POST", "/token", "identity") in server.asked


def test_a_program_may_keep_the_login(server: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-test"
    program.write_text('#!/bin/sh\nread -r host\nprintf \'{"Username": "clerk", "Secret": "pa:ss-word"}\'\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "auth.json").write_text('{"credsStore": "test"}')
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    server.auth = "basic"
    server.add(WEB, "1")
    assert of(server).resolve() == digest(WEB.manifest)
    program.unlink()
    with pytest.raises(OciError, match=r"docker-credential-test, which keeps your login for .*, is not installed"):
        of(server).resolve()


def refused(server: State, version: str = ":1", architecture: str = "amd64") -> str:
    with pytest.raises(OciError) as caught:
        of(server, version, architecture).resolve()
    assert "pa:ss" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_such_tag(server: State) -> None:
    server.add(WEB, "1")
    assert "there is no" in refused(server, ":2")
    assert "has no such tag" in refused(server, ":2")
    assert "has no such digest" in refused(server, "@sha256:" + "0" * 64)


def test_wrong_architecture(server: State) -> None:
    server.add(ARM, "1")
    assert "is not built for linux/amd64, but for linux/arm64" in refused(server)
    server.add_index(index([ARM, replace(WEB, architecture="s390x")]), "2")
    assert "is not built for linux/amd64, and there are: linux/arm64, linux/s390x" in refused(server, ":2")


def test_credentials(server: State, tmp_path: Path) -> None:
    server.add(WEB, "1")
    for server.auth in ("basic", "bearer"):
        assert "asks who you are" in refused(server)
    log_in(tmp_path, server, "wrong")
    for server.auth in ("basic", "bearer"):
        assert "refuses your login" in refused(server)
        assert "(401)" in refused(server)
    (tmp_path / ".docker" / "config.json").write_text("{")
    assert "is no JSON object: log in again" in refused(server)
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {server.address: {"auth": "!"}}}))
    assert "is damaged: log in again" in refused(server)


def test_a_login_is_never_sent_in_plain(server: State, tmp_path: Path) -> None:
    log_in(tmp_path, server)
    server.add(WEB, "1")
    server.auth, server.realm = "bearer", "http://tokens.example.org/token"
    assert "has tokens from tokens.example.org without TLS" in refused(server)


def test_registry_away(server: State) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server.address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "does not answer: Connection refused" in refused(server)


def test_a_registry_that_says_what_is_not_so(server: State) -> None:
    named = server.add(WEB, "1")
    server.blobs[named] = ARM.manifest
    assert "gave something else than" in refused(server, f"@{named}")
    server.blobs[digest(WEB.configuration)] = ARM.configuration
    assert "gave a damaged configuration" in refused(server)
    server.tags["1"] = b"<html>"
    server.fail = {"/manifests/1": [500, 500, 500]}
    assert "answers 500" in refused(server)


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"{}",
        b"nothing",
        b'{"layers": [{}], "config": {}}',
        b'{"manifests": [{}]}',
        b'{"manifests": [{"platform": "x"}]}',
    ],
)
def test_documents_of_another_kind(server: State, content: bytes) -> None:
    server.tags["1"] = content
    refused(server)


def test_a_damaged_layer_is_not_kept(server: State, tmp_path: Path) -> None:
    server.add(WEB, "1")
    server.blobs[digest(WEB.layers[0])] = bytes(len(WEB.layers[0]))
    with pytest.raises(OciError, match="is not what its digest says"):
        of(server).fetch(tmp_path / "web.tar")
    assert not list(tmp_path.glob("web*"))


@pytest.mark.parametrize(
    "text", ["web:1", "shop/web:1", "registry.example.org/web", "registry.example.org/web@sha256:12", "a.b/:1", ""]
)
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(OciError, match="is no image"):
        parse(text)


def test_names() -> None:
    assert str(parse("docker.io/nginx:1.27")) == "docker.io/library/nginx:1.27"
    assert str(parse("localhost:5000/web:1@sha256:" + "a" * 64)) == "localhost:5000/web@sha256:" + "a" * 64


def test_a_registry_of_ones_own_is_checked_as_docker_does(tmp_path: Path) -> None:
    assert not edge.authority("registry.example.org:5000", tmp_path, tmp_path)
    file = tmp_path / "docker" / "certs.d" / "registry.example.org:5000" / "ca.crt"
    file.parent.mkdir(parents=True)
    file.write_text("")
    assert edge.authority("registry.example.org:5000", tmp_path, tmp_path) == str(file)
    assert not edge.authority("registry.example.org", tmp_path, tmp_path)


def test_ones_own_authority_is_for_the_registry_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its storage, and often its token server, are somebody else's, under a public certificate."""
    checked: dict[str, str] = {}
    given: dict[str, str] = {}
    host = "registry.example.org:5000"
    documents = {digest(each): each for each in (WEB.manifest, WEB.configuration)}
    tokens = {"https://registry.example.org/token", "https://tokens.example.com/token"}

    def opened(method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float, *, ca_file: str) -> tuple[int, Mapping[str, str], io.BytesIO]:  # fmt: skip
        place, _mark, _query = url.partition("?")
        checked[place.replace(host, "own")] = ca_file
        if place in tokens:
            return 200, {}, io.BytesIO(b'{"token": "bought"}')
        if "storage" in url:
            return 200, {}, io.BytesIO(documents[url.rpartition("/")[2]])
        if "Authorization" not in headers:
            return 401, {"WWW-Authenticate": f'Bearer realm="{given["realm"]}"'}, io.BytesIO()
        if "/blobs/" in url:
            return 307, {"Location": f"https://storage.example.net/{url.rpartition('/')[2]}"}, io.BytesIO()
        return 200, {}, io.BytesIO(documents[url.rpartition("/")[2]])

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(edge, "opened", opened)
    image = parse(f"{host}/shop/web@{digest(WEB.manifest)}")
    for given["realm"] in sorted(tokens):
        edge.registry(image, "amd64", seconds=5, ca_file="/own/ca.pem").resolve()
    assert checked == {
        f"https://own/v2/shop/web/manifests/{image.digest}": "/own/ca.pem",
        f"https://own/v2/shop/web/blobs/{digest(WEB.configuration)}": "/own/ca.pem",
        "https://registry.example.org/token": "/own/ca.pem",
        "https://tokens.example.com/token": "",
        f"https://storage.example.net/{digest(WEB.configuration)}": "",
    }
