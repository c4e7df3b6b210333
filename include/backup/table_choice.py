"""What to do with one table that nobody has described: take it whole, its recent rows, or leave it out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from include.backup.catalog import Catalog, Session, Table
from include.backup.names import QualifiedName
from include.backup.scope_audit import Estimate
from include.backup.selection import WINDOW_TYPES
from include.backup.templates import size_text

LARGE_ROWS = 100_000
LARGE_BYTES = 50 * 1024 * 1024
# A table that is added to is sometimes corrected; one whose rows live on is updated more often than that.
INSERTS_FOR_AN_UPDATE = 10

_TIME_NAMES = (
    *("created_at", "inserted_at", "occurred_at", "created", "inserted", "created_on", "date_created", "create_time"),
    *("creation_date", "created_date", "event_time", "recorded_at", "logged_at", "timestamp", "time", "at", "date"),
)
_LATER_NAMES = re.compile(r"updat|modif|chang|expir|delet|last|valid|until|due|end", re.IGNORECASE)
_VOLATILE_LAST = {"session", "sessions", "log", "logs", "audit", "audits", "cache", "caches", "queue", "queues"}
_VOLATILE_FIRST = {"log", "logs", "audit", "cache", "queue"}
_WAITING_JOBS = {"delayed", "failed", "background", "queued", "pending", "good", "que", "cron", "async"}

_NOW_COLUMNS = r"""
    SELECT n.nspname, c.relname, a.attname
      FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
     WHERE a.attgenerated = '' AND pg_get_expr(d.adbin, d.adrelid) ~*
           '\m(now|current_timestamp|current_date|localtimestamp|(clock|statement|transaction)_timestamp)\M'"""

_UPDATED = f"""
    SELECT n.nspname, c.relname
      FROM pg_stat_all_tables s JOIN pg_class c ON c.oid = coalesce(pg_partition_root(s.relid)::oid, s.relid)
      JOIN pg_namespace n ON n.oid = c.relnamespace
     GROUP BY 1, 2 HAVING sum(s.n_tup_upd) * {INSERTS_FOR_AN_UPDATE} > sum(s.n_tup_ins)"""


@dataclass(frozen=True)
class Habits:
    """How tables are used: columns that are now() when a row comes, and tables whose rows are updated."""

    now_columns: frozenset[tuple[QualifiedName, str]]
    updated: frozenset[QualifiedName]


@dataclass(frozen=True)
class Choice:
    """What to do with one table, and why. `column` is that of the window."""

    kind: Literal["whole", "windowed", "left out"]
    reason: str
    column: str = ""


@dataclass(frozen=True)
class Facts:
    """All that choices are made from."""

    catalog: Catalog
    estimates: Mapping[QualifiedName, Estimate | None]
    habits: Habits


def read_habits(session: Session) -> Habits:
    """Return how the database's tables are used, after its catalog and its statistics."""
    columns = session.execute(_NOW_COLUMNS.encode()).fetchall()
    updated = session.execute(_UPDATED).fetchall()
    return Habits(
        frozenset((QualifiedName(schema, table), column) for schema, table, column in columns),
        frozenset(QualifiedName(schema, table) for schema, table in updated),
    )


def first_choice(facts: Facts, name: QualifiedName, *, leave_out: bool) -> Choice:
    """Choose for a table by itself; foreign keys may still speak against leaving it out."""
    if leave_out:
        return Choice("left out", "left out on purpose")
    if _is_volatile(name.name):
        return Choice("left out", f"{_amount(facts.estimates.get(name))}; looks volatile by its name")
    return kept(facts, name, "")


def kept(facts: Facts, name: QualifiedName, why: str) -> Choice:
    """Take a table: only its recent rows if it is large and is only added to."""
    estimate = facts.estimates.get(name)
    reason = "; ".join(filter(None, (why, _amount(estimate))))
    if not estimate or not (estimate.all_rows > LARGE_ROWS or estimate.disk_bytes > LARGE_BYTES):
        return Choice("whole", reason)
    column = _time_column(facts.catalog.tables[name], facts.habits)
    if not column:
        return Choice("whole", f"{reason}; large, but without a column for the time of a row")
    if name in facts.habits.updated:
        return Choice("whole", f"{reason}; large, but its rows are updated: old ones are in use")
    if _is_hub(facts.catalog, name):
        return Choice("whole", f"{reason}; large, but many tables refer to it")
    return Choice("windowed", f"{reason}; rows are added by {column}", column)


def _is_hub(catalog: Catalog, name: QualifiedName) -> bool:
    """Whether more tables refer to it than it refers to: people and things, not events."""
    others = {(key.table, key.referenced) for key in catalog.foreign_keys if key.table != key.referenced}
    referring = Counter(referenced for _, referenced in others)
    return referring[name] > sum(table == name for table, _ in others)


def _time_column(table: Table, habits: Habits) -> str | None:
    """Return the column with the time at which a row came: by its name, otherwise by its default."""
    columns = {column.name: _words(column.name) for column in table.columns if column.type in WINDOW_TYPES}
    for wanted in _TIME_NAMES:
        found = [name for name, words in columns.items() if "_".join(words) == wanted]
        if found:
            return found[0]
    by_default = (name for name in columns if (table.name, name) in habits.now_columns)
    return next((name for name in by_default if not _LATER_NAMES.search(name)), None)


def _is_volatile(name: str) -> bool:
    words = _words(name)
    if not words or any(word.startswith("migration") for word in words):
        return False
    waiting_jobs = words[-1] in {"job", "jobs"} and words[0] in _WAITING_JOBS
    return words[-1] in _VOLATILE_LAST or words[0] in _VOLATILE_FIRST or waiting_jobs


def _words(name: str) -> list[str]:
    """Return a name's words in lower case: `userSessions` and `USER_SESSIONS` are user, sessions."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]


def _amount(estimate: Estimate | None) -> str:
    if not estimate:
        return "may not be read"
    rows = "row" if estimate.all_rows == 1 else "rows"
    return f"about {estimate.all_rows:,} {rows}, {size_text(estimate.disk_bytes)}"
