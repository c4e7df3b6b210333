"""Does the scope file fit the database? Names, columns and rights, without a look at any row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from include.backup.catalog import Catalog, Table
from include.backup.names import QualifiedName, quote
from include.backup.not_carried import OtherRelation
from include.backup.scope import Scope
from include.backup.selection import WINDOW_TYPES

NAMES_AT_MOST = 10


@dataclass(frozen=True)
class ScopeFindings:
    """Errors make a backup impossible, warnings go into mail and manifest, hints only cost time."""

    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    hints: tuple[str, ...]


def check_scope(
    catalog: Catalog, scope: Scope, *, role: str, others: Mapping[QualifiedName, OtherRelation] | None = None
) -> ScopeFindings:
    """
    Hold the scope against the catalog, and what is needed against what the role may do.

    Args:
        catalog: What the database holds.
        scope: May name what does not exist.
        role: Who is logged in, for messages.
        others: What else has a name in the database, so that an error can say what a name stands for.
    """
    errors = (
        *_table_errors(catalog, scope, role, others or {}),
        *_window_errors(catalog, scope),
        *_right_errors(catalog, role),
        *_large_object_errors(catalog, scope),
    )
    unknown = [str(name) for name in unknown_tables(catalog, scope)]
    warnings = []
    if unknown:
        warnings.append(
            f"neither taken nor left out: {_some(unknown)}; their rows are not in this backup: "
            "name them in the scope file"
        )
    if catalog.large_objects and not errors:
        warnings.append("the database holds large objects; they are not in this backup")
    return ScopeFindings(errors, tuple(warnings), tuple(_window_hints(catalog, scope)))


def unknown_tables(catalog: Catalog, scope: Scope) -> list[QualifiedName]:
    """Return the tables that the scope neither takes nor leaves out, sorted."""
    taken = set(scope.taken)
    return sorted(name for name in catalog.tables if name not in taken and not scope.excludes(name))


def is_window_column(table: Table, name: str) -> bool:
    """Whether rows can be taken by that column."""
    column = table.column(name)
    return column is not None and column.type in WINDOW_TYPES


def _table_errors(
    catalog: Catalog, scope: Scope, role: str, others: Mapping[QualifiedName, OtherRelation]
) -> Iterator[str]:
    for name in scope.taken:
        table = catalog.tables.get(name)
        if name in others:
            yield f"{name} in the scope file is {others[name].description}"
        elif table is None:
            yield f"table {name} is in the scope file but not in the database; mend its name or remove it"
        elif table.has_line_break:
            yield f"table {str(name)!r} has a line break in its name or a column's, which psql cannot load; rename it"
        elif table.foreign_partitions:
            yield (
                f"{', '.join(table.foreign_partitions)} of {name} is a foreign table: its rows are on another server, "
                "and a restore could not load them; detach it, or leave the table out"
            )
        elif table.row_security:
            yield (
                f"row level security hides rows of {name} from role {role}; expected all rows: "
                f"ALTER ROLE {role} BYPASSRLS"
            )


def _window_errors(catalog: Catalog, scope: Scope) -> Iterator[str]:
    for window in scope.windowed.values():
        table = catalog.tables.get(window.table)
        column = table and table.column(window.column)
        if table and column and not table.exported_columns:
            yield f"all columns of {window.table} are generated, so it has no rows to load; leave it out"
        elif table and not column:
            yield f"column {window.column} of {window.table} is in the scope file but not in the database"
        elif table and column and not is_window_column(table, window.column):
            yield (
                f"column {window.column} of {window.table} is of type {column.type}; a window needs "
                "timestamp with time zone, timestamp or date"
            )


def _right_errors(catalog: Catalog, role: str) -> Iterator[str]:
    # pg_dump locks every table, whether its rows are taken or not.
    unreadable = [str(table.name) for table in catalog.tables.values() if not table.readable]
    unreadable += [str(sequence.name) for sequence in catalog.sequences if not sequence.readable]
    if unreadable:
        yield (
            f"role {role} may not read {_some(sorted(unreadable))}; the schema of all of them is in the backup: "
            f"GRANT pg_read_all_data TO {role}, or USAGE on the schema and SELECT"
        )


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


def _window_hints(catalog: Catalog, scope: Scope) -> Iterator[str]:
    for window in scope.windowed.values():
        table = catalog.tables.get(window.table)
        if table and table.column(window.column) and window.column not in table.indexed:
            column = quote(window.column)
            yield (
                f"{window.table} has no index on {window.column}: every backup reads the whole table; "
                f"CREATE INDEX ON {window.table.sql} USING brin ({column}) is small and enough"
            )


def _some(names: list[str]) -> str:
    more = len(names) - NAMES_AT_MOST
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:NAMES_AT_MOST])} and {more} more"
