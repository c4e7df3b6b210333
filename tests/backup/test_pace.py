"""The limit on what an export takes from the source."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from include.backup.pace import Pace


def seconds_for(pace: Pace, blocks: int, size_bytes: int, threads: int = 1) -> float:
    """Return how long it takes to take so many blocks."""
    started = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(pace.took, [size_bytes] * blocks))
    return time.monotonic() - started


def test_no_more_than_the_limit_is_taken_over_all_connections() -> None:
    """1.2 MB at 2 MB a second, by three connections at once, take no less than 0.6 s."""
    assert seconds_for(Pace(2_000_000, threading.Event()), 12, 100_000, threads=3) >= 0.6


def test_what_was_not_taken_in_time_is_not_made_up_for() -> None:
    """After a pause there is no burst."""
    pace = Pace(1_000_000, threading.Event())
    pace.took(1)
    time.sleep(0.3)
    assert seconds_for(pace, 3, 100_000) >= 0.3


def test_nobody_waits_once_it_is_cancelled_or_without_a_limit() -> None:
    """A task that is stopped does not wait for a slow pace: these would take years."""
    cancelled = threading.Event()
    pace = Pace(1, cancelled)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pace.took, 1 << 30)
        cancelled.set()
        waiting.result(timeout=60)
    Pace(0, threading.Event()).took(1 << 60)
