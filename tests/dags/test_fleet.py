"""Several databases in one scope file under Airflow: each has DAGs, folder, mails and alerts of its own."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from airflow.models.dag import DagModel
from airflow.sdk import DAG
from airflow.sdk.definitions.context import _AIRFLOW_PARSING_CONTEXT_DAG_ID
from airflow.utils.session import create_session

from include.backup.drill_record import read_drill
from include.backup.manifest import Sidecar, readable_archives
from include.backup.status import LAST_SUCCESS_FILE
from tests.fix_airflow import LocalAirflow, Site
from tests.fix_fleet import DATABASE, ORDERS, FleetSite, write_fleet
from tests.fix_mailbox import Mail, read_mail

UTC = timezone.utc
WATCH = "backup_watch"


def mails(site: Site) -> list[Mail]:
    """Return every mail so far, oldest first."""
    return [read_mail(path) for path in site.mailbox.messages()]


def only_archive(folder: Path) -> tuple[Path, Sidecar]:
    """Return the one archive there is in a folder."""
    (found,) = readable_archives(folder)
    return found


def unpause(*dag_ids: str) -> None:
    """Let Airflow mean to run these tomorrow."""
    with create_session() as session:
        for dag_id in dag_ids:
            model = session.get(DagModel, dag_id)
            assert model is not None
            model.is_paused = False
            model.next_dagrun = datetime.now(UTC) + timedelta(days=1)


def test_two_databases_each_have_archive_folder_status_and_mail_of_their_own(fleet: FleetSite) -> None:
    """The second's rows go to the second's folder, its mail to its recipients with its id; the first is as ever."""
    for dag_id in ("critical_backup", "critical_backup_orders"):
        airflow = fleet.of(dag_id)
        result = airflow.run(airflow.trigger())
        assert result.state == "success", result.errors
    _, sample = only_archive(fleet.site.backup_dir)
    archive, orders = only_archive(fleet.orders)
    assert (sample.server.database, orders.server.database) == ("nightly_sample", DATABASE)
    assert [(table.name, table.rows) for table in orders.tables] == [("orders", 321)]
    assert all((folder / LAST_SUCCESS_FILE).is_file() for folder in (fleet.site.backup_dir, fleet.orders))
    assert fleet.orders.stat().st_mode & 0o777 == 0o700
    first, second = mails(fleet.site)
    assert (first.recipients, first.subject[:10]) == ({"admin1@example.com", "admin2@example.com"}, "Backup OK:")
    assert (second.recipients, second.subject[:19]) == ({"orders@example.com"}, "[orders] Backup OK:")
    assert archive.name in second.text
    drill = fleet.of("restore_drill_orders")
    result = drill.run(drill.trigger())
    assert result.state == "success", result.errors
    record = read_drill(archive)
    assert record is not None
    assert (record.passed, record.rows) == (True, 321)
    assert not list(fleet.site.backup_dir.glob("*.drill.json"))
    dag = fleet.of("critical_backup_orders").parse().dags["critical_backup_orders"]
    assert "--dag-id critical_backup_orders " in (dag.doc_md or "")
    restore = fleet.of("restore_backup_orders").parse().dags["restore_backup_orders"]
    assert restore.params.get_param("archive").schema["enum"] == [archive.name]


def test_failure_of_the_second_is_told_to_its_recipients_alone(
    fleet: FleetSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its alert names it, its next success says that it is over; the first has no incident."""
    monkeypatch.setenv("AIRFLOW_CONN_ORDERS_DB", '{"conn_type": "postgres"}')
    airflow = fleet.of("critical_backup_orders")
    dag = airflow.parse().dags["critical_backup_orders"]
    run_id = airflow.trigger()
    assert airflow.run(run_id).tasks("failed") == {"check_prerequisites"}
    callback = dag.on_failure_callback
    assert callable(callback)
    callback(airflow.end_of_run(run_id, "task_failure"))
    (mail,) = mails(fleet.site)
    assert mail.subject == "[orders] critical_backup_orders FAILED in check_prerequisites"
    assert mail.recipients == {"orders@example.com"}
    assert (fleet.orders / ".open_incident.json").is_file()
    assert not (fleet.site.backup_dir / ".open_incident.json").exists()


