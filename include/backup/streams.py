"""Client programs whose output streams through this process: psql and pg_dump, and what is looked at on the way."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from include.backup.database import KEEP_ALIVE, Database, is_temporary
from include.backup.errors import BackupError, ObjectGoneError, TemporaryError
from include.backup.leash import ends_with_task

BLOCK_BYTES = 1 << 20


class Streams:
    """
    Runs client programs, several at once from several threads; `end` ends them all.

    Set `cancelled` first to have no new one started and the running ones end with TemporaryError.

    Args:
        database: Which the programs connect to.
        folder: For files that no name leads to; TMPDIR need not be usable.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.cancelled = threading.Event()
        self._database = database
        self._folder = folder
        self._children: set[subprocess.Popen[bytes]] = set()

    def run(self, arguments: list[str], script: str, take: Callable[[bytes], None], *, doing: str) -> str:
        """Run a client program, hand its output over in blocks, and return what it said on standard error."""
        with tempfile.TemporaryFile(dir=self._folder) as stdin, tempfile.TemporaryFile(dir=self._folder) as stderr:
            stdin.write(script.encode())
            stdin.seek(0)
            if self.cancelled.is_set():
                raise TemporaryError(f"{doing}: cancelled")
            with subprocess.Popen(
                ends_with_task([*arguments, f"--dbname={KEEP_ALIVE}"]),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=self._database.environment,
                pipesize=BLOCK_BYTES,
            ) as child:
                self._children.add(child)
                if self.cancelled.is_set():  # it came between `end` and the line above
                    child.kill()
                try:
                    assert child.stdout is not None  # noqa: S101 - it was asked for
                    while block := child.stdout.read1(BLOCK_BYTES):  # type: ignore[attr-defined]
                        take(block)
                except BaseException:
                    child.kill()
                    raise
            self._children.discard(child)
            stderr.seek(0)
            answer = stderr.read().decode(errors="replace")
        if child.returncode != 0:
            raise self._failure(doing, answer, child.returncode)
        return answer

    def _failure(self, doing: str, answer: str, status: int) -> BackupError:
        if self.cancelled.is_set():
            return TemporaryError(f"{doing}: cancelled")
        errors = re.findall(r"(?:ERROR|FATAL|error):\s+(?:([0-9A-Z]{5}): )?(.+)", answer)
        if not errors:
            return TemporaryError(f"{doing}: ended with status {status}: {answer.strip()[-300:] or 'no message'}")
        sqlstate, reason = errors[-1]
        if re.search(
            r"snapshot .*does not exist|invalid snapshot identifier|could not import the requested snapshot", reason
        ):
            return TemporaryError(f"{doing}: the session that holds the snapshot has ended ({reason})")
        if re.search(r"does not exist|cache lookup failed|could not open relation with OID", reason):
            return ObjectGoneError(f"{doing}: {reason}")
        if "permission denied" in reason or (sqlstate and not is_temporary(sqlstate)):
            return BackupError(f"{doing}: {reason}")
        return TemporaryError(f"{doing}: {reason}")

    def end(self) -> None:
        """SIGINT first: psql and pg_dump then cancel their query at the server."""
        children = [child for child in tuple(self._children) if child.poll() is None]
        for child in children:
            child.send_signal(signal.SIGINT)
        for child in children:
            try:
                child.wait(timeout=2)
            except subprocess.TimeoutExpired:
                child.kill()


class EndMarkerFound(Exception):  # noqa: N818 - it ends a stream, it is no failure
    """A CSV has a line in it that is only a backslash and a full stop."""


class EndMarker:
    """
    Looks for a line that is only a backslash and a full stop, also across blocks.

    psql and servers before 18 end a CSV there, or refuse it when a carriage return follows.
    """

    MARKER = re.compile(rb"\n\\\.[\r\n]")
    UNENDED = b"\n\\."

    def __init__(self) -> None:
        self._tail = b"\n"  # the first line is a line too

    def look_at(self, block: bytes) -> None:
        """Raise EndMarkerFound if the marker has come."""
        size = len(self.UNENDED)
        # Few blocks have any backslash, and that is found out at the speed of memory.
        if self.MARKER.search(self._tail + block[:size]) or (b"\\" in block and self.MARKER.search(block)):
            raise EndMarkerFound
        self._tail = (self._tail + block[-size:])[-size:]

    def end(self) -> None:
        """Raise EndMarkerFound if the last line, without its line feed, is the marker."""
        if self._tail == self.UNENDED:
            raise EndMarkerFound


class DumpHeader:
    """Takes out of a dump's header what a server older than pg_dump does not know, and hands the rest on."""

    NEWER = b"SET transaction_timeout = 0;\n"  # since pg_dump 17, whatever the server
    HEADER_BYTES = 4096

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._header: bytes | None = b""

    def take(self, block: bytes) -> None:
        if self._header is None:
            self._take(block)
            return
        self._header += block
        if len(self._header) >= self.HEADER_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._header is not None:
            self._take(self._header.replace(self.NEWER, b"", 1))
            self._header = None
