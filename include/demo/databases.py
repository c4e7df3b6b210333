"""The demo's two databases: the sample that is backed up, and Airflow's own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from include.demo.airflow_environment import METADATA_DATABASE
from include.demo.airflow_processes import airflow_version, migrate_metadata
from include.demo.errors import DemoError
from include.demo.sample import load_sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from include.demo.embedded_postgres import EmbeddedPostgres

__all__ = [
    "DRILL_ROLE",
    "READER",
    "SAMPLE_DATABASE",
    "create_roles",
    "make_backup_role",
    "prepare_metadata",
    "prepare_sample",
    "set_password",
]

SAMPLE_DATABASE = "smart_ai_hub"
READER = "backup_reader"
DRILL_ROLE = "backup_drill"
BACKUP_ROLE_SQL = Path(__file__).resolve().parent.parent / "sql" / "backup_role.sql"


def prepare_sample(postgres: EmbeddedPostgres, scale: float, *, password: str) -> None:
    """Make sure that the sample is there, whole and of this scale, and the roles that back it up and restore it."""
    state = f"sample, scale {scale:g}"
    if remark_on(postgres, SAMPLE_DATABASE) != state:
        recreate(postgres, SAMPLE_DATABASE)
        load_sample(postgres.conninfo(SAMPLE_DATABASE), scale=scale)
        remark(postgres, SAMPLE_DATABASE, state)
    create_roles(postgres, password)


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


def create_roles(postgres: EmbeddedPostgres, password: str) -> None:
    """Make sure of the login roles of backup and drill, as an administrator does it, and of their password."""
    make_backup_role(postgres, role=READER, database=SAMPLE_DATABASE, drill_role=DRILL_ROLE)
    for role in (READER, DRILL_ROLE):
        set_password(postgres, role, password)


def make_backup_role(postgres: EmbeddedPostgres, **variables: str) -> None:
    """Run include/sql/backup_role.sql with these variables; raise DemoError with psql's words if it fails."""
    arguments = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
    command: list[str | Path] = [postgres.binaries / "psql", "-X", "-q", *arguments, "-f", BACKUP_ROLE_SQL]
    result = subprocess.run(command, env=postgres.superuser_environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DemoError(f"{BACKUP_ROLE_SQL.name} failed: {result.stderr.strip()}")


def set_password(postgres: EmbeddedPostgres, role: str, password: str) -> None:
    """Give a role its password: not by psql, in whose arguments it would stand."""
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(statement)


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
