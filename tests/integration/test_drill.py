"""The drill proves an archive by restoring it, notices what is not the same, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest

from include.backup.archive_name import drill_path, sidecar_path
from include.backup.clients import find_clients
from include.backup.database import Database
from include.backup.drill import DRILL_LOCK, SCRATCH_PREFIX, drill
from include.backup.drill_record import read_drill
from include.backup.errors import BackupError, PrerequisiteError, TemporaryError, VerificationError
from include.backup.manifest import read_sidecar
from include.backup.retention import RetentionPolicy, plan_expiry
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_disks import MB, MakeDisk
from tests.fix_pipeline import Pipeline, database_of, run_sql
from tests.integration.test_restore import ODD, ODD_SCOPE

MakePipeline = Callable[[str, str | None], Pipeline]
NewDatabase = Callable[[EmbeddedPostgres], str]


@pytest.fixture
def server(postgres: EmbeddedPostgres) -> Database:
    """The drill server: the test's own, entered by its maintenance database."""
    return database_of(postgres.conninfo())


def scratch_databases(postgres: EmbeddedPostgres) -> list[str]:
    with psycopg.connect(postgres.conninfo()) as session:
        rows = session.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [SCRATCH_PREFIX])
        return [name for (name,) in rows]


def constraints(pipeline: Pipeline) -> int:
    with pipeline.database.connect() as session:
        query = "SELECT count(*) FROM pg_constraint WHERE conrelid::regclass::text LIKE 'public.%' AND convalidated"
        row = session.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def test_disk_without_room_for_what_is_unpacked_says_nothing_about_the_archive(
    server: Database, sample_pipeline: Pipeline, make_disk: MakeDisk
) -> None:
    """Found out before a byte is written: the next backup needs what is left. The same archive passes with room."""
    archive, sidecar = sample_pipeline.backup()
    small = make_disk(size=MB // 2)
    assert sum(record.bytes for record in sidecar.files) > MB // 2
    with pytest.raises(PrerequisiteError, match=rf"{archive.name} takes [\d.]+ MB .* in {small} 0.5 MB are free"):
        drill(archive, server, folder=small)
    assert read_drill(archive) is None
    assert list(small.iterdir()) == []
    assert drill(archive, server, folder=make_disk()).passed


def test_sample_passes_and_the_result_is_recorded(
    postgres: EmbeddedPostgres, server: Database, sample_pipeline: Pipeline, tmp_path: Path
) -> None:
    """Rows and tables are those of the manifest; the record says when, how long, and on which server."""
    archive, sidecar = sample_pipeline.backup()
    record = drill(archive, server, folder=tmp_path)
    assert (record.passed, record.rows, record.tables) == (True, sidecar.rows, len(sidecar.tables))
    assert record.seconds > 0
    assert record.constraints == constraints(sample_pipeline) > 0
    assert record.not_valid == ()
    assert read_drill(archive) == record
    assert drill_path(archive).stat().st_mode & 0o777 == 0o600
    assert scratch_databases(postgres) == []
    assert not list(tmp_path.glob("drill~*"))


def test_odd_schema_passes(
    postgres: EmbeddedPostgres,
    server: Database,
    new_database: NewDatabase,
    make_pipeline: MakePipeline,
    tmp_path: Path,
) -> None:
    """Odd names and values give the same bytes again."""
    conninfo = new_database(postgres)
    run_sql(conninfo, ODD)
    archive, _ = make_pipeline(conninfo, ODD_SCOPE).backup()
    assert drill(archive, server, folder=tmp_path).passed


def test_archive_that_differs_from_its_manifest_fails_and_is_recorded(
    postgres: EmbeddedPostgres,
    server: Database,
    new_database: NewDatabase,
    make_pipeline: MakePipeline,
    tmp_path: Path,
) -> None:
    """A rule of the schema that changes rows on their way in is found by the comparison, not by the load."""
    conninfo = new_database(postgres)
    run_sql(
        conninfo,
        "CREATE TABLE t (id int PRIMARY KEY, price numeric)",
        "INSERT INTO t VALUES (1, 1.25)",
    )
    pipeline = make_pipeline(conninfo, "{version: 1, tables: {t.sql: [t]}}")
    archive, sidecar = pipeline.backup()
    table = sidecar.tables[0].model_copy(update={"sha256": "0" * 64})
    forged = sidecar.model_copy(update={"tables": (table,)})
    sidecar_path(archive).write_text(forged.model_dump_json(by_alias=True))
    with pytest.raises(VerificationError):
        drill(archive, server, folder=tmp_path)
    record = read_drill(archive)
    assert record is not None
    assert not record.passed
    assert record.error
    assert scratch_databases(postgres) == []


def test_function_that_needs_a_search_path_fails_with_its_name(
    postgres: EmbeddedPostgres,
    server: Database,
    new_database: NewDatabase,
    make_pipeline: MakePipeline,
    tmp_path: Path,
) -> None:
    """What only a real restore finds is found, and named."""
    conninfo = new_database(postgres)
    run_sql(
        conninfo,
        "CREATE FUNCTION helper(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
        "CREATE FUNCTION unqualified(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN helper($1); END'",
        "CREATE TABLE t (id int CHECK (unqualified(id) > 0))",
        "INSERT INTO t VALUES (1)",
    )
    pipeline = make_pipeline(conninfo, "{version: 1, tables: {t.sql: [t]}}")
    archive, _ = pipeline.backup()
    with pytest.raises(BackupError, match="helper"):
        drill(archive, server, folder=tmp_path)
    assert scratch_databases(postgres) == []


def test_database_of_a_killed_drill_is_dropped_by_the_next(
    postgres: EmbeddedPostgres, server: Database, sample_pipeline: Pipeline, tmp_path: Path
) -> None:
    """Also while somebody looks into it; databases of other names stay."""
    archive, _ = sample_pipeline.backup()
    left_over = f"{SCRATCH_PREFIX}20200101_000000"
    postgres.create_database(left_over)
    with psycopg.connect(postgres.conninfo(left_over)):
        assert drill(archive, server, folder=tmp_path).passed
    assert scratch_databases(postgres) == []


def make_role(postgres: EmbeddedPostgres, server: Database, name: str) -> Database:
    """Return the server with a login that may make databases and no more, as backup_role.sql makes it."""
    run_sql(postgres.conninfo(), f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD 'drill-secret'")
    return dataclasses.replace(server, user=name, password="drill-secret")


@contextmanager
def in_scratch_database(postgres: EmbeddedPostgres, look: Callable[[str], None]) -> Iterator[None]:
    """Call `look` with the scratch database's name as soon as there is one."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not (names := scratch_databases(postgres)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        look(names[0])

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(wait)
        yield
        looking.result()


def test_drill_without_a_superuser_drops_its_database_also_while_the_server_looks_after_it(
    postgres: EmbeddedPostgres, server: Database, sample_pipeline: Pipeline, tmp_path: Path
) -> None:
    """An autovacuum worker or a superuser's session must not be ended by force; both leave while the drop waits."""
    archive, _ = sample_pipeline.backup()
    role = make_role(postgres, server, f"drill_{sample_pipeline.database.name}")
    left_over = f"{SCRATCH_PREFIX}20200101_000000"
    run_sql(postgres.conninfo(), f"CREATE DATABASE {left_over} OWNER {role.user}")
    run_sql(postgres.conninfo(), f"ALTER ROLE {role.user} SET idle_session_timeout = '100ms'")
    superuser = psycopg.connect(postgres.conninfo(left_over))

    def leave_once_dropping() -> None:
        waits = "SELECT 1 FROM pg_stat_activity WHERE query = %s AND state = 'active'"
        deadline = time.monotonic() + 60
        with psycopg.connect(postgres.conninfo(), autocommit=True) as admin:
            while not admin.execute(waits, [f'DROP DATABASE IF EXISTS "{left_over}"']).fetchone():
                assert time.monotonic() < deadline
                time.sleep(0.01)
        superuser.close()

    with ThreadPoolExecutor(1) as pool:
        leaving = pool.submit(leave_once_dropping)
        assert drill(archive, role, folder=tmp_path).passed
        leaving.result()
    assert scratch_databases(postgres) == []


def test_drill_that_passed_is_recorded_though_its_database_cannot_be_dropped(
    postgres: EmbeddedPostgres, server: Database, sample_pipeline: Pipeline, tmp_path: Path
) -> None:
    """The archive is proven; what fails is told, and the next drill drops what is left."""
    archive, _ = sample_pipeline.backup()
    role = make_role(postgres, server, f"stay_{sample_pipeline.database.name}")
    sessions: list[psycopg.Connection[object]] = []

    def stay(name: str) -> None:
        sessions.append(psycopg.connect(postgres.conninfo(name)))

    with (
        in_scratch_database(postgres, stay),
        pytest.raises(TemporaryError, match=r"dropping the scratch databases .* is being accessed by other users"),
    ):
        drill(archive, role, folder=tmp_path)
    record = read_drill(archive)
    assert record is not None
    assert record.passed
    sessions[0].close()
    assert drill(archive, role, folder=tmp_path).passed
    assert scratch_databases(postgres) == []


def test_drill_that_is_cancelled_or_loses_its_server_says_nothing_about_the_archive(
    postgres: EmbeddedPostgres, server: Database, sample_pipeline: Pipeline, tmp_path: Path
) -> None:
    """Marked failed in Airflow, a worker stopped, a server restarted: what was known of the archive stays."""
    archive, _ = sample_pipeline.backup()
    before = drill(archive, server, folder=tmp_path)
    cancels: list[Callable[[], None]] = []

    def cut(name: str) -> None:
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
        with psycopg.connect(postgres.conninfo(), autocommit=True) as admin:
            deadline = time.monotonic() + 60
            while not (admin.execute(query, [name]).fetchone() or (0,))[0]:
                assert time.monotonic() < deadline
                time.sleep(0.005)

    for stop, words in ((lambda _: cancels[-1](), "cancelled"), (cut, None)):
        with in_scratch_database(postgres, stop), pytest.raises(TemporaryError, match=words):
            drill(archive, server, folder=tmp_path, on_start=cancels.append)
    assert read_drill(archive) == before
    assert scratch_databases(postgres) == []
    assert list(tmp_path.glob("drill~*")) == []


def test_missing_program_says_nothing_about_the_archive(
    server: Database, sample_pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the worker's fault, and is told without a record."""
    archive, _ = sample_pipeline.backup()
    monkeypatch.setattr("include.backup.drill.find_clients", partial(find_clients, folders=[tmp_path]))
    with pytest.raises(PrerequisiteError, match="psql"):
        drill(archive, server, folder=tmp_path)
    assert read_drill(archive) is None


def test_folder_of_a_killed_drill_goes_with_the_next(
    server: Database, sample_pipeline: Pipeline, tmp_path: Path
) -> None:
    """It holds every row in clear."""
    archive, _ = sample_pipeline.backup()
    (tmp_path / "drill~killed").mkdir()
    (tmp_path / "drill~killed" / "users.sql").write_text("secret")
    assert drill(archive, server, folder=tmp_path).passed
    assert list(tmp_path.glob("drill~*")) == []


def test_archive_that_expired_during_its_drill_leaves_no_record(
    server: Database, sample_pipeline: Pipeline, tmp_path: Path
) -> None:
    """Nothing would ever remove it."""
    archive, _ = sample_pipeline.backup()

    def expire(_: Callable[[], None]) -> None:
        archive.unlink()

    with pytest.raises(VerificationError, match="is gone: it has expired"):
        drill(archive, server, folder=tmp_path, on_start=expire)
    assert not drill_path(archive).exists()


def test_server_is_reached_by_its_ipv6_address(server: Database, sample_pipeline: Pipeline, tmp_path: Path) -> None:
    """restore.sh gets an address in brackets."""
    archive, _ = sample_pipeline.backup()
    assert drill(archive, dataclasses.replace(server, host=f"::ffff:{server.host}"), folder=tmp_path).passed


def test_second_drill_on_the_server_has_to_wait(
    postgres: EmbeddedPostgres, server: Database, sample_pipeline: Pipeline, tmp_path: Path
) -> None:
    """It may be tried again; nothing of the first one is dropped."""
    archive, _ = sample_pipeline.backup()
    with psycopg.connect(postgres.conninfo()) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [DRILL_LOCK])
        with pytest.raises(TemporaryError, match="another drill"):
            drill(archive, server, folder=tmp_path)
    assert read_drill(archive) is None


def test_role_that_may_not_create_databases_is_told(
    postgres: EmbeddedPostgres, server: Database, sample_pipeline: Pipeline, tmp_path: Path
) -> None:
    """The server's words reach the error."""
    archive, _ = sample_pipeline.backup()
    role = f"no_create_{sample_pipeline.database.name}"
    run_sql(postgres.conninfo(), f"CREATE ROLE {role} LOGIN PASSWORD 'drill-secret'")
    weak = dataclasses.replace(server, user=role, password="drill-secret")
    with pytest.raises(BackupError, match="permission denied to create database"):
        drill(archive, weak, folder=tmp_path)


def test_newest_proven_archive_never_expires(sample_pipeline: Pipeline) -> None:
    """However old it is, and however many newer ones there are that no drill has proven."""
    archive, _ = sample_pipeline.backup()
    sidecar = read_sidecar(archive)
    many = [
        sidecar.model_copy(
            update={
                "archive": f"critical_backup_2026{month:02}01_020000.tar.gz",
                "snapshot_at": sidecar.snapshot_at - timedelta(days=100 - month),
            }
        )
        for month in range(1, 11)
    ]
    newest = sidecar.model_copy(update={"archive": "critical_backup_20261120_020000.tar.gz"})
    policy = RetentionPolicy(keep=timedelta(days=30), min_keep=1, max_age=timedelta(hours=25))
    proven = {many[2].archive, many[5].archive}
    plan = plan_expiry([*many, newest], policy, now=sidecar.snapshot_at, proven=proven)
    assert {kept.archive for kept in plan.keep} == {newest.archive, many[5].archive}


@pytest.mark.parametrize("window", ["tables: {t.sql: [t]}", "windowed: {t.csv: {table: t, column: at}}"])
def test_rows_that_land_in_other_partitions_pass(
    postgres: EmbeddedPostgres,
    server: Database,
    new_database: NewDatabase,
    make_pipeline: MakePipeline,
    tmp_path: Path,
    window: str,
) -> None:
    """An enum is hashed by its number in the catalog, which differs in every database."""
    labels = ", ".join(f"'label {number}'" for number in range(20))
    conninfo = new_database(postgres)
    run_sql(
        conninfo,
        f"CREATE TYPE e AS ENUM ({labels})",
        "CREATE TABLE t (e e, n int, at timestamptz DEFAULT now()) PARTITION BY HASH (e)",
        *(f"CREATE TABLE t{n} PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER {n})" for n in range(3)),
        "INSERT INTO t SELECT ('label ' || n % 20)::e, n FROM generate_series(1, 200) n",
    )
    archive, _ = make_pipeline(conninfo, f"{{version: 1, {window}}}").backup()
    assert drill(archive, server, folder=tmp_path).passed
