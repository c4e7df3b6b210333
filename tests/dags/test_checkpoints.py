"""Checkpoints under Airflow: complete archives between the nights, without mail, which wait for nobody."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from include.backup.run import WORKSPACES
from include.backup.status import LAST_SUCCESS_FILE
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.dags.test_fleet import mails, only_archive
from tests.fix_airflow import DAG_ID, TASKS, LocalAirflow, Site
from tests.fix_archives import publish_archive
from tests.fix_checkpoints import EVERY, CheckpointSite
from tests.fix_fleet import DATABASE, ORDERS, FleetSite

UTC = timezone.utc
MAIL_TASKS = {"choose_delivery", "email_attachment", "email_link"}
RESTORED = "restored_from_a_checkpoint"


def test_without_a_schedule_there_are_no_checkpoints(airflow: LocalAirflow, site: Site) -> None:
    """Off by default, and the watch looks every hour."""
    dags = airflow.parse().dags
    assert not [dag_id for dag_id in dags if "checkpoints" in dag_id]
    assert dags["backup_watch"].schedule.expression == "0 * * * *"  # type: ignore[union-attr]


def test_checkpoints_are_one_more_backup_without_mail_that_is_never_late(checkpoints: CheckpointSite) -> None:
    """One at a time, and no slot is made up for; the nightly DAG is what it was."""
    dags = checkpoints.airflow.parse().dags
    dag = dags["critical_backup_checkpoints"]
    assert set(dag.task_ids) == set(TASKS) - MAIL_TASKS
    assert set(dags["critical_backup"].task_ids) == set(TASKS)
    assert (dag.max_active_runs, dag.catchup, dag.deadline) == (1, False, None)
    assert dag.dagrun_timeout == timedelta(minutes=30)
    assert set(dag.params) == {"reason"}
    midnight = datetime(2026, 11, 20, tzinfo=UTC)
    infos = checkpoints.airflow.stored_dag().iter_dagrun_infos_between(midnight, midnight + timedelta(minutes=59))
    assert [info.run_after.minute for info in infos] == [0, 10, 20, 30, 40, 50]
    assert dags["restore_drill_checkpoints"].schedule.expression == "51 5 * * *"  # type: ignore[union-attr]
    assert "restore_backup_checkpoints" in dags
    assert dags["backup_watch"].schedule.expression == EVERY  # type: ignore[union-attr]


def test_manual_is_about_checkpoints_and_names_their_dags(checkpoints: CheckpointSite) -> None:
    """Nobody looks for a mail that is never sent, or triggers the nightly DAG's restore."""
    dag = checkpoints.airflow.parse().dags["critical_backup_checkpoints"]
    manual = dag.doc_md or ""
    assert manual.startswith("\n# critical_backup_checkpoints\n")
    assert "without mail" in manual
    assert "BACKUP_CHECKPOINT_KEEP_HOURS=24" in manual
    assert set(re.findall(r"`([a-z]+_[a-z_]+)`", manual)) == {"restore_backup_checkpoints", "backup_watch", DAG_ID}


def test_checkpoint_is_a_complete_archive_in_its_own_folder_and_mails_nothing(checkpoints: CheckpointSite) -> None:
    """With status and manifest of its own; the nightly backup knows nothing of it."""
    result = checkpoints.run()
    assert result.state == "success", result.errors
    assert result.tasks("success") == set(TASKS) - MAIL_TASKS
    (sidecar,) = checkpoints.archives
    assert (sidecar.run.kind, len(sidecar.tables)) == ("scheduled", 17)
    assert sidecar.rows > 0
    assert (checkpoints.folder / LAST_SUCCESS_FILE).is_file()
    assert not list((checkpoints.folder / WORKSPACES).iterdir())
    assert checkpoints.site.published == {"checkpoints"}
    assert not (checkpoints.site.backup_dir / LAST_SUCCESS_FILE).exists()
    assert not mails(checkpoints.site)


def test_checkpoint_that_meets_another_export_is_left_out_and_nobody_is_told(checkpoints: CheckpointSite) -> None:
    """Skipped, neither failed nor waiting, and nothing of it stays; a later one is made."""
    with checkpoints.lock():
        result = checkpoints.run()
        assert result.state == "success"
        assert result.tasks("success") == {"create_workspace", "check_prerequisites"}
        assert {"export_database", "verify_archive", "update_status", "remove_workspace"} <= result.tasks("skipped")
    assert not result.errors
    assert checkpoints.archives == []
    assert not list((checkpoints.folder / WORKSPACES).iterdir())
    assert checkpoints.run().state == "success"
    assert len(checkpoints.archives) == 1
    assert not mails(checkpoints.site)


