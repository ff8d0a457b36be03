# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS and TLS listeners, certificates and network load balancers, on a real HAProxy; targets are on loopback."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from moto.acm.models import acm_backends

from localcloud.errors import ApiError
from tests.contract.localcloud import test_balancer as plain
from tests.contract.localcloud.test_balancer import ACCOUNT, NET, REGION, Cloud, Target, cloud, free_port, targets, wait
from tests.unit.localcloud.certificates import self_signed

__all__ = ["cloud", "targets"]
pytestmark = [plain.pytestmark, pytest.mark.timeout(300)]
MODERN = "ELBSecurityPolicy-TLS13-1-2-2021-06"


def imported(*names: str, arn: str | None = None) -> str:
    """The ARN of a certificate of Certificate Manager for these names; with ``arn`` that one is renewed."""
    certificate, key = self_signed(*names)
    backend = acm_backends[ACCOUNT][REGION]
    made = backend.import_certificate(certificate, key, None, arn, [])
    backend._certificates[made].chain = b""
    return str(made)


@pytest.fixture(autouse=True)
def no_certificates() -> Iterator[None]:
    yield
    acm_backends.reset()


def context(version: ssl.TLSVersion | None = None, offers: tuple[str, ...] = ()) -> ssl.SSLContext:
    """A client that trusts everybody; of one version of TLS only if one is named."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if version is not None:
        made.set_ciphers("ALL:@SECLEVEL=0")
        made.minimum_version = made.maximum_version = version
    if offers:
        made.set_alpn_protocols(list(offers))
    return made


def handshake(address: str, port: int, name: str | None = None, **client: Any) -> ssl.SSLSocket:
    link = socket.create_connection((address, port), timeout=10)
    return context(**client).wrap_socket(link, server_hostname=name)


def shown(address: str, port: int, name: str | None = None) -> str:
    """The common name of the certificate that a client of this name is shown."""
    return common_name(address, port, name)[0]


def common_name(address: str, port: int, name: str | None) -> tuple[str, int]:
    with handshake(address, port, name) as link:
        certificate = x509.load_der_x509_certificate(link.getpeercert(binary_form=True) or b"")
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    return str(found), certificate.serial_number


def ask(
    address: str, port: int, path: str = "/", *, tls: bool = True, host: str = "web.example.org"
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of one request."""
    link: Any = handshake(address, port, host) if tls else socket.create_connection((address, port), timeout=10)
    with link:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        text = b"".join(iter(lambda: link.recv(65536), b"")).decode()
    head, _, body = text.partition("\r\n\r\n")
    lines = head.split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body


def https(cloud: Cloud, arn: str, port: int, certificate: str, group: str, **more: Any) -> str:
    made = cloud.call(
        "CreateListener",
        **{
            "LoadBalancerArn": arn, "Port": port, "Protocol": "HTTPS",
            "Certificates": [{"CertificateArn": certificate}],
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": group}], **more,
        },
    )  # fmt: skip
    return str(made["Listeners"][0]["ListenerArn"])