def test_watch_tells_of_the_second_alone_and_remembers_each_by_itself(fleet: FleetSite) -> None:
    """A stale second does not make the first stale; its alert goes to its recipients, once."""
    unpause("critical_backup", "critical_backup_orders")
    for folder, hours in ((fleet.site.backup_dir, 1), (fleet.orders, 30)):
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / LAST_SUCCESS_FILE).write_text((datetime.now(UTC) - timedelta(hours=hours)).isoformat())
    watch = fleet.of(WATCH)
    for _ in range(2):
        result = watch.run(watch.trigger())
        assert result.state == "success", result.errors
    told = [(mail.subject, mail.recipients) for mail in mails(fleet.site) if "No backup for" in mail.subject]
    assert told == [("[orders] No backup for 30 hours", {"orders@example.com"})]


def test_wrong_entry_takes_no_other_away_and_is_told(fleet: FleetSite) -> None:
    """Its own DAG is missing, without an import error; the watch says what is wrong with it, and where."""
    fleet.name(orders=ORDERS, bad=ORDERS | {"schedule": "at night", "recipients": "bad@example.com"})
    unpause("critical_backup", "critical_backup_orders")
    bag = fleet.airflow.parse()
    assert not bag.import_errors
    assert {"critical_backup", "critical_backup_orders"} <= set(bag.dags)
    assert "critical_backup_bad" not in bag.dags
    watch = fleet.of(WATCH)
    result = watch.run(watch.trigger())
    assert result.state == "success", result.errors
    (mail,) = (mail for mail in mails(fleet.site) if "cannot be imported" in mail.subject)
    assert mail.subject == "[bad] critical_backup_bad cannot be imported"
    assert mail.recipients == {"bad@example.com"}
    for part in (f"{fleet.scope_file}: backups.bad: ", "schedule='at night'", "five fields"):
        assert part in mail.text


def test_new_backup_whose_folder_is_not_there_yet_is_no_alert(fleet: FleetSite) -> None:
    """Its first run makes the folder: until then nothing is wrong with it."""
    unpause("critical_backup", "critical_backup_orders")
    (fleet.site.backup_dir / LAST_SUCCESS_FILE).write_text(datetime.now(UTC).isoformat())
    watch = fleet.of(WATCH)
    assert watch.run(watch.trigger()).state == "success"
    assert not [mail.subject for mail in mails(fleet.site) if "orders" in mail.subject]


def test_schedule_and_pool_of_an_entry_are_those_of_its_dag(fleet: FleetSite) -> None:
    """Only the export waits for the pool of its server."""
    fleet.name(orders=ORDERS | {"pool": "server_1"})
    dag: DAG = fleet.airflow.parse().dags["critical_backup_orders"]
    assert {task.task_id for task in dag.tasks if task.pool == "server_1"} == {"export_database"}
    midnight = datetime(2026, 11, 20, tzinfo=UTC)
    stored = fleet.of("critical_backup_orders").stored_dag()
    (slot,) = stored.iter_dagrun_infos_between(midnight, midnight + timedelta(days=1))
    assert slot.logical_date == midnight + timedelta(hours=3, minutes=30)


def test_two_hundred_backups_are_two_hundred_dags_of_each_kind_and_a_task_parses_its_own_alone(
    airflow: LocalAirflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs a task of one does not build the others."""
    write_fleet(tmp_path / "scope.yaml", **{f"db_{number}": ORDERS for number in range(199)})
    monkeypatch.setenv("BACKUP_SCOPE_FILE", str(tmp_path / "scope.yaml"))
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    bag = airflow.parse()
    assert not bag.import_errors
    for kind in ("critical_backup", "restore_drill", "restore_backup"):
        assert sum(dag_id == kind or dag_id.startswith(f"{kind}_") for dag_id in bag.dags) == 200
    # As Airflow's own context manager does, which would leave it set.
    monkeypatch.setenv(_AIRFLOW_PARSING_CONTEXT_DAG_ID, "restore_drill_db_7")
    assert set(airflow.parse().dags) == {"critical_backup_db_7", "restore_drill_db_7", "restore_backup_db_7", WATCH}
