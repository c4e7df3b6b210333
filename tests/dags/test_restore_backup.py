"""The DAG restore_backup: what it refuses, that it waits for a person, what it restores, and who hears of it."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import json
from collections.abc import Iterator
from email.message import EmailMessage

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from include.backup.alerted import ALERTED_FILE
from include.backup.restore_target import SERVERS_OWN
from include.demo.embedded_postgres import EmbeddedPostgres
from include.operators.alerts import alert_run_failure
from tests.fix_airflow import LocalAirflow, RunResult, Site

RESTORED = "nightly_sample_back"


@pytest.fixture
def backed_up(
    airflow: LocalAirflow, site: Site, postgres_18: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> Site:
    """A site with one archive, and a connection whose role may create databases."""
    values = conninfo_to_dict(postgres_18.conninfo())
    # Another address of the server that is backed up.
    connection = {"conn_type": "postgres", "host": "localhost", "port": int(str(values["port"]))}
    login = {"login": values["user"], "password": values["password"]}
    monkeypatch.setenv("AIRFLOW_CONN_BACKUP_DRILL", json.dumps(connection | login))
    assert airflow.run(airflow.trigger(deliver_mail=False)).state == "success"
    return site


@pytest.fixture
def restore(airflow: LocalAirflow, backed_up: Site, postgres_18: EmbeddedPostgres) -> Iterator[LocalAirflow]:
    """Airflow with the DAG restore_backup; the restored database goes with the test."""
    restore = dataclasses.replace(airflow, dag_id="restore_backup")
    restore.load_dag()
    yield restore
    drop(postgres_18)


def drop(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.conninfo(), autocommit=True) as session:
        session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(RESTORED)))


def databases(postgres: EmbeddedPostgres) -> set[str]:
    with psycopg.connect(postgres.conninfo()) as session:
        return {name for (name,) in session.execute("SELECT datname FROM pg_database")}


def ask(restore: LocalAirflow, **params: object) -> str:
    """Fill in the form and return the run."""
    values = {"connection": "backup_drill", "database": RESTORED, "confirm": params.get("database", RESTORED)}
    return restore.trigger(**values | params)


def answer(restore: LocalAirflow, run_id: str, option: str) -> None:
    """Do what the button of Required Actions does."""
    path = f"/api/v2/dags/restore_backup/dagRuns/{run_id}/taskInstances/approve_restore/-1/hitlDetails"
    assert restore.api.patch(path, json={"chosen_options": [option]}).is_success


def question(restore: LocalAirflow, run_id: str) -> str:
    """Return what the person who approves reads."""
    path = f"/api/v2/dags/restore_backup/dagRuns/{run_id}/taskInstances/approve_restore/-1/hitlDetails"
    detail = restore.api.get(path).json()
    return f"{detail['subject']}\n{detail['body']}"


def mails(site: Site) -> list[EmailMessage]:
    return [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in site.mailbox.messages()
    ]


def plain(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def refused(restore: LocalAirflow, **params: object) -> str:
    """Ask for what must be refused before anybody is asked, and return why."""
    result = restore.run(ask(restore, **params))
    assert result.states == {
        "check_restore": "failed",
        "approve_restore": "upstream_failed",
        "restore_archive": "upstream_failed",
        "mail_restored": "upstream_failed",
    }
    return str(result.errors["check_restore"])


def approved(restore: LocalAirflow, **params: object) -> RunResult:
    """Ask, approve, and run to the end."""
    run_id = ask(restore, **params)
    assert restore.run(run_id).states["approve_restore"] == "awaiting_input"
    answer(restore, run_id, "Approve")
    return restore.run(run_id)


def test_restore_waits_for_a_person_then_compares_and_mails(
    restore: LocalAirflow, backed_up: Site, postgres_18: EmbeddedPostgres
) -> None:
    """Before the approval nothing is there; after it every row; every administrator has the mail."""
    run_id = ask(restore)
    assert restore.run(run_id).states["approve_restore"] == "awaiting_input"
    assert RESTORED not in databases(postgres_18)
    (archive,) = backed_up.published_paths
    for part in (archive.name, RESTORED, "of 17 tables", "nightly_sample", "localhost"):
        assert part in question(restore, run_id)
    answer(restore, run_id, "Approve")
    assert restore.run(run_id).state == "success"
    with psycopg.connect(postgres_18.conninfo(RESTORED)) as session:
        assert session.execute("SELECT count(*) FROM users").fetchone() > (0,)  # type: ignore[operator]
    (mail,) = mails(backed_up)
    assert mail["Subject"].startswith(f"Restored into {RESTORED}: ")
    assert mail["X-Envelope-To"] == "admin1@example.com, admin2@example.com"
    assert "every table has the SHA-256 of the manifest" in plain(mail)


def test_rejected_restore_changes_nothing(
    restore: LocalAirflow, backed_up: Site, postgres_18: EmbeddedPostgres
) -> None:
    """No database, no mail, and no red run: somebody decided so."""
    run_id = ask(restore)
    restore.run(run_id)
    answer(restore, run_id, "Reject")
    result = restore.run(run_id)
    assert result.state == "success"
    assert result.tasks("skipped") == {"restore_archive", "mail_restored"}
    assert RESTORED not in databases(postgres_18)
    assert mails(backed_up) == []


def test_single_tables_go_into_a_schema_of_their_own_in_a_database_that_is_there(
    restore: LocalAirflow, backed_up: Site, postgres_18: EmbeddedPostgres
) -> None:
    """The live table of the same name keeps its rows; the restored one is compared, too."""
    conninfo = postgres_18.create_database(RESTORED)
    with psycopg.connect(conninfo, autocommit=True) as session:
        session.execute("CREATE TABLE permissions (mine int)")
    result = approved(restore, tables=["permissions"])
    assert result.state == "success", result.errors
    (archive,) = backed_up.published_paths
    schema = archive.name.removesuffix(".tar.gz").replace("critical_backup", "restored")
    with psycopg.connect(conninfo) as session:
        assert session.execute(f"SELECT count(*) FROM {schema}.permissions").fetchone() > (0,)  # type: ignore[operator]
        assert session.execute("SELECT count(mine) FROM permissions").fetchone() == (0,)
    assert schema in plain(mails(backed_up)[0])


def test_single_tables_go_where_they_belong_in_a_new_database(
    restore: LocalAirflow, backed_up: Site, postgres_18: EmbeddedPostgres
) -> None:
    """With the whole schema, so that their types are there; the others are empty."""
    result = approved(restore, tables=["users", "point_transactions"])
    assert result.state == "success", result.errors
    with psycopg.connect(postgres_18.conninfo(RESTORED)) as session:
        assert session.execute("SELECT count(*) FROM users").fetchone() > (0,)  # type: ignore[operator]
        assert session.execute("SELECT count(*) FROM point_transactions").fetchone() > (0,)  # type: ignore[operator]
        assert session.execute("SELECT count(*) FROM purchases").fetchone() == (0,)
    assert "2 tables" in plain(mails(backed_up)[0])


def test_source_is_never_a_target_by_whatever_address(restore: LocalAirflow) -> None:
    """The reason says what would be lost; the connection says localhost, the source 127.0.0.1."""
    reason = refused(restore, database="nightly_sample")
    assert "is the database that is backed up" in reason
    assert "would be lost" in reason
    assert "is the database that is backed up" in refused(restore, database="nightly_sample", tables=["users"])


@pytest.mark.parametrize("name", sorted(SERVERS_OWN))
def test_databases_of_the_server_itself_are_refused(restore: LocalAirflow, name: str) -> None:
    """They have no tables, so restore.sh alone would take them for empty ones."""
    assert "belongs to the server itself" in refused(restore, database=name)


def test_wrong_confirmation_is_refused(restore: LocalAirflow) -> None:
    """Both names are shown."""
    assert f"'nightly', the database is '{RESTORED}'" in refused(restore, confirm="nightly")


def test_database_with_rows_is_refused(restore: LocalAirflow, postgres_18: EmbeddedPostgres) -> None:
    """By restore.sh's own rule, before anybody is asked."""
    with psycopg.connect(postgres_18.create_database(RESTORED), autocommit=True) as session:
        session.execute("CREATE TABLE live (id int)")
    assert "a backup is never loaded over live rows" in refused(restore)


