"""Which rows of each table are taken, and the COPY statement that brings them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from include.backup.catalog import Catalog, Table
from include.backup.errors import BackupError
from include.backup.names import QualifiedName, is_csv, quote, quote_literal
from include.backup.scope import Reference, Scope, WindowedTable

WINDOW_TYPES = frozenset({"timestamp with time zone", "timestamp without time zone", "date"})

# Rows outside the window that rows inside refer to: for each partition (or the table itself), their ctids.
# A ctid is stable while the snapshot that saw it is held.
TakenAlong = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Window:
    """The part of a table that is taken: rows from `since` on by `column`, and, if there can be any, without a time."""

    column: str
    months: int
    since: datetime
    not_null: bool = False

    def inside(self, alias: str) -> str:
        """Return the SQL condition for rows in the window."""
        column = f"{alias}.{quote(self.column)}"
        later = f"{column} >= {self._since_literal}"
        # Without need the OR would cost an index scan: PostgreSQL then reads the whole table, however old its rows.
        return later if self.not_null else f"({later} OR {column} IS NULL)"

    def outside(self, alias: str) -> str:
        """Return the SQL condition for the other rows."""
        return f"{alias}.{quote(self.column)} < {self._since_literal}"

    @property
    def _since_literal(self) -> str:
        # Untyped, so that it takes the column's type; a column without zone is taken as UTC.
        return f"'{self.since.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S+00}'"


@dataclass(frozen=True)
class Selection:
    """The rows of one table that go into one file; without a window all of them."""

    table: Table
    file: str
    window: Window | None = None
    reference: Reference = "take"
    taken_along: TakenAlong = field(default_factory=dict)

    @property
    def rows_by_reference(self) -> int:
        """How many rows outside the window are taken along."""
        return sum(map(len, self.taken_along.values()))

    @property
    def columns_sql(self) -> str:
        """The exported columns, quoted, in order."""
        return ", ".join(map(quote, self.table.exported_columns))

    @property
    def source_sql(self) -> str:
        """The table in a FROM clause, without the rows of tables that inherit from it."""
        return self.table.name.sql if self.table.partitioned else f"ONLY {self.table.name.sql}"

    @property
    def condition_sql(self) -> str:
        """The condition on the rows in the window, for the alias `t`."""
        return self.window.inside("t") if self.window else "true"

    @property
    def copy_statement(self) -> str:
        """COPY … TO STDOUT: CSV with a header or COPY text, as the file's name says."""
        options = " WITH (FORMAT csv, HEADER)" if is_csv(self.file) else ""
        if self.window is None:
            source = f"(SELECT {self.columns_sql} FROM {self.table.name.sql})"
            if not self.table.partitioned:
                source = f"{self.table.name.sql} ({self.columns_sql})" if self.columns_sql else self.table.name.sql
            return f"COPY {source} TO STDOUT{options}"
        if self.table.partitioned and self.taken_along:
            # One scan, partition by partition: loaded again in this order, the rows come out in it again.
            conditions = [self.condition_sql] + [
                f"t.tableoid = {quote_literal(leaf)}::pg_catalog.regclass AND t.ctid = ANY ({tid_array(ctids)})"
                for leaf, ctids in self.taken_along.items()
            ]
            rows = [f"SELECT {self.columns_sql} FROM {self.source_sql} t WHERE ({') OR ('.join(conditions)})"]
            return f"COPY ({rows[0]}) TO STDOUT{options}"
        rows = [f"SELECT {self.columns_sql} FROM {self.source_sql} t WHERE {self.condition_sql}"]
        for leaf, ctids in self.taken_along.items():
            rows.append(f"SELECT {self.columns_sql} FROM ONLY {leaf} t WHERE t.ctid = ANY ({tid_array(ctids)})")
        return f"COPY ({' UNION ALL '.join(rows)}) TO STDOUT{options}"


def select_rows(
    catalog: Catalog,
    scope: Scope,
    *,
    cut_off_for: Callable[[int], datetime],
    default_months: int,
) -> tuple[Selection, ...]:
    """
    Return what is taken of every table in scope, in load order, before references are followed.

    Args:
        catalog: Must hold every table in scope (see prerequisites).
        scope: The scope.
        cut_off_for: Gives the cut-off for a number of months.
        default_months: BACKUP_WINDOW_MONTHS.
    """

    def window_of(windowed: WindowedTable) -> Window:
        months = windowed.months or default_months
        column = catalog.tables[windowed.table].column(windowed.column)
        return Window(windowed.column, months, cut_off_for(months), not_null=column is not None and column.not_null)

    whole = [
        Selection(catalog.tables[item.table], file, reference=item.reference)
        for file, items in scope.tables.items()
        for item in items
    ]
    windowed = [
        Selection(catalog.tables[item.table], file, window_of(item), item.reference)
        for file, item in scope.windowed.items()
    ]
    return (*whole, *windowed)


def require_tables(catalog: Catalog, scope: Scope) -> None:
    """
    Make sure that every table in scope is still there.

    Raises:
        BackupError: If not, naming the missing ones.
    """
    missing = [str(table) for table in scope.taken if table not in catalog.tables]
    if missing:
        raise BackupError(f"tables in the scope file but not in the database: {', '.join(missing)}")
    broken = [str(table) for table in scope.taken if catalog.tables[table].has_line_break]
    if broken:
        raise BackupError(
            "psql cannot load tables with a line break in their name or a column's: "
            f"{', '.join(map(repr, broken))}; rename them"
        )


def by_name(selections: tuple[Selection, ...]) -> dict[QualifiedName, Selection]:
    """Return the selections by their table."""
    return {selection.table.name: selection for selection in selections}


def tid_array(ctids: Iterable[str]) -> str:
    """Return the ctids as an SQL array."""
    return "'{" + ",".join(f'"{ctid}"' for ctid in sorted(ctids)) + "}'::tid[]"
