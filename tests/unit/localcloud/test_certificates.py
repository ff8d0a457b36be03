# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate Manager over HTTP; tests/contract/localcloud/test_tls.py shows its certificates to clients."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from moto.elbv2.models import elbv2_backends

from localcloud.ec2.launch import ACCOUNT
from tests.unit.localcloud.certificates import self_signed
from tests.unit.localcloud.test_server import REGION, Running, cloud, refusal

__all__ = ["cloud"]


def pair(*names: str, days: int = 30, bits: int = 0) -> dict[str, bytes]:
    """A certificate that signs itself, and its key, as ImportCertificate takes them."""
    certificate, key = self_signed(*names, days=days, bits=bits, serial=0x1234)
    return {"Certificate": certificate, "PrivateKey": key}


def use(cloud: Running, arn: str) -> tuple[str, str]:
    """A load balancer whose listener has the certificate, and the listener; no HAProxy is started."""
    subnets = [one["SubnetId"] for one in cloud.client("ec2").describe_subnets()["Subnets"]]
    made = cloud.client("elbv2").create_load_balancer(Name="front", Subnets=subnets)["LoadBalancers"][0]
    action = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}
    with cloud.cloud.lock:
        listener = elbv2_backends[ACCOUNT][REGION].create_listener(
            made["LoadBalancerArn"], "HTTPS", "443", "ELBSecurityPolicy-2016-08", arn, [action]
        )
    return str(made["LoadBalancerArn"]), str(listener.arn)


def test_what_is_imported_is_described_as_aws_does(cloud: Running) -> None:
    acm, given = cloud.client("acm"), pair("web.example.org", "www.example.org")
    arn = acm.import_certificate(**given, Tags=[{"Key": "fleet", "Value": "shop"}])["CertificateArn"]
    about = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert about["DomainName"] == "web.example.org"
    assert about["SubjectAlternativeNames"] == ["web.example.org", "www.example.org"]
    assert (about["Type"], about["Status"], about["InUseBy"]) == ("IMPORTED", "ISSUED", [])
    assert (about["Serial"], about["Subject"]) == ("12:34", "CN=web.example.org")
    assert about["KeyAlgorithm"] == "EC_prime256v1"
    found = acm.get_certificate(CertificateArn=arn)
    assert found["Certificate"].encode() == given["Certificate"]
    assert "CertificateChain" not in found, "none was given"
    assert acm.list_tags_for_certificate(CertificateArn=arn)["Tags"] == [{"Key": "fleet", "Value": "shop"}]
    acm.add_tags_to_certificate(CertificateArn=arn, Tags=[{"Key": "more", "Value": "x"}])
    assert len(acm.list_tags_for_certificate(CertificateArn=arn)["Tags"]) == 2


def test_the_chain_is_the_one_that_was_given(cloud: Running) -> None:
    acm, given = cloud.client("acm"), pair("web.example.org")
    chain = pair("An authority")["Certificate"]
    arn = acm.import_certificate(**given, CertificateChain=chain)["CertificateArn"]
    assert acm.get_certificate(CertificateArn=arn)["CertificateChain"].encode() == chain


def test_importing_again_renews_and_keeps_arn_and_tags(cloud: Running) -> None:
    acm = cloud.client("acm")
    tags = [{"Key": "fleet", "Value": "shop"}]
    arn = acm.import_certificate(**pair("web.example.org"), Tags=tags)["CertificateArn"]
    new = pair("web.example.org", "shop.example.org", days=90)
    assert acm.import_certificate(CertificateArn=arn, **new)["CertificateArn"] == arn
    assert acm.get_certificate(CertificateArn=arn)["Certificate"].encode() == new["Certificate"]
    assert acm.list_tags_for_certificate(CertificateArn=arn)["Tags"] == tags
    code, message = refusal(lambda: acm.import_certificate(CertificateArn=arn, **new, Tags=tags))
    assert (code, message) == ("ValidationException", "Tagging is not permitted on re-import.")
    unknown = arn[:-4] + "0000"
    assert refusal(lambda: acm.import_certificate(CertificateArn=unknown, **new))[0] == "ResourceNotFoundException"


@pytest.mark.parametrize("again", [False, True])
def test_a_key_of_another_certificate_is_refused_and_changes_nothing(cloud: Running, again: bool) -> None:
    acm, good = cloud.client("acm"), pair("web.example.org")
    arn = acm.import_certificate(**good)["CertificateArn"]
    wrong = {**pair("web.example.org"), "PrivateKey": pair("other.example.org")["PrivateKey"]}
    more = {"CertificateArn": arn} if again else {}
    code, message = refusal(lambda: acm.import_certificate(**wrong, **more))
    assert (code, message) == (
        "ValidationException", "The private key does not match the public key of the certificate.",
    )  # fmt: skip
    everything = acm.list_certificates(Includes={"keyTypes": ["EC_prime256v1"]})["CertificateSummaryList"]
    assert [one["CertificateArn"] for one in everything] == [arn]
    assert acm.get_certificate(CertificateArn=arn)["Certificate"].encode() == good["Certificate"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({**pair("a.example.org"), "PrivateKey": b"none"}, "private key is not PEM-encoded"),
        ({**pair("a.example.org"), "Certificate": b"none"}, "certificate is not PEM-encoded"),
        (pair("a.example.org", days=-1), "has expired"),
        (pair("a.example.org", bits=1024), "2048 bits or more"),
    ],
)
def test_what_cannot_be_served_is_refused(cloud: Running, given: dict[str, bytes], words: str) -> None:
    code, message = refusal(lambda: cloud.client("acm").import_certificate(**given))
    assert code == "ValidationException"
    assert words in message


