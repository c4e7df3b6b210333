"""The sample grown to any size inside the server: rows of the two transaction tables, before the window and in it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import psycopg

__all__ = ["CREDIT_BRIN", "Stretch", "grow", "rows_for"]

# Measured: of the table's own pages, for each row.
BYTES_PER_ROW = {"credit_transactions": 133, "point_transactions": 222}
EXPECTED_BYTES = sum(BYTES_PER_ROW.values())

# Keys and values are functions of the row's number, so that the same size gives the same rows on every machine. The
# rows are in the order of their times, as a live system writes them, and refer to accounts and purchases that exist.
CREDITS = """
WITH known AS MATERIALIZED (
    SELECT (SELECT array_agg(id ORDER BY id) FROM credit_accounts) AS accounts,
           (SELECT array_agg(id ORDER BY id) FROM purchases
            WHERE created_at >= %(begin)s AND created_at < %(end)s) AS purchases
)
INSERT INTO credit_transactions
    (id, account_id, kind, amount, balance_after, purchase_id, transfer_id, description, created_at)
SELECT md5('credit ' || n)::uuid,
       accounts[1 + (a %% cardinality(accounts))],
       CASE b %% 8 WHEN 5 THEN 'bonus' WHEN 6 THEN 'purchase' WHEN 7 THEN 'transfer_in' ELSE 'usage' END::credit_kind,
       (a %% 100000) / 100.0 - 500,
       (b %% 10000000) / 100.0,
       CASE WHEN b %% 8 = 6 THEN purchases[1 + (b / 8 %% cardinality(purchases))] END,
       NULL,
       CASE b %% 8
           WHEN 0 THEN 'Chat, ' || 1 + a %% 40 || ' messages, ' || b %% 9000 || ' tokens, chat-large'
           WHEN 1 THEN 'แปลเอกสาร ' || 1 + a %% 30 || ' หน้า'
           WHEN 2 THEN 'Image, "' || (ARRAY['logo', 'poster', 'portrait', 'plan'])[1 + a %% 4] || '", seed ' || b
           WHEN 3 THEN 'Speech to text, ' || 1 + a %% 90 || ' min, file ' || to_hex(b) || '.m4a'
           WHEN 4 THEN 'วิเคราะห์ข้อมูลยอดขาย ครั้งที่ ' || a %% 1000
           WHEN 5 THEN 'Welcome bonus'
           WHEN 6 THEN 'Invoice INV-' || lpad((b %% 10000000)::text, 8, '0')
       END,
       %(begin)s::timestamptz + (n - %(first)s)::float8 / %(rows)s * (%(end)s::timestamptz - %(begin)s::timestamptz)
           + (b %% 997) * interval '1 microsecond'
FROM known, generate_series(%(first)s::bigint, %(first)s::bigint + %(rows)s - 1) AS n,
     LATERAL (SELECT hashint8extended(n, 1) & 2147483647 AS a, hashint8extended(n, 2) & 2147483647 AS b) AS chance
"""
POINTS = """
WITH known AS MATERIALIZED (
    SELECT (SELECT array_agg(id ORDER BY id) FROM users) AS users,
           (SELECT array_agg(id ORDER BY id) FROM purchases
            WHERE created_at >= %(begin)s AND created_at < %(end)s) AS purchases
)
INSERT INTO point_transactions (id, user_id, points, reason, purchase_id, details, created_at)
SELECT 1000000000 + n,
       users[1 + (a %% cardinality(users))],
       b %% 5000 - 1000,
       (ARRAY['daily visit', 'invited a friend', 'bought credits', 'ใช้แต้มแลกเครดิต', 'expired, unused'])[1 + b %% 5],
       CASE WHEN b %% 5 = 2 THEN purchases[1 + (b / 5 %% cardinality(purchases))] END,
       ('{"campaign": "' || (ARRAY['songkran', 'new year', 'ลอยกระทง', 'none'])[1 + a %% 4]
           || '", "rate": ' || 100 + b %% 150 || 'e-2, "session": "' || to_hex(a) || to_hex(b)
           || '", "device": "' || (ARRAY['android', 'ios', 'web'])[1 + a / 4 %% 3]
           || '", "balance": ' || b %% 90000 || '}')::jsonb,
       %(begin)s::timestamptz + (n - %(first)s)::float8 / %(rows)s * (%(end)s::timestamptz - %(begin)s::timestamptz)
           + (a %% 997) * interval '1 microsecond'
FROM known, generate_series(%(first)s::bigint, %(first)s::bigint + %(rows)s - 1) AS n,
     LATERAL (SELECT hashint8extended(n, 3) & 2147483647 AS a, hashint8extended(n, 4) & 2147483647 AS b) AS chance
"""
# Built after the rows, as by a restore: random keys one by one would take most of the time.
CREDIT_INDEXES = (
    "ALTER TABLE credit_transactions DROP CONSTRAINT credit_transactions_pkey",
    "DROP INDEX credit_transactions_created_at",
    "ALTER TABLE credit_transactions ADD PRIMARY KEY (id)",
    "CREATE INDEX credit_transactions_created_at ON credit_transactions (created_at)",
)
CREDIT_BRIN = "CREATE INDEX credit_transactions_created_at ON credit_transactions USING brin (created_at)"


@dataclass(frozen=True)
class Stretch:
    """Rows of a time: so many of each of the two tables, numbered from `first` on, from `begin` to before `end`."""

    begin: datetime
    end: datetime
    first: int
    rows: int


def rows_for(size_bytes: float) -> int:
    """Return how many rows of each of the two tables make so many bytes of their pages together."""
    return max(0, round(size_bytes / EXPECTED_BYTES))


def grow(conninfo: str, stretches: list[Stretch], *, brin: bool = False) -> None:
    """
    Add the rows of the stretches, in their order, to both tables at once; then vacuum, as a live system has done.

    Args:
        conninfo: Of a database with the sample.
        stretches: What to add.
        brin: Give the window's column of credit_transactions a BRIN index, as point_transactions has one.
    """
    *drop, key, btree = CREDIT_INDEXES
    build = [key, CREDIT_BRIN if brin else btree]
    _run(conninfo, drop)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(partial(_insert, conninfo, stretches), (CREDITS, POINTS)))
    _run(conninfo, [*build, "VACUUM (ANALYZE)", "CHECKPOINT"])


def _insert(conninfo: str, stretches: list[Stretch], statement: str) -> None:
    with psycopg.connect(conninfo) as session:
        session.execute("SET session_replication_role = replica")  # every key exists: it is not looked up for each row
        for stretch in stretches:
            if stretch.rows:
                session.execute(statement, vars(stretch))


def _run(conninfo: str, statements: list[str]) -> None:
    with psycopg.connect(conninfo, autocommit=True) as session:
        for statement in statements:
            session.execute(statement)
