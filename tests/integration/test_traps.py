"""What would publish an archive that does not restore: refused, or carried so that it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from include.backup.errors import BackupError
from include.backup.restore import Restore
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import Pipeline, database_of, restore_by_hand, run_sql

NewDatabase = Callable[[EmbeddedPostgres], str]
MakePipeline = Callable[[str, str | None], Pipeline]

RESTORES = {
    "policy for a role that the target does not have": (
        [
            "CREATE ROLE app_of_{name} NOLOGIN",
            "CREATE TABLE a (id int)",
            "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY p ON a TO app_of_{name} USING (true)",
        ],
        "{version: 1, tables: {a.sql: [a]}}",
    ),
    "owner that the target does not have": (
        [
            "CREATE ROLE app_of_{name} NOLOGIN",
            "CREATE TABLE a (id int)",
            "ALTER TABLE a OWNER TO app_of_{name}",
        ],
        "{version: 1, tables: {a.sql: [a]}}",
    ),
    "privileges of a role that the target does not have": (
        [
            "CREATE ROLE app_of_{name} NOLOGIN",
            "CREATE TABLE a (id int)",
            "GRANT SELECT ON a TO app_of_{name}",
        ],
        "{version: 1, tables: {a.sql: [a]}}",
    ),
    "foreign key to one partition": (
        [
            "CREATE TABLE tx (id int, at date) PARTITION BY RANGE (at)",
            "CREATE TABLE tx_old PARTITION OF tx FOR VALUES FROM (MINVALUE) TO ('2020-01-01')",
            "CREATE TABLE tx_new PARTITION OF tx FOR VALUES FROM ('2020-01-01') TO (MAXVALUE)",
            "ALTER TABLE tx_old ADD PRIMARY KEY (id)",
            "CREATE TABLE u (t int REFERENCES tx_old)",
            "INSERT INTO tx VALUES (1, '2019-01-01'), (2, '2019-01-01'), (3, now())",
            "INSERT INTO u VALUES (1)",
        ],
        "{version: 1, tables: {u.sql: [u]}, windowed: {tx.csv: {table: tx, column: at}}}",
    ),
    "event trigger that refuses every command": (
        [
            "CREATE TABLE a (id int)",
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''frozen''; END'",
            "CREATE EVENT TRIGGER frozen ON ddl_command_start EXECUTE FUNCTION public.refuse()",
        ],
        "{version: 1, tables: {a.sql: [a]}}",
    ),
    "database setting that ends long statements": (
        [
            "CREATE TABLE a (id int)",
            "INSERT INTO a SELECT generate_series(1, 1000)",
            "ALTER DATABASE {name} SET statement_timeout = '1ms'",
        ],
        "{version: 1, tables: {a.sql: [a]}}",
    ),
    "database setting that ends idle transactions": (
        ["CREATE TABLE a (id int)", "ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '1ms'"],
        "{version: 1, tables: {a.sql: [a]}}",
    ),
    "database setting that ends long transactions, where the server has it": (
        [
            "CREATE TABLE a (id int)",
            # Since PostgreSQL 17; too short for an export, long enough for the session to switch it off.
            "DO $$BEGIN ALTER DATABASE {name} SET transaction_timeout = '50ms'; EXCEPTION WHEN OTHERS THEN END$$",
        ],
        "{version: 1, tables: {a.sql: [a]}}",
    ),
}

REFUSED = {
    "key that leaves the archive from a row taken along": (
        [
            "CREATE TABLE camp (id int PRIMARY KEY)",
            "CREATE TABLE pur (id int PRIMARY KEY, at date, r int REFERENCES pur, c int REFERENCES camp)",
            "INSERT INTO camp VALUES (7)",
            "INSERT INTO pur VALUES (1, '2001-01-01', NULL, 7), (2, now(), 1, NULL)",
        ],
        "{version: 1, windowed: {pur.csv: {table: pur, column: at}}, exclude: [camp]}",
        "pur_c_fkey",
    ),
    "column with a line feed in its name": (
        ['CREATE TABLE a (id int, "x\ny" text, at date)'],
        "{version: 1, windowed: {a.csv: {table: a, column: at}}}",
        "line break",
    ),
}


@pytest.mark.parametrize("case", RESTORES)
def test_what_can_be_carried_restores_elsewhere(
    case: str,
    postgres: EmbeddedPostgres,
    new_database: NewDatabase,
    make_pipeline: MakePipeline,
    tmp_path: Path,
) -> None:
    """The archive restores although the role has gone from the server."""
    statements, scope = RESTORES[case]
    conninfo = new_database(postgres)
    pipeline = make_pipeline(conninfo, scope)
    name = pipeline.database.name
    run_sql(conninfo, *(statement.format(name=name) for statement in statements))
    archive, _ = pipeline.backup()
    clients = pipeline.clients
    if "target does not have" in case:
        with psycopg.connect(postgres.conninfo(), autocommit=True) as session:
            session.execute(f"DROP DATABASE {name}".encode())
            session.execute(f"DROP ROLE app_of_{name}".encode())
    result = restore_by_hand(archive, tmp_path / "out", pipeline.database, clients)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_carried_is_refused_in_the_snapshot(
    case: str, postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline
) -> None:
    """No archive gets a name, and the message says which thing is in the way."""
    statements, scope, words = REFUSED[case]
    conninfo = new_database(postgres)
    run_sql(conninfo, *statements)
    pipeline = make_pipeline(conninfo, scope)
    with pytest.raises(BackupError, match=words):
        pipeline.backup()
    assert not list(pipeline.backup_dir.glob("critical_backup_*"))


@pytest.mark.parametrize(("encoding", "locale"), [("LATIN1", "C"), ("UTF8", "C.utf8")])
def test_encoding_and_locale_come_back(
    encoding: str,
    locale: str,
    postgres: EmbeddedPostgres,
    new_database: NewDatabase,
    make_pipeline: MakePipeline,
    tmp_path: Path,
) -> None:
    """By hand and by restore.sh the new database has the encoding and locale of the old one, not of template1."""
    name = database_of(new_database(postgres)).name
    options = f"TEMPLATE template0 ENCODING '{encoding}' LOCALE '{locale}'"
    run_sql(postgres.conninfo(), f"DROP DATABASE {name}", f"CREATE DATABASE {name} {options}")
    conninfo = postgres.conninfo(name)
    run_sql(conninfo, "CREATE TABLE a (note text)", "INSERT INTO a VALUES ('\u00e9')")
    pipeline = make_pipeline(conninfo, "{version: 1, tables: {a.sql: [a]}}")
    archive, _ = pipeline.backup()
    by_hand = restore_by_hand(archive, tmp_path / "out", pipeline.database, pipeline.clients)
    assert by_hand.returncode == 0, by_hand.stderr
    (tmp_path / "unpacked").mkdir()
    by_script = dataclasses.replace(pipeline.database, name=f"{name}_script")
    Restore(archive, by_script, pipeline.clients, tmp_path / "unpacked").run()
    for restored in (f"{name}_restored", by_script.name):
        with psycopg.connect(postgres.conninfo(restored), client_encoding="UTF8") as session:
            query = (
                "SELECT pg_encoding_to_char(encoding), datcollate, datctype, (SELECT note FROM a)"
                " FROM pg_database WHERE datname = current_database()"
            )
            assert session.execute(query).fetchone() == (encoding, locale, locale, "\u00e9")


def test_builtin_locale_comes_back(postgres_18: EmbeddedPostgres, make_pipeline: MakePipeline, tmp_path: Path) -> None:
    """upper('\u00e4') is the same in the restored database: the locale's provider is recorded."""
    with psycopg.connect(postgres_18.conninfo(), autocommit=True) as session:
        session.execute(
            "CREATE DATABASE builtin TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"
        )
    run_sql(postgres_18.conninfo("builtin"), "CREATE TABLE a (id int)")
    pipeline = make_pipeline(postgres_18.conninfo("builtin"), "{version: 1, tables: {a.sql: [a]}}")
    archive, _ = pipeline.backup()
    result = restore_by_hand(archive, tmp_path / "out", pipeline.database, pipeline.clients)
    assert result.returncode == 0, result.stderr
    with psycopg.connect(postgres_18.conninfo("builtin_restored")) as session:
        assert session.execute("SELECT upper('\u00e4')").fetchone() == ("\u00c4",)
