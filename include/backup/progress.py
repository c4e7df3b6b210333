"""How far a long export is: a line in the log every few seconds, and a file for whoever looks from outside."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from pydantic import AwareDatetime

from include.backup.manifest import Count, Record
from include.backup.settings import BYTES_PER_MB

log = logging.getLogger(__name__)

LOG_SECONDS = 5.0
FILE_SECONDS = 1.0
SAMPLE_BYTES = 1 << 12  # of a block; counting all of it takes a tenth of the export's time
PROGRESS_FILE = "progress.json"


class TableProgress(Record):
    """A table whose rows are being exported: so many so far."""

    table: str
    rows: Count
    bytes: Count


class ExportProgress(Record):
    """How far an export is; `bytes` are those of rows, before compression."""

    started_at: AwareDatetime
    at: AwareDatetime
    files: Count
    files_done: Count
    bytes: Count
    tables: tuple[TableProgress, ...]

    @property
    def bytes_per_second(self) -> float:
        """How fast it is, on average."""
        seconds = (self.at - self.started_at).total_seconds()
        return self.bytes / seconds if seconds > 0 else 0.0

    def __str__(self) -> str:
        """Return it as the log has it."""
        megabytes, speed = self.bytes / BYTES_PER_MB, self.bytes_per_second / BYTES_PER_MB
        line = f"exported {self.files_done} of {self.files} files, {megabytes:,.1f} MB of rows, {speed:,.1f} MB/s"
        now = ", ".join(f"{t.table} {t.rows:,} rows {t.bytes / BYTES_PER_MB:,.1f} MB" for t in self.tables)
        return f"{line}; now {now}" if now else line


def read_progress(workspace: Path) -> ExportProgress | None:
    """Return how far the export in that workspace is; None if none has begun there."""
    try:
        return ExportProgress.model_validate_json((workspace / PROGRESS_FILE).read_bytes())
    except (OSError, ValueError):
        return None


class Progress:
    """
    Counts what the export's threads report.

    Args:
        folder: The workspace, where the file is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / PROGRESS_FILE
        self._lock = threading.Lock()
        self._current: dict[str, tuple[str, int, int]] = {}
        self._files = 0
        self._files_done = 0
        self._bytes = 0
        self._started_at = _now()

    @contextmanager
    def reported(self, files: int) -> Iterator[None]:
        """Report while the block runs, and once at its end."""
        self._files = files
        self._started_at = _now()
        ended = threading.Event()
        reporter = threading.Thread(target=self._report, args=(ended,), daemon=True)
        reporter.start()
        try:
            yield
        finally:
            ended.set()
            reporter.join()
            log.info("%s", self._seen())

    @contextmanager
    def file(self, file: str) -> Iterator[None]:
        """Mark the file as begun and, after the block, as done, unless the block failed."""
        done = 0
        try:
            yield
            done = 1
        finally:
            with self._lock:
                self._current.pop(file, None)
                self._files_done += done

    def add(self, file: str, table: str, block: bytes) -> None:
        """Count a block of a table's rows: lines stand for rows, and the first ones for those after them."""
        sample = block[:SAMPLE_BYTES]
        rows = sample.count(b"\n") * len(block) // len(sample)
        with self._lock:
            self._bytes += len(block)
            name, rows_before, bytes_before = self._current.get(file, (table, 0, 0))
            if name != table:
                rows_before = bytes_before = 0
            self._current[file] = (table, rows_before + rows, bytes_before + len(block))

    def _report(self, ended: threading.Event) -> None:
        logged = time.monotonic()
        while not ended.wait(FILE_SECONDS):
            seen = self._seen()
            self._write(seen)
            if time.monotonic() - logged >= LOG_SECONDS:
                logged = time.monotonic()
                log.info("%s", seen)

    def _seen(self) -> ExportProgress:
        with self._lock:
            return ExportProgress(
                started_at=self._started_at,
                at=_now(),
                files=self._files,
                files_done=self._files_done,
                bytes=self._bytes,
                tables=tuple(
                    TableProgress(table=table, rows=rows, bytes=size) for table, rows, size in self._current.values()
                ),
            )

    def _write(self, seen: ExportProgress) -> None:
        # Nobody needs it after a crash, so it is not synced; a full disk is for the export itself to report.
        new = self._file.with_suffix(".new")
        try:
            new.write_text(seen.model_dump_json())
            new.replace(self._file)
        except OSError as error:
            log.debug("the progress is not recorded: %s", error)


def _now() -> datetime:
    return datetime.now(timezone.utc)
