"""What a scope takes of the live database, leaves out and does not know, and which foreign keys leave the backup."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from include.backup.catalog import Catalog, Session, Table
from include.backup.leaving import Leaving, look_ahead
from include.backup.names import QualifiedName
from include.backup.not_carried import foreign_table_warnings, not_carried_warnings, read_other_relations
from include.backup.scope import Scope
from include.backup.scope_check import check_scope, is_window_column
from include.backup.selection import Selection, Window, by_name, select_rows

Kind = Literal["whole", "windowed", "left out", "unknown"]


@dataclass(frozen=True)
class Windows:
    """How windows are computed: the cut-off for a number of months, and BACKUP_WINDOW_MONTHS."""

    cut_off_for: Callable[[int], datetime]
    default_months: int


@dataclass(frozen=True)
class Estimate:
    """The planner's guess: rows taken, of how many, and their bytes. `disk_bytes` is what they occupy."""

    rows: int
    all_rows: int
    row_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class AuditedTable:
    """One table and what the scope does with it; no estimate where the role may not read it."""

    name: QualifiedName
    kind: Kind
    file: str
    window: Window | None
    estimate: Estimate | None


@dataclass(frozen=True)
class Audit:
    """All of it; errors make a backup impossible, warnings go into mail and manifest, hints only cost time."""

    tables: tuple[AuditedTable, ...]
    leaving: tuple[Leaving, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    hints: tuple[str, ...]

    @property
    def row_bytes(self) -> int:
        """The expected size of the rows that are taken."""
        taken = (table.estimate for table in self.tables if table.kind in {"whole", "windowed"})
        return sum(estimate.row_bytes for estimate in taken if estimate)


def audit_scope(session: Session, catalog: Catalog, scope: Scope, windows: Windows, *, role: str) -> Audit:
    """
    Hold the scope against the live database. Change nothing.

    Args:
        session: With the pinned settings.
        catalog: What the session's database holds.
        scope: May name what does not exist: that is an error in the result.
        windows: How windows are computed.
        role: Who is logged in, for messages.
    """
    others = read_other_relations(session)
    found = check_scope(catalog, scope, role=role, others=others)
    selections = select_rows(
        catalog,
        _existing(catalog, scope),
        cut_off_for=windows.cut_off_for,
        default_months=windows.default_months,
    )
    selected = by_name(selections)
    tables = tuple(_audited(session, scope, table, selected.get(table.name)) for table in _in_order(catalog, scope))
    leaving = () if found.errors else look_ahead(session, catalog, selections)
    return Audit(
        tables=tables,
        leaving=leaving,
        errors=(*found.errors, *(one.error for one in leaving if one.error)),
        warnings=(
            *found.warnings,
            *foreign_table_warnings(scope, others),
            *not_carried_warnings(session, catalog),
            *(one.warning for one in leaving if one.warning),
        ),
        hints=found.hints,
    )


def estimate_rows(session: Session, selection: Selection) -> Estimate | None:
    """Return the planner's guess for what is taken of a table, or None if this role or server has not all of it."""
    table = selection.table
    if not table.readable or table.row_security or table.foreign_partitions:
        return None
    source = f"SELECT * FROM {selection.source_sql} t"
    all_rows, row_bytes = _planned(session, source)
    rows = all_rows
    if selection.window:
        rows, row_bytes = _planned(session, f"{source} WHERE {selection.condition_sql}")
    share = rows / all_rows if all_rows else 1
    return Estimate(rows, all_rows, row_bytes, max(row_bytes, int(table.bytes * share)))


def _planned(session: Session, query: str) -> tuple[int, int]:
    answer = session.execute(f"EXPLAIN (FORMAT JSON) {query}").fetchone()
    assert answer is not None  # noqa: S101 - EXPLAIN always answers
    plans = answer[0] if isinstance(answer[0], list) else json.loads(answer[0])
    plan = plans[0]["Plan"]
    return int(plan["Plan Rows"]), int(plan["Plan Rows"] * plan["Plan Width"])


def _existing(catalog: Catalog, scope: Scope) -> Scope:
    """Return the scope without what it wrongly expects of the database."""
    tables = {
        file: tuple(whole for whole in group if whole.table in catalog.tables) for file, group in scope.tables.items()
    }
    windowed = {
        file: item
        for file, item in scope.windowed.items()
        if item.table in catalog.tables and is_window_column(catalog.tables[item.table], item.column)
    }
    return scope.model_copy(update={"tables": tables, "windowed": windowed})


def _in_order(catalog: Catalog, scope: Scope) -> list[Table]:
    """Return the tables that are taken in load order, then the others by name."""
    taken = [name for name in scope.taken if name in catalog.tables]
    return [catalog.tables[name] for name in (*taken, *sorted(set(catalog.tables) - set(taken)))]


def _audited(session: Session, scope: Scope, table: Table, selection: Selection | None) -> AuditedTable:
    estimate = estimate_rows(session, selection or Selection(table, ""))
    if selection:
        kind: Kind = "windowed" if selection.window else "whole"
        return AuditedTable(table.name, kind, selection.file, selection.window, estimate)
    kind = "windowed" if table.name in scope.taken else "left out" if scope.excludes(table.name) else "unknown"
    return AuditedTable(table.name, kind, "", None, estimate)
