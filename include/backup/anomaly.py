"""Odd sizes: an archive outside the limits, or far from those before it, as a whole or in one of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from include.backup.manifest import Sidecar
from include.backup.status import size_warning
from include.backup.templates import size_text

HISTORY_ARCHIVES = 14
MIN_HISTORY_ARCHIVES = 5
MAX_LINES = 10

# What is normal: six standard deviations, estimated by the median absolute deviation (1.4826 makes it one for normal
# data), and never less than a quarter of the median or a few rows: in a table that never changes the MAD is 0.
DEVIATIONS = 6 * 1.4826
MIN_SHARE = 0.25
MIN_ROWS = 20
MIN_BYTES = 64 * 1024
# A table that is empty now and then is not odd when it is empty.
MAX_EMPTY_SHARE = 0.25


def odd_sizes(sidecar: Sidecar, archives: Sequence[Sidecar], *, min_mb: int, max_mb: int) -> tuple[str, ...]:
    """
    Return what is odd about an archive's size as `every_odd_size` does; at most `MAX_LINES`, then how many more.

    Source: spec FR-4, FR-17.
    """
    lines = every_odd_size(sidecar, archives, min_mb=min_mb, max_mb=max_mb)
    more = len(lines) - MAX_LINES
    return (*lines[:MAX_LINES], f"and {more} more odd sizes of tables") if more > 0 else lines


def every_odd_size(sidecar: Sidecar, archives: Sequence[Sidecar], *, min_mb: int, max_mb: int) -> tuple[str, ...]:
    """
    Return what is odd about an archive's size, one line for each reason.

    Args:
        sidecar: The archive's.
        archives: All others that are there, in any order; it may be among them.
        min_mb: BACKUP_MIN_SIZE_MB.
        max_mb: BACKUP_MAX_SIZE_MB.
    """
    outside = size_warning(sidecar.archive_bytes, min_mb=min_mb, max_mb=max_mb)
    lines = [outside] if outside else []
    earlier = comparable_archives(sidecar, archives)
    if len(earlier) >= MIN_HISTORY_ARCHIVES:
        lines += _far_from(sidecar, earlier)
    return tuple(lines)


def comparable_archives(sidecar: Sidecar, archives: Sequence[Sidecar]) -> tuple[Sidecar, ...]:
    """Return the last archives before this one, newest first, that hold the same tables of the same database."""
    same = [s for s in archives if s.snapshot_at < sidecar.snapshot_at and _contents(s) == _contents(sidecar)]
    return tuple(sorted(same, key=lambda s: s.snapshot_at, reverse=True)[:HISTORY_ARCHIVES])


def _contents(sidecar: Sidecar) -> tuple[str, frozenset[tuple[str, int]]]:
    tables = {(str(t.qualified), t.window.months if t.window else 0) for t in sidecar.tables}
    return sidecar.server.database, frozenset(tables)


def _far_from(sidecar: Sidecar, earlier: Sequence[Sidecar]) -> Iterator[str]:
    before = f"the {len(earlier)} archives before"
    sizes = [s.archive_bytes for s in earlier]
    if is_far(sidecar.archive_bytes, sizes, at_least=MIN_BYTES):
        yield f"the archive has {size_text(sidecar.archive_bytes)}, {before} about {size_text(median(sizes))}"
    histories = [{str(t.qualified): t for t in s.tables} for s in earlier]
    for table in sidecar.tables:
        name = str(table.qualified)
        rows = [history[name].rows for history in histories]
        table_bytes = [history[name].bytes for history in histories]
        usual = f"{before} about {median(rows):,.0f}"
        if table.rows == 0 and rows.count(0) <= MAX_EMPTY_SHARE * len(rows):
            yield f"table {name} is empty, {usual} rows: was it emptied by mistake?"
        elif is_far(table.rows, rows, at_least=MIN_ROWS):
            yield f"table {name} has {table.rows:,} rows, {usual}"
        elif is_far(table.bytes, table_bytes, at_least=MIN_BYTES):
            yield f"table {name} has {size_text(table.bytes)} of rows, {before} about {size_text(median(table_bytes))}"


def is_far(value: float, history: Sequence[float], *, at_least: float) -> bool:
    """Whether a value is far from its history, which must not be empty; less than `at_least` is never far."""
    middle = median(history)
    mad = median(abs(earlier - middle) for earlier in history)
    return abs(value - middle) > max(DEVIATIONS * mad, MIN_SHARE * middle, at_least)
