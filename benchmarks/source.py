"""The database that everybody backs up: the demo's sample, grown inside the server; built once and kept."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from benchmarks import more_rows
from benchmarks.more_rows import Stretch, grow, rows_for
from benchmarks.server import SOURCE
from benchmarks.wishes import MB
from include.backup.run import cut_off
from include.demo import sample
from include.demo.databases import recreate, remark, remark_on
from include.demo.sample import load_sample

if TYPE_CHECKING:
    from benchmarks.server import BenchmarkServer

__all__ = ["HISTORY_ENDS", "MONTHS", "OLDEST", "TIMEZONE", "WINDOW_BEGINS", "prepare_source", "table_bytes"]

# Fixed, so that every machine measures the same rows, and a source kept for months still has them in its window.
HISTORY_ENDS = datetime(2026, 1, 1, tzinfo=timezone.utc)
MONTHS = 3
TIMEZONE = "UTC"
WINDOW_BEGINS = cut_off(HISTORY_ENDS, MONTHS, TIMEZONE)
OLDEST = HISTORY_ENDS - timedelta(days=730)

# The sample itself: half of a small source, 32 MB of a large one. Measured at scales 0.2 and 1.
FIXED_BYTES = 1.4 * MB
BYTES_PER_SCALE = 32.1 * MB
SMALLEST_SCALE = 0.01
IN_WINDOW = 0.3  # of the sample's bytes


def prepare_source(server: BenchmarkServer, size_bytes: int, window_bytes: int) -> bool:
    """
    Make sure that the source is there, whole and of about this size. Return whether it had to be built.

    Args:
        server: Gets the database.
        size_bytes: Of all tables, without indexes.
        window_bytes: Of these, what lies in the window and in the tables that are taken whole.
    """
    state = _state_of(size_bytes, window_bytes)
    if remark_on(server, SOURCE) == state:
        return False
    recreate(server, SOURCE)
    scale = min(1.0, max(SMALLEST_SCALE, (size_bytes / 2 - FIXED_BYTES) / BYTES_PER_SCALE))
    load_sample(server.conninfo(SOURCE), scale=scale, now=HISTORY_ENDS)
    sample_bytes, _ = table_bytes(server)
    new = rows_for(window_bytes - IN_WINDOW * sample_bytes)
    old = rows_for(size_bytes - sample_bytes - new * more_rows.EXPECTED_BYTES)
    old_rows = Stretch(OLDEST, WINDOW_BEGINS, 1, old)
    grow(server.conninfo(SOURCE), [old_rows, Stretch(WINDOW_BEGINS, HISTORY_ENDS, 1 + old, new)])
    remark(server, SOURCE, state)
    return True


def table_bytes(server: BenchmarkServer, database: str = SOURCE) -> tuple[int, int]:
    """Return the bytes of all tables of the source, or of another database like it, and of their indexes."""
    query = """
        SELECT sum(pg_table_size(oid))::bigint, sum(pg_indexes_size(oid))::bigint FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    """
    with psycopg.connect(server.conninfo(database)) as session:
        tables, indexes = session.execute(query).fetchall()[0]
    return int(tables), int(indexes)


def _sample_version() -> str:
    """Return a digest of the sample's code: other code makes other rows."""
    digest = hashlib.sha256(HISTORY_ENDS.isoformat().encode())
    for file in (Path(more_rows.__file__), *sorted(Path(sample.__file__).parent.glob("*.[ps][yq]*"))):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _state_of(size_bytes: int, window_bytes: int) -> str:
    """Return the note that a source of this size has."""
    return f"sample {_sample_version()}, {size_bytes} bytes, {window_bytes} in the window"
