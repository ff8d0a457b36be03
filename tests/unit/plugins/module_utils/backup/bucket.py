# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's S3 behind a real port, which judges every signature by botocore's and every object by its checksum."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, HeadersDict
from botocore.credentials import Credentials
from moto import mock_aws
from moto.core.models import botocore_stubber

SECRET, REGION, NAME = "secret-of-the-tests", "eu-central-1", "backups.example"
ERROR = "<Error><Code>{}</Code><Message>{}</Message></Error>"


class Server(ThreadingHTTPServer):
    """`key` is the access key that is good now, `token` what goes with it; `answers` are given before anything else."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.key, self.token = "AKIA1", ""
        self.answers: list[tuple[int, str]] = []
        self.asked: list[str] = []
        self.moto = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def client(self) -> Any:
        return boto3.client("s3", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def handle_one_call(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {self.path}")
        if self.server.answers:
            status, code = self.server.answers.pop(0)
            self.tell(status, ERROR.format(code, "as the test wants it").encode())
        elif problem := self.refusal(body):
            self.tell(403, ERROR.format(problem, "the test's judge").encode())
        else:
            headers = HeadersDict(dict(self.headers.items()))
            request = AWSPreparedRequest(
                self.command, f"https://s3.{REGION}.amazonaws.com{self.path}", headers, body, False
            )
            with self.server.moto:
                answer = botocore_stubber("before-send", request)
            assert answer is not None
            self.tell(answer.status_code, answer.content)

    do_GET = do_PUT = do_DELETE = handle_one_call  # noqa: N815

    def refusal(self, body: bytes) -> str:
        given = self.headers["Authorization"]
        if f"Credential={self.server.key}/" not in given:
            return "ExpiredToken"
        if self.headers["x-amz-content-sha256"] != hashlib.sha256(body).hexdigest():
            return "XAmzContentSHA256Mismatch"
        signed = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        request = AWSRequest(
            method=self.command, url=f"http://{self.headers['Host']}{self.path}", data=body,
            headers={name: self.headers[name] for name in signed if name != "host"},
        )  # fmt: skip
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        judge = S3SigV4Auth(Credentials(self.server.key, SECRET, self.server.token or None), "s3", REGION)
        good = judge.signature(judge.string_to_sign(request, judge.canonical_request(request)), request)
        return "" if given.endswith(f"Signature={good}") else "SignatureDoesNotMatch"

    def tell(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    with mock_aws():
        server = Server()
        server.client().create_bucket(Bucket=NAME, CreateBucketConfiguration={"LocationConstraint": REGION})
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            server.server_close()
            thread.join(timeout=10)
