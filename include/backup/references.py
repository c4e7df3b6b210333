"""Foreign keys that leave the archive: rows that must be taken along, and keys that would break a restore."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

from include.backup.catalog import Catalog, ForeignKey, Session
from include.backup.errors import BackupError
from include.backup.names import QualifiedName, quote
from include.backup.selection import Selection, by_name

# Per table, per partition: the ctids found so far.
_Found = dict[QualifiedName, dict[str, set[str]]]


def leaving_keys(catalog: Catalog, selections: tuple[Selection, ...]) -> list[ForeignKey]:
    """Return the foreign keys of taken tables that refer to tables which are not taken."""
    taken = by_name(selections)
    return [key for key in catalog.foreign_keys if key.table in taken and key.referenced not in taken]


def is_used(session: Session, key: ForeignKey, selection: Selection) -> bool:
    """Whether any row that is taken refers to something by this key."""
    filled = " AND ".join(f"t.{quote(column)} IS NOT NULL" for column in key.columns)
    along = {leaf: set(ctids) for leaf, ctids in selection.taken_along.items()}
    for source in _sources(selection, None) + _sources(selection, along):
        row = session.execute(f"SELECT EXISTS (SELECT FROM {source} t WHERE {filled})").fetchone()
        if row and row[0]:
            return True
    return False


def require_closed(session: Session, catalog: Catalog, selections: tuple[Selection, ...]) -> None:
    """Raise BackupError if a row that is taken refers to a table that is not: the restore would fail."""
    taken = by_name(selections)
    for key in leaving_keys(catalog, selections):
        if key.validated and is_used(session, key, taken[key.table]):
            raise BackupError(
                f"foreign key {key.name} of {key.table} refers to {key.referenced}, which is not in the backup: "
                f"a restore would fail; take {key.referenced} into the scope file"
            )


def take_along(session: Session, catalog: Catalog, selections: tuple[Selection, ...]) -> tuple[Selection, ...]:
    """
    Return the selections with the rows outside the windows that taken rows refer to.

    And with those that these refer to, and so on. Only windowed tables can lack a row, so only keys that refer
    to them are followed.
    """
    taken = by_name(selections)
    keys = [
        key
        for key in catalog.foreign_keys
        if key.table in taken and key.referenced in taken and taken[key.referenced].window
    ]
    found: _Found = defaultdict(lambda: defaultdict(set))
    newest: _Found | None = None
    while newest is None or newest:
        newest = _one_step(session, keys, taken, found, newest)
    return tuple(
        dataclasses.replace(selection, taken_along=_sorted(found[selection.table.name])) for selection in selections
    )


def _one_step(
    session: Session,
    keys: list[ForeignKey],
    taken: dict[QualifiedName, Selection],
    found: _Found,
    newest: _Found | None,
) -> _Found:
    """Follow every key once, from the rows found last (at first: from all rows in the window)."""
    step: _Found = defaultdict(lambda: defaultdict(set))
    for key in keys:
        for source in _sources(taken[key.table], None if newest is None else newest.get(key.table, {})):
            for leaf, ctid in session.execute(_referred_rows(key, source, taken[key.referenced])):
                if ctid not in found[key.referenced][leaf]:
                    found[key.referenced][leaf].add(ctid)
                    step[key.referenced][leaf].add(ctid)
    return step


def _sources(selection: Selection, newest: dict[str, set[str]] | None) -> list[str]:
    if newest is None:
        return [f"(SELECT * FROM {selection.source_sql} t WHERE {selection.condition_sql})"]
    return [
        f"(SELECT * FROM ONLY {leaf} t WHERE t.ctid = ANY ('{{{','.join(_quoted(ctids))}}}'::tid[]))"
        for leaf, ctids in newest.items()
    ]


def _referred_rows(key: ForeignKey, source: str, referenced: Selection) -> str:
    assert referenced.window is not None  # noqa: S101 - only windowed tables are asked for
    pairs = zip(key.columns, key.referenced_columns, key.operators, strict=True)
    joined = " AND ".join(f"p.{quote(other)} OPERATOR({operator}) c.{quote(own)}" for own, other, operator in pairs)
    return (
        f"SELECT DISTINCT p.tableoid::regclass::text, p.ctid::text FROM {source} c "
        f"JOIN {referenced.source_sql} p ON {joined} WHERE {referenced.window.outside('p')}"
    )


def _quoted(ctids: set[str]) -> list[str]:
    return [f'"{ctid}"' for ctid in sorted(ctids)]


def _sorted(leaves: dict[str, set[str]]) -> dict[str, tuple[str, ...]]:
    return {leaf: tuple(sorted(ctids)) for leaf, ctids in sorted(leaves.items())}
