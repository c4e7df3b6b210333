"""Foreign keys that lead out of the backup: how many rows use them, and what the scope file says about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from include.backup.catalog import Catalog, ForeignKey, Session
from include.backup.manifest import ServerRecord
from include.backup.names import quote, quote_literal
from include.backup.references import take_along
from include.backup.scope import Reference
from include.backup.selection import Selection, by_name, tid_array

# https://www.postgresql.org/docs/18/release-18.html
NOT_VALID_ON_PARTITIONED = 18
EXAMPLE_CHARACTERS = 60


@dataclass(frozen=True)
class Leaving:
    """
    A foreign key of a taken table that refers to a table that is not taken, or to rows that are not.

    Args:
        key: The key.
        reference: What the scope file says for its table.
        whole_table: Whether the referenced table is missing as a whole, and not some of its rows.
        rows: How many taken rows refer to something that is missing.
        example: One of their keys, for messages; empty if there is none.
        server: The server that the rows come from.
    """

    key: ForeignKey
    reference: Reference
    whole_table: bool
    rows: int
    example: str
    server: ServerRecord

    @property
    def restored_not_valid(self) -> bool:
        """Whether the key has to be made NOT VALID; one that is not validated is dumped so anyway."""
        return self.reference == "not_valid" and self.key.validated and self.rows > 0

    @property
    def error(self) -> str | None:
        """Why there can be no backup, if so."""
        key, rows = self.key, f"{self.rows:,} {'row' if self.rows == 1 else 'rows'} do so, for example {self.example}"
        if self._is_impossible:
            return (
                f"foreign key {key.name} of the partitioned table {key.declared_on} cannot be restored NOT VALID by "
                f"PostgreSQL {self.server.major}, only by {NOT_VALID_ON_PARTITIONED} and newer: {self._ways_out}"
            )
        if self.rows and self.reference == "error":
            return f"{self._text}: {rows}; expected none (reference: error): {self._ways_out}"
        if self.rows and self.reference == "take" and key.validated:
            return f"{self._text}: a restore would fail ({rows}); {self._ways_out}"
        return None

    @property
    def warning(self) -> str | None:
        """What a person should know, if anything. No figures: two steps say it, and it shall be said once."""
        if self.error:
            return None
        if self.restored_not_valid:
            return f"{self._text}: it is restored NOT VALID (reference: not_valid)"
        if self.rows:
            return f"{self._text}; it is NOT VALID in the database, too"
        return f"{self._text}; no row uses it today" if self.whole_table else None

    @property
    def _is_impossible(self) -> bool:
        return self.reference == "not_valid" and self.key.validated and not self._can_be_not_valid

    @property
    def _can_be_not_valid(self) -> bool:
        return not self.key.partitioned or self.server.major >= NOT_VALID_ON_PARTITIONED

    @property
    def _text(self) -> str:
        key = self.key
        what = "which is" if self.whole_table else "rows of which are"
        return f"foreign key {key.name} of {key.declared_on} refers to {key.referenced}, {what} not in the backup"

    @property
    def _ways_out(self) -> str:
        ways = [f"take {self.key.referenced} into the scope file"]
        if not self.whole_table:
            ways = [f"say reference: take for {self.key.table}"]
        if self.reference != "not_valid" and self._can_be_not_valid:
            ways.append(f"say reference: not_valid for {self.key.table}")
        return ", or ".join(ways)


def find_leaving(session: Session, catalog: Catalog, selections: tuple[Selection, ...]) -> tuple[Leaving, ...]:
    """
    Return the foreign keys that lead out of what is taken, rows taken along included.

    Args:
        session: In the transaction in which the rows were found that are taken along.
        catalog: What the database holds.
        selections: What is taken, after `take_along`.
    """
    taken = by_name(selections)
    return tuple(
        _leaving(session, catalog.server, key, taken[key.table], taken.get(key.referenced))
        for key in _candidates(catalog, selections)
    )


def look_ahead(session: Session, catalog: Catalog, selections: tuple[Selection, ...]) -> tuple[Leaving, ...]:
    """Return what `find_leaving` will find, as far as it can be known before the snapshot is taken."""
    taken = by_name(selections)
    with session.transaction():
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        # Following references reads whole tables: only where somebody wants to know what is missing.
        if any(key.referenced in taken for key in _candidates(catalog, selections)):
            selections = take_along(session, catalog, selections)
        return find_leaving(session, catalog, selections)


def _candidates(catalog: Catalog, selections: tuple[Selection, ...]) -> Iterator[ForeignKey]:
    """Give the keys whose rows may lack what they refer to: with `take` only those to tables that are not taken."""
    taken = by_name(selections)
    for key in catalog.foreign_keys:
        if key.table in taken:
            referenced = taken.get(key.referenced)
            if not referenced or (referenced.window and taken[key.table].reference != "take"):
                yield key


def _leaving(
    session: Session, server: ServerRecord, key: ForeignKey, selection: Selection, referenced: Selection | None
) -> Leaving:
    names = ", ".join(f"c.{quote(column)}::text" for column in key.columns)
    query = f"SELECT count(*), min(ARRAY[{names}]) FROM ({_rows(key, selection)}) c"
    if referenced:
        query += f" JOIN {referenced.source_sql} p ON {key.join_sql('c', 'p')} WHERE {_missing(referenced)}"
    else:
        query += " WHERE " + " AND ".join(f"c.{quote(column)} IS NOT NULL" for column in key.columns)
    rows, values = session.execute(query).fetchone()  # type: ignore[misc]
    return Leaving(key, selection.reference, not referenced, rows, _example(key, values or ()), server)


def _example(key: ForeignKey, values: Sequence[str]) -> str:
    """Return one row's key as PostgreSQL's own messages have it, on one line whatever is in it."""
    shown = (" ".join(value.split())[:EXAMPLE_CHARACTERS] for value in values)
    return f"({', '.join(key.columns)})=({', '.join(shown)})" if values else ""


def _rows(key: ForeignKey, selection: Selection) -> str:
    """The key's columns (a partition may have them in another order) of all rows of a table that are taken."""
    columns = ", ".join(f"t.{quote(column)}" for column in key.columns)
    parts = [f"SELECT {columns} FROM {selection.source_sql} t WHERE {selection.condition_sql}"]
    for leaf, ctids in selection.taken_along.items():
        parts.append(f"SELECT {columns} FROM ONLY {leaf} t WHERE t.ctid = ANY ({tid_array(ctids)})")
    return " UNION ALL ".join(parts)


def _missing(referenced: Selection) -> str:
    """The condition for rows, by the alias `p`, that are neither in the window nor taken along."""
    assert referenced.window is not None  # noqa: S101 - whole tables lack no row
    conditions = [referenced.window.outside("p")]
    for leaf, ctids in referenced.taken_along.items():
        table = f"{quote_literal(leaf)}::regclass"
        conditions.append(f"NOT (p.tableoid = {table} AND p.ctid = ANY ({tid_array(ctids)}))")
    return " AND ".join(conditions)
