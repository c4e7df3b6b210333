"""What is really lost: a writer beside checkpoints, everything killed at a random moment, the newest one restored."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import random
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from benchmarks.backup import back_up
from benchmarks.errors import BenchmarkError
from benchmarks.programs import run_program
from benchmarks.server import COPY, SOURCE
from include.backup.archive_name import archive_names
from include.demo.errors import DemoError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.server import BenchmarkServer

__all__ = ["WRITER_PAUSE_SECONDS", "Loss", "lose_everything", "prepare_writers_database"]

WRITTEN = f"{COPY}_written"  # a copy of the source: the writer's rows must not stay in that
WRITER_PAUSE_SECONDS = 0.05
FIRST_ARCHIVE_SECONDS = 300
STARTS = 20  # of the server: the last of its killed processes holds its memory for a moment

_WRITE = (
    "INSERT INTO system_settings (key, value, updated_at) "
    "VALUES ('tick_' || %s::text, to_jsonb(%s::int), clock_timestamp())"
)
_READ = """
    SELECT count(*), coalesce(max((value)::text::int), 0), extract(epoch FROM max(updated_at))::float
    FROM system_settings WHERE key LIKE 'tick\\_%'
"""


@dataclass(frozen=True)
class Loss:
    """
    What one kill cost.

    Args:
        seconds: From the commit of the last row in the archive to the kill.
        rows: That were committed and are not in the archive.
    """

    seconds: float
    rows: int


def prepare_writers_database(server: BenchmarkServer) -> None:
    """Make a database like the source, for the writer."""
    with psycopg.connect(server.conninfo(), autocommit=True) as session:
        session.execute(f"CREATE DATABASE {WRITTEN} TEMPLATE {SOURCE}")


def lose_everything(server: BenchmarkServer, work: Path, every_seconds: float, choice: random.Random) -> Loss:
    """
    Let a writer and checkpoints run, kill them and the server at a random moment, and restore the newest archive.

    Args:
        server: Has the writer's database; runs again afterwards.
        work: An empty folder; it is empty again afterwards.
        every_seconds: From the beginning of one checkpoint to that of the next.
        choice: Says when.

    Raises:
        BenchmarkError: If no archive came, or one that has not all rows up to its last: then nothing was measured.
    """
    folder = work / "checkpoints"
    folder.mkdir()
    child = multiprocessing.get_context("fork").Process(target=_live, args=(server, folder, every_seconds))
    child.start()
    _wait_for_archive(folder, child)
    time.sleep(choice.uniform(0, 2 * every_seconds))
    assert child.pid  # noqa: S101 - it was started
    killed_at = time.time()
    os.killpg(child.pid, signal.SIGKILL)
    _crash(server)
    child.join()
    _start_again(server)
    _, written, _ = _ticks(server, WRITTEN)
    restored = _restore(server, work, folder / archive_names(folder)[0])
    count, last, committed_at = _ticks(server, restored)
    if count != last or not count:
        raise BenchmarkError(
            f"the archive has {count} rows of the writer, and the last is number {last}: there are holes"
        )
    server.drop_scratch(restored)
    with psycopg.connect(server.conninfo(WRITTEN), autocommit=True) as session:
        session.execute("DELETE FROM system_settings WHERE key LIKE 'tick\\_%'")
    run_program(["rm", "-r", folder], environment={"PATH": os.environ["PATH"]}, folder=work)
    return Loss(killed_at - committed_at, written - last)


def _live(server: BenchmarkServer, folder: Path, every_seconds: float) -> None:
    """Write and back up until somebody kills this process, with all that it has started."""
    os.setsid()
    threading.Thread(target=_write, args=(server,), daemon=True).start()
    while True:
        began = time.monotonic()
        back_up(server, folder, WRITTEN)
        time.sleep(max(0.0, every_seconds - (time.monotonic() - began)))


def _write(server: BenchmarkServer) -> None:
    with psycopg.connect(server.conninfo(WRITTEN), autocommit=True) as session:
        for number in itertools.count(1):
            session.execute(_WRITE, [number, number])
            time.sleep(WRITER_PAUSE_SECONDS)


def _wait_for_archive(folder: Path, child: multiprocessing.process.BaseProcess) -> None:
    deadline = time.monotonic() + FIRST_ARCHIVE_SECONDS
    while not archive_names(folder):
        if not child.is_alive() or time.monotonic() > deadline:
            raise BenchmarkError("no checkpoint came: see the error above")
        time.sleep(0.05)


def _crash(server: BenchmarkServer) -> None:
    if server.server:
        server.server.request_stop(signal.SIGKILL)
        server.server.wait_or_kill(1)
        server.server = None


def _start_again(server: BenchmarkServer) -> None:
    for _ in range(STARTS):
        with contextlib.suppress(DemoError):
            server.start()
            return
        time.sleep(0.5)
    raise BenchmarkError(f"the server does not start after the kill; see {server.log}")


def _ticks(server: BenchmarkServer, database: str) -> tuple[int, int, float]:
    """Return how many rows of the writer are there, the last one's number, and when it was written."""
    with psycopg.connect(server.conninfo(database)) as session:
        count, last, written_at = session.execute(_READ).fetchall()[0]
    return int(count), int(last), float(written_at or 0)


def _restore(server: BenchmarkServer, work: Path, archive: Path) -> str:
    """Restore the archive by its own script into a scratch database; return its name."""
    target = server.scratch("last_checkpoint")
    unpacked = work / "unpacked"
    unpacked.mkdir()
    url = f"postgresql://{target.user}@{target.host}:{target.port}/{target.name}"
    unpack: list[str | Path] = ["tar", "-xzf", archive, "-C", unpacked]
    restore: list[str | Path] = ["sh", unpacked / "restore.sh", "--jobs", "2", url]
    for command in (unpack, restore):
        run_program(command, environment=server.client_environment, folder=unpacked)
    run_program(["rm", "-r", unpacked], environment={"PATH": os.environ["PATH"]}, folder=work)
    return target.name
