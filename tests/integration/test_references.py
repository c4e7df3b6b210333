"""Rows outside the window that rows inside refer to come along, however they refer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
