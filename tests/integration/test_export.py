"""One snapshot, one export at a time, and nothing left behind when it ends."""

from __future__ import annotations

import dataclasses
import gzip
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from include.backup.catalog import Catalog, Session, read_catalog
from include.backup.database import APPLICATION_NAME
from include.backup.errors import BackupError, TemporaryError
from include.backup.export import ADVISORY_LOCK, Export, ExportResult
from include.backup.references import take_along
from include.backup.run import utc_now
from include.backup.selection import Selection
from include.backup.sequences import read_sequences
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import Pipeline, run_sql

NewDatabase = Callable[[EmbeddedPostgres], str]
MakePipeline = Callable[[str, str | None], Pipeline]

TWO_TABLES = """
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
CREATE TABLE lines (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint REFERENCES orders);
INSERT INTO orders (note) SELECT repeat('x', 200) FROM generate_series(1, 20000);
INSERT INTO lines (order_id) SELECT id FROM orders;
"""
TWO_FILES = "{version: 1, tables: {orders.sql: [orders], lines.sql: [lines]}}"


@pytest.fixture
def two_tables(postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline) -> Pipeline:
    """A pipeline for two tables whose rows belong together, in two files."""
    conninfo = new_database(postgres)
    run_sql(conninfo, TWO_TABLES)
    return make_pipeline(conninfo, TWO_FILES)


@contextmanager
def in_background(pipeline: Pipeline, folder: Path) -> Iterator[tuple[Export, Future[ExportResult]]]:
    """Run an export in a thread; cancel it at the end."""
    export = pipeline.export(folder)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(export.run, pipeline.plan, cut_off=utc_now())
        try:
            yield export, future
        finally:
            export.cancel()


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that another thread or the server does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def sessions(server: EmbeddedPostgres, pipeline: Pipeline, *, waiting_for: str = "%") -> int:
    """Count the product's sessions at the server, those that wait for a kind of event only if asked."""
    with psycopg.connect(server.conninfo()) as session:
        row = session.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND datname = %s"
            " AND coalesce(wait_event_type, '') LIKE %s",
            [APPLICATION_NAME, pipeline.database.name, waiting_for],
        ).fetchone()
    assert row
    return int(row[0])


def test_rows_written_during_the_export_fit_together(two_tables: Pipeline, tmp_path: Path) -> None:
    """While pairs of rows are written all the time, every archive has as many of one table as of the other."""
    stop = threading.Event()

    def write() -> int:
        written = 0
        with psycopg.connect(
            host=two_tables.database.host,
            port=two_tables.database.port,
            user=two_tables.database.user,
            password=two_tables.database.password,
            dbname=two_tables.database.name,
        ) as session:
            while not stop.is_set():
                session.execute(
                    "WITH o AS (INSERT INTO orders DEFAULT VALUES RETURNING id) "
                    "INSERT INTO lines (order_id) SELECT id FROM o"
                )
                session.commit()
                written += 1
        return written

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        counts = []
        for number in range(3):
            result = two_tables.export(tmp_path / str(number)).run(two_tables.plan, cut_off=utc_now())
            counts.append([table.rows for table in result.tables])
        stop.set()
        assert writer.result() > 0
    assert all(orders == lines for orders, lines in counts)
    assert counts[0] != counts[-1]


def test_what_comes_after_the_snapshot_is_in_no_file(
    postgres: EmbeddedPostgres, two_tables: Pipeline, tmp_path: Path
) -> None:
    """Rows, tables and keys made once the snapshot is there are neither in the rows nor in either dump."""
    conninfo = postgres.conninfo(two_tables.database.name)
    plans = 0

    def plan(catalog: Catalog) -> tuple[Selection, ...]:
        nonlocal plans
        plans += 1
        if plans == 2:  # the first is for the locks, the second is made in the snapshot
            run_sql(conninfo, "INSERT INTO orders DEFAULT VALUES", "CREATE TABLE late (id int PRIMARY KEY)")
        return two_tables.plan(catalog)

    result = two_tables.export(tmp_path / "parts").run(plan, cut_off=utc_now())
    assert plans == 2
    assert [table.rows for table in result.tables] == [20000, 20000]
    for file in ("schema.sql", "constraints.sql"):
        assert b"public.late" not in gzip.decompress((tmp_path / "parts" / f"{file}.gz").read_bytes())


