"""The database that everybody backs up: the demo's sample, larger; built once and kept."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from benchmarks.server import SOURCE
from benchmarks.wishes import MB
from include.demo import sample
from include.demo.databases import recreate, remark, remark_on
from include.demo.sample import load_sample

if TYPE_CHECKING:
    from benchmarks.server import BenchmarkServer

__all__ = ["HISTORY_ENDS", "prepare_source", "table_bytes"]

# Fixed, so that every machine measures the same rows, and a source kept for months still has them in its window.
HISTORY_ENDS = datetime(2026, 1, 1, tzinfo=timezone.utc)

# Measured at scales 0.2 and 1.
FIXED_BYTES = 1.4 * MB
BYTES_PER_SCALE = 32.1 * MB


def prepare_source(server: BenchmarkServer, size_bytes: int) -> bool:
    """Make sure that the source is there, whole and of about this size. Return whether it had to be built."""
    scale = (size_bytes - FIXED_BYTES) / BYTES_PER_SCALE
    state = f"sample {_sample_version()}, scale {scale:.4f}"
    if remark_on(server, SOURCE) == state:
        return False
    recreate(server, SOURCE)
    load_sample(server.conninfo(SOURCE), scale=scale, now=HISTORY_ENDS)
    remark(server, SOURCE, state)
    return True


def table_bytes(server: BenchmarkServer) -> tuple[int, int]:
    """Return the bytes of all tables of the source, and of their indexes."""
    query = """
        SELECT sum(pg_table_size(oid))::bigint, sum(pg_indexes_size(oid))::bigint FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    """
    with psycopg.connect(server.conninfo(SOURCE)) as session:
        tables, indexes = session.execute(query).fetchall()[0]
    return int(tables), int(indexes)


def _sample_version() -> str:
    """Return a digest of the sample's code: other code makes other rows."""
    digest = hashlib.sha256(HISTORY_ENDS.isoformat().encode())
    for file in sorted(Path(sample.__file__).parent.glob("*.[ps][yq]*")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
