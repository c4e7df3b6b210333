"""The nightly DAG: how it is built, and what a run of each kind leaves behind."""

from __future__ import annotations

import gzip
import os
import re
import stat
import tarfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import psycopg
import pytest
from airflow.sdk import DAG, TriggerRule
from airflow.timetables.base import TimeRestriction

from include.backup.manifest import Sidecar, read_sidecar
from include.backup.status import LAST_SIZE_FILE, LAST_SUCCESS_FILE
from tests.fix_airflow import COPY_TASK, DAG_ID, TASKS, LocalAirflow, Site
from tests.fix_mailbox import Mail, read_mail

EMAILS = {"email_attachment", "email_link"}
ADMINS = {"admin1@example.com", "admin2@example.com"}
MIDNIGHT = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)


def only_mail(site: Site) -> Mail:
    """Return the one mail that came."""
    (path,) = site.mailbox.messages()
    return read_mail(path)


def only_archive(site: Site) -> tuple[Path, Sidecar]:
    """Return the one archive that was made, and its manifest."""
    (name,) = site.archives
    return site.backup_dir / name, read_sidecar(site.backup_dir / name)


def member(archive: Path, name: str) -> str:
    """Return a text file of an archive."""
    with tarfile.open(archive) as tar:
        content = tar.extractfile(name)
        assert content is not None
        return content.read().decode()


@pytest.fixture
def dag(airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch) -> DAG:
    """The DAG with the defaults of all settings."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    return airflow.load_dag()


def test_dag_has_the_tasks_of_the_design_and_no_others(dag: DAG) -> None:
    """One task for each step of the specification."""
    assert set(dag.task_ids) == set(TASKS)


def test_tasks_follow_one_another_in_the_order_of_the_specification(dag: DAG) -> None:
    """A chain, with one branch: attachment, link, or (without mail) straight on."""
    start, end = TASKS[: TASKS.index("choose_delivery") + 1], TASKS[TASKS.index("update_status") :]
    expected = {task: {following} for part in (start, end) for task, following in pairwise(part)}
    expected |= {"choose_delivery": {*EMAILS, "update_status"}, "remove_workspace": set()}
    expected |= {task: {"update_status"} for task in EMAILS}
    assert {task.task_id: set(task.downstream_task_ids) for task in dag.tasks} == expected


def test_only_the_join_after_the_branch_has_a_trigger_rule_of_its_own(dag: DAG) -> None:
    """An all_done leaf would hide a failure; the join must survive the branch that was not taken."""
    rules = {task.task_id: task.trigger_rule for task in dag.tasks if task.trigger_rule != TriggerRule.ALL_SUCCESS}
    assert rules == {"update_status": TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS}


def test_compression_and_verification_are_never_retried_and_all_else_three_times(dag: DAG) -> None:
    """A damaged archive does not get better by reading it again."""
    never = {"compress_archive", "verify_archive"}
    assert {task.task_id: task.retries for task in dag.tasks} == {task: 0 if task in never else 3 for task in TASKS}


def test_pauses_between_tries_double(airflow: LocalAirflow, dag: DAG) -> None:
    """The scheduler sees a factor of two, and BACKUP_RETRY_DELAY_SECONDS as the first pause."""
    tasks = airflow.stored_dag().tasks
    assert {task.retry_exponential_backoff for task in tasks} == {2.0}
    assert {task.retry_delay for task in tasks} == {timedelta(seconds=60)}


def test_dag_and_every_task_say_what_they_are_for(dag: DAG) -> None:
    """The manual of the operator stands in the UI; each task names its step of the specification."""
    assert dag.doc_md
    assert "you want to" in dag.doc_md
    steps = {
        "create_workspace": "1",
        "export_database": "2 and 3",
        "copy_configuration": "4",
        "write_summary": "5",
        "compress_archive": "6",
        "verify_archive": "7",
        "check_size": "8",
        "choose_delivery": "9",
        "email_attachment": "9",
        "email_link": "9",
        "update_status": "10",
        "expire_old_backups": "11",
        "remove_workspace": "12",
    }
    docs = {task.task_id: task.doc_md or "" for task in dag.tasks}
    named = {task: re.match(r"Spec steps? ([\d and]+):", text) for task, text in docs.items()}
    assert {task: found[1] for task, found in named.items() if found} == steps
    assert docs["check_prerequisites"].startswith("Before step 2:")


def test_manual_of_the_operator_names_only_tasks_and_params_that_exist(dag: DAG) -> None:
    """What stands in code font with an underscore is a task, a param, the DAG or a setting's file."""
    words = set(re.findall(r"`([a-z]+_[a-z_]+)`", dag.doc_md or ""))
    assert words <= {*TASKS, COPY_TASK, *dag.params, DAG_ID}