def test_refused_order_is_mailed_to_nobody_but_a_killed_restore_is(restore: LocalAirflow, backed_up: Site) -> None:
    """Whoever has filled in the form sees the refusal; a process that was killed can tell nobody itself."""
    run_id = ask(restore, confirm="other")
    restore.run(run_id)
    end = restore.end_of_run(run_id, "task_failure")
    alert_run_failure(end)
    assert mails(backed_up) == []
    (backed_up.backup_dir / ALERTED_FILE.format(dag_id="restore_backup")).unlink()
    alert_run_failure(end)  # as if the step had left no word
    assert [mail["Subject"] for mail in mails(backed_up)] == ["restore_backup FAILED in check_restore"]


def test_unknown_connection_and_table_are_told(restore: LocalAirflow) -> None:
    """One line each."""
    assert "Airflow has no connection nowhere" in refused(restore, connection="nowhere")
    assert "not in this backup: user" in refused(restore, tables=["user"])


def test_role_that_may_not_create_databases_is_told_what_to_do(
    restore: LocalAirflow, sample_settings: dict[str, str]
) -> None:
    """The backup's own role is the form's default and can only read."""
    reason = refused(restore, connection="smart_ai_hub")
    assert f"role {sample_settings['POSTGRES_USER']} may not create databases" in reason
    assert "GRANT it CREATEDB" in reason


