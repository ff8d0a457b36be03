# SPDX-License-Identifier: GPL-3.0-or-later
"""conversion-dead: look at the jobs that were given up, send them again, or drop them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from . import backends
from .errors import ConversionError, InputError, SettingsError, UnavailableError, one_line
from .jobs.dead import DeadLetters, Letter
from .operation import timestamp
from .settings import load, read_env_file

CONNECT_SECONDS = 15.0


@contextlib.asynccontextmanager
async def connected(env_files: list[Path]) -> AsyncIterator[DeadLetters]:
    """The letters of the queue that the environment, or files as systemd reads them, name. UnavailableError after 15 s."""
    env = {**os.environ}
    for file in env_files:
        env |= read_env_file(file)
    settings = load(env, port=0)
    if not settings.nats_url:
        raise SettingsError(
            "CONVERSION_NATS_URL is not set: set it, or name the environment file of an engine with --env-file."
        )
    jobs = backends.nats_jobs(settings, "conversion-dead", makes=False)
    await jobs.start()
    try:
        until = time.monotonic() + CONNECT_SECONDS
        while problem := await jobs.problem():
            if time.monotonic() >= until:
                raise UnavailableError(problem)
            await asyncio.sleep(0.05)
        yield jobs.dead
    finally:
        await jobs.close()


def shown(letter: Letter) -> dict[str, Any]:
    """A letter as people and programs read it."""
    found: dict[str, Any] = {
        "id": letter.id,
        "died_at": timestamp(letter.died_at),
        "why": letter.why,
        "attempts": letter.attempts,
        "source_kept": letter.source_kept,
    }
    if (one := letter.operation) is None:
        return found | {"message": letter.raw}
    return found | {
        "src_format": one.src_format,
        "output_format": one.output_format,
        "options": one.options,
        "source_bytes": one.source_bytes,
        "owner": one.owner,
        "request_id": one.request_id,
        "crashes": one.crashes,
        "engine": one.engine,
        "created_at": timestamp(one.created_at),
    }


def line(letter: Letter) -> str:
    """A letter in a line."""
    one = letter.operation
    what = f"{one.src_format} to {one.output_format}, {one.source_bytes} bytes" if one else "no job"
    return f"{letter.id}  {timestamp(letter.died_at)}  {what}  {one_line(letter.why)}"


async def show_all(letters: DeadLetters, arguments: argparse.Namespace) -> None:
    """All of them, the latest first."""
    found = await letters.all()
    if arguments.json:
        print(json.dumps([shown(one) for one in found], indent=2))
    else:
        print("\n".join(map(line, found)) if found else "There are no dead letters.")


async def show(letters: DeadLetters, arguments: argparse.Namespace) -> None:
    """One of them, and its file."""
    letter = await letters.get(arguments.id)
    print(json.dumps(shown(letter), indent=2))
    if arguments.source:
        try:
            with arguments.source.open("xb") as out:
                async for piece in letters.source(letter):
                    out.write(piece)
        except OSError as exc:
            raise InputError(f"{arguments.source} cannot be written: {exc.strerror}.") from exc
        print(
            f"The file is in {arguments.source}: it may be hostile, open it nowhere but in a sandbox.", file=sys.stderr
        )


async def _named(letters: DeadLetters, arguments: argparse.Namespace) -> list[Letter]:
    if arguments.all == bool(arguments.ids):
        raise InputError("Name letters by their ids, or all of them with --all.")
    return await letters.all() if arguments.all else [await letters.get(one) for one in arguments.ids]


async def send_again(letters: DeadLetters, arguments: argparse.Namespace) -> None:
    """Queue jobs again. With --all, one that cannot be sent does not keep others back."""
    refused = 0
    for letter in await _named(letters, arguments):
        try:
            await letters.send_again(letter)
            print(f"{letter.id} is queued again.")
        except InputError as exc:
            refused += 1
            print(f"conversion-dead: {exc}", file=sys.stderr)
    if refused:
        raise InputError(f"{refused} of them were not sent.")


async def drop(letters: DeadLetters, arguments: argparse.Namespace) -> None:
    """Remove letters and their files."""
    for letter in await _named(letters, arguments):
        await letters.drop(letter.id)
        print(f"{letter.id} is dropped.")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="conversion-dead", description=__doc__)
    parser.add_argument(
        "--env-file",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="settings as systemd reads them, such as /etc/conversion-engine/conversion-engine.env; may be repeated",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("list", help="all dead letters, the latest first")
    one.add_argument("--json", action="store_true", help="as JSON")
    one.set_defaults(run=show_all)
    one = commands.add_parser("show", help="one of them as JSON")
    one.add_argument("id")
    one.add_argument(
        "--source", type=Path, metavar="FILE", help="write the file that was to be converted to a new file"
    )
    one.set_defaults(run=show)
    for name, run, words in (
        ("send", send_again, "convert again, under the same id"),
        ("drop", drop, "remove letters and files"),
    ):
        one = commands.add_parser(name, help=words)
        one.add_argument("ids", nargs="*", metavar="id")
        one.add_argument("--all", action="store_true", help="all that there are")
        one.set_defaults(run=run)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, format="conversion-dead: %(message)s")

    async def body() -> None:
        async with connected(arguments.env_file) as letters:
            await arguments.run(letters, arguments)

    try:
        asyncio.run(body())
    except ConversionError as exc:
        print(f"conversion-dead: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
