"""What no backup of this kind carries is refused or named before work starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import psycopg
import pytest

from include.backup.catalog import read_catalog
from include.backup.errors import BackupError
from include.backup.not_carried import RELATIONS_AT_DEFAULT_LOCKS, relations_warnings
from include.backup.prerequisites import Findings, check_prerequisites
from include.backup.restore import Restore
from include.backup.run import utc_now
from include.backup.settings import Settings
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_pipeline import Pipeline, run_sql

NewDatabase = Callable[[EmbeddedPostgres], str]
Check = Callable[..., Findings]

FOREIGN = "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w"


@dataclasses.dataclass
class Source:
    """A database and the check of it."""

    conninfo: str
    make_pipeline: Callable[[str, str | None], Pipeline]

    def pipeline(self, scope: str) -> Pipeline:
        return self.make_pipeline(self.conninfo, "{version: 1, exclude: ['x*'], " + scope + "}")

    def check(self, scope: str, *statements: str, **settings: object) -> Findings:
        """Run the statements, then check the database with the scope."""
        run_sql(self.conninfo, *statements)
        return self.check_only(self.pipeline(scope), **settings)

    def check_only(self, pipeline: Pipeline, **settings: object) -> Findings:
        values = {
            "admin_emails": "admin@example.com",
            "backup_dir": pipeline.backup_dir,
            "backup_config_dir": pipeline.config_dir,
            "backup_scope_file": pipeline.backup_dir.parent / "scope.yaml",
        }
        cut_off = datetime(2026, 1, 1, tzinfo=timezone.utc)
        chosen = Settings(**values | settings)  # type: ignore[arg-type]
        return check_prerequisites(chosen, pipeline.database, cut_off_for=lambda _: cut_off)


@pytest.fixture
def source(
    postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: Callable[[str, str | None], Pipeline]
) -> Source:
    return Source(new_database(postgres), make_pipeline)


IN_SCOPE = {
    "foreign table": (["CREATE FOREIGN TABLE f (a int) SERVER s"], "f", "f in the scope file is a foreign table"),
    "view": (["CREATE VIEW f AS SELECT 1"], "f", "f in the scope file is a view"),
    "materialised view": (["CREATE MATERIALIZED VIEW f AS SELECT 1"], "f", "is a materialised view"),
    "partition": (
        ["CREATE TABLE r (a int) PARTITION BY LIST (a)", "CREATE TABLE f PARTITION OF r DEFAULT"],
        "f",
        "f in the scope file is a partition of r: take that",
    ),
    "foreign partition": (
        ["CREATE TABLE r (a int) PARTITION BY LIST (a)", "CREATE FOREIGN TABLE f PARTITION OF r DEFAULT SERVER s"],
        "r",
        "f of r is a foreign table",
    ),
}


@pytest.mark.parametrize("case", IN_SCOPE)
def test_what_is_no_table_in_scope_is_one_clear_error(case: str, source: Source) -> None:
    """The error says what the name stands for, instead of that there is no such table."""
    statements, name, words = IN_SCOPE[case]
    (error,) = source.check(f"tables: {{t.sql: [{name}]}}", FOREIGN, *statements).errors
    assert words in error


def test_foreign_table_out_of_scope_is_named_unless_left_out(source: Source) -> None:
    """Nobody thinks that its rows are in the backup."""
    findings = source.check(
        "tables: {t.sql: [t]}",
        "CREATE TABLE t (a int)",
        FOREIGN,
        "CREATE FOREIGN TABLE f (a int) SERVER s",
        "CREATE FOREIGN TABLE x (a int) SERVER s",
    )
    assert findings.errors == []
    (warning,) = findings.warnings
    assert warning.endswith("are not in this backup: f")


def test_windowed_table_of_only_generated_columns_is_refused(source: Source) -> None:
    """There would be no column to write, so the CSV could not be loaded."""
    made = "CREATE TABLE w (at date GENERATED ALWAYS AS (date '2026-01-01') STORED)"
    (error,) = source.check("windowed: {w.csv: {table: w, column: at}}", made).errors
    assert "all columns of w are generated" in error


def test_windowed_table_without_columns_is_refused(source: Source) -> None:
    """It has no column for a window."""
    (error,) = source.check("windowed: {w.csv: {table: w, column: at}}", "CREATE TABLE w ()").errors
    assert "column at of w is in the scope file but not in the database" in error


def test_temporary_tables_are_ignored(source: Source) -> None:
    """A temporary table of any session is neither unknown nor in the way."""
    run_sql(source.conninfo, "CREATE TABLE t (a int)")
    with psycopg.connect(source.conninfo) as session:
        session.execute("CREATE TEMPORARY TABLE mine (a serial)")
        assert [str(name) for name in read_catalog(session).tables] == ["t"]
        session.commit()
        findings = source.check("tables: {t.sql: [t]}")
        assert (findings.errors, findings.warnings) == ([], [])


def test_secret_of_a_user_mapping_is_named_without_its_value(source: Source) -> None:
    """The value is in schema.sql and not in the warning."""
    findings = source.check(
        "tables: {t.sql: [t]}",
        "CREATE TABLE t (a int)",
        FOREIGN,
        "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (user 'u')",
        "CREATE USER MAPPING FOR postgres SERVER s OPTIONS (user 'u', password 'hidden-value')",
    )
    (warning,) = findings.warnings
    assert "user mapping of postgres for server s is in schema.sql with its password" in warning
    assert "hidden-value" not in warning


def test_user_mapping_restores_where_its_role_is_missing(
    postgres: EmbeddedPostgres, source: Source, tmp_path: Path
) -> None:
    """The role is made without login, like those of policies, or the restore would fail."""
    pipeline = source.pipeline("tables: {t.sql: [t]}")
    name = pipeline.database.name
    mapping = f"CREATE USER MAPPING FOR mapped_{name} SERVER s"
    run_sql(source.conninfo, "CREATE TABLE t (a int)", FOREIGN, f"CREATE ROLE mapped_{name}", mapping)
    archive, _ = pipeline.backup()
    clients = pipeline.clients
    run_sql(postgres.conninfo(), f"DROP DATABASE {name}", f"DROP ROLE mapped_{name}")
    (tmp_path / "unpacked").mkdir()
    assert Restore(archive, pipeline.database, clients, tmp_path / "unpacked").run().tables == 1


def test_settings_of_the_database_are_named_without_their_values(source: Source) -> None:
    """They are not in the archive, and may be secrets."""
    run_sql(source.conninfo, "CREATE TABLE t (a int)")
    pipeline = source.pipeline("tables: {t.sql: [t]}")
    findings = source.check(
        "tables: {t.sql: [t]}",
        f"ALTER DATABASE {pipeline.database.name} SET app.key = 'hidden-value'",
        f"ALTER ROLE postgres IN DATABASE {pipeline.database.name} SET work_mem = '5MB'",
    )
    (warning,) = findings.warnings
    assert "are not in this backup: app.key, work_mem" in warning
    assert "hidden-value" not in warning


def test_role_with_too_few_connections_is_refused_and_with_enough_backs_up(source: Source) -> None:
    """The number in the error is enough, and one less is not."""
    run_sql(source.conninfo, "CREATE TABLE t (a int)", "CREATE TABLE w (at date)", "CREATE TABLE v (at date)")
    pipeline = source.pipeline(
        "tables: {t.sql: [t]}, windowed: {w.csv: {table: w, column: at}, v.csv: {table: v, column: at}}"
    )
    role = f"limited_{pipeline.database.name}"
    run_sql(
        source.conninfo,
        f"CREATE ROLE {role} LOGIN PASSWORD 'limited-secret' CONNECTION LIMIT 2 IN ROLE pg_read_all_data",
    )
    pipeline.database = dataclasses.replace(pipeline.database, user=role, password="limited-secret")
    (error,) = source.check_only(pipeline, backup_parallel=2).errors
    assert f"ALTER ROLE {role} CONNECTION LIMIT 3" in error

    def export_often() -> None:
        for _ in range(20):  # on a busy machine, two that should meet may come one after the other
            pipeline.export(pipeline.backup_dir / "few").run(pipeline.plan, cut_off=utc_now())

    with pytest.raises(BackupError, match="too many connections"):
        export_often()
    run_sql(source.conninfo, f"ALTER ROLE {role} CONNECTION LIMIT 3")
    assert source.check_only(pipeline, backup_parallel=2).errors == []
    export = pipeline.export(pipeline.backup_dir / "enough")
    assert len(export.run(pipeline.plan, cut_off=utc_now()).tables) == 3


def test_database_in_sql_ascii_is_a_warning(postgres: EmbeddedPostgres, source: Source) -> None:
    """One row that is not UTF-8 ends the export, with an error that names the table."""
    with psycopg.connect(postgres.conninfo(), autocommit=True) as session:
        session.execute("DROP DATABASE IF EXISTS plain_ascii")
        session.execute("CREATE DATABASE plain_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    source.conninfo = postgres.conninfo("plain_ascii")
    (warning,) = source.check("tables: {t.sql: [t]}", "CREATE TABLE t (b text)").warnings
    assert "plain_ascii is in SQL_ASCII" in warning
    run_sql(source.conninfo, r"INSERT INTO t (b) VALUES (convert_from('\xe9', 'SQL_ASCII'))")
    with pytest.raises(BackupError, match="exporting t: invalid byte sequence"):
        source.pipeline("tables: {t.sql: [t]}").backup()


def test_more_relations_than_default_locks_is_a_warning_with_the_setting() -> None:
    """Up to what was measured there is none; above, the number to set is one that is guaranteed to be enough."""
    assert list(relations_warnings(RELATIONS_AT_DEFAULT_LOCKS)) == []
    (warning,) = relations_warnings(20_001)
    assert "max_locks_per_transaction on the target to 201 or more" in warning


def test_large_objects_are_named_and_refused_where_a_taken_column_points_to_them(source: Source) -> None:
    """A restore would lose what an oid column points to; elsewhere a warning is enough."""
    made = ("SELECT lo_create(0)", "CREATE TABLE t (a int)", "CREATE TABLE files (content oid)")
    (warning,) = source.check("tables: {t.sql: [t]}", *made).warnings[1:]
    assert "the database holds large objects" in warning
    (error,) = source.check("tables: {t.sql: [t, files]}").errors
    assert "column content of files is of type oid" in error
    (error,) = source.check("tables: {t.sql: [t, more]}", "CREATE DOMAIN lo AS oid", "CREATE TABLE more (a lo)").errors
    assert "column a of more is of type" in error