def test_each_name_is_shown_its_certificate_and_versions_below_the_policy_s_are_refused(
    cloud: Cloud, targets: Callable[[], Target]
) -> None:
    arn, address = cloud.load_balancer()
    group, one = cloud.group(), targets()
    cloud.register(group, one)
    port = free_port(address)
    web, shop, any_ = imported("web.example.org"), imported("shop.example.org"), imported("*.example.net")
    listener = https(cloud, arn, port, web, group, SslPolicy=MODERN)
    cloud.wait(group, one, "healthy", 5)
    for more in (shop, any_):
        cloud.call("AddListenerCertificates", ListenerArn=listener, Certificates=[{"CertificateArn": more}])
    named = {
        "web.example.org": "web.example.org",
        "shop.example.org": "shop.example.org",
        "a.example.net": "*.example.net",
    }
    assert {name: shown(address, port, name) for name in named} == named
    assert shown(address, port, "elsewhere.example.com") == "web.example.org", "the default one"
    assert shown(address, port) == "web.example.org"
    status, _, body = ask(address, port, "/work")
    assert (status, body.split()[0]) == (200, one.address)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with handshake(address, port, version=version):
            pass
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with pytest.raises(ssl.SSLError):
            handshake(address, port, version=version)
    cloud.call("ModifyListener", ListenerArn=listener, SslPolicy="ELBSecurityPolicy-2016-08")
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2):
        with handshake(address, port, version=version):
            pass
    with pytest.raises(ssl.SSLError):
        handshake(address, port, version=ssl.TLSVersion.TLSv1_3)
    described = cloud.call("DescribeListeners", ListenerArns=[listener])["Listeners"][0]
    assert described["Certificates"] == [{"CertificateArn": web}], "only the default one"
    assert described["SslPolicy"] == "ELBSecurityPolicy-2016-08"
    listed = cloud.call("DescribeListenerCertificates", ListenerArn=listener)["Certificates"]
    assert {item["CertificateArn"]: item["IsDefault"] for item in listed} == {web: True, shop: False, any_: False}
    cloud.call("RemoveListenerCertificates", ListenerArn=listener, Certificates=[{"CertificateArn": shop}])
    assert shown(address, port, "shop.example.org") == "web.example.org"
    cloud.call("ModifyListener", ListenerArn=listener, Certificates=[{"CertificateArn": shop}])
    assert shown(address, port, "elsewhere.example.com") == "shop.example.org", "another default one"
    assert shown(address, port, "a.example.net") == "*.example.net", "the further ones stay"
    with pytest.raises(ApiError, match="OperationNotPermitted"):
        cloud.call("RemoveListenerCertificates", ListenerArn=listener, Certificates=[{"CertificateArn": shop}])


def test_http_is_sent_to_https_and_requests_say_how_they_came(cloud: Cloud, targets: Callable[[], Target]) -> None:
    arn, address = cloud.load_balancer()
    group, one = cloud.group(), targets()
    cloud.register(group, one)
    secure, port = free_port(address), free_port(address)
    listener = https(cloud, arn, secure, imported("web.example.org"), group)
    redirect = {"Protocol": "HTTPS", "Port": str(secure), "Host": "#{host}", "Path": "/#{path}", "Query": "#{query}"}
    cloud.call(
        "CreateListener", LoadBalancerArn=arn, Port=port, Protocol="HTTP",
        DefaultActions=[{"Type": "redirect", "RedirectConfig": {**redirect, "StatusCode": "HTTP_301"}}],
    )  # fmt: skip
    status, headers, _ = ask(address, port, "/a/b?c=d&e", tls=False)
    goal = f"https://web.example.org:{secure}"
    assert (status, {key.lower(): value for key, value in headers.items()}["location"]) == (301, f"{goal}/a/b?c=d&e")
    cloud.call(
        "CreateRule", ListenerArn=listener, Priority=1, Conditions=[{"Field": "path-pattern", "Values": ["/old/*"]}],
        Actions=[{"Type": "redirect", "RedirectConfig": {"Path": "/new/#{path}", "StatusCode": "HTTP_302"}}],
    )  # fmt: skip
    cloud.call(
        "CreateRule", ListenerArn=listener, Priority=2, Conditions=[{"Field": "path-pattern", "Values": ["/hello"]}],
        Actions=[{"Type": "fixed-response", "FixedResponseConfig": {
            "StatusCode": "418", "ContentType": "application/json", "MessageBody": '{"a": "b c"}'}}],
    )  # fmt: skip
    status, headers, _ = ask(address, secure, "/old/x?y=1")
    assert (status, {key.lower(): value for key, value in headers.items()}["location"]) == (
        302,
        f"{goal}/new/old/x?y=1",
    )
    assert ask(address, secure, "/hello")[::2] == (418, '{"a": "b c"}')
    cloud.wait(group, one, "healthy", 5)
    assert ask(address, secure, "/work")[0] == 200


