"""What a long export says every few seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from include.backup.settings import BYTES_PER_MB

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 5.0


class Progress:
    """Counts what the export's threads report, and logs a line every few seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: dict[str, tuple[str, int, int]] = {}
        self._files = 0
        self._files_done = 0
        self._bytes = 0

    @contextmanager
    def logged(self, files: int) -> Iterator[None]:
        """Log while the block runs, and once at its end."""
        self._files = files
        started = time.monotonic()
        ended = threading.Event()
        reporter = threading.Thread(target=self._report, args=(started, ended), daemon=True)
        reporter.start()
        try:
            yield
        finally:
            ended.set()
            reporter.join()
            log.info("%s", self._line(time.monotonic() - started))

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
        """Count a block of a table's rows; lines stand for rows, which is exact for COPY text."""
        rows = block.count(b"\n")
        with self._lock:
            self._bytes += len(block)
            name, rows_before, bytes_before = self._current.get(file, (table, 0, 0))
            if name != table:
                rows_before = bytes_before = 0
            self._current[file] = (table, rows_before + rows, bytes_before + len(block))

    def _report(self, started: float, ended: threading.Event) -> None:
        while not ended.wait(PROGRESS_SECONDS):
            log.info("%s", self._line(time.monotonic() - started))

    def _line(self, seconds: float) -> str:
        with self._lock:
            megabytes = self._bytes / BYTES_PER_MB
            now = [
                f"{table} {rows:,} rows {size / BYTES_PER_MB:,.1f} MB" for table, rows, size in self._current.values()
            ]
        speed = megabytes / seconds if seconds else 0.0
        line = f"exported {self._files_done} of {self._files} files, {megabytes:,.1f} MB of rows, {speed:,.1f} MB/s"
        return f"{line}; now {', '.join(now)}" if now else line
