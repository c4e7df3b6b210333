"""How large an archive will be and how long it will take, from a look at some rows of each table."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from include.backup.catalog import Session
from include.backup.gzip_members import HEAD_BYTES, MEMBER_BYTES, gzip_member, unpack_member
from include.backup.names import QualifiedName
from include.backup.scope_audit import Estimate
from include.backup.selection import Selection

SAMPLE_ROWS, SAMPLE_BYTES = 20_000, 16 << 20
# More than the rows: connections, the schema, what waits for the disk; measured with tables of a few rows.
FIXED_SECONDS = 3.0


@dataclass(frozen=True)
class Forecast:
    """What to expect of a backup: rows, their bytes as text, the archive's bytes, and seconds until it is verified."""

    rows: int
    text_bytes: int
    archive_bytes: int
    seconds: float


def forecast(
    session: Session, selections: Iterable[Selection], estimates: Mapping[QualifiedName, Estimate], *, parallel: int
) -> Forecast:
    """
    Copy, compress and unpack some rows of each table, at most 20,000 or 16 MB, and reckon from there. Changes nothing.

    Args:
        session: With the pinned settings.
        selections: What is taken.
        estimates: The planner's numbers of rows; a table without one counts nothing.
        parallel: How many tables are exported at once: BACKUP_PARALLEL.

    Raises:
        psycopg.Error: If a table cannot be read.
    """
    rows = text_bytes = packed_bytes = 0.0
    seconds = FIXED_SECONDS
    for selection in selections:
        estimate = estimates.get(selection.table.name)
        if not estimate or not estimate.rows:
            continue
        started = time.monotonic()
        width_bytes = max(estimate.disk_bytes / estimate.rows, 1)
        limit = max(1, min(SAMPLE_ROWS, int(SAMPLE_BYTES / width_bytes)))
        content, sampled = _sample(session, selection, limit)
        packed = [gzip_member(content[at : at + MEMBER_BYTES]) for at in range(0, len(content), MEMBER_BYTES)]
        for member in packed:
            unpack_member(member[:HEAD_BYTES], member[HEAD_BYTES:])
        # With fewer than the limit it is not a guess: these are all.
        times = max(estimate.rows / sampled, 1) if sampled == limit else 1
        rows += sampled * times
        text_bytes += len(content) * times
        packed_bytes += sum(map(len, packed)) * times
        seconds += (time.monotonic() - started) * times / parallel
    return Forecast(int(rows), int(text_bytes), int(packed_bytes), seconds)


def _sample(session: Session, selection: Selection, rows: int) -> tuple[bytes, int]:
    """Return some of the rows as COPY text, and how many they are."""
    taken = f"SELECT {selection.columns_sql} FROM {selection.source_sql} t WHERE {selection.condition_sql} LIMIT {rows}"
    with session.cursor() as cursor:
        with cursor.copy(f"COPY ({taken}) TO STDOUT") as copy:
            content = b"".join(copy)
        return content, cursor.rowcount


def duration_text(seconds: float) -> str:
    """Return a duration that is only a guess, as people say it: `10 seconds`, `3 minutes`, `2.5 hours`."""
    if seconds < 55:  # noqa: PLR2004 - below a minute, in steps of five
        return f"{max(5, 5 * math.ceil(seconds / 5))} seconds"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"  # noqa: PLR2004
