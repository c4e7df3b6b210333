"""Rows outside the windows that must be taken along, because taken rows refer to them."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

from include.backup.catalog import Catalog, ForeignKey, Session
from include.backup.names import QualifiedName, quote
from include.backup.selection import Selection, by_name, tid_array

# Per table, per partition: the ctids found so far.
_Found = dict[QualifiedName, dict[str, set[str]]]


def take_along(session: Session, catalog: Catalog, selections: tuple[Selection, ...]) -> tuple[Selection, ...]:
    """
    Return the selections with the rows outside the windows that taken rows refer to.

    And with those that these refer to, and so on. Only windowed tables can lack a row, so only keys that refer
    to them are followed, and of these only the keys of tables with `reference: take`.
    """
    taken = by_name(selections)
    keys = _keys_to_follow(catalog, taken)
    found: _Found = defaultdict(lambda: defaultdict(set))
    newest: _Found | None = None
    while newest is None or newest:
        newest = _one_step(session, keys, taken, found, newest)
    return tuple(
        dataclasses.replace(selection, taken_along=_sorted(found[selection.table.name])) for selection in selections
    )


def tables_referred_to(catalog: Catalog, selections: tuple[Selection, ...]) -> frozenset[QualifiedName]:
    """Return the tables of which `take_along` may find rows: the selections of all others stay as they are."""
    return frozenset(key.referenced for key in _keys_to_follow(catalog, by_name(selections)))


def _keys_to_follow(catalog: Catalog, taken: dict[QualifiedName, Selection]) -> list[ForeignKey]:
    return [
        key
        for key in catalog.foreign_keys
        if key.table in taken
        and key.referenced in taken
        and taken[key.referenced].window
        and taken[key.table].reference == "take"
    ]


def _one_step(
    session: Session,
    keys: list[ForeignKey],
    taken: dict[QualifiedName, Selection],
    found: _Found,
    newest: _Found | None,
) -> _Found:
    """Follow every key once, from the rows found last (at first: from all rows in the window)."""
    step: _Found = defaultdict(lambda: defaultdict(set))
    for table in dict.fromkeys(key.table for key in keys):
        its_keys = [key for key in keys if key.table == table]
        for source in _sources(taken[table], None if newest is None else newest.get(table, {})):
            for number, leaf, ctid in session.execute(_referred_rows(its_keys, source, taken)):
                referenced = its_keys[number].referenced
                if ctid not in found[referenced][leaf]:
                    found[referenced][leaf].add(ctid)
                    step[referenced][leaf].add(ctid)
    return step


def _sources(selection: Selection, newest: dict[str, set[str]] | None) -> list[str]:
    if newest is None:
        return [f"(SELECT * FROM {selection.source_sql} t WHERE {selection.condition_sql})"]
    return [f"(SELECT * FROM ONLY {leaf} t WHERE t.ctid = ANY ({tid_array(ctids)}))" for leaf, ctids in newest.items()]


def _referred_rows(keys: list[ForeignKey], source: str, taken: dict[QualifiedName, Selection]) -> str:
    """Return a query that reads a table once for all of its keys: the number of a key, and a row that it refers to."""
    columns, joins, rows = [], [], []
    for number, key in enumerate(keys):
        referenced, alias = taken[key.referenced], f"p{number}"
        assert referenced.window is not None  # noqa: S101 - only windowed tables are asked for
        on = f"{key.join_sql('c', alias)} AND {referenced.window.outside(alias)}"
        joins.append(f"LEFT JOIN {referenced.source_sql} {alias} ON {on}")
        columns.append(f"{alias}.tableoid AS leaf{number}, {alias}.ctid AS row{number}")
        is_found = f"row{number} IS NOT NULL"
        rows.append(
            f"SELECT DISTINCT {number}, leaf{number}::regclass::text, row{number}::text FROM r WHERE {is_found}"
        )
    # Most rows of some tables refer to nothing, and then they need not be joined.
    refers = " OR ".join(f"c.{quote(key.columns[0])} IS NOT NULL" for key in keys)
    found = " OR ".join(f"p{number}.ctid IS NOT NULL" for number in range(len(keys)))
    referred = f"SELECT {', '.join(columns)} FROM {source} c {' '.join(joins)} WHERE ({refers}) AND ({found})"
    return f"WITH r AS MATERIALIZED ({referred}) {' UNION ALL '.join(rows)}"


def _sorted(leaves: dict[str, set[str]]) -> dict[str, tuple[str, ...]]:
    return {leaf: tuple(sorted(ctids)) for leaf, ctids in sorted(leaves.items())}
