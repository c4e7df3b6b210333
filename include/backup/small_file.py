"""Small files that somebody else may have put there: never a pipe that waits, never more than fits into memory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 64 << 20  # the manifest of 12,000 tables with 20 columns has 20 MB


def read_small_file(path: Path) -> bytes:
    """
    Return the content of an ordinary file of at most `MAX_BYTES`.

    Raises:
        OSError: If it cannot be read, is larger, or is no ordinary file: a folder, a pipe, a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES >> 20} MB", str(path))
    return content
