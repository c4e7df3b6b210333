"""Odd sizes: an archive outside the limits, or far from those before it, as a whole or in one of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from include.backup.manifest import Sidecar
from include.backup.names import QualifiedName
from include.backup.status import size_warning
from include.backup.templates import size_text
from include.backup.unusual import ODD, is_odd, is_unusually_empty

HISTORY_ARCHIVES = 14
MIN_HISTORY_ARCHIVES = 5
MAX_LINES = 10


class OddSizes(NamedTuple):
    """What is odd about an archive: every reason, a line each; and all tables that are odd."""

    every: tuple[str, ...]
    tables: frozenset[QualifiedName]

    @property
    def lines(self) -> tuple[str, ...]:
        """At most `MAX_LINES` reasons, then how many more there are."""
        more = len(self.every) - MAX_LINES
        return (*self.every[:MAX_LINES], f"and {more} more odd sizes of tables") if more > 0 else self.every


def odd_sizes(sidecar: Sidecar, archives: Sequence[Sidecar], *, min_mb: int, max_mb: int) -> OddSizes:
    """
    Return what is odd about an archive's size.

    Args:
        sidecar: The archive's.
        archives: All others that are there, in any order; it may be among them.
        min_mb: BACKUP_MIN_SIZE_MB.
        max_mb: BACKUP_MAX_SIZE_MB.
    """
    outside = size_warning(sidecar.archive_bytes, min_mb=min_mb, max_mb=max_mb)
    earlier = comparable_archives(sidecar, archives)
    enough = len(earlier) >= MIN_HISTORY_ARCHIVES
    whole = _odd_archive(sidecar, earlier) if enough else None
    tables = dict(_odd_tables(sidecar, earlier)) if enough else {}
    return OddSizes((*filter(None, (outside, whole)), *tables.values()), frozenset(tables))


def comparable_archives(sidecar: Sidecar, archives: Sequence[Sidecar]) -> tuple[Sidecar, ...]:
    """Return the last archives before this one, oldest first, that hold the same tables of the same database."""
    same = [s for s in archives if s.snapshot_at < sidecar.snapshot_at and _contents(s) == _contents(sidecar)]
    return tuple(sorted(same, key=lambda s: s.snapshot_at)[-HISTORY_ARCHIVES:])


def _contents(sidecar: Sidecar) -> tuple[str, frozenset[tuple[str, int]]]:
    tables = {(str(t.qualified), t.window.months if t.window else 0) for t in sidecar.tables}
    return sidecar.server.database, frozenset(tables)


def _odd_archive(sidecar: Sidecar, earlier: Sequence[Sidecar]) -> str | None:
    sizes = [s.archive_bytes for s in earlier]
    if not is_odd(sidecar.archive_bytes, sizes, at_least=ODD.size_bytes):
        return None
    before = f"the {len(earlier)} archives before about {size_text(median(sizes))}"
    return f"the archive has {size_text(sidecar.archive_bytes)}, {before}"


def _odd_tables(sidecar: Sidecar, earlier: Sequence[Sidecar]) -> Iterator[tuple[QualifiedName, str]]:
    before = f"the {len(earlier)} archives before about"
    histories = [{table.qualified: table for table in s.tables} for s in earlier]
    for table in sidecar.tables:
        name = table.qualified
        rows = [history[name].rows for history in histories]
        sizes = [history[name].bytes for history in histories]
        usual = f"{before} {median(rows):,.0f}"
        if is_unusually_empty(table.rows, rows):
            yield name, f"table {name} is empty, {usual} rows: was it emptied by mistake?"
        elif is_odd(table.rows, rows, at_least=ODD.rows):
            yield name, f"table {name} has {table.rows:,} rows, {usual}; the last one {rows[-1]:,}"
        elif is_odd(table.bytes, sizes, at_least=ODD.size_bytes):
            yield name, f"table {name} has {size_text(table.bytes)} of rows, {before} {size_text(median(sizes))}"
