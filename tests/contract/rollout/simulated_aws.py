# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated cloud behind real HTTP on loopback, in real time: for what can only be tested as a process of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from botocore.utils import parse_timestamp
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from localcloud import signature, wire
from localcloud.autoscaling.simulation import SimulatedCloud
from localcloud.errors import ApiError

SERVICES = {"autoscaling": "autoscaling", "elasticloadbalancing": "elbv2", "ec2": "ec2"}


class SimulatedAws:
    """One region's API at ``endpoint``. Its clock is this machine's."""

    def __init__(self, cloud: SimulatedCloud) -> None:
        self.cloud = cloud
        self.lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}),
            threading.Thread(target=self._pass_time),
        ]

    def __enter__(self) -> SimulatedAws:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join(timeout=10)
        self._server.server_close()

    def _pass_time(self) -> None:
        while not self._over.wait(0.02):
            with self.lock:
                self.cloud.sleep(max(0.0, time.time() - self.cloud.now()))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        operation = str(request.values["Action"])
        service = SERVICES[signature.read(request).service]
        model = get_service_model(service)
        serializer = get_serializer_class(service, str(model.protocol))(model.operation_model(operation))
        try:
            parser = PROTOCOL_PARSERS[str(model.protocol)](
                model.operation_model(operation), timestamp_parser=parse_timestamp
            )
            params = parser.parse({"values": request.values})  # type: ignore[typeddict-item]
            with self.lock:
                self.cloud.calls[operation] += 1
                answer = serializer.serialize(self.cloud.handle(service, operation, params))
        except ApiError as error:
            return wire.refusal(request, service, error)(environ, start_response)
        return Response(answer["body"], answer["status_code"], answer["headers"])(environ, start_response)
