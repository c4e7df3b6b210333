"""The DAG restore_drill: when it drills, what it records, and when it says why it does not."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from psycopg.conninfo import conninfo_to_dict

from include.backup.drill_record import is_due, read_drill
from include.demo.embedded_postgres import EmbeddedPostgres
from include.operators.backup import RestoreOperator
from tests.fix_airflow import LocalAirflow, Site
from tests.operators.test_task import make_context

NOW = datetime(2026, 11, 20, 2, 5, tzinfo=timezone.utc)


def drill(run_type: DagRunType, **params: Any) -> float:
    """Run the task as Airflow does."""
    return float(RestoreOperator(task_id="drill_archive").execute(make_context(run_type, logical_date=None, **params)))


@pytest.fixture
def backed_up(
    airflow: LocalAirflow, site: Site, postgres_18: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> Site:
    """A site with one archive, and a drill server whose role may create databases."""
    values = conninfo_to_dict(postgres_18.conninfo())
    connection = {"conn_type": "postgres", "host": values["host"], "port": int(str(values["port"]))}
    login = {"login": values["user"], "password": values["password"]}
    monkeypatch.setenv("AIRFLOW_CONN_BACKUP_DRILL", json.dumps(connection | login))
    assert airflow.run(airflow.trigger(deliver_mail=False)).state == "success"
    return site


def test_drill_follows_every_verified_archive(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """verify_archive makes the event that the DAG waits for; off means that it waits for nothing."""
    dags = airflow.parse().dags
    (outlet,) = dags["critical_backup"].get_task("verify_archive").outlets
    assert dags["restore_drill"].schedule == [outlet]
    assert dags["restore_drill"].doc_md
    assert dags["restore_drill"].get_task("drill_archive").doc_md
    monkeypatch.setenv("BACKUP_DRILL", "off")
    assert airflow.parse().dags["restore_drill"].schedule is None


def test_drill_after_a_backup_proves_its_archive(backed_up: Site) -> None:
    """The record beside the archive says passed, with the rows of the manifest."""
    assert drill(DagRunType.ASSET_TRIGGERED) > 0
    (archive,) = backed_up.published_paths
    record = read_drill(archive)
    assert record is not None
    assert record.passed
    assert record.tables == 17


def test_weekly_drill_is_skipped_until_it_is_due_but_not_by_hand(
    backed_up: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who asks gets a drill at once."""
    monkeypatch.setenv("BACKUP_DRILL", "weekly")
    drill(DagRunType.ASSET_TRIGGERED)
    with pytest.raises(AirflowSkipException, match="BACKUP_DRILL=weekly"):
        drill(DagRunType.ASSET_TRIGGERED)
    assert drill(DagRunType.MANUAL) > 0


def test_role_that_may_not_create_databases_is_skipped_saying_what_to_do(
    backed_up: Site, postgres_18: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only backup role is right; the drill then wants a connection of its own."""
    with psycopg.connect(postgres_18.conninfo(), autocommit=True) as session:
        session.execute("DROP ROLE IF EXISTS only_reads")
        session.execute("CREATE ROLE only_reads LOGIN PASSWORD 'read-secret'")
    values = {"conn_type": "postgres", "host": "127.0.0.1", "port": postgres_18.port, "login": "only_reads"}
    monkeypatch.setenv("AIRFLOW_CONN_BACKUP_DRILL", json.dumps(values | {"password": "read-secret"}))
    with pytest.raises(AirflowSkipException, match="create the Airflow connection backup_drill"):
        drill(DagRunType.ASSET_TRIGGERED)


def test_failed_drill_is_mailed_to_every_administrator(airflow: LocalAirflow, backed_up: Site) -> None:
    """With the reason, the try, where the log is, and what to do; the record beside the archive says failed."""
    (archive,) = backed_up.published_paths
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    restore_drill = dataclasses.replace(airflow, dag_id="restore_drill")
    restore_drill.load_dag()
    result = restore_drill.run(restore_drill.trigger())
    assert result.state == "failed"
    (path,) = backed_up.mailbox.messages()
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert mail["Subject"] == "restore_drill FAILED in drill_archive"
    assert mail["X-Envelope-To"] == "admin1@example.com, admin2@example.com"
    body = mail.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    for part in (str(result.errors["drill_archive"]), "1 of 4", "Do not count on this archive", "http://airflow"):
        assert part in text
    record = read_drill(archive)
    assert record is not None
    assert not record.passed


def test_unknown_archive_and_empty_folder_are_told(site: Site) -> None:
    """One line each, and no retry."""
    with pytest.raises(AirflowFailException, match="there is no archive"):
        drill(DagRunType.MANUAL)
    with pytest.raises(AirflowFailException, match=r"critical_backup_20200101_000000.tar.gz is no archive"):
        drill(DagRunType.MANUAL, archive="critical_backup_20200101_000000.tar.gz")


@pytest.mark.parametrize(
    ("how_often", "days_ago", "due"),
    [
        ("always", 0, True),
        ("weekly", None, True),
        ("weekly", 6, False),
        ("weekly", 7, True),
        ("monthly", 27, False),
        ("monthly", 28, True),
        ("off", None, False),
    ],
)
def test_drill_is_due_by_the_last_one_that_passed(how_often: str, days_ago: int | None, due: bool) -> None:
    """Weekly and monthly count from the last success."""
    last = None if days_ago is None else NOW - timedelta(days=days_ago)
    assert is_due(how_often, last, now=NOW) is due  # type: ignore[arg-type]
