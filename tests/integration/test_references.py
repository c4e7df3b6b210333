"""Rows outside the window that rows inside refer to come along, however they refer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import Pipeline, restore_by_hand, run_sql

NewDatabase = Callable[[EmbeddedPostgres], str]
MakePipeline = Callable[[str, str | None], Pipeline]

WINDOWED = """
version: 1
tables: {people.sql: [people]}
windowed: {a.csv: {table: a, column: at}, b.csv: {table: b, column: at}}
"""

# Row 1 is recent and refers to an old row, that to an older one in the other table, and so on.
CHAINS = {
    "self reference, three deep": (
        """
        CREATE TABLE people (id int PRIMARY KEY);
        CREATE TABLE a (id int PRIMARY KEY, parent int REFERENCES a, at timestamptz);
        CREATE TABLE b (id int PRIMARY KEY, at timestamptz);
        INSERT INTO a VALUES (4, NULL, '2001-01-01'), (3, 4, '2002-01-01'), (2, 3, '2003-01-01'), (1, 2, now()),
            (5, NULL, '2001-01-01');
        """,
        {"a": (4, 3), "b": (0, 0)},
    ),
    "circle between two tables": (
        """
        CREATE TABLE people (id int PRIMARY KEY);
        CREATE TABLE a (id int PRIMARY KEY, other int, at timestamptz);
        CREATE TABLE b (id int PRIMARY KEY, other int REFERENCES a, at timestamptz);
        INSERT INTO a VALUES (2, 2, '2001-01-01'), (9, NULL, '2001-01-01');
        INSERT INTO b VALUES (2, 2, '2001-01-01'), (9, 9, '2001-01-01'), (1, 2, now());
        ALTER TABLE a ADD FOREIGN KEY (other) REFERENCES b;
        """,
        {"a": (1, 1), "b": (2, 1)},
    ),
    "from a whole table, by two columns": (
        """
        CREATE TABLE a (x int, y text, at timestamptz, PRIMARY KEY (x, y));
        CREATE TABLE people (id int PRIMARY KEY, x int, y text, FOREIGN KEY (x, y) REFERENCES a);
        CREATE TABLE b (id int PRIMARY KEY, at timestamptz);
        INSERT INTO a VALUES (1, 'it''s', '2001-01-01'), (1, 'other', '2001-01-01');
        INSERT INTO people VALUES (1, 1, 'it''s'), (2, NULL, NULL);
        """,
        {"a": (1, 1), "b": (0, 0)},
    ),
    "to a partitioned table": (
        """
        CREATE TABLE people (id int PRIMARY KEY);
        CREATE TABLE a (id int, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE "a old" PARTITION OF a FOR VALUES FROM (MINVALUE) TO ('2010-01-01');
        CREATE TABLE a_new PARTITION OF a FOR VALUES FROM ('2010-01-01') TO (MAXVALUE);
        CREATE TABLE b (id int PRIMARY KEY, a_id int, a_at timestamptz, at timestamptz,
            FOREIGN KEY (a_id, a_at) REFERENCES a);
        INSERT INTO a VALUES (1, '2001-01-01'), (2, '2011-01-01'), (3, '2001-01-01'), (4, now());
        INSERT INTO b VALUES (1, 1, '2001-01-01', now()), (2, 2, '2011-01-01', now()),
            (3, 3, '2001-01-01', '2001-01-01');
        """,
        {"a": (3, 2), "b": (2, 0)},
    ),
    "by a key of one partition alone": (
        """
        CREATE TABLE people (id int PRIMARY KEY);
        CREATE TABLE a (id int PRIMARY KEY, at timestamptz);
        CREATE TABLE b (at timestamptz, a_id int) PARTITION BY RANGE (at);
        CREATE TABLE b_old PARTITION OF b FOR VALUES FROM (MINVALUE) TO ('2010-01-01');
        CREATE TABLE b_new (a_id int, at timestamptz, FOREIGN KEY (a_id) REFERENCES a);
        ALTER TABLE b ATTACH PARTITION b_new FOR VALUES FROM ('2010-01-01') TO (MAXVALUE);
        INSERT INTO a VALUES (1, '2001-01-01'), (2, '2001-01-01');
        INSERT INTO b VALUES (now(), 1);
        """,
        {"a": (1, 1), "b": (1, 0)},
    ),
    "by several keys of one table": (
        """
        CREATE TABLE people (id int PRIMARY KEY);
        CREATE TABLE a (id int PRIMARY KEY, at timestamptz);
        CREATE TABLE b (id int PRIMARY KEY, first int REFERENCES a, second int REFERENCES a, before int REFERENCES b,
            at timestamptz);
        INSERT INTO a SELECT n, '2001-01-01' FROM generate_series(1, 9) n;
        INSERT INTO a VALUES (10, now());
        INSERT INTO b VALUES (1, 9, 9, NULL, '2001-01-01'), (2, 1, 2, NULL, '2001-01-01'), (3, 3, 10, 2, now()),
            (4, NULL, 3, 3, now()), (5, 10, NULL, NULL, now()), (6, 4, 5, 2, now());
        """,
        {"a": (6, 5), "b": (5, 1)},
    ),
}


@pytest.mark.parametrize("case", CHAINS)
def test_referred_rows_are_taken_along_and_the_restore_holds(
    case: str,
    postgres: EmbeddedPostgres,
    new_database: NewDatabase,
    make_pipeline: MakePipeline,
    tmp_path: Path,
) -> None:
    """Rows and rows by reference are as expected, nothing more, and every foreign key can be made again."""
    statements, expected = CHAINS[case]
    conninfo = new_database(postgres)
    run_sql(conninfo, statements)
    pipeline = make_pipeline(conninfo, WINDOWED)
    archive, sidecar = pipeline.backup()
    seen = {t.name: (t.rows, t.rows_by_reference) for t in sidecar.tables if t.window}
    assert seen == expected
    result = restore_by_hand(archive, tmp_path / "out", pipeline.database, pipeline.clients)
    assert result.returncode == 0, result.stderr


def scans(conninfo: str, table: str) -> tuple[int, int]:
    """Return how often a table was read from end to end, and by an index, since it was made."""
    query = f"SELECT seq_scan, coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = '{table}'"
    others = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    )
    with psycopg.connect(conninfo, autocommit=True) as session:
        deadline = time.monotonic() + 60
        while session.execute(others).fetchone():  # a session counts what it has read when it ends
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (found,) = session.execute(query).fetchall()
    return int(found[0]), int(found[1])


def test_table_with_several_keys_is_read_once_to_follow_them(
    postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline
) -> None:
    """And once more for its rows, without an index."""
    conninfo = new_database(postgres)
    run_sql(conninfo, CHAINS["by several keys of one table"][0].replace("before int REFERENCES b", "before int"))
    before, _ = scans(conninfo, "b")
    make_pipeline(conninfo, WINDOWED).backup()
    after, _ = scans(conninfo, "b")
    assert after - before == 2


def test_old_rows_are_not_read_where_an_index_leads_past_them(
    postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline
) -> None:
    """Neither for references nor for the rows: no condition is in the way that the column cannot need."""
    conninfo = new_database(postgres)
    run_sql(
        conninfo,
        """
        CREATE TABLE people (id int PRIMARY KEY);
        CREATE TABLE a (id int PRIMARY KEY, at timestamptz);
        CREATE TABLE b (id int PRIMARY KEY, a_id int REFERENCES a, at timestamptz NOT NULL);
        INSERT INTO a VALUES (1, '2001-01-01');
        INSERT INTO b SELECT n, 1, now() - (60000 - n) * interval '5 minutes' FROM generate_series(1, 60000) n;
        CREATE INDEX ON b (at);
        ANALYZE b;
        """,
    )
    before, by_index_before = scans(conninfo, "b")
    _, sidecar = make_pipeline(conninfo, WINDOWED).backup()
    after, by_index_after = scans(conninfo, "b")
    assert next(table.rows for table in sidecar.tables if table.name == "b") < 30000
    assert after == before
    assert by_index_after > by_index_before


def test_row_without_a_time_is_taken_where_a_constraint_only_promises_one(
    postgres_18: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline
) -> None:
    """Since PostgreSQL 18 a column may be NOT NULL although older rows were never looked at."""
    conninfo = new_database(postgres_18)
    run_sql(
        conninfo,
        """
        CREATE TABLE people (id int PRIMARY KEY);
        CREATE TABLE a (id int, at timestamptz);
        INSERT INTO a VALUES (1, NULL), (2, now()), (3, '2001-01-01');
        ALTER TABLE a ADD CONSTRAINT promised NOT NULL at NOT VALID;
        CREATE TABLE b (id int, at timestamptz);
        """,
    )
    _, sidecar = make_pipeline(conninfo, WINDOWED).backup()
    assert next(table.rows for table in sidecar.tables if table.name == "a") == 2
