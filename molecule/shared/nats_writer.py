# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes to a stream at a steady rate until it is told to stop, as a careful client does: every message has an id, waits for
its acknowledgement, and is sent again until it has one. Told by one JSON object as its argument; tells one at the end:
{"sent", "acknowledged", "errors", "longest_pause_ms"}, and before it a line "writing" once the first is acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import nats
from authority import context
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

RATE = 500  # messages a second
ATTEMPT = 2.0  # seconds for one acknowledgement
PATIENCE = 60.0  # seconds for a message to get through at all


async def main(settings: dict[str, Any]) -> dict[str, float]:
    async def quiet(_: Exception) -> None:
        """The client reconnects by itself; what it costs is counted where messages are sent."""

    connection = await nats.connect(
        [f"tls://{host}:4222" for host in settings["hosts"]],
        user=settings["user"],
        password=settings["password"],
        tls=context(),
        error_cb=quiet,
        ping_interval=1,
        max_outstanding_pings=2,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.1,
        connect_timeout=2,
        pending_size=64 << 20,
    )
    stream = connection.jetstream(timeout=ATTEMPT)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    acknowledged: list[float] = []
    errors = 0

    async def write(number: int) -> None:
        nonlocal errors
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                await stream.publish(
                    settings["subject"],
                    str(number).encode(),
                    headers={"Nats-Msg-Id": f"{settings['subject']}-{number}"},
                )
            except (TimeoutError, NatsError, JetStreamError, OSError):
                errors += 1
                await asyncio.sleep(0.1)
            else:
                acknowledged.append(time.monotonic())
                return

    writes: list[asyncio.Task[None]] = [asyncio.create_task(write(0))]
    await writes[0]
    print("writing", flush=True)
    began = time.monotonic()
    while not stop.is_set():
        due = int((time.monotonic() - began) * RATE) + 1
        writes += [asyncio.create_task(write(number)) for number in range(len(writes), due + 1)]
        await asyncio.sleep(0.01)
    await asyncio.gather(*writes)
    await connection.close()
    acknowledged.sort()
    pauses = [after - before for before, after in itertools.pairwise(acknowledged)]
    return {
        "sent": len(writes),
        "acknowledged": len(acknowledged),
        "errors": errors,
        "longest_pause_ms": round(max(pauses, default=0) * 1000),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))), flush=True)
