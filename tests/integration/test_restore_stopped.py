"""restore.sh when somebody stops it: it ends, and nothing goes on loading at the server."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import run_sql
from tests.integration.test_restore_script import MakePipeline, NewDatabase, unpack

# Its rows take ten minutes to come back.
SLOW = [
    "CREATE FUNCTION slow(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 < 1000 OR pg_sleep(0.3) IS NOT NULL'",
    "CREATE TABLE t (id int CHECK (public.slow(id)))",
    "INSERT INTO t SELECT generate_series(1, 999)",
]


Stop = Callable[[int], None]


def ctrl_c(pid: int) -> None:
    """Reach the whole process group, as a terminal does."""
    os.killpg(pid, signal.SIGINT)


def terminate(pid: int) -> None:
    """Reach the script alone, as `kill` does."""
    os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize(("jobs", "stop"), [("1", ctrl_c), ("2", ctrl_c), ("2", terminate)])
def test_stopped_restore_ends_with_its_sessions(
    postgres_18: EmbeddedPostgres,
    new_database: NewDatabase,
    make_pipeline: MakePipeline,
    tmp_path: Path,
    *,
    jobs: str,
    stop: Stop,
) -> None:
    """No session is left in the new database."""
    conninfo = new_database(postgres_18)
    run_sql(conninfo, *SLOW)
    pipeline = make_pipeline(conninfo, "{version: 1, tables: {t.sql: [t]}}")
    script = unpack(pipeline, postgres_18, tmp_path / "unpacked")
    schema = script.folder / "schema.sql"
    schema.write_text(schema.read_text().replace("$1 < 1000 OR", ""))
    sums = subprocess.run(["sha256sum", "schema.sql"], cwd=script.folder, capture_output=True, text=True, check=True)
    lines = (script.folder / "SHA256SUMS").read_text().splitlines()
    lines = [line for line in lines if not line.endswith("  schema.sql")] + [sums.stdout.strip()]
    (script.folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    name = script.new("stopped")
    with subprocess.Popen(
        ["sh", str(script.folder / "restore.sh"), "--jobs", jobs, script.url(name)],
        env={
            "PATH": f"{pipeline.clients.psql.parent}:{os.environ['PATH']}",
            "PGPASSWORD": pipeline.database.password,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as child:
        wait_until(lambda: loading(postgres_18, name) > 0)
        stop(child.pid)
        assert child.wait(timeout=15) != 0
    wait_until(lambda: loading(postgres_18, name) == 0)


def loading(postgres: EmbeddedPostgres, database: str) -> int:
    """Return how many sessions load rows into the database."""
    with psycopg.connect(postgres.conninfo()) as session:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND query ~ '^COPY'"
        row = session.execute(query, [database]).fetchone()
    assert row is not None
    return int(row[0])


def wait_until(holds: object, seconds: float = 15) -> None:
    """Wait until the function returns true, and fail if it never does."""
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
