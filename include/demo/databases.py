"""The demo's two databases: the sample that is backed up, and Airflow's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from include.demo.airflow_environment import METADATA_DATABASE
from include.demo.airflow_processes import airflow_version, migrate_metadata
from include.demo.sample import load_sample

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from include.demo.embedded_postgres import EmbeddedPostgres

__all__ = [
    "DRILL_ROLE",
    "READER",
    "SAMPLE_DATABASE",
    "create_drill_role",
    "create_reader",
    "prepare_metadata",
    "prepare_sample",
]

SAMPLE_DATABASE = "smart_ai_hub"
READER = "backup_reader"
DRILL_ROLE = "backup_drill"


def prepare_sample(postgres: EmbeddedPostgres, scale: float) -> None:
    """Make sure that the sample is there, whole and of this scale."""
    state = f"sample, scale {scale:g}"
    if remark_on(postgres, SAMPLE_DATABASE) != state:
        recreate(postgres, SAMPLE_DATABASE)
        load_sample(postgres.conninfo(SAMPLE_DATABASE), scale=scale)
        let_reader_connect(postgres)
        remark(postgres, SAMPLE_DATABASE, state)


def prepare_metadata(postgres: EmbeddedPostgres, environment: Mapping[str, str], log: Path) -> None:
    """Make sure that Airflow's tables are there, in the installed version's form."""
    state = f"airflow {airflow_version()}"
    seen = remark_on(postgres, METADATA_DATABASE)
    if seen == state:
        return
    if not (seen or "").startswith("airflow"):
        recreate(postgres, METADATA_DATABASE)
    migrate_metadata(environment, log)
    remark(postgres, METADATA_DATABASE, state)


def create_reader(postgres: EmbeddedPostgres, password: str) -> None:
    """Make sure that the backup's login role exists: it can read everything and change nothing."""
    role, secret = sql.Identifier(READER), sql.Literal(password)
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [READER]).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(role, secret))
        connection.execute(sql.SQL("GRANT pg_read_all_data TO {}").format(role))


def let_reader_connect(postgres: EmbeddedPostgres) -> None:
    """Open the sample, and only the sample, to the backup's role."""
    statement = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(*map(sql.Identifier, (SAMPLE_DATABASE, READER)))
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(statement)


def create_drill_role(postgres: EmbeddedPostgres, password: str) -> None:
    """Make sure that the drill's login role exists: it may make databases, and read none of the others."""
    role, secret = sql.Identifier(DRILL_ROLE), sql.Literal(password)
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [DRILL_ROLE]).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        connection.execute(sql.SQL("ALTER ROLE {} LOGIN CREATEDB PASSWORD {}").format(role, secret))


def recreate(postgres: EmbeddedPostgres, name: str) -> None:
    """Start with an empty database, whatever an interrupted attempt left there."""
    database = sql.Identifier(name)
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(database))
        # Who may read all data shall still not read Airflow's.
        connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(database))


def remark(postgres: EmbeddedPostgres, database: str, text: str) -> None:
    """Note on a database what it holds: the note lives and dies with it."""
    statement = sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(database), sql.Literal(text))
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(statement)


def remark_on(postgres: EmbeddedPostgres, database: str) -> str | None:
    """Return the note on a database; None if there is no such database or no note."""
    query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    with psycopg.connect(postgres.conninfo()) as connection:
        row = connection.execute(query, [database]).fetchone()
    return str(row[0]) if row and row[0] else None
