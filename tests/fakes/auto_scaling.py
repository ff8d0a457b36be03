# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance asks to be replaced: the metadata service and Auto Scaling's Query API, which checks signatures by botocore.

FOLDER/state is the instance's lifecycle state, none for one in no group; FOLDER/denied refuses; FOLDER/asked has each request, a line each.
"""

from __future__ import annotations

import json
import urllib.parse

from tests.fakes import parameter_store


class Handler(parameter_store.Handler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = dict(urllib.parse.parse_qsl(body.decode()))
        with (self.folder / "asked").open("a") as file:
            print(json.dumps(asked), file=file)
        problem = self.unsigned(body, "autoscaling", {"host", "x-amz-date", "x-amz-security-token"})
        if not problem and (self.folder / "denied").exists():
            problem = f"{parameter_store.ROLE} is not authorized to perform: autoscaling:{asked['Action']}"
        if problem:
            self.tell(
                403,
                f"<ErrorResponse><Error><Code>AccessDenied</Code><Message>{problem}</Message></Error></ErrorResponse>",
            )
            return
        state = (self.folder / "state").read_text() if (self.folder / "state").exists() else ""
        member = (
            f"<member><InstanceId>{parameter_store.INSTANCE}</InstanceId><LifecycleState>{state}</LifecycleState></member>"
            if state
            else ""
        )
        self.tell(200, f"<Response><AutoScalingInstances>{member}</AutoScalingInstances></Response>")
