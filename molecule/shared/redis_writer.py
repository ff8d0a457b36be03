# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes to a replica set at a steady rate until it is told to stop, as a careful client does: it asks the Sentinels for the
master, sends a write again until it succeeded, and counts it as confirmed only when a replica has it, too (WAIT). Told by one
JSON object as its argument; tells one at the end: {"acknowledged", "confirmed", "errors", "longest_pause_ms"}, with
the numbers of both kinds in the files named by the argument, and before it a line "writing" once the first succeeded."""

from __future__ import annotations

import itertools
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import redis
from redis.exceptions import RedisError
from redis_login import connect

RATE = 500  # writes a second
BATCH = 25  # in flight at once, as from so many clients
WAIT_MS = 1000  # for a replica to have them


class Writer:
    """Knows the master as long as it answers."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._master: Any = None

    def _connect(self, host: str, port: int) -> Any:
        return connect(host, self._settings["user"], port, timeout=2, connect_timeout=1)

    def _find(self) -> Any:
        for host in self._settings["hosts"]:
            sentinel = self._connect(host, 26379)
            try:
                answer = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
                return self._connect(answer[0], int(answer[1]))
            except (RedisError, OSError):
                continue
            finally:
                sentinel.close()
        raise redis.ConnectionError("no Sentinel answers")

    def write(self, numbers: list[int]) -> bool:
        """Write them; whether a replica has all of them. Raises RedisError or OSError when it is not known."""
        if self._master is None:
            self._master = self._find()
        try:
            pipeline = self._master.pipeline(transaction=False)
            for number in numbers:
                pipeline.set(f"app:{self._settings['prefix']}:{number}", number)
            pipeline.execute_command("WAIT", 1, WAIT_MS)
            return bool(pipeline.execute()[-1] >= 1)
        except (RedisError, OSError):
            self._master.close()
            self._master = None
            raise


def main(settings: dict[str, Any]) -> dict[str, float]:
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    writer = Writer(settings)
    acknowledged: list[int] = []
    confirmed: list[int] = []
    times: list[float] = []
    errors = 0
    began = time.monotonic()
    for first in itertools.count(0, BATCH):
        if stopped:
            break
        numbers = list(range(first, first + BATCH))
        while True:
            try:
                if writer.write(numbers):
                    confirmed += numbers
                acknowledged += numbers
                times.append(time.monotonic())
                break
            except (RedisError, OSError):
                errors += 1
                time.sleep(0.1)
                if time.monotonic() - (times[-1] if times else began) > 60:
                    raise
        if not first:
            print("writing", flush=True)
        # after a pause it goes on at the same rate, and catches nothing up
        time.sleep(max(0.0, times[-1] + BATCH / RATE - time.monotonic()))
    Path(settings["acknowledged"]).write_text(json.dumps(acknowledged))
    Path(settings["confirmed"]).write_text(json.dumps(confirmed))
    pauses = [after - before for before, after in itertools.pairwise(times)]
    return {
        "acknowledged": len(acknowledged),
        "confirmed": len(confirmed),
        "errors": errors,
        "longest_pause_ms": round(max(pauses, default=0) * 1000),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
