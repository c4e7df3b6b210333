"""
Files become one file without being on the disk twice: from the last byte to the first, cut off as they are copied.

A process that dies in between loses nothing: what is cut off is on the disk in the new file, so another one goes on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from include.backup.durable import named
from include.backup.rights import PRIVATE_FILE

COPY_BYTES = 1 << 20
# So much is on the disk twice at most: a twentieth, but not so little that syncing takes the time.
MIN_STEP_BYTES, MAX_STEP_BYTES = 1 << 20, 64 << 20


@dataclass(frozen=True)
class Piece:
    """A stretch of the new file: the content of a file of so many bytes, which is used up, or these bytes."""

    size_bytes: int
    path: Path | None = None
    content: bytes = b""


def move_together(pieces: Sequence[Piece], target: Path) -> None:
    """
    Write the pieces into one file, in their order; the files are empty afterwards. It is synced to the disk.

    Args:
        pieces: Whole, or used up in part by an earlier call for the same target.
        target: A new file, or what an earlier call has left of the same pieces.

    Raises:
        OSError: If the disk is full, or cannot be written; another call goes on from there.
    """
    total = sum(piece.size_bytes for piece in pieces)
    step = min(max(total // 20, MIN_STEP_BYTES), MAX_STEP_BYTES)
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)  # read: posix_fallocate may have to
    try:
        with named(target):
            os.ftruncate(descriptor, total)
            offset = total
            for piece in reversed(pieces):
                offset -= piece.size_bytes
                if piece.path is None:
                    _write(descriptor, piece.content, offset)
                elif piece.path.exists():
                    _move(piece.path, descriptor, offset, step)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(source: Path, target: int, offset: int, step: int) -> None:
    """Copy a file to that offset, from its end on; what is safe there is cut off here."""
    with source.open("r+b", 0) as file:
        left = file.seek(0, os.SEEK_END)
        buffer = memoryview(bytearray(min(COPY_BYTES, left)))  # one for all: new ones cost more than the copying
        while left:
            begin = max(left - step, 0)
            # A full disk is found out before anything is written, and what room there is stays for the alert.
            os.posix_fallocate(target, offset + begin, left - begin)
            for at in range(begin, left, COPY_BYTES):
                size = os.preadv(file.fileno(), [buffer[: min(COPY_BYTES, left - at)]], at)
                _write(target, buffer[:size], offset + at)
            os.fdatasync(target)
            file.truncate(begin)
            left = begin


def _write(target: int, content: bytes | memoryview, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(target, view, offset)
        view = view[written:]
        offset += written
