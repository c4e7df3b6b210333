"""
Databases of the kinds that applications have: what a new user does with them gives an archive that restores.

The schemas are those of tests/schemas, and every *.sql below the folder TEST_SCHEMAS.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from include.backup.clients import Clients
from include.backup.database import Database
from include.backup.restore import Restore
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import Pipeline, database_of
from tests.fix_rows import fill
from tests.integration.test_scope_audit import Source

SCHEMAS = Path(__file__).resolve().parents[1] / "schemas"
OTHERS = os.environ.get("TEST_SCHEMAS")
FILES = [*sorted(SCHEMAS.glob("*.sql")), *(sorted(Path(OTHERS).glob("*.sql")) if OTHERS else ())]
ROWS = 12


def load(schema: Path, database: Database, clients: Clients) -> None:
    """Run the file as its users do, by psql."""
    arguments = [str(clients.psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", str(schema)]
    result = subprocess.run(
        arguments, env=database.environment | {"PGOPTIONS": ""}, capture_output=True, text=True, check=False
    )
    missing = re.search(r'extension "(.*)" is not available', result.stderr)
    if missing and schema.parent != SCHEMAS:
        pytest.skip(f"the server has no extension {missing[1]}")
    assert result.returncode == 0, result.stderr


def schema_of(database: Database, clients: Clients) -> list[str]:
    """Return pg_dump's statements for everything but rows, without comments of its own."""
    arguments = [str(clients.pg_dump), "--schema-only", "--no-owner", "--no-privileges"]
    result = subprocess.run(arguments, env=database.environment, capture_output=True, text=True, check=True)
    return [line for line in result.stdout.splitlines() if line and not re.match(r"--|\\(un)?restrict ", line)]


def rows_of_views(conninfo: str) -> dict[str, int]:
    """Return the number of rows of every materialised view."""
    with psycopg.connect(conninfo) as session:
        names = session.execute("SELECT format('%I.%I', schemaname, matviewname) FROM pg_matviews").fetchall()
        counts = {name: session.execute(f"SELECT count(*) FROM {name}".encode()).fetchone() for (name,) in names}
        return {name: count[0] for name, count in counts.items() if count}


@pytest.mark.parametrize("schema", FILES, ids=lambda file: file.stem)
def test_proposed_scope_of_a_known_schema_restores_the_same(
    schema: Path,
    postgres: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    make_pipeline: Callable[[str, str | None], Pipeline],
    tmp_path: Path,
) -> None:
    """The proposed scope is accepted; rows come back byte by byte, and every statement of the schema."""
    conninfo = new_database(postgres)
    clients = make_pipeline(conninfo, None).clients
    load(schema, database_of(conninfo), clients)
    with psycopg.connect(conninfo, autocommit=True) as session:
        empty = fill(session, ROWS)
        views = session.execute("SELECT format('%I.%I', schemaname, matviewname) FROM pg_matviews").fetchall()
        for (view,) in [*views, *views]:  # one may read another
            session.execute(f"REFRESH MATERIALIZED VIEW {view}".encode())
        session.execute("ANALYZE")
    assert schema.parent != SCHEMAS or empty == set()

    source = Source(conninfo, tmp_path)
    scope = source.propose()
    pipeline = make_pipeline(conninfo, source.scope_file.read_text())
    archive, sidecar = pipeline.backup()
    assert {table.qualified for table in sidecar.tables} == set(scope.taken)
    assert sum(table.rows for table in sidecar.tables) >= (len(scope.taken) - len(empty)) * 2

    restored = postgres.conninfo(f"{pipeline.database.name}_restored")
    folder = tmp_path / "unpacked"
    folder.mkdir()
    Restore(archive, database_of(restored), clients, folder).run()
    assert schema_of(database_of(restored), clients) == schema_of(pipeline.database, clients)
    assert rows_of_views(restored) == rows_of_views(conninfo)