def test_restore_that_fails_after_the_approval_alerts(
    restore: LocalAirflow, backed_up: Site, postgres_18: EmbeddedPostgres
) -> None:
    """The mail says why, and what to do; rows that came meanwhile are untouched."""
    run_id = ask(restore)
    restore.run(run_id)
    with psycopg.connect(postgres_18.create_database(RESTORED), autocommit=True) as session:
        session.execute("CREATE TABLE live (id int)")
        session.execute("INSERT INTO live VALUES (1)")
        answer(restore, run_id, "Approve")
        assert restore.run(run_id).state == "failed"
        assert session.execute("SELECT count(*) FROM live").fetchone() == (1,)
    (mail,) = mails(backed_up)
    assert mail["Subject"] == "restore_backup FAILED in restore_archive"
    for part in ("never loaded over live rows", "WHAT TO DO", "1 of 1", run_id):
        assert part in plain(mail)


def test_form_offers_the_archives_that_are_there(airflow: LocalAirflow, backed_up: Site, restore: LocalAirflow) -> None:
    """The newest is chosen already; another one is refused by Airflow itself; with none a name can be typed."""
    (first,) = backed_up.published_paths
    assert airflow.run(airflow.trigger(deliver_mail=False)).state == "success"
    parameter = restore.load_dag().params.get_param("archive")
    assert parameter.schema["enum"] == [path.name for path in reversed(backed_up.published_paths)]
    assert parameter.value == backed_up.published_paths[-1].name
    answer = restore.request_trigger({"archive": "critical_backup_20200101_000000.tar.gz", "confirm": "x"})
    assert answer.status_code == 400
    for archive in (first, backed_up.published_paths[-1]):
        archive.unlink()
    assert "enum" not in restore.load_dag().params.get_param("archive").schema


def test_every_task_says_what_it_does(restore: LocalAirflow) -> None:
    """In Airflow's own page."""
    dag = restore.load_dag()
    assert dag.doc_md
    assert all(task.doc_md for task in dag.tasks)
