"""Everything that can be known before work starts, reported together and not one by one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg

from include.backup.catalog import Catalog, Session, read_catalog
from include.backup.clients import find_clients
from include.backup.configuration import find_configuration
from include.backup.database import Database, explain
from include.backup.errors import BackupError, PrerequisiteError, ScopeError, TemporaryError
from include.backup.manifest import Record
from include.backup.references import is_used, leaving_keys
from include.backup.scope import Scope, load_scope
from include.backup.selection import WINDOW_TYPES, Selection, require_tables, select_rows
from include.backup.settings import BYTES_PER_MB, Settings

# Rows shrink at least threefold; parts and archive are on the disk together until the archive is verified.
DISK_SHARE_OF_ROWS = 2 / 3


class CheckResult(Record):
    """What check_prerequisites leaves for the steps after it."""

    warnings: tuple[str, ...]


@dataclass
class Findings:
    """Errors stop the run, warnings go into mail and manifest, hints into the log."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    may_pass: bool = True

    def raise_errors(self) -> None:
        """
        Raise all errors as one message.

        Raises:
            TemporaryError: If each of them may pass by waiting.
            PrerequisiteError: If at least one does not.
        """
        if self.errors:
            kind = TemporaryError if self.may_pass else PrerequisiteError
            many = f"{len(self.errors)} things are in the way: " if len(self.errors) > 1 else ""
            raise kind(many + "; ".join(self.errors))

    def note(self, error: BackupError) -> None:
        """Keep an error for the common message."""
        self.errors.append(str(error))
        self.may_pass = self.may_pass and isinstance(error, TemporaryError)

    def refuse(self, *errors: str) -> None:
        """Keep errors that no waiting mends."""
        self.errors += errors
        self.may_pass = self.may_pass and not errors


def check_prerequisites(
    settings: Settings, database: Database | None, *, cut_off_for: Callable[[int], datetime]
) -> Findings:
    """
    Look at the folder, the scope, the configuration files, the server and the clients. Change nothing.

    Args:
        settings: Folders, limits and the scope file.
        database: None if it is not known which; then everything else is looked at.
        cut_off_for: Gives the cut-off for a number of months.
    """
    findings = Findings()
    findings.refuse(*check_folder(settings.backup_dir))
    scope = None
    try:
        scope = load_scope(settings.scope_file)
        configuration = find_configuration(scope, settings.backup_config_dir)
        findings.warnings += configuration.warnings
        findings.refuse(*configuration.errors)
    except ScopeError as error:
        findings.note(error)
    if database:
        _check_database(findings, settings, database, scope, cut_off_for)
    return findings


def _check_database(
    findings: Findings,
    settings: Settings,
    database: Database,
    scope: Scope | None,
    cut_off_for: Callable[[int], datetime],
) -> None:
    try:
        with database.connect() as session:
            catalog = read_catalog(session)
            if scope and check_scope(findings, catalog, scope, role=database.user):
                require_tables(catalog, scope)
                selections = select_rows(
                    catalog, scope, cut_off_for=cut_off_for, default_months=settings.backup_window_months
                )
                _check_keys(findings, session, catalog, selections)
                _check_disk(findings, settings.backup_dir, _estimated_bytes(session, selections))
        find_clients(catalog.server.major)
    except BackupError as error:
        findings.note(error)
    except psycopg.Error as error:
        findings.note(explain(error, f"checking {database}"))


def check_folder(backup_dir: Path) -> list[str]:
    """Return what is wrong with BACKUP_DIR, if anything."""
    if not backup_dir.is_dir():
        return [f"BACKUP_DIR={backup_dir} is not a folder; mount the volume or create it, it is never made silently"]
    if not os.access(backup_dir, os.W_OK | os.X_OK):
        return [f"BACKUP_DIR={backup_dir} is not writable for the user that runs Airflow; change its owner or mode"]
    return []


