"""Archives are restored by following only what they say of themselves, and compared with their source."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg

from include.backup.manifest import Sidecar
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import Pipeline, database_of, restore_by_hand, run_sql, table_sha256

NewDatabase = Callable[[EmbeddedPostgres], str]
MakePipeline = Callable[[str, str | None], Pipeline]


def restored_conninfo(server: EmbeddedPostgres, pipeline: Pipeline) -> str:
    return server.conninfo(f"{pipeline.database.name}_restored")


def assert_same_rows(restored: str, sidecar: Sidecar) -> None:
    """Every table, copied out again, has the bytes that the manifest says."""
    database = database_of(restored)
    for record in sidecar.tables:
        assert (record.name, table_sha256(database, record.copy_out_statement)) == (record.name, record.sha256)


def test_sample_restored_by_its_own_instructions_is_the_same(
    postgres: EmbeddedPostgres, sample_pipeline: Pipeline, tmp_path: Path
) -> None:
    """BACKUP_INFO.txt, pasted as it stands into a shell with psql and tar, brings every row back, byte by byte."""
    archive, sidecar = sample_pipeline.backup()
    result = restore_by_hand(archive, tmp_path / "out", sample_pipeline.database, sample_pipeline.clients)
    assert result.returncode == 0, result.stderr
    restored = restored_conninfo(postgres, sample_pipeline)
    assert_same_rows(restored, sidecar)
    with psycopg.connect(restored) as session:
        excluded = session.execute("SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM audit_logs)")
        assert excluded.fetchone() == (0, 0)
        invalid = session.execute("SELECT count(*) FROM pg_constraint WHERE NOT convalidated")
        assert invalid.fetchone() == (0,)


def test_sequences_after_a_restore_go_on_where_they_stood(
    postgres: EmbeddedPostgres, sample_pipeline: Pipeline, tmp_path: Path
) -> None:
    """Every sequence has the value of the source."""
    archive, sidecar = sample_pipeline.backup()
    restore_by_hand(archive, tmp_path / "out", sample_pipeline.database, sample_pipeline.clients)
    assert sidecar.sequences
    with psycopg.connect(restored_conninfo(postgres, sample_pipeline)) as session:
        for sequence in sidecar.sequences:
            row = session.execute(
                f'SELECT last_value, is_called FROM "{sequence.schema_name}"."{sequence.name}"'.encode()
            ).fetchone()
            assert row == (sequence.last_value, sequence.is_called)


def test_restore_into_a_database_with_tables_is_refused(sample_pipeline: Pipeline, tmp_path: Path) -> None:
    """Loading over live rows stops before anything is changed, and says what to do."""
    archive, sidecar = sample_pipeline.backup()
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    database = sample_pipeline.database
    result = subprocess.run(
        [str(sample_pipeline.clients.psql), "-X", "--single-transaction", "-f", "restore.sql"],
        cwd=tmp_path,
        env=database.environment | {"PGOPTIONS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "load the backup into a new, empty one" in result.stderr
    assert sample_pipeline.backup()[1].rows == sidecar.rows


def test_load_that_fails_by_hand_leaves_nothing(
    postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline, tmp_path: Path
) -> None:
    """The instructions stop at the first error and undo what was loaded before it."""
    conninfo = new_database(postgres)
    run_sql(
        conninfo,
        "CREATE FUNCTION helper(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
        "CREATE FUNCTION unqualified(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN helper($1); END'",
        "CREATE TABLE a (id int)",
        "CREATE TABLE b (id int CHECK (unqualified(id) > 0))",
        "INSERT INTO a VALUES (1)",
        "INSERT INTO b VALUES (1)",
    )
    pipeline = make_pipeline(conninfo, "{version: 1, tables: {a.sql: [a], b.sql: [b]}}")
    archive, _ = pipeline.backup()
    result = restore_by_hand(archive, tmp_path / "out", pipeline.database, pipeline.clients)
    assert result.returncode != 0
    assert "helper" in result.stderr
    with psycopg.connect(restored_conninfo(postgres, pipeline)) as session:
        assert session.execute("SELECT to_regclass('public.a'), to_regclass('public.b')").fetchone() == (None, None)


ODD = """
CREATE SCHEMA "Odd.Schema";
CREATE TYPE mood AS ENUM ('so ''so''', 'fine');
CREATE TABLE "Odd.Schema"."Mixed Case" (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "select" text, mood mood[], twice integer GENERATED ALWAYS AS (4 * 2) STORED,
    amount numeric, price double precision, span interval, day date, data bytea, range int4range, doc jsonb
);
INSERT INTO "Odd.Schema"."Mixed Case" ("select", mood, amount, price, span, day, data, range, doc) VALUES
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('', '{}', 'NaN', 'Infinity', '1 mon -2 days', 'infinity', '', 'empty', 'null'),
    (E'a\\tb\\nc\\\\d\\r"''\\\\.', '{fine,"so ''so''"}', 0.10, 0.1, '-00:00:01', '0044-03-15 BC', '\\x00ff', '[1,5)',
     '{"b":1, "a":[]}'),
    ('สวัสดี 👋', NULL, 1e30, 1e-300, '100 years', '9999-12-31', NULL, NULL, '"x"');
CREATE TABLE parted (id int, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE parted_old PARTITION OF parted FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE parted_new PARTITION OF parted FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
INSERT INTO parted VALUES (1, '2019-05-05'), (2, now()), (3, now());
CREATE TABLE animals (name text);
CREATE TABLE cats (claws int) INHERITS (animals);
INSERT INTO animals VALUES ('dog');
INSERT INTO cats VALUES ('tom', 18);
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE events (id int PRIMARY KEY, note text, at timestamp);
INSERT INTO events VALUES (1, NULL, now()), (2, '', now()), (3, E'a,"b"\\nc', NULL), (4, 'old', '2001-01-01');
"""

ODD_SCOPE = """
version: 1
tables:
  odd.sql: ['"Odd.Schema"."Mixed Case"', animals, cats, nothing]
windowed:
  events.csv: {table: events, column: at}
  parted.csv: {table: parted, column: at}
"""


def test_odd_schema_restored_is_the_same(
    postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline, tmp_path: Path
) -> None:
    """Odd names and values, generated and identity columns, partitions, inheritance and no columns survive."""
    conninfo = new_database(postgres)
    run_sql(conninfo, ODD)
    pipeline = make_pipeline(conninfo, ODD_SCOPE)
    archive, sidecar = pipeline.backup()
    assert sidecar.left_out == ()  # partitions are no tables of their own
    result = restore_by_hand(archive, tmp_path / "out", pipeline.database, pipeline.clients)
    assert result.returncode == 0, result.stderr
    assert_same_rows(restored_conninfo(postgres, pipeline), sidecar)
    assert {t.name: t.rows for t in sidecar.tables} == {
        "Mixed Case": 4,
        "animals": 1,
        "cats": 1,
        "nothing": 1,
        "events": 3,
        "parted": 2,
    }


def test_newer_pg_dump_of_an_older_server_restores_there(
    postgres_16: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline, tmp_path: Path
) -> None:
    """What only a newer server knows is not in the schema, even when only newer clients are at hand."""
    conninfo = new_database(postgres_16)
    run_sql(conninfo, "CREATE TABLE t (id int)")
    pipeline = make_pipeline(conninfo, "{version: 1, tables: {t.sql: [t]}}")
    pipeline.client_major = 18
    archive, _ = pipeline.backup()
    assert pipeline.clients.major == 18
    result = restore_by_hand(archive, tmp_path / "out", pipeline.database, pipeline.clients)
    assert result.returncode == 0, result.stderr
