"""A limit on how many bytes a second an export takes from the source, over all of its connections."""

from __future__ import annotations

import threading
import time


class Pace:
    """
    Makes whoever takes bytes wait, so that on average no more are taken than are allowed.

    What does not take them lets the pipe fill up, and the server waits with the next rows.

    Args:
        bytes_per_second: The limit; 0 for none.
        cancelled: Once set, nobody waits any more.
    """

    def __init__(self, bytes_per_second: int, cancelled: threading.Event) -> None:
        self._bytes_per_second = bytes_per_second
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._due = 0.0

    def took(self, size_bytes: int) -> None:
        """Wait until so many bytes, beside all that were taken before, are within the limit."""
        if not self._bytes_per_second:
            return
        with self._lock:
            now = time.monotonic()
            # What was not taken while the source was slow is not made up for: that would be a burst.
            self._due = max(self._due, now) + size_bytes / self._bytes_per_second
            wait = self._due - now
        self._cancelled.wait(wait)