def test_checkpoint_started_by_hand_and_the_nightly_run_wait_for_the_export_before_them(
    checkpoints: CheckpointSite, airflow: LocalAirflow
) -> None:
    """They are asked for: nothing is left out, and no two snapshots overlap."""
    for waiting, params, folder in (
        (checkpoints.airflow, {}, checkpoints.folder),
        (airflow, {"deliver_mail": False}, checkpoints.site.backup_dir),
    ):
        session = checkpoints.lock()
        ended: list[datetime] = []

        def end(
            folder: Path = folder, session: psycopg.Connection[object] = session, ended: list[datetime] = ended
        ) -> None:
            deadline = time.monotonic() + 60
            while not list(folder.glob(f"{WORKSPACES}/*/export")) and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(3)  # the export has begun, and looks for its turn every two seconds
            ended.append(datetime.now(UTC))
            session.close()

        export = threading.Thread(target=end)
        export.start()
        result = waiting.run(waiting.trigger(**params))
        export.join()
        assert result.state == "success", result.errors
        _, sidecar = only_archive(folder)
        assert sidecar.snapshot_at >= ended[0].replace(microsecond=0)


def test_slot_that_came_while_the_one_before_was_made_is_left_out(checkpoints: CheckpointSite) -> None:
    """Airflow begins its run afterwards: slow checkpoints would follow one another without a pause."""
    assert checkpoints.run().state == "success"
    (archive,) = checkpoints.folder.glob("*.tar.gz")
    late = checkpoints.run()
    assert (late.state, late.tasks("skipped"), late.errors) == ("success", set(TASKS) - MAIL_TASKS, {})
    assert len(checkpoints.archives) == 1
    assert not list((checkpoints.folder / WORKSPACES).iterdir())
    checkpoints.age(archive)
    assert checkpoints.run().state == "success"
    assert len(checkpoints.archives) == 2


def test_checkpoints_go_after_their_hours_and_nights_stay(
    checkpoints: CheckpointSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the last 24 hours, whatever is set for nights; never the newest few."""
    monkeypatch.setenv("BACKUP_RETENTION_MIN_KEEP", "2")
    monkeypatch.setenv("BACKUP_RETENTION_WEEKS", "52")
    night = publish_archive(checkpoints.site.backup_dir, hours_old=40)
    checkpoints.folder.mkdir(mode=0o700)
    old, young = (publish_archive(checkpoints.folder, hours_old=hours) for hours in (25, 23))
    for archive in (old, young):
        checkpoints.age(archive)
    result = checkpoints.run()
    assert result.state == "success", result.errors
    assert not old.exists()
    assert young.exists()
    assert night.exists()


def test_checkpoint_is_restored_by_its_own_dag(
    checkpoints: CheckpointSite, postgres_18: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form offers the checkpoints, and every row comes back."""
    address = conninfo_to_dict(postgres_18.conninfo())
    server = {"conn_type": "postgres", "host": "localhost", "port": int(str(address["port"]))}
    drills = server | {"login": address["user"], "password": address["password"]}
    monkeypatch.setenv("AIRFLOW_CONN_BACKUP_DRILL", json.dumps(drills))
    assert checkpoints.run().state == "success"
    restore = dataclasses.replace(checkpoints.airflow, dag_id="restore_backup_checkpoints")
    params = restore.load_dag().params
    (sidecar,) = checkpoints.archives
    assert params.get_param("archive").schema["enum"] == [sidecar.archive]
    asked = {"connection": "backup_drill", "database": RESTORED, "confirm": RESTORED, "archive": sidecar.archive}
    run_id = restore.trigger(**asked)
    assert restore.run(run_id).states["approve_restore"] == "awaiting_input"
    path = f"/api/v2/dags/{restore.dag_id}/dagRuns/{run_id}/taskInstances/approve_restore/-1/hitlDetails"
    assert restore.api.patch(path, json={"chosen_options": ["Approve"]}).is_success
    result = restore.run(run_id)
    try:
        assert result.state == "success", result.errors
        users = next(table.rows for table in sidecar.tables if table.name == "users")
        with psycopg.connect(postgres_18.conninfo(RESTORED)) as session:
            assert session.execute("SELECT count(*) FROM users").fetchone() == (users,)
    finally:
        with psycopg.connect(postgres_18.conninfo(), autocommit=True) as session:
            session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(RESTORED)))
    assert mails(checkpoints.site)[-1].subject.strip().startswith(f"[checkpoints] Restored into {RESTORED}")


def test_backup_with_an_id_has_checkpoints_of_its_own(fleet: FleetSite) -> None:
    """Switched on in its entry: the same connection and scope, another folder."""
    fleet.name(orders=ORDERS | {"settings": {"BACKUP_CHECKPOINT_SCHEDULE": EVERY}})
    airflow = fleet.of("critical_backup_orders_checkpoints")
    result = airflow.run(airflow.trigger())
    assert result.state == "success", result.errors
    _, sidecar = only_archive(fleet.site.backup_dir / "orders_checkpoints")
    assert sidecar.server.database == DATABASE
    assert [table.name for table in sidecar.tables] == ["orders"]
    assert not fleet.orders.exists()
    assert "critical_backup_checkpoints" not in airflow.parse().dags
