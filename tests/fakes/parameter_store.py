# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance asks for its secrets: the metadata service (IMDSv2) and SSM's GetParameters, which checks signatures by botocore.

`python -m tests.fakes.parameter_store ADDRESS FOLDER` listens on a free port of the address until FOLDER/end is there, for 45 minutes at
most, and writes its URL to FOLDER/url. Parameters are FOLDER/parameters.json, read for each request; FOLDER/asked has each request's names.
"""

from __future__ import annotations

import datetime
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ACCESS, SECRET, SESSION = "ASIAFAKEFAKEFAKEFAKE", "fake-secret-of-the-tests", "fake-session-of-the-tests"
REGION = "eu-central-1"
DOMAIN = "amazonaws.com.example"
ROLE = "fleet-host"
INSTANCE = "i-0123456789abcdef0"
IMDS_TOKEN = "fake-token-of-imds"


class Handler(BaseHTTPRequestHandler):
    folder: Path

    def do_PUT(self) -> None:
        lives = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        self.tell(200, IMDS_TOKEN) if self.path == "/latest/api/token" and lives else self.tell(404, "")

    def do_GET(self) -> None:
        base = "/latest/meta-data/"
        known: dict[str, str] = {f"{base}placement/region": REGION, f"{base}instance-id": INSTANCE}
        known[f"{base}services/domain"] = DOMAIN
        if not (self.folder / "no-role").exists():
            keys = {"AccessKeyId": ACCESS, "SecretAccessKey": SECRET, "Token": SESSION}
            known[f"{base}iam/security-credentials/"] = ROLE
            known[f"{base}iam/security-credentials/{ROLE}"] = json.dumps(keys)
        if self.headers.get("X-aws-ec2-metadata-token") != IMDS_TOKEN:
            self.tell(401, "")
        else:
            self.tell(200 if self.path in known else 404, known.get(self.path, ""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        problem = self.refusal(body)
        if problem:
            self.tell(400, json.dumps({"__type": f"com.amazonaws.ssm#{problem}", "message": f"This is {problem}."}))
            return
        asked = json.loads(body)
        with (self.folder / "asked").open("a") as file:
            print(json.dumps(asked["Names"]), file=file)
        there = json.loads((self.folder / "parameters.json").read_text())
        found = [{"Name": name, "Value": there[name]} for name in asked["Names"] if name in there]
        missing = [name for name in asked["Names"] if name not in there]
        self.tell(200, json.dumps({"Parameters": found, "InvalidParameters": missing}))

    def refusal(self, body: bytes) -> str:
        """Why a request is refused; SSM's own words."""
        if self.headers.get("X-Amz-Target") != "AmazonSSM.GetParameters":
            return "InvalidAction"
        if problem := self.unsigned(body, "ssm", {"host", "x-amz-date", "x-amz-security-token", "x-amz-target"}):
            return problem
        names = json.loads(body)
        if not 1 <= len(names["Names"]) <= 10 or names.get("WithDecryption") is not True:
            return "ValidationException"
        return "AccessDeniedException" if (self.folder / "denied").exists() else ""

    def unsigned(self, body: bytes, service: str, must: set[str]) -> str:
        """What is wrong with the signature, as botocore makes it. `must`: headers that it has to cover."""
        at = datetime.datetime.strptime(self.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
        if abs((datetime.datetime.now(datetime.UTC) - at).total_seconds()) > 300:
            return "InvalidSignatureException"
        given = self.headers["Authorization"]
        signed = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        if not must <= set(signed):
            return "IncompleteSignatureException"
        request = AWSRequest(
            method="POST", url=f"http://{self.headers['Host']}/", data=body,
            headers={name: self.headers[name] for name in signed if name != "host"},
        )  # fmt: skip
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        judge = SigV4Auth(Credentials(ACCESS, SECRET, SESSION), service, REGION)
        canonical = judge.canonical_request(request)
        if not given.endswith("Signature=" + judge.signature(judge.string_to_sign(request, canonical), request)):
            return "InvalidSignatureException"
        return "UnrecognizedClientException" if self.headers["X-Amz-Security-Token"] != SESSION else ""

    def tell(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests look at what was asked."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, folder: Path, handler: type[Handler] = Handler) -> None:
        super().__init__((address, 0), type("OurHandler", (handler,), {"folder": folder}))
        self.url = f"http://{address}:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


def main(address: str, place: str) -> None:
    folder = Path(place)
    server = Server(address, folder)
    (folder / "url").write_text(server.url)
    deadline = time.monotonic() + 2700
    while time.monotonic() < deadline and not (folder / "end").exists():
        time.sleep(0.2)
    server.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
