"""
Rows for any schema, read from its catalog.

A value depends only on its type and the row's number, so that row 3 of every table refers to row 3 of every other:
keys hold without being looked at, also those over several columns.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg

# Appended to the row's number, so that texts stay different when a column cuts them.
ODD_TEXTS = ("", "\\.", '"a","b"\r\n', "\\N\t\\t", "สวัสดี 👋", "'; DROP TABLE x; --", " ", "\n\\N\n", ",\\")
_BEGUN = datetime.now(timezone.utc).replace(microsecond=120)

# Domains and arrays are followed to what they are made of.
_COLUMNS = """
    WITH RECURSIVE base (type, oid, typmod, dimensions) AS (
        SELECT oid, oid, typtypmod, 0 FROM pg_type
        UNION ALL
        SELECT base.type, CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END, t.typtypmod,
               dimensions + (t.typtype <> 'd')::int
          FROM base JOIN pg_type t ON t.oid = base.oid WHERE t.typtype = 'd' OR (t.typlen = -1 AND t.typcategory = 'A'))
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), quote_ident(a.attname),
           format_type(a.atttypid, a.atttypmod), t.typname,
           greatest(a.atttypmod, base.typmod), dimensions > 0,
           a.attnotnull, a.atthasdef OR a.attidentity <> '',
           ARRAY (SELECT quote_ident(o_n.nspname) || '.' || quote_ident(o.relname) FROM pg_constraint k
                    JOIN pg_class o ON o.oid = k.confrelid JOIN pg_namespace o_n ON o_n.oid = o.relnamespace
                   WHERE k.conrelid = c.oid AND k.contype = 'f' AND a.attnum = ANY (k.conkey) AND k.confrelid <> c.oid),
           (SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
      JOIN base ON base.type = a.atttypid JOIN pg_type t ON t.oid = base.oid
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
       AND a.attgenerated = '' AND t.typtype <> 'd' AND NOT (t.typlen = -1 AND t.typcategory = 'A')
       AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
     ORDER BY c.oid, a.attnum"""


@dataclass(frozen=True)
class Column:
    """`type` is what an array or a domain is made of; `size` is the declared one, -1 if there is none."""

    name: str
    declared: str
    type: str
    size: int
    array: bool
    required: bool
    default: bool
    refers: list[str]
    labels: list[str] | None


def _moment(number: int) -> datetime:
    return _BEGUN - timedelta(days=25 * number)


def _text(number: int, size: int) -> str:
    text = f"{number}{ODD_TEXTS[number % len(ODD_TEXTS)]}"
    return text if size < 0 else text[: size - 4]


def _span(number: int) -> str:
    return f"[{number},{number + 1})"


_VALUES: dict[str, Callable[[int, int], str]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid", "numeric", "float4", "float8", "money"), lambda n, _: str(n)),
    **dict.fromkeys(("text", "varchar", "bpchar", "citext"), _text),
    **dict.fromkeys(("timestamp", "timestamptz", "date"), lambda n, _: _moment(n).isoformat()),
    **dict.fromkeys(
        ("json", "jsonb"), lambda n, _: json.dumps({"n": n, "z": 1.10, "a": [ODD_TEXTS[n % len(ODD_TEXTS)], None]})
    ),
    **dict.fromkeys(("int4range", "int8range", "numrange"), lambda n, _: _span(n)),
    **dict.fromkeys(("tsrange", "tstzrange"), lambda n, _: f"[{_moment(n)},{_moment(n) + timedelta(1)})"),
    **dict.fromkeys(("inet", "cidr"), lambda n, _: f"10.0.0.{n}"),
    "bool": lambda n, _: str(n % 2 == 0),
    "name": lambda n, _: str(n),
    "uuid": lambda n, _: f"{n:08x}-0000-4000-8000-000000000000",
    "bytea": lambda n, _: f"\\x00ff0a5c{n:02x}",
    "interval": lambda n, _: f"{n} months -{n} days 00:00:00.5",
    "time": lambda n, _: f"00:00:{n:02}",
    "tsvector": lambda n, _: f"'odd''{n}':1A fat:2",
    "point": lambda n, _: f"({n},-{n})",
    "bit": lambda n, size: format(n, f"0{max(size, 1)}b"),
    "varbit": lambda n, _: format(n, "b"),
    "hstore": lambda n, _: f'"n"=>"{n}","gone"=>NULL',
    "vector": lambda n, size: f"[{','.join([str(n)] * max(size, 3))}]",
}


def _value(column: Column, number: int) -> str | list[str | None]:
    if column.labels:
        value = str(column.labels[number % len(column.labels)])
    else:
        value = _VALUES[column.type](number, column.size)
    return [value, None] if column.array else value


def fill(session: psycopg.Connection[Any], rows: int) -> set[str]:
    """
    Put rows into every table, with triggers of the application switched off, and set sequences going.

    Returns the tables that no row could be made for: their checks want what only the application knows.
    """
    tables: defaultdict[str, list[Column]] = defaultdict(list)
    for table, *column in session.execute(_COLUMNS.encode()):
        tables[table].append(Column(*column))
    waiting = set(tables)
    # Nullable references close circles; what is nullable or has a default may be what a check is about.
    variants: tuple[Callable[[Column], bool], ...] = (
        lambda _: True,
        lambda column: column.required or waiting.isdisjoint(column.refers),
        lambda column: column.required or not column.refers,
        lambda column: column.required and not column.default,
    )
    for wanted in variants:
        progress = True
        while progress:
            before = len(waiting)
            for name in sorted(waiting):
                if _insert(session, name, filter(wanted, tables[name]), rows):
                    waiting.discard(name)
            progress = len(waiting) < before
    for number, (sequence,) in enumerate(
        session.execute(
            "SELECT seqrelid::regclass::text FROM pg_sequence WHERE seqmax >= 120 AND seqincrement > 0"
        ).fetchall()
    ):
        session.execute("SELECT setval(%s, %s, %s)", [sequence, 20 + number % 100, number % 2 == 0])
    return waiting


def _insert(session: psycopg.Connection[Any], table: str, columns: Iterable[Column], rows: int) -> bool:
    columns = [column for column in columns if column.labels or column.type in _VALUES]  # the others: their default
    names = ", ".join(column.name for column in columns).replace("%", "%%")
    row = ", ".join(f"%s::text{'[]' if column.array else ''}::{column.declared}" for column in columns)
    values = [_value(column, number) for number in range(1, rows + 1) for column in columns]
    statement = f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES {', '.join([f'({row})'] * rows)}"
    if not columns:
        statement = f"INSERT INTO {table} DEFAULT VALUES"
    try:
        with session.transaction():
            session.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
            session.execute(statement.encode(), values)
            session.execute("SET CONSTRAINTS ALL IMMEDIATE")
            session.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER".encode())
    except (psycopg.IntegrityError, psycopg.DataError):
        return False
    return True