def test_dag_runs_one_at_a_time_without_catching_up_and_not_for_ever(dag: DAG) -> None:
    """Nights that were missed are made up for by a backfill that somebody asks for."""
    assert (dag.catchup, dag.max_active_runs, dag.dagrun_timeout) == (False, 1, timedelta(minutes=60))
    assert dag.tags == {"backup"}


def test_schedule_is_two_at_night_in_utc_by_default(airflow: LocalAirflow, dag: DAG) -> None:
    """No setting, no surprise."""
    slots = airflow.stored_dag().iter_dagrun_infos_between(MIDNIGHT, MIDNIGHT + timedelta(days=2))
    assert [slot.logical_date for slot in slots] == [MIDNIGHT + timedelta(days=day, hours=2) for day in (0, 1)]


def test_schedule_and_time_zone_come_from_the_environment(
    airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cron expression is meant in BACKUP_TIMEZONE; Lisbon shows that clock changes are followed."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_SCHEDULE", "30 4 * * 0")
    monkeypatch.setenv("BACKUP_TIMEZONE", "Europe/Lisbon")
    monkeypatch.setenv("BACKUP_RUN_TIMEOUT_MINUTES", "90")
    dag = airflow.load_dag()
    first, last = datetime(2026, 3, 20, tzinfo=timezone.utc), datetime(2026, 4, 1, tzinfo=timezone.utc)
    slots = airflow.stored_dag().iter_dagrun_infos_between(first, last)
    assert [str(slot.logical_date) for slot in slots] == ["2026-03-22 04:30:00+00:00", "2026-03-29 03:30:00+00:00"]
    assert dag.dagrun_timeout == timedelta(minutes=90)