def check_scope(findings: Findings, catalog: Catalog, scope: Scope, *, role: str) -> bool:
    """
    Hold the scope against the catalog, and what is needed against what the role may do.

    Returns:
        Whether rows can be selected at all; if so, they are worth a closer look.
    """
    before = len(findings.errors)
    for name in scope.taken:
        table = catalog.tables.get(name)
        if table is None:
            findings.refuse(f"table {name} is in the scope file but not in the database; mend its name or remove it")
        elif table.row_security:
            findings.refuse(
                f"row level security hides rows of {name} from role {role}; expected all rows: "
                f"ALTER ROLE {role} BYPASSRLS"
            )
    findings.refuse(*_window_errors(catalog, scope))
    findings.hints += _window_hints(catalog, scope)
    # pg_dump locks every table, whether its rows are taken or not.
    unreadable = [str(table.name) for table in catalog.tables.values() if not table.readable]
    unreadable += [str(sequence.name) for sequence in catalog.sequences if not sequence.readable]
    if unreadable:
        findings.refuse(
            f"role {role} may not read {_some(sorted(unreadable))}; the schema of all of them is in the backup: "
            f"GRANT pg_read_all_data TO {role}, or USAGE on the schema and SELECT"
        )
    findings.refuse(*_large_object_errors(catalog, scope))
    if catalog.large_objects and not findings.errors:
        findings.warnings.append("the database holds large objects; they are not in this backup")
    taken = set(scope.taken)
    unknown = sorted(str(name) for name in catalog.tables if name not in taken and not scope.excludes(name))
    if unknown:
        findings.warnings.append(
            f"neither taken nor left out: {_some(unknown)}; their rows are not in this backup: "
            "name them in the scope file"
        )
    return len(findings.errors) == before


def _large_object_errors(catalog: Catalog, scope: Scope) -> Iterator[str]:
    """A column of type oid or lo in a database with large objects most likely points to them."""
    for name in scope.taken:
        table = catalog.tables.get(name)
        for column in table.columns if table and catalog.large_objects else ():
            if column.type.rpartition(".")[2] in ("oid", "lo"):
                yield (
                    f"column {column.name} of {name} is of type {column.type} and the database holds large objects, "
                    "which are not backed up: a restore would lose them; leave the table out or keep them as bytea"
                )


def _window_errors(catalog: Catalog, scope: Scope) -> Iterator[str]:
    for window in scope.windowed.values():
        table = catalog.tables.get(window.table)
        column = table and table.column(window.column)
        if table and not column:
            yield f"column {window.column} of {window.table} is in the scope file but not in the database"
        elif column and column.type not in WINDOW_TYPES:
            yield (
                f"column {window.column} of {window.table} is of type {column.type}; a window needs "
                "timestamp with time zone, timestamp or date"
            )


def _window_hints(catalog: Catalog, scope: Scope) -> Iterator[str]:
    for window in scope.windowed.values():
        table = catalog.tables.get(window.table)
        if table and table.column(window.column) and window.column not in table.indexed:
            yield (
                f"{window.table} has no index on {window.column}: every backup reads the whole table; "
                f"CREATE INDEX ON {window.table.sql} USING brin ({window.column}) is small and enough"
            )


def _check_keys(findings: Findings, session: Session, catalog: Catalog, selections: tuple[Selection, ...]) -> None:
    taken = {selection.table.name: selection for selection in selections}
    for key in leaving_keys(catalog, selections):
        text = f"foreign key {key.name} of {key.table} refers to {key.referenced}, which is not in the backup"
        if key.validated and is_used(session, key, taken[key.table]):
            findings.refuse(f"{text}: a restore would fail; take {key.referenced} into the scope file")
        else:
            findings.warnings.append(f"{text}; no row uses it today")


def _estimated_bytes(session: Session, selections: tuple[Selection, ...]) -> int:
    """Return the planner's guess of the rows' size."""
    return sum(_planned_bytes(session, selection) for selection in selections)


def _planned_bytes(session: Session, selection: Selection) -> int:
    rows = f"SELECT * FROM {selection.source_sql} t WHERE {selection.condition_sql}"
    answer = session.execute(f"EXPLAIN (FORMAT JSON) {rows}").fetchone()
    assert answer is not None  # noqa: S101 - EXPLAIN always answers
    plan = answer[0][0]["Plan"]
    return int(plan["Plan Rows"] * plan["Plan Width"])


def _check_disk(findings: Findings, backup_dir: Path, row_bytes: int) -> None:
    needed = int(row_bytes * DISK_SHARE_OF_ROWS)
    if not backup_dir.is_dir():
        return
    free = shutil.disk_usage(backup_dir).free
    if free < needed:
        findings.refuse(
            f"BACKUP_DIR={backup_dir} has {free / BYTES_PER_MB:,.0f} MB free; this backup is expected to need "
            f"{needed / BYTES_PER_MB:,.0f} MB: make room or lower BACKUP_RETENTION_DAYS"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 10 else f"{', '.join(names[:10])} and {len(names) - 10} more"  # noqa: PLR2004
