"""Where a restore may go: into a new or empty database, never into the one that is backed up."""

from __future__ import annotations

import psycopg

from include.backup.database import MAINTENANCE_DATABASE, Database
from include.backup.errors import BackupError, RestoreError

SERVERS_OWN = {MAINTENANCE_DATABASE, "template0", "template1"}


def check_target(target: Database, source: Database | None) -> None:
    """
    Refuse a database that a restore must not touch. Change nothing; restore.sh refuses others (with rows in them).

    Args:
        target: The database to be.
        source: What is backed up; None if that is not known. It need not be reachable.

    Raises:
        RestoreError: If the target is the source, belongs to the server itself, or may not be made by this role.
        TemporaryError, PrerequisiteError: If the target's server cannot be reached or refuses the login.
    """
    if target.name in SERVERS_OWN:
        raise RestoreError(f"the database {target.name} belongs to the server itself: name a new one")
    if not database_exists(target):
        if not may_create_databases(target):
            raise RestoreError(
                f"role {target.user} may not create databases on {target.host}:{target.port}: GRANT it CREATEDB, "
                f"choose a connection whose role has it, or create {target.name} yourself, empty, from template0"
            )
    elif source and _is_same(target, source):
        raise RestoreError(
            f"{target} is the database that is backed up: a restore never touches it, because the rows written since "
            "the backup would be lost; name a new database, compare, then switch the application to it"
        )


def database_exists(target: Database) -> bool:
    """Whether the server has a database of that name. Raises as Database.connect."""
    with target.connect_for_maintenance() as session:
        return session.execute("SELECT FROM pg_database WHERE datname = %s", [target.name]).fetchone() is not None


def may_create_databases(server: Database) -> bool:
    """Whether the role may make a database there. Raises as Database.connect."""
    with server.connect_for_maintenance() as session:
        query = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
        row = session.execute(query).fetchone()
    return bool(row and row[0])


def _is_same(target: Database, source: Database) -> bool:
    """By the server's own identity: it may be known under several addresses."""
    if target.name != source.name:
        return False
    try:
        return _system_identifier(target) == _system_identifier(source)
    except (BackupError, psycopg.Error):  # the source is down (why somebody restores), or its function is revoked
        return (target.host, target.port) == (source.host, source.port)


def _system_identifier(database: Database) -> int:
    with database.connect() as session:
        row = session.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
    assert row is not None  # noqa: S101 - the function always returns one row
    return int(row[0])
