"""Rows outside the windows that must be taken along, because taken rows refer to them."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

from include.backup.catalog import Catalog, ForeignKey, Session
from include.backup.names import QualifiedName
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
    return [f"(SELECT * FROM ONLY {leaf} t WHERE t.ctid = ANY ({tid_array(ctids)}))" for leaf, ctids in newest.items()]


def _referred_rows(key: ForeignKey, source: str, referenced: Selection) -> str:
    assert referenced.window is not None  # noqa: S101 - only windowed tables are asked for
    return (
        f"SELECT DISTINCT p.tableoid::regclass::text, p.ctid::text FROM {source} c "
        f"JOIN {referenced.source_sql} p ON {key.join_sql('c', 'p')} WHERE {referenced.window.outside('p')}"
    )


def _sorted(leaves: dict[str, set[str]]) -> dict[str, tuple[str, ...]]:
    return {leaf: tuple(sorted(ctids)) for leaf, ctids in sorted(leaves.items())}
