"""The DAG backup_watch under Airflow: what it mails, once, again, and when it is over."""

from __future__ import annotations

import shlex
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from airflow.cli.cli_parser import get_parser
from airflow.models.dagrun import DagRun
from airflow.sdk.definitions.context import _AIRFLOW_PARSING_CONTEXT_DAG_ID
from airflow.utils.session import create_session

from include.backup.archive_name import sidecar_path
from include.backup.manifest import read_sidecar
from include.backup.rights import PRIVATE_FILE
from include.operators.dag_import import import_error
from tests.fix_airflow import DAGS_FOLDER, LocalAirflow, Site
from tests.fix_archives import publish_archive
from tests.fix_mailbox import read_mail
from tests.fix_watch import Watch, plan_next_run, succeed

UTC = timezone.utc
DAY = timedelta(days=1)
CRITICAL = DAGS_FOLDER / "critical_backup.py"


def test_dag_reads_no_setting_so_that_a_wrong_one_leaves_it_there(
    airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With wrong settings critical_backup is gone, and the watch is still there to say so."""
    monkeypatch.setenv("BACKUP_SCHEDULE", "at night")
    bag = airflow.parse()
    assert "critical_backup" not in bag.dags
    dag = bag.dags["backup_watch"]
    assert dag.doc_md
    assert [task.task_id for task in dag.tasks] == ["watch_backups"]


def test_stale_backup_is_mailed_once_again_after_a_day_and_when_it_is_over(watch: Watch) -> None:
    """To every administrator, with what to do and where to look; silence in between and afterwards."""
    succeed(watch.site, 24)
    assert watch.look() == []
    succeed(watch.site, 30)
    (mail,) = watch.look()
    assert mail.subject == "No backup for 30 hours"
    assert mail.recipients == {"admin1@example.com", "admin2@example.com"}
    for part in (
        "expected one within 25 hours",
        "Trigger critical_backup",
        "http://airflow.example.com:8080/dags/crit",
    ):
        assert part in mail.text
    assert watch.look() == []
    watch.a_day_passes()
    assert watch.subjects() == ["No backup for 30 hours"]
    assert watch.look() == []
    succeed(watch.site, 1)
    (mail,) = watch.look()
    assert mail.subject == "Backups succeed again"
    assert "24 hours since it was noticed" in mail.text
    assert watch.look() == []


def test_mail_that_could_not_be_sent_is_sent_by_the_next_look(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered as told that nobody got."""
    succeed(watch.site, 30)
    with monkeypatch.context() as broken:
        broken.setenv("AIRFLOW_CONN_SMTP_DEFAULT", '{"conn_type": "smtp", "host": "127.0.0.1", "port": 1}')
        result = watch.airflow.run(watch.airflow.trigger())
        assert "cannot be reached" in str(result.errors["watch_backups"])
    assert watch.subjects() == ["No backup for 30 hours"]


def test_folder_that_is_gone_is_an_alert_and_not_a_failure(watch: Watch) -> None:
    """Once, and once when it is back, also with what was told before."""
    succeed(watch.site, 30)
    assert watch.subjects() == ["No backup for 30 hours"]
    away = watch.site.backup_dir.rename(watch.site.backup_dir.with_name("away"))
    assert watch.subjects() == [f"BACKUP_DIR cannot be read: {watch.site.backup_dir}"]
    assert watch.look() == []
    away.rename(watch.site.backup_dir)
    assert watch.subjects() == ["BACKUP_DIR can be read again"]


def test_archives_that_vanish_are_told_once_by_name_at_the_next_look(watch: Watch) -> None:
    """Airflow's own store remembers what was there; an emptied folder does not wait until it counts as stale."""
    names = [publish_archive(watch.site.backup_dir, hours_old=hours).name for hours in (25, 1)]
    assert not any("gone" in subject for subject in watch.subjects())
    assert set(watch.memory["archives"]) == set(names)
    shutil.rmtree(watch.site.backup_dir)
    watch.site.backup_dir.mkdir(mode=0o700)
    (mail,) = watch.look()
    assert mail.subject == "2 archives are gone before their time"
    assert all(name in mail.text for name in names)
    assert "Is the volume mounted" in mail.text
    assert watch.look() == []


def make_archives(airflow: LocalAirflow, site: Site, slots: list[datetime]) -> Path:
    """Make one archive and give each slot a copy that stands for it; return the last."""
    assert airflow.run(airflow.trigger(deliver_mail=False)).state == "success"
    (original,) = site.published_paths
    sidecar = read_sidecar(original)
    for slot in slots:
        at = slot + timedelta(seconds=4)
        name = f"critical_backup_{at:%Y%m%d_%H%M%S}.tar.gz"
        path = Path(shutil.copy(original, site.backup_dir / name))
        run = sidecar.run.model_copy(update={"kind": "scheduled", "stands_for": slot})
        copy = sidecar.model_copy(update={"archive": name, "snapshot_at": at, "run": run})
        sidecar_path(path).write_text(copy.model_dump_json(by_alias=True))
        sidecar_path(path).chmod(PRIVATE_FILE)
    original.unlink()
    return path


def test_missed_nights_are_named_once_with_a_command_that_makes_up_for_them(
    watch: Watch, airflow: LocalAirflow
) -> None:
    """The command of the mail, run as it stands, backfills exactly these nights, also one whose run had failed."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    last = max(at for days in (0, 1) if (at := midnight + timedelta(hours=2) - days * DAY) < datetime.now(UTC))
    nights = [last - days * DAY for days in range(6, 0, -1)]
    make_archives(airflow, watch.site, [*nights[:2], *nights[4:], last])
    failed = airflow.schedule(nights[2])
    with create_session() as session:
        session.query(DagRun).filter_by(run_id=failed).update({"state": "failed"})
    (mail,) = watch.look()
    assert mail.subject == "2 nights without an archive"
    command = next(line for line in mail.text.splitlines() if "airflow backfill create" in line)
    assert watch.look() == []

    airflow.cancel_backfills()
    arguments = get_parser().parse_args(shlex.split(command)[1:])
    arguments.func(arguments)
    runs = airflow.api.get("/api/v2/dags/critical_backup/dagRuns", params={"run_type": "backfill"}).json()["dag_runs"]
    made = {datetime.fromisoformat(run["logical_date"].replace("Z", "+00:00")): run["dag_run_id"] for run in runs}
    assert set(nights[2:4]) == set(nights) & set(made)
    for night in nights[2:4]:
        assert airflow.run(made[night]).state == "success"
    stands_for = {read_sidecar(path).run.stands_for for path in watch.site.published_paths}
    assert stands_for == {*nights, last}
    assert watch.look() == []


def test_odd_size_stands_in_the_mail_of_the_run_and_is_told_once_by_the_watch(
    watch: Watch, airflow: LocalAirflow
) -> None:
    """An archive like no other before: a warning of the run, and an alert."""
    now = datetime.now(UTC).replace(microsecond=0)
    make_archives(airflow, watch.site, [now - days * DAY for days in range(8, 1, -1)])
    for path in watch.site.published_paths:
        sidecar = read_sidecar(path)
        tables = [table.model_copy(update={"rows": table.rows + 9000}) for table in sidecar.tables]
        changed = sidecar.model_copy(update={"tables": tuple(tables)})
        sidecar_path(path).write_text(changed.model_dump_json(by_alias=True))
    assert airflow.run(airflow.trigger()).state == "success"
    (backup_mail,) = map(read_mail, watch.site.backup_mails)
    assert "table users has" in backup_mail.text
    assert backup_mail.subject.startswith("Backup with")
    mails = {mail.subject: mail for mail in watch.look()}
    (newest,) = watch.site.published_paths[-1:]
    assert "table users has" in mails[f"Odd size: {newest.name}"].text
    assert not any(mail.subject.startswith("Odd size") for mail in watch.look())


def test_wrong_settings_are_told_with_the_reason_of_the_import_error(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mail has the same words as Airflow's import error; mended, it is over."""
    succeed(watch.site, 1)
    with monkeypatch.context() as wrong:
        wrong.setenv("BACKUP_RETENTION_DAYS", "0")
        (mail,) = watch.look()
    assert mail.subject == "critical_backup cannot be imported"
    assert "BACKUP_RETENTION_DAYS='0'" in mail.text
    assert watch.subjects() == ["critical_backup can be imported again"]


def test_paused_dag_is_told(watch: Watch, airflow: LocalAirflow) -> None:
    """A DAG that somebody paused for an hour and forgot."""
    succeed(watch.site, 1)
    airflow.api.patch("/api/v2/dags/critical_backup", json={"is_paused": True})
    assert watch.subjects() == ["critical_backup is paused"]
    airflow.api.patch("/api/v2/dags/critical_backup", json={"is_paused": False})
    assert watch.subjects() == ["critical_backup is not paused any more"]


def test_second_problem_of_the_dag_is_told_and_does_not_end_the_first(
    watch: Watch, airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paused DAG that cannot be imported either is two incidents, each told and ended by itself."""
    succeed(watch.site, 1)
    airflow.api.patch("/api/v2/dags/critical_backup", json={"is_paused": True})
    assert watch.subjects() == ["critical_backup is paused"]
    with monkeypatch.context() as wrong:
        wrong.setenv("BACKUP_RETENTION_DAYS", "0")
        assert watch.subjects() == ["critical_backup cannot be imported"]
    assert watch.subjects() == ["critical_backup can be imported again"]
    airflow.api.patch("/api/v2/dags/critical_backup", json={"is_paused": False})
    assert watch.subjects() == ["critical_backup is not paused any more"]


def test_dag_that_nobody_schedules_is_told(watch: Watch) -> None:
    """Where the dag-processor alone cannot import it, its next run stays in the past."""
    succeed(watch.site, 1)
    plan_next_run(datetime.now(UTC) - timedelta(hours=1.9))
    assert watch.look() == []
    plan_next_run(datetime.now(UTC) - timedelta(hours=2.1))
    assert watch.subjects() == ["critical_backup is not being scheduled"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("import os; os._exit(3)", "ended its process (3)"),
        ("import time; time.sleep(60)", "took longer than 6 seconds"),
        ("from airflow.sdk import DAG\nDAG('other', schedule=None)", "has no DAG critical_backup"),
        ("print('\"hello\"')", "has no DAG critical_backup"),
    ],
)
def test_import_error_of_a_broken_file_is_one_line(tmp_path: Path, content: str, reason: str) -> None:
    """Whatever the file does, the watch goes on and says what it was."""
    file = tmp_path / "critical_backup.py"
    file.write_text(content)
    limit = {"timeout_seconds": 6} if "sleep" in content else {}  # a busy machine takes long to import Airflow
    error = import_error(file, "critical_backup", **limit)
    assert error is not None
    assert reason in error
    assert error.splitlines() == [error]


def test_import_error_of_a_sound_file_is_none_without_a_metadata_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a task, which may not reach the database and is told whose it is; a file that is gone is an error."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv(_AIRFLOW_PARSING_CONTEXT_DAG_ID, "backup_watch")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "airflow-db-not-allowed:///")
    assert import_error(CRITICAL, "critical_backup") is None
    assert "is not there" in str(import_error(tmp_path / "critical_backup.py", "critical_backup"))
