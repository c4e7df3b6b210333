"""SHA-256 in a thread of its own, while whoever reads the bytes goes on with them."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Executor, Future

BLOCKS_BEHIND = 4  # so many may wait: they stay in memory


class BackgroundHash:
    """
    As hashlib's.

    Args:
        thread: Runs one thing at a time, in order; may be shared by several hashes.
    """

    def __init__(self, thread: Executor) -> None:
        self._thread = thread
        self._sha256 = hashlib.sha256()
        self._waiting: deque[Future[None]] = deque()

    def update(self, block: bytes | bytearray) -> None:
        """Add a block; waits only if many are waiting already."""
        self._waiting.append(self._thread.submit(self._sha256.update, block))
        if len(self._waiting) > BLOCKS_BEHIND:
            self._waiting.popleft().result()

    def hexdigest(self) -> str:
        """Return the SHA-256 of everything added."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._sha256.hexdigest()
