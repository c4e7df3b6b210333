"""The text of an archive, and what is taken, do not depend on the settings of the database or of the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import psycopg
import pytest

from include.backup.restore import Restore
from include.backup.run import BackupRun
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import Pipeline, run_sql

NewDatabase = Callable[[EmbeddedPostgres], str]
MakePipeline = Callable[[str, str | None], Pipeline]

# Each changes the text of one of the values.
ODD_SETTINGS = {
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Bangkok",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "search_path": "elsewhere",
    "client_encoding": "LATIN1",
}
FORMATS = """
CREATE TABLE t (day date, at timestamptz, span interval, data bytea, price float8, amount numeric, doc json,
    thing regclass, note text);
INSERT INTO t VALUES ('2024-03-04', '2999-03-04 05:06:07.89+00', '-1 day -02:03:04', '\\x5cff00', 0.1::float8 + 0.2,
    0.10, '{"b" : 1.0, "a": null, "b":2}', 'public.t', 'é'), (NULL, NULL, NULL, '', 'NaN', 'NaN', NULL, NULL, '');
CREATE TABLE w AS SELECT * FROM t;
"""
SCOPE = "{version: 1, tables: {t.sql: [t]}, windowed: {w.csv: {table: w, column: at}}}"


def set_odd(server: EmbeddedPostgres, database: str, names: tuple[str, ...] = tuple(ODD_SETTINGS)) -> None:
    run_sql(server.conninfo(), *(f"ALTER DATABASE {database} SET {name} = '{ODD_SETTINGS[name]}'" for name in names))


@pytest.fixture
def formats(postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline) -> Pipeline:
    """A database with values of types whose text depends on settings."""
    conninfo = new_database(postgres)
    run_sql(conninfo, FORMATS)
    return make_pipeline(conninfo, SCOPE)


def rows_of(server: EmbeddedPostgres, database: str) -> list[tuple[object, ...]]:
    """Return all rows as text, read by a session with settings of its own."""
    with psycopg.connect(server.conninfo(database), client_encoding="UTF8") as session:
        session.execute("SET datestyle = ISO; SET intervalstyle = postgres; SET timezone = UTC")
        session.execute("SET bytea_output = hex; SET extra_float_digits = 3; SET search_path = ''")
        return session.execute("SELECT t::text FROM public.t t UNION ALL SELECT w::text FROM public.w w").fetchall()


@pytest.mark.parametrize("name", ODD_SETTINGS)
def test_setting_of_the_database_does_not_change_a_byte(
    name: str, formats: Pipeline, postgres: EmbeddedPostgres
) -> None:
    """An archive made with an odd setting has the SHA-256 of one made without, for COPY text and CSV."""
    _, calm = formats.backup()
    set_odd(postgres, formats.database.name, (name,))
    _, odd = formats.backup()
    assert [table.sha256 for table in odd.tables] == [table.sha256 for table in calm.tables]


@pytest.mark.parametrize(("name", "odd", "pinned"), [("lc_monetary", "POSIX", "C"), ("lock_timeout", "1ms", "1min")])
def test_setting_whose_effect_takes_a_locale_or_a_minute_is_pinned(
    name: str, odd: str, pinned: str, formats: Pipeline, postgres: EmbeddedPostgres
) -> None:
    """Sessions have the product's value, whatever the database says."""
    run_sql(postgres.conninfo(), f"ALTER DATABASE {formats.database.name} SET {name} = '{odd}'")
    with formats.database.connect() as session:
        assert session.execute("SELECT current_setting(%s)", [name]).fetchone() == (pinned,)


def test_values_come_back_into_a_database_with_odd_settings(
    formats: Pipeline, postgres: EmbeddedPostgres, new_database: NewDatabase, tmp_path: Path
) -> None:
    """NULL and '' stay apart, JSON, numeric and float keep every digit: compared with the source, not the manifest."""
    archive, _ = formats.backup()
    target = dataclasses.replace(formats.database, name=f"{formats.database.name}_odd")
    postgres.create_database(target.name)
    set_odd(postgres, target.name)
    (tmp_path / "unpacked").mkdir()
    Restore(archive, target, formats.clients, tmp_path / "unpacked").run()
    assert rows_of(postgres, target.name) == rows_of(postgres, formats.database.name)


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_window_begins_exactly_at_the_cut_off_in_utc(
    kind: str, postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline
) -> None:
    """The cut-off's own moment is in, the one before it is not, whatever the database's zone; no time is in."""
    conninfo = new_database(postgres)
    run_sql(conninfo, f"CREATE TABLE w (id int, at {kind})")
    with psycopg.connect(conninfo, options="-c timezone=UTC") as session:
        before = "2026-02-28" if kind == "date" else "2026-02-28 23:59:59.999999"
        session.execute(f"INSERT INTO w VALUES (1, '{before}'), (2, '2026-03-01 00:00'), (3, NULL)".encode())
    pipeline = make_pipeline(conninfo, "{version: 1, windowed: {w.csv: {table: w, column: at}}}")
    run_sql(conninfo, f"ALTER DATABASE {pipeline.database.name} SET timezone = 'Pacific/Kiritimati'")
    run = BackupRun("manual__edge", "manual", datetime(2026, 6, 1, tzinfo=timezone.utc))
    _, sidecar = pipeline.backup(run)
    assert sidecar.tables[0].rows == 2


def test_session_whose_machine_is_gone_without_a_word_is_noticed_by_the_server(sample_pipeline: Pipeline) -> None:
    """As after a power cut: the server asks, and does not hold locks and snapshot for the two hours of the system's."""
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    with sample_pipeline.database.connect() as session:
        assert [session.execute(f"SHOW {name}").fetchone() for name in names] == [("30",), ("10",), ("3",), ("60000",)]