def test_only_usual_keys_are_listed_unless_others_are_asked_for(cloud: Running) -> None:
    acm = cloud.client("acm")
    curve = acm.import_certificate(**pair("ec.example.org"))["CertificateArn"]
    usual = acm.import_certificate(**pair("rsa.example.org", bits=2048))["CertificateArn"]
    found = acm.list_certificates()["CertificateSummaryList"]
    assert [(one["CertificateArn"], one["DomainName"], one["InUse"]) for one in found] == [
        (usual, "rsa.example.org", False)
    ]
    both = {"keyTypes": ["EC_prime256v1", "RSA_2048"]}
    assert {one["CertificateArn"] for one in acm.list_certificates(Includes=both)["CertificateSummaryList"]} == {
        curve,
        usual,
    }
    first = acm.list_certificates(Includes=both, MaxItems=1)
    second = acm.list_certificates(Includes=both, MaxItems=1, NextToken=first["NextToken"])
    assert "NextToken" not in second
    assert first["CertificateSummaryList"] != second["CertificateSummaryList"]


def test_pages_that_are_none_are_refused(cloud: Running) -> None:
    acm, ssm = cloud.client("acm"), cloud.client("ssm")
    for token in ("x", "-1", "²", "9" * 5000):
        assert refusal(lambda token=token: acm.list_certificates(NextToken=token))[0] == "InvalidArgsException"  # type: ignore[misc]
    for token in ("x", "²"):
        assert refusal(lambda token=token: ssm.describe_parameters(NextToken=token))[0] == "InvalidNextToken"  # type: ignore[misc]
    code, message = refusal(lambda: ssm.describe_parameters(MaxResults=51))
    assert (code, "'51' at 'maxResults'" in message) == ("ValidationException", True)
    request = cloud.signed(
        "acm",
        "/",
        "POST",
        b'{"MaxItems": "x"}',
        Content_Type="application/x-amz-json-1.1",
        X_Amz_Target="x.ListCertificates",
    )
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=10)  # noqa: S310 - our own address
    assert (error.value.code, json.loads(error.value.read())["__type"]) == (400, "SerializationException")


def test_a_certificate_that_a_listener_has_stays(cloud: Running) -> None:
    acm = cloud.client("acm")
    arn = acm.import_certificate(**pair("web.example.org", bits=2048))["CertificateArn"]
    balancer, listener = use(cloud, arn)
    assert acm.describe_certificate(CertificateArn=arn)["Certificate"]["InUseBy"] == [balancer]
    assert acm.list_certificates()["CertificateSummaryList"][0]["InUse"]
    code, message = refusal(lambda: acm.delete_certificate(CertificateArn=arn))
    assert (code, message) == ("ResourceInUseException", f"Certificate {arn} in account {ACCOUNT} is in use.")
    with cloud.cloud.lock:
        elbv2_backends[ACCOUNT][REGION].delete_listener(listener)
    acm.delete_certificate(CertificateArn=arn)
    assert refusal(lambda: acm.describe_certificate(CertificateArn=arn))[0] == "ResourceNotFoundException"


def test_certificates_outlast_a_restart(cloud: Running) -> None:
    given = pair("web.example.org")
    arn = cloud.client("acm").import_certificate(**given)["CertificateArn"]
    cloud.restart()
    assert cloud.client("acm").get_certificate(CertificateArn=arn)["Certificate"].encode() == given["Certificate"]
    assert (cloud.path / "state.json").stat().st_mode & 0o777 == 0o600


def test_certificates_that_somebody_else_would_issue_are_not_there(cloud: Running) -> None:
    acm = cloud.client("acm")
    code, message = refusal(lambda: acm.request_certificate(DomainName="web.example.org"))
    assert code == "NotImplemented"
    assert "import a certificate" in message


def test_security_policies_say_what_they_are_for(cloud: Running) -> None:
    elb, name = cloud.client("elbv2"), "ELBSecurityPolicy-TLS13-1-2-2021-06"
    found = elb.describe_ssl_policies(Names=[name])["SslPolicies"][0]
    assert found["SslProtocols"] == ["TLSv1.3", "TLSv1.2"]
    assert found["SupportedLoadBalancerTypes"] == ["application", "network"]
    assert refusal(lambda: elb.describe_ssl_policies(Names=["Best"])) == (
        "SSLPolicyNotFound",
        "SSL policy 'Best' not found",
    )