def test_new_dag_begins_with_the_next_slot(airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who unpauses it half an hour after a slot gets no run of that slot, which nobody asked for."""
    passed = datetime.now(timezone.utc) - timedelta(minutes=30)
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_SCHEDULE", f"{passed.minute} {passed.hour} * * *")
    airflow.load_dag()
    never = TimeRestriction(earliest=None, latest=None, catchup=False)
    timetable = airflow.stored_dag().timetable
    slot = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=never)
    assert slot
    assert slot.run_after > datetime.now(timezone.utc)


def test_dag_file_reads_no_database_and_no_connection_when_it_is_parsed(
    airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dag-processor parses it twice a minute: the one setting without a default is enough."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_DIR", "/nowhere/at/all")
    monkeypatch.setenv("AIRFLOW_CONN_SMART_AI_HUB", "{}")
    assert airflow.parse().import_errors == {}


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"deliver_mail": "perhaps"}, "deliver_mail"),
        ({"deliver_mail": None}, "deliver_mail"),
        ({"deliver_mail": 1}, "deliver_mail"),
        ({"reason": 7}, "reason"),
        ({"reason": None}, "reason"),
        ({"reason": "x" * 201}, "reason"),
    ],
)
def test_param_of_a_wrong_type_is_refused_naming_it(
    airflow: LocalAirflow, dag: DAG, params: dict[str, object], named: str
) -> None:
    """The REST API, and so the UI, answers 400 and starts nothing."""
    answer = airflow.request_trigger(params)
    assert (answer.status_code, named in answer.text) == (400, True)


def test_run_by_hand_makes_one_verified_archive_and_mails_it(airflow: LocalAirflow, site: Site) -> None:
    """A manual run has no logical date: it stands for its own start."""
    result = airflow.run(airflow.trigger(reason="before the upgrade"))
    assert (result.state, result.run_type) == ("success", "manual")
    assert result.tasks("skipped") == {"email_link"}
    assert result.tasks("success") == {*TASKS} - {"email_link"}
    archive, sidecar = only_archive(site)
    assert (sidecar.run.run_id, sidecar.run.kind, sidecar.run.reason) == (
        result.run_id,
        "manual",
        "before the upgrade",
    )
    age = sidecar.snapshot_at - sidecar.run.stands_for
    assert timedelta(seconds=-1) < age < timedelta(minutes=1)
    assert archive.name == f"critical_backup_{sidecar.snapshot_at:%Y%m%d_%H%M%S}.tar.gz"
    information = member(archive, "BACKUP_INFO.txt")
    assert "before the upgrade" in information
    assert "STANDS FOR" not in information
    mail = only_mail(site)
    assert mail.recipients == ADMINS
    assert mail.attachments == {archive.name: archive.read_bytes()}
    assert mail.subject.startswith("Backup OK: nightly_sample ")


def test_finished_run_leaves_archive_manifest_and_status_and_nothing_else(airflow: LocalAirflow, site: Site) -> None:
    """No workspace, no partial file; nobody else may read what there is."""
    airflow.run(airflow.trigger())
    archive, sidecar = only_archive(site)
    found = {path.relative_to(site.backup_dir).as_posix() for path in site.backup_dir.rglob("*") if path.is_file()}
    beside = {archive.name.replace(".tar.gz", suffix) for suffix in (".manifest.json", ".delivery.json")}
    assert found == {archive.name, *beside, LAST_SUCCESS_FILE, LAST_SIZE_FILE}
    assert list((site.backup_dir / ".work").iterdir()) == []
    assert {stat.S_IMODE((site.backup_dir / name).stat().st_mode) for name in found} == {0o600}
    assert datetime.fromisoformat((site.backup_dir / LAST_SUCCESS_FILE).read_text().strip()) == sidecar.snapshot_at
    assert (site.backup_dir / LAST_SIZE_FILE).read_text().strip() == "0"


def test_archive_holds_every_file_of_its_manifest_and_plain_gzip_reads_it(airflow: LocalAirflow, site: Site) -> None:
    """The standard library's gzip and tar know nothing of this package."""
    airflow.run(airflow.trigger(deliver_mail=False))
    archive, sidecar = only_archive(site)
    with tarfile.open(fileobj=BytesIO(gzip.decompress(archive.read_bytes()))) as tar:
        sizes = {item.name: item.size for item in tar}
    assert {file.name: file.bytes for file in sidecar.files}.items() <= sizes.items()
    assert set(sizes) - {file.name for file in sidecar.files} == {"MANIFEST.json"}
    configuration = {".env.production", "docker-compose.prod.yml", "nginx.prod.conf", "ssl/cert.pem", "ssl/key.pem"}
    assert configuration <= set(sizes)


def test_run_of_airflows_own_dag_test_succeeds(site: Site, airflow: LocalAirflow) -> None:
    """What a developer calls gives what the scheduler gives."""
    dag = airflow.load_dag()
    dag.deadline = None  # dag.test() of Airflow 3.3.2 ends with an error where a DAG has one
    dag_run = dag.test(logical_date=None, run_conf={"reason": "dag.test()"})
    assert dag_run.state == "success"
    assert only_archive(site)[1].run.reason == "dag.test()"


def test_scheduled_run_stands_for_its_slot_in_the_time_zone_of_the_backup(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """02:00 in Bangkok is 19:00 UTC of the day before; the window starts at midnight there."""
    monkeypatch.setenv("BACKUP_TIMEZONE", "Asia/Bangkok")
    airflow.load_dag()
    bangkok = ZoneInfo("Asia/Bangkok")
    slot = datetime.now(bangkok).replace(hour=2, minute=0, second=0, microsecond=0) - timedelta(days=1)
    result = airflow.run(airflow.schedule(slot.astimezone(timezone.utc)))
    assert (result.state, result.run_type) == ("success", "scheduled")
    archive, sidecar = only_archive(site)
    assert (sidecar.run.kind, sidecar.run.stands_for) == ("scheduled", slot)
    assert sidecar.cut_off == months_before(slot, 3)
    assert archive.name == f"critical_backup_{sidecar.snapshot_at.astimezone(bangkok):%Y%m%d_%H%M%S}.tar.gz"


def months_before(moment: datetime, months: int) -> datetime:
    """Return midnight so many months before, in the moment's own time zone; month ends are clamped."""
    year, month = divmod(moment.year * 12 + moment.month - 1 - months, 12)
    following = datetime(year + (month == 11), (month + 1) % 12 + 1, 1, tzinfo=moment.tzinfo)
    last_day = (following - timedelta(days=1)).day
    return datetime(year, month + 1, min(moment.day, last_day), tzinfo=moment.tzinfo)


def test_backfilled_run_says_both_times_and_loses_no_row_of_its_day(
    airflow: LocalAirflow, site: Site, sample_settings: dict[str, str]
) -> None:
    """It cannot bring back the past; it takes what there is now, with that day's cut-off, and says so."""
    day = MIDNIGHT - timedelta(days=45)
    (run_id,) = airflow.backfill(day, day + timedelta(days=1))
    result = airflow.run(run_id)
    assert (result.state, result.run_type) == ("success", "backfill")
    archive, sidecar = only_archive(site)
    slot = day + timedelta(hours=2)
    assert (sidecar.run.kind, sidecar.run.stands_for, sidecar.cut_off) == ("backfill", slot, months_before(day, 3))
    assert datetime.now(timezone.utc) - sidecar.snapshot_at < timedelta(minutes=1)
    mail, information = only_mail(site), member(archive, "BACKUP_INFO.txt")
    for text in (mail.text, mail.html, information):
        words = " ".join(text.split())
        assert f"{slot:%Y-%m-%d %H:%M}" in words
        assert f"{sidecar.snapshot_at:%Y-%m-%d %H:%M}" in words
        assert "cannot bring back the past" in words
    assert f"stands for {day:%Y-%m-%d}" in mail.subject
    assert rows_taken(sidecar) == rows_since(sidecar, sample_settings)


def rows_taken(sidecar: Sidecar) -> dict[str, int]:
    """Return how many rows of each windowed table were taken for their own sake."""
    return {table.name: table.rows - table.rows_by_reference for table in sidecar.tables if table.window}


def rows_since(sidecar: Sidecar, settings: dict[str, str]) -> dict[str, int]:
    """Return how many rows of each windowed table there are from the cut-off on."""
    with psycopg.connect(
        host=settings["POSTGRES_HOST"],
        port=settings["POSTGRES_PORT"],
        dbname=settings["POSTGRES_DB"],
        user=settings["POSTGRES_USER"],
        password=settings["POSTGRES_PASSWORD"],
    ) as session:
        session.execute("SET timezone = 'UTC'")
        return {
            table.name: session.execute(
                f"SELECT count(*) FROM {table.name}"
                f" WHERE {table.window.column} >= '{sidecar.cut_off.isoformat()}' OR {table.window.column} IS NULL"
            ).fetchall()[0][0]
            for table in sidecar.tables
            if table.window
        }


def test_several_nights_are_made_up_for_by_one_backfill(airflow: LocalAirflow, site: Site) -> None:
    """Each night gets an archive of its own; the status keeps the newest."""
    run_ids = airflow.backfill(MIDNIGHT - timedelta(days=20), MIDNIGHT - timedelta(days=18))
    for run_id in run_ids:
        assert airflow.run(run_id).state == "success"
    sidecars = [read_sidecar(site.backup_dir / name) for name in site.archives]
    assert [sidecar.run.run_id for sidecar in sidecars] == run_ids
    assert len({sidecar.cut_off for sidecar in sidecars}) == len(run_ids) == 2


def test_two_runs_that_export_one_right_after_the_other_both_get_an_archive(airflow: LocalAirflow, site: Site) -> None:
    """Archives are named by the second; a small database would fit into one second twice (a backfill's runs do)."""
    run_ids = [airflow.trigger(deliver_mail=False) for _ in range(2)]
    for run_id in run_ids:
        airflow.run(run_id, pause_before="export_database")
    for run_id in run_ids:
        airflow.run(run_id, pause_before="copy_configuration")
    results = [airflow.run(run_id) for run_id in run_ids]
    assert [str(error) for result in results for error in result.errors.values()] == []
    assert [result.state for result in results] == ["success", "success"]
    assert len(site.archives) == 2


def test_run_without_mail_sends_none_and_succeeds(airflow: LocalAirflow, site: Site) -> None:
    """deliver_mail=False: everything else is done."""
    result = airflow.run(airflow.trigger(deliver_mail=False))
    assert result.state == "success"
    assert result.tasks("skipped") == EMAILS
    assert site.mailbox.messages() == []
    assert len(site.archives) == 1
    assert (site.backup_dir / LAST_SUCCESS_FILE).exists()


def test_archive_over_the_limit_is_mailed_as_a_link(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above BACKUP_ATTACHMENT_MAX_MB every administrator gets the address, and no attachment."""
    monkeypatch.setenv("BACKUP_ATTACHMENT_MAX_MB", "0")
    monkeypatch.setenv("BACKUP_LINK_BASE_URL", "https://airflow.example.com/")
    result = airflow.run(airflow.trigger())
    assert (result.state, result.tasks("skipped")) == ("success", {"email_attachment"})
    mail, (archive, _) = only_mail(site), only_archive(site)
    link = f"https://airflow.example.com/backup/archives/{archive.name}/download?expires="
    assert link in mail.text
    assert f'href="{link}' in mail.html
    assert (mail.attachments, mail.recipients) == ({}, ADMINS)


def test_archive_over_the_limit_without_a_link_address_is_named_by_its_path(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing serves downloads, the mail says where the archive lies and which setting is missing."""
    monkeypatch.setenv("BACKUP_ATTACHMENT_MAX_MB", "0")
    assert airflow.run(airflow.trigger()).state == "success"
    mail, (archive, _) = only_mail(site), only_archive(site)
    assert str(archive) in mail.text
    assert "BACKUP_LINK_BASE_URL" in mail.text


def test_mail_brings_what_an_administrator_needs(airflow: LocalAirflow, site: Site) -> None:
    """Size, rows and time, each table, how to restore, that secrets travel in clear, and the run's page."""
    result = airflow.run(airflow.trigger())
    mail, (archive, sidecar) = only_mail(site), only_archive(site)
    for text in (mail.text, mail.html):
        for wanted in (
            archive.name,
            f"{sidecar.rows:,}",
            f"{sidecar.snapshot_at:%Y-%m-%d %H:%M}",
            "tar -xzf",
            ".env.production",
            sidecar.archive_sha256,
            *(table.name for table in sidecar.tables),
            f"http://airflow.example.com:8080/dags/{DAG_ID}/runs/",
        ):
            assert wanted in text
    assert result.run_id.split("+")[0] in mail.text


@pytest.mark.parametrize(("variable", "value"), [("BACKUP_MIN_SIZE_MB", "50"), ("BACKUP_MIN_SIZE_MB", "1")])
def test_odd_size_is_a_warning_in_the_mail_and_the_run_succeeds(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The archive stays: it is verified, only odd."""
    monkeypatch.setenv(variable, value)
    result = airflow.run(airflow.trigger())
    assert result.state == "success"
    mail = only_mail(site)
    assert mail.subject.startswith("Backup with 1 warning: ")
    assert f"{variable}={value}" in mail.text
    assert f"{variable}={value}" in mail.html
    assert len(site.archives) == 1


def test_warning_of_the_checks_reaches_mail_manifest_and_information(airflow: LocalAirflow, site: Site) -> None:
    """A missing configuration file does not stop the backup, and is not passed over in silence."""
    (site.config_dir / "nginx.prod.conf").unlink()
    assert airflow.run(airflow.trigger()).state == "success"
    mail, (archive, sidecar) = only_mail(site), only_archive(site)
    assert [warning for warning in sidecar.warnings if "nginx.prod.conf is missing" in warning]
    for text in (mail.text, mail.html, member(archive, "BACKUP_INFO.txt")):
        assert "nginx.prod.conf is missing" in " ".join(text.split())


def test_each_warning_is_told_once(airflow: LocalAirflow, site: Site) -> None:
    """Two tasks look at the configuration files; the reader gets one line for one matter."""
    (site.config_dir / "nginx.prod.conf").unlink()
    airflow.run(airflow.trigger())
    warnings = only_archive(site)[1].warnings
    assert len(warnings) == len(set(warnings))
    assert only_mail(site).subject.startswith("Backup with 1 warning: ")


def test_recipient_who_is_refused_is_noticed_and_the_others_get_the_mail(
    airflow: LocalAirflow, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """The task's log and its XCom name the recipient and the server's words."""
    refuse(site, ["admin2@example.com"])
    result = airflow.run(airflow.trigger())
    assert result.state == "success"
    assert [read_mail(path).recipients for path in site.backup_mails] == [{"admin1@example.com"}]
    (warning,) = [record.getMessage() for record in caplog.records if "did not get the mail" in record.getMessage()]
    assert "admin2@example.com" in warning
    assert "550 no such user" in warning
    assert "550 no such user" in airflow.stored_texts(result.run_id)["XCom email_attachment return_value"]


def refuse(site: Site, recipients: Sequence[str]) -> None:
    """Let the mail server refuse these recipients from now on."""
    cast("dict[str, str]", site.mailbox.refusals).update(dict.fromkeys(recipients, "550 no such user"))


def test_damaged_archive_never_gets_an_archives_name(airflow: LocalAirflow, site: Site) -> None:
    """One flipped bit between compression and verification: the run fails at once and publishes nothing."""
    run_id = airflow.trigger()
    airflow.run(run_id, pause_before="verify_archive")
    (partial,) = (site.backup_dir / ".work").glob("*/*.partial")
    content = bytearray(partial.read_bytes())
    content[len(content) // 2] ^= 4
    partial.write_bytes(content)
    result = airflow.run(run_id)
    assert (result.state, result.states["verify_archive"]) == ("failed", "failed")
    assert "do not restore from it" in str(result.errors["verify_archive"])
    assert site.published == set()
    assert not (site.backup_dir / LAST_SUCCESS_FILE).exists()
    assert site.backup_mails == []
    (alert,) = site.mailbox.messages()
    assert b"Subject: critical_backup FAILED in verify_archive" in alert.read_bytes()


def test_old_archives_expire_at_the_end_of_a_run(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older than BACKUP_RETENTION_DAYS and beyond BACKUP_RETENTION_MIN_KEEP; foreign files stay."""
    airflow.run(airflow.trigger(deliver_mail=False))
    archive, sidecar = only_archive(site)
    archive.unlink()
    archive.with_name(archive.name.replace(".tar.gz", ".manifest.json")).unlink()
    for days in (40, 50, 60):
        taken = sidecar.snapshot_at - timedelta(days=days)
        name = f"critical_backup_{taken:%Y%m%d_%H%M%S}"
        old = sidecar.model_copy(
            update={"archive": f"{name}.tar.gz", "snapshot_at": taken, "archive_bytes": len(b"old")}
        )
        (site.backup_dir / f"{name}.tar.gz").write_bytes(b"old")
        (site.backup_dir / f"{name}.manifest.json").write_text(old.model_dump_json(by_alias=True))
    (site.backup_dir / "critical_backup_by_hand.tar.gz").write_bytes(b"somebody's own")
    for path in site.backup_dir.glob("critical_backup_*"):
        path.chmod(0o600)
    monkeypatch.setenv("BACKUP_RETENTION_MIN_KEEP", "2")
    result = airflow.run(airflow.trigger(deliver_mail=False))
    assert result.state == "success"
    ages = [
        (sidecar.snapshot_at - read_sidecar(site.backup_dir / name).snapshot_at).days
        for name in site.archives
        if name != "critical_backup_by_hand.tar.gz"
    ]
    assert (len(ages), max(ages)) == (2, 40)
    assert "critical_backup_by_hand.tar.gz" in site.published
    assert airflow.stored_texts(result.run_id)["XCom expire_old_backups return_value"] == "2"


def test_left_over_workspace_goes_after_a_day_and_not_before(airflow: LocalAirflow, site: Site) -> None:
    """A run that failed keeps its workspace for another try; nobody else's fresh one is touched."""
    work = site.backup_dir / ".work"
    for name, days in (("old", 2), ("fresh", 0)):
        (work / name).mkdir(parents=True)
        (work / name / "part").touch()
        moment = time.time() - days * 86400
        os.utime(work / name / "part", (moment, moment))
        os.utime(work / name, (moment, moment))
    airflow.run(airflow.trigger(deliver_mail=False))
    assert [path.name for path in work.iterdir()] == ["fresh"]