def test_rows_that_no_reference_changes_leave_while_references_are_followed(
    postgres: EmbeddedPostgres,
    new_database: NewDatabase,
    make_pipeline: MakePipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The export does not wait for the answer with everything; what references may bring rows of waits."""
    conninfo = new_database(postgres)
    run_sql(
        conninfo,
        "CREATE TABLE bills (id int PRIMARY KEY, at timestamptz)",
        "CREATE TABLE items (id int PRIMARY KEY, bill int REFERENCES bills, at timestamptz)",
        "INSERT INTO bills VALUES (1, '2001-01-01'), (2, '2001-01-01'), (3, now())",
        "INSERT INTO items SELECT n, 1, now() FROM generate_series(1, 9000) n",
    )
    scope = "{version: 1, windowed: {bills.csv: {table: bills, column: at}, items.csv: {table: items, column: at}}}"
    pipeline, parts = make_pipeline(conninfo, scope), tmp_path / "parts"

    def follow(*arguments: Any) -> tuple[Selection, ...]:
        wait_until(lambda: any(path.stat().st_size for path in parts.glob("items.csv.gz")))
        assert not list(parts.glob("bills.csv.gz"))
        return take_along(*arguments)

    monkeypatch.setattr("include.backup.export.take_along", follow)
    result = pipeline.export(parts).run(pipeline.plan, cut_off=utc_now())
    assert {table.name: table.rows for table in result.tables} == {"bills": 2, "items": 9000}
    assert [part.name for part in result.parts if part.kind == "rows"] == ["bills.csv", "items.csv"]


def test_error_while_references_are_followed_is_the_servers_own(
    two_tables: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that the export was cancelled, which the other streams are then; and it is not tried again for nothing."""

    def fail(session: Session, *_: Any) -> tuple[Selection, ...]:
        session.execute("SELECT 1 / 0")
        return ()

    monkeypatch.setattr("include.backup.export.take_along", fail)
    with pytest.raises(BackupError, match=r"following references in .*: division by zero") as raised:
        two_tables.export(tmp_path / "parts").run(two_tables.plan, cut_off=utc_now())
    assert not isinstance(raised.value, TemporaryError)


def test_any_number_of_sequences_is_read_and_one_that_was_dropped_may_pass(
    postgres: EmbeddedPostgres, two_tables: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In stretches that the server's stack can take; between catalog and reading somebody may drop one."""
    monkeypatch.setattr("include.backup.sequences.SEQUENCES_AT_ONCE", 1)
    with two_tables.database.connect() as session:
        catalog = read_catalog(session)
        seen = {record.name: record.last_value for record in read_sequences(session, catalog)}
        assert seen == {"orders_id_seq": 20000, "lines_id_seq": 20000}
        run_sql(postgres.conninfo(two_tables.database.name), "DROP TABLE lines")
        with pytest.raises(TemporaryError, match=r"lines_id_seq.* does not exist: it was dropped just now"):
            tuple(read_sequences(session, catalog))


def test_snapshot_waits_for_a_second_whose_name_is_free(two_tables: Pipeline, tmp_path: Path) -> None:
    """In the hour that comes twice, an archive of the first time may have it."""
    asked: list[datetime] = []

    def is_taken(moment: datetime) -> bool:
        asked.append(moment)
        return moment < asked[0] + timedelta(seconds=1)

    export = Export(two_tables.database, two_tables.clients, tmp_path, parallel=2, is_taken=is_taken)
    result = export.run(two_tables.plan, cut_off=utc_now())
    assert len(asked) > 1
    assert result.snapshot_at >= asked[0] + timedelta(seconds=1)


def test_export_takes_no_more_than_its_limit(two_tables: Pipeline, tmp_path: Path) -> None:
    """All connections together; the rows are the same."""
    free = two_tables.export(tmp_path / "free").run(two_tables.plan, cut_off=utc_now())
    (tmp_path / "slow").mkdir()
    taken = sum(table.bytes for table in free.tables)
    slow = Export(two_tables.database, two_tables.clients, tmp_path / "slow", parallel=2, bytes_per_second=taken)
    started = time.monotonic()
    assert slow.run(two_tables.plan, cut_off=utc_now()).tables == free.tables
    assert time.monotonic() - started >= 1


def test_second_export_waits_for_its_turn(postgres: EmbeddedPostgres, two_tables: Pipeline, tmp_path: Path) -> None:
    """While another session exports, nothing is written; when it ends, the export goes on."""
    with psycopg.connect(postgres.conninfo(two_tables.database.name), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
        with in_background(two_tables, tmp_path / "parts") as (_, future):
            time.sleep(1)
            assert not future.done()
            assert not list((tmp_path / "parts").glob("*.gz"))
            other.execute("SELECT pg_advisory_unlock_all()")
            assert future.result(timeout=30).tables[0].rows == 20000


def test_cancelled_export_leaves_no_session_behind(
    postgres: EmbeddedPostgres, two_tables: Pipeline, tmp_path: Path
) -> None:
    """A cancelled export ends within seconds, says so, and the server has none of its sessions."""
    blocker = psycopg.connect(postgres.conninfo(two_tables.database.name))
    try:
        # Not a table in scope: those are locked before; pg_dump waits for this one.
        blocker.execute("CREATE TABLE late (id int)")
        blocker.commit()
        blocker.execute("LOCK TABLE late IN ACCESS EXCLUSIVE MODE")
        with in_background(two_tables, tmp_path / "parts") as (export, future):
            wait_until(lambda: sessions(postgres, two_tables, waiting_for="Lock") > 0)
            export.cancel()
            with pytest.raises(TemporaryError, match="cancelled"):
                future.result(timeout=10)
    finally:
        blocker.close()
    wait_until(lambda: sessions(postgres, two_tables) == 0)


def test_dropped_table_fails_for_good_and_names_it(
    postgres: EmbeddedPostgres, two_tables: Pipeline, tmp_path: Path
) -> None:
    """A table in scope that has gone is one clear error, and no retry is asked for."""
    run_sql(postgres.conninfo(two_tables.database.name), "DROP TABLE lines")
    with pytest.raises(BackupError, match="not in the database: lines") as caught:
        two_tables.export(tmp_path / "parts").run(two_tables.plan, cut_off=utc_now())
    assert not isinstance(caught.value, TemporaryError)


def test_ended_session_may_pass(postgres: EmbeddedPostgres, two_tables: Pipeline, tmp_path: Path) -> None:
    """When the server ends the sessions, as in a restart, the export may be tried again."""
    blocker = psycopg.connect(postgres.conninfo(two_tables.database.name))
    try:
        blocker.execute("CREATE TABLE late (id int)")
        blocker.commit()
        blocker.execute("LOCK TABLE late IN ACCESS EXCLUSIVE MODE")
        with in_background(two_tables, tmp_path / "parts") as (_, future):
            wait_until(lambda: sessions(postgres, two_tables, waiting_for="Lock") > 0)
            with psycopg.connect(postgres.conninfo(), autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
                    [APPLICATION_NAME],
                )
            with pytest.raises(TemporaryError):
                future.result(timeout=10)
    finally:
        blocker.close()


def test_password_is_in_no_argument_list(postgres: EmbeddedPostgres, two_tables: Pipeline, tmp_path: Path) -> None:
    """While psql and pg_dump run, no process of this machine shows the password in its arguments."""
    seen: set[bytes] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes())
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        two_tables.export(tmp_path / "parts").run(two_tables.plan, cut_off=utc_now())
    finally:
        stop.set()
        watcher.join()
    assert any(b"psql" in line for line in seen)
    assert not [line for line in seen if two_tables.database.password.encode() in line]


def test_csv_line_of_only_an_end_marker_makes_it_copy_text(
    postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline, tmp_path: Path
) -> None:
    """Rows that older servers would not read to their end as CSV are COPY text, and nothing of the CSV is left."""
    conninfo = new_database(postgres)
    run_sql(conninfo, "CREATE TABLE e (at date, note text)", "INSERT INTO e VALUES (now(), E'a\\n\\\\.\\nb')")
    pipeline = make_pipeline(
        conninfo, "{version: 1, windowed: {e.csv: {table: e, column: at}, f.csv: {table: f, column: at}}}"
    )
    run_sql(conninfo, "CREATE TABLE f (at date, note text)", "INSERT INTO f VALUES (now(), 'a \\. b')")
    result = pipeline.export(tmp_path / "parts").run(pipeline.plan, cut_off=utc_now())
    assert [(table.file, table.rows, table.window is None) for table in result.tables] == [
        ("e.copy.sql", 1, False),
        ("f.csv", 1, False),
    ]
    assert {path.name for path in (tmp_path / "parts").glob("*.gz")} == {f"{part.name}.gz" for part in result.parts}
    (warning,) = result.warnings
    assert warning.startswith("e.copy.sql (COPY text) is there instead of e.csv: ")


def test_rows_behind_row_security_are_an_error_not_a_gap(
    postgres: EmbeddedPostgres, two_tables: Pipeline, tmp_path: Path
) -> None:
    """A role that a policy hides rows from cannot make a backup that lacks them."""
    name = two_tables.database.name
    run_sql(
        postgres.conninfo(name),
        f"CREATE ROLE reader_{name} LOGIN PASSWORD 'reader-secret' IN ROLE pg_read_all_data",
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY few ON orders USING (id < 10)",
    )
    two_tables.database = dataclasses.replace(two_tables.database, user=f"reader_{name}", password="reader-secret")
    with pytest.raises(BackupError, match="row-level security"):
        two_tables.export(tmp_path / "parts").run(two_tables.plan, cut_off=utc_now())


def test_how_long_the_snapshot_was_held_is_logged(
    two_tables: Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A snapshot holds vacuum back, so its time stands in the log of every export."""
    with caplog.at_level(logging.INFO, "include.backup.export"):
        two_tables.export(tmp_path / "parts").run(two_tables.plan, cut_off=utc_now())
    assert [text for text in caplog.messages if re.fullmatch(r"the snapshot was held for \d+\.\d s", text)]
