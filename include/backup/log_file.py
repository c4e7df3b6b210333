"""BACKUP_LOG_FILE: every error once more, in one file for whoever collects logs."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from include.backup.masking import mask
from include.backup.rights import PRIVATE_FILE

log = logging.getLogger(__name__)

MAX_BYTES = 5 * 1024 * 1024
KEPT_FILES = 5
LOCK_SECONDS = 2.0


@dataclass(frozen=True)
class ErrorEntry:
    """
    One error.

    Args:
        message: What failed, in the error's own words.
        run: Names and values that say where: dag, run, task, try; may be empty.
        error: For the stack trace.
        time: Aware.
    """

    message: str
    run: Mapping[str, str | int]
    error: BaseException | None
    time: datetime

    @property
    def stack(self) -> str:
        """The stack trace with all causes; empty without an error."""
        return "".join(traceback.format_exception(self.error)) if self.error else ""

    def as_json(self) -> str:
        """One line of JSON."""
        fields = {"time": _time_text(self.time), "level": "ERROR", **self.run}
        texts = {"message": mask(self.message), "stack": mask(self.stack)}
        return json.dumps(fields | texts) + "\n"

    def as_text(self) -> str:
        """A line that begins with the time; the rest of message and stack trace stand below it, indented."""
        where = " ".join(f"{name}={value}" for name, value in self.run.items())
        head = f"{_time_text(self.time)} ERROR {where + ': ' if where else ''}{self.message}\n{self.stack}"
        return "\n    ".join(mask(head).splitlines()) + "\n"


def write_error(path: Path, form: Literal["text", "json"], entry: ErrorEntry) -> bool:
    """
    Append the entry to the log file; a full file is renamed to `.1`, the one before to `.2`, and so on.

    Never raises: a log file that cannot be written is a warning in the task's log, and no reason for a backup to fail.

    Returns:
        Whether it was written.
    """
    try:
        _append(path, (entry.as_json() if form == "json" else entry.as_text()).encode(errors="backslashreplace"))
    except OSError as error:
        log.warning(
            "BACKUP_LOG_FILE=%s cannot be written: %s; the error stands only in this log", path, error.strerror or error
        )
        return False
    return True


def _append(path: Path, content: bytes) -> None:
    # Several tasks write at once, and RotatingFileHandler would let two processes rename the same file: one lock for
    # looking, renaming and writing. O_NONBLOCK: a named pipe that nobody reads is an error, not an endless wait.
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # /dev/stderr
                _write_all(descriptor, content)
                return
            _lock(descriptor, deadline)
            if not _is_still(path, descriptor):  # somebody has renamed it while we waited
                continue
            if 0 < os.fstat(descriptor).st_size > MAX_BYTES - len(content):
                _rotate(path)
                continue
            _write_all(descriptor, content)
            return
        finally:
            os.close(descriptor)  # and with it the lock


def _lock(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _rotate(path: Path) -> None:
    for number in range(KEPT_FILES - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    path.replace(path.with_name(f"{path.name}.1"))


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _time_text(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")