def test_a_certificate_that_is_imported_again_is_served_and_no_request_fails(
    cloud: Cloud, targets: Callable[[], Target]
) -> None:
    arn, address = cloud.load_balancer()
    group, one = cloud.group(), targets()
    cloud.register(group, one)
    port = free_port(address)
    certificate = imported("web.example.org")
    https(cloud, arn, port, certificate, group)
    cloud.wait(group, one, "healthy", 5)
    answers: list[int] = []
    failures: list[str] = []
    end = threading.Event()

    def load() -> None:
        while not end.is_set():
            try:
                answers.append(ask(address, port, "/work")[0])
            except (OSError, ValueError, IndexError) as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            before = common_name(address, port, None)[1]
            imported("web.example.org", arn=certificate)
            assert wait(lambda before=before: common_name(address, port, None)[1] != before, 10)
            time.sleep(0.3)
    finally:
        end.set()
        for thread in threads:
            thread.join(20)
    assert failures == []
    assert set(answers) == {200}
    assert len(answers) > 30
    files = list((cloud.directory / "certs").iterdir())
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600], "the renewed one is gone from the disk"
    assert (cloud.directory / "certs").stat().st_mode & 0o777 == 0o700
    secret = acm_backends[ACCOUNT][REGION].get_certificate(certificate).key
    named = [path for path in cloud.directory.rglob("*") if path.is_file() and secret.strip() in path.read_bytes()]
    assert named == files
    cloud.call("DeleteLoadBalancer", LoadBalancerArn=arn)
    assert not list((cloud.directory / "certs").iterdir()), "and so is every key once no listener has it"


def test_http_2_is_offered_unless_it_is_off(cloud: Cloud) -> None:
    arn, address = cloud.load_balancer()
    port = free_port(address)
    fixed = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}]
    https(cloud, arn, port, imported("web.example.org"), "", DefaultActions=fixed)
    with handshake(address, port, offers=("h2", "http/1.1")) as link:
        assert link.selected_alpn_protocol() == "h2"
    cloud.call(
        "ModifyLoadBalancerAttributes",
        LoadBalancerArn=arn,
        Attributes=[{"Key": "routing.http2.enabled", "Value": "false"}],
    )
    with handshake(address, port, offers=("h2", "http/1.1")) as link:
        assert link.selected_alpn_protocol() == "http/1.1"


