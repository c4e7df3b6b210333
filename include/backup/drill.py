"""The drill: an archive is proven by restoring it into a scratch database, which is dropped again."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from include.backup.age_keys import Identity
from include.backup.catalog import Session
from include.backup.clients import find_clients
from include.backup.database import Database, explain
from include.backup.drill_record import DrillRecord, write_drill
from include.backup.errors import BackupError, PrerequisiteError, TemporaryError
from include.backup.restore import Restore
from include.backup.run import utc_now

log = logging.getLogger(__name__)

SCRATCH_PREFIX = "critical_backup_drill_"
_FOLDER = "drill~"  # no workspace of a run has such a name
DRILL_LOCK = 0x63726974_6472696C
_END_OWN_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user"
)


def drill(
    archive: Path,
    server: Database,
    *,
    folder: Path,
    identities: Sequence[Identity] = (),
    on_start: Callable[[Callable[[], None]], None] = lambda _: None,
) -> DrillRecord:
    """
    Restore the archive into a scratch database, compare every table, drop the database, and record the result.

    Args:
        archive: With its manifest beside it.
        server: Any database of the drill server that the role may connect to; the role may create databases.
        folder: Where the archive is unpacked for a while.
        identities: Private keys, for an encrypted archive; one of them must open it.
        on_start: Is given the function that cancels the restore.

    Returns:
        The record of a drill that passed.

    Raises:
        TemporaryError: If the server cannot be reached, was lost or is short of something, another drill is running
            there, or the drill was cancelled: that says nothing about the archive, and is not recorded.
        PrerequisiteError: If a program, a key, or room in the folder is missing; the same.
        BackupError: If the drill failed; that is recorded too.
    """
    scratch = dataclasses.replace(server, name=f"{SCRATCH_PREFIX}{utc_now():%Y%m%d_%H%M%S}")
    with server.connect_for_restore() as session:
        version = session.info.parameter_status("server_version") or ""
        _take_turn(session)
        _drop_scratch_databases(session)
        for killed in folder.glob(f"{_FOLDER}*"):
            shutil.rmtree(killed, ignore_errors=True)
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix=_FOLDER) as unpacked:
                clients = find_clients(session.info.server_version // 10000)
                restore = Restore(archive, scratch, clients, Path(unpacked), identities=identities)
                on_start(restore.cancel)
                done = restore.run()
        except BaseException as error:
            # It is this error that has to be told; the next drill drops the database, too.
            with contextlib.suppress(OSError):
                if isinstance(error, BackupError) and not isinstance(error, TemporaryError | PrerequisiteError):
                    failed = {"passed": False, "seconds": 0.0, "tables": 0, "rows": 0, "error": str(error)}
                    _record(archive, DrillRecord(drilled_at=utc_now(), server_version=version, **failed))
            with contextlib.suppress(BackupError):
                _drop_scratch_databases(session)
            raise
        record = DrillRecord(
            drilled_at=utc_now(),
            passed=True,
            seconds=round(done.seconds, 1),
            tables=done.tables,
            rows=done.rows,
            constraints=done.constraints,
            not_valid=done.not_valid,
            server_version=version,
            error="",
        )
        try:
            _record(archive, record)
        finally:
            _drop_scratch_databases(session)
    log.info("%s is proven: %d rows of %d tables in %.1f s", archive.name, record.rows, record.tables, record.seconds)
    return record


def _record(archive: Path, record: DrillRecord) -> None:
    """Write it beside the archive; if that has expired meanwhile, the record would stay for ever."""
    if os.path.lexists(archive):
        write_drill(archive, record)


def _take_turn(session: Session) -> None:
    """One drill at a time on a server; the lock goes with its session, also after a kill."""
    row = session.execute("SELECT pg_try_advisory_lock(%s)", [DRILL_LOCK]).fetchone()
    if not row or not row[0]:
        raise TemporaryError("another drill is running on this server; try again when it has ended")


def _drop_scratch_databases(session: Session) -> None:
    """Drop this drill's database, and what a killed one left; only names with the drill's prefix."""
    try:
        names = session.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [SCRATCH_PREFIX])
        for (name,) in names.fetchall():
            drop = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
            try:
                session.execute(drop + sql.SQL(" WITH (FORCE)"))
            except psycopg.errors.InsufficientPrivilege:
                # FORCE must not end an autovacuum worker unless a superuser asks; without it the server does so itself.
                session.execute(_END_OWN_SESSIONS, [name])
                session.execute(drop)
    except psycopg.Error as error:
        raise explain(error, f"dropping the scratch databases {SCRATCH_PREFIX}…") from None