class Echo:
    """A TCP service that gives back what it gets; with a certificate it speaks TLS."""

    def __init__(self, address: str, folder: Path | None = None) -> None:
        self.address = address
        self._server = socket.create_server((address, 0))
        self.port = int(self._server.getsockname()[1])
        self._tls: ssl.SSLContext | None = None
        if folder is not None:
            certificate, key = self_signed("target.example.org")
            (folder / "target.pem").write_bytes(certificate + key)
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(folder / "target.pem")
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(link,), daemon=True).start()

    def _echo(self, link: socket.socket) -> None:
        try:
            with self._tls.wrap_socket(link, server_side=True) if self._tls else link as spoken:
                while got := spoken.recv(1024):
                    spoken.sendall(b"echo " + got)
        except OSError:
            pass  # a health check closes as soon as it knows

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.mark.parametrize("protocol", ["TCP", "TLS"])
def test_a_network_load_balancer_asks_for_health_elsewhere(
    cloud: Cloud, targets: Callable[[], Target], tmp_path: Path, protocol: str
) -> None:
    arn, address = cloud.load_balancer(kind="network")
    judge = targets()
    echo = Echo(judge.address, tmp_path if protocol == "TLS" else None)
    made = cloud.call(
        "CreateTargetGroup", Name="data", VpcId=cloud.network[0].vpc_id, Protocol=protocol, Port=echo.port, TargetType="ip",
        HealthCheckProtocol="HTTP", HealthCheckPort=str(judge.port), HealthCheckPath="/readyz",
        HealthCheckIntervalSeconds=5, HealthCheckTimeoutSeconds=2, HealthyThresholdCount=2, UnhealthyThresholdCount=2,
    )  # fmt: skip
    group = made["TargetGroups"][0]["TargetGroupArn"]
    port = free_port(address)
    certificate = [{"CertificateArn": imported("data.example.org")}] if protocol == "TLS" else []
    listener = cloud.call(
        "CreateListener", LoadBalancerArn=arn, Port=port, Protocol=protocol,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        **({"Certificates": certificate, "SslPolicy": MODERN, "AlpnPolicy": ["HTTP2Preferred"]} if certificate else {}),
    )["Listeners"][0]  # fmt: skip
    assert listener.get("SslPolicy") == (MODERN if certificate else None)
    cloud.call("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": echo.address, "Port": echo.port}])
    try:
        cloud.wait(group, judge, "healthy", 10)
        assert judge.checks, "it was asked where the health check says"
        with (
            handshake(address, port, offers=("h2",))
            if certificate
            else socket.create_connection((address, port), 10) as link
        ):
            link.sendall(b"hello")
            assert link.recv(100) == b"echo hello"
            if certificate:
                assert isinstance(link, ssl.SSLSocket)
                assert link.selected_alpn_protocol() == "h2"
        if certificate:
            assert shown(address, port) == "data.example.org", "the load balancer's, not the target's"
            with pytest.raises(ssl.SSLError):
                handshake(address, port, version=ssl.TLSVersion.TLSv1_1)
        judge.health = 503
        found = cloud.wait(group, judge, "unhealthy", 30)
        assert found["Description"] == "Health checks failed with these codes: [503]"
    finally:
        echo.close()


def test_targets_over_https_are_not_asked_who_they_are(cloud: Cloud, tmp_path: Path) -> None:
    arn, address = cloud.load_balancer()
    group = cloud.group(Protocol="HTTPS", HealthCheckProtocol="TCP", HealthCheckPath="/readyz")
    one = Target(f"{NET}.90")
    certificate, key = self_signed("nobody.example.org")
    (tmp_path / "target.pem").write_bytes(certificate + key)
    spoken = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    spoken.load_cert_chain(tmp_path / "target.pem")
    one._server.socket = spoken.wrap_socket(one._server.socket, server_side=True)
    try:
        cloud.register(group, one)
        port = free_port(address)
        https(cloud, arn, port, imported("web.example.org"), group)
        cloud.wait(group, one, "healthy", 10)
        status, _, body = ask(address, port, "/work")
        assert (status, body.split()[0]) == (200, one.address)
    finally:
        one.close()


def test_a_network_load_balancer_keeps_its_choice_of_security_groups(cloud: Cloud) -> None:
    arn, _ = cloud.load_balancer(kind="network")
    own = elbv2_group(cloud)
    with pytest.raises(ApiError, match="created without"):
        cloud.call("SetSecurityGroups", LoadBalancerArn=arn, SecurityGroups=[own])
    made = cloud.call(
        "CreateLoadBalancer",
        Name="guarded",
        Type="network",
        Subnets=[one.id for one in cloud.network],
        SecurityGroups=[own],
    )["LoadBalancers"][0]
    assert made["SecurityGroups"] == [own]
    with pytest.raises(ApiError, match="nor all be taken"):
        cloud.call("SetSecurityGroups", LoadBalancerArn=made["LoadBalancerArn"], SecurityGroups=[])
    with pytest.raises(ApiError, match="InvalidSecurityGroup"):
        cloud.call("SetSecurityGroups", LoadBalancerArn=made["LoadBalancerArn"], SecurityGroups=["sg-1"])


def elbv2_group(cloud: Cloud) -> str:
    """Some security group."""
    return str(cloud.network[0].ec2_backend.get_default_security_group(cloud.network[0].vpc_id).id)
