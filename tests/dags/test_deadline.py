"""The Deadline Alert: which runs can be late, and what the administrators hear of one that is."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.models import DagRun
from airflow.models.deadline import Deadline
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.utils.session import create_session

from include.backup.alerted import ALERTED_FILE
from include.operators.alerts import alert_run_failure
from include.operators.deadline import due_from
from tests.fix_airflow import LocalAirflow, Site
from tests.operators.test_task import make_context

PAGE = "All backups: http://airflow.example.com:8080/backup/"
SLOT = datetime(2026, 11, 20, 2, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("run_type", "slot", "made_after", "due_after"),
    [
        ("scheduled", SLOT, timedelta(seconds=3), timedelta(0)),
        ("scheduled", SLOT, timedelta(hours=7), timedelta(hours=7)),
        ("backfill", SLOT, timedelta(seconds=3), None),
        ("manual", SLOT, timedelta(0), None),
        ("manual", None, timedelta(0), None),
    ],
)
def test_only_scheduled_runs_are_due(
    run_type: str, slot: datetime | None, made_after: timedelta, due_after: timedelta | None
) -> None:
    """From the slot on; one that was made up for, from the moment it was made."""
    expected = None if due_after is None else SLOT + due_after
    assert due_from(run_type, slot, now=SLOT + made_after) == expected


@pytest.fixture
def slot(airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """A slot of the schedule that has just come; each test has a minute of its own, as Airflow wants it."""
    now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    slot = airflow.free_slot(now, timedelta(minutes=1))
    monkeypatch.setenv("BACKUP_SCHEDULE", f"{slot.minute} {slot.hour} * * *")
    airflow.load_dag()
    return slot


def deadlines(run_id: str) -> list[datetime]:
    """Return when the run is late."""
    with create_session() as session:
        found = session.query(Deadline).join(DagRun, Deadline.dagrun_id == DagRun.id).filter(DagRun.run_id == run_id)
        return [deadline.deadline_time for deadline in found]


def miss(run_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Let the run miss its deadline, as the scheduler does; yield what an executor gets to run."""
    with create_session() as session:
        found = session.query(Deadline).join(DagRun, Deadline.dagrun_id == DagRun.id).filter(DagRun.run_id == run_id)
        for deadline in found:
            deadline.handle_miss(session)
            yield deadline.callback.data["path"], deadline.callback.data["kwargs"]


def test_scheduled_run_is_late_ten_minutes_after_its_slot(airflow: LocalAirflow, slot: datetime) -> None:
    """Its tasks can be cleared meanwhile, and success takes the deadline away."""
    run_id = airflow.schedule(slot)
    assert deadlines(run_id) == [slot + timedelta(minutes=10)]
    airflow.run(run_id, pause_before="export_database")
    assert airflow.clear(run_id, "check_prerequisites") == {"check_prerequisites"}
    assert airflow.run(run_id).state == "success"
    assert deadlines(run_id) == []


def test_other_runs_have_no_deadline(airflow: LocalAirflow, slot: datetime) -> None:
    """Neither one by hand nor a backfilled one; the one after unpausing gets its time from then on."""
    assert deadlines(airflow.trigger()) == []
    (backfilled,) = airflow.backfill(slot - timedelta(days=2), slot - timedelta(days=2, minutes=-1))
    assert deadlines(backfilled) == []
    (late,) = deadlines(airflow.schedule(slot - timedelta(days=1)))
    assert late > datetime.now(timezone.utc) + timedelta(minutes=9)


def test_late_run_is_mailed(airflow: LocalAirflow, site: Site, slot: datetime) -> None:
    """Which run, in which state, since when it is late, and what to do."""
    run_id = airflow.schedule(slot)
    airflow.run(run_id, pause_before="export_database")
    ((path, kwargs),) = miss(run_id)
    import_string(path)(**kwargs)
    (mail,) = [email.message_from_bytes(m.read_bytes(), policy=email.policy.default) for m in site.mailbox.messages()]
    due = slot + timedelta(minutes=10)
    assert mail["Subject"] == f"critical_backup is LATE: not finished by {due:%Y-%m-%d %H:%M}:00 UTC"
    assert mail["X-Envelope-To"] == "admin1@example.com, admin2@example.com"
    body = mail.get_body(("plain",))
    assert body is not None
    for part in (run_id, "running", "WHAT TO DO", "http://airflow.example.com:8080/dags/critical_backup/runs/", PAGE):
        assert part in body.get_content()


@pytest.mark.parametrize(
    ("reason", "subjects"), [("timed_out", ["critical_backup FAILED: timed out"]), ("task_failure", [])]
)
def test_run_that_took_too_long_is_mailed(
    airflow: LocalAirflow, site: Site, *, reason: str, subjects: list[str]
) -> None:
    """Its tasks are skipped, so no task alerts; a failed task has alerted itself, so the run does not."""
    context: Any = make_context(DagRunType.SCHEDULED, logical_date=SLOT)
    context |= {"dag": airflow.load_dag(), "reason": reason}
    alert_run_failure(context)
    mails = [email.message_from_bytes(m.read_bytes(), policy=email.policy.default) for m in site.mailbox.messages()]
    assert [mail["Subject"] for mail in mails] == subjects
    if mails:
        assert b"longer than 60 minutes" in mails[0].as_bytes()


def test_alert_is_mailed_although_slack_cannot_be_reached(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One way that fails does not stop the other."""
    monkeypatch.setenv("BACKUP_SLACK_WEBHOOK_URL", "http://127.0.0.1:1/services/secret")
    context: Any = make_context(DagRunType.SCHEDULED, logical_date=SLOT)
    alert_run_failure(context | {"dag": airflow.load_dag(), "reason": "timed_out"})
    assert len(site.mailbox.messages()) == 1


def test_incident_is_told_once_when_it_is_over(airflow: LocalAirflow, site: Site) -> None:
    """The next success says since when and what it was; the one after it says nothing more."""
    context: Any = make_context(DagRunType.SCHEDULED, logical_date=SLOT)
    alert_run_failure(context | {"dag": airflow.load_dag(), "reason": "timed_out"})
    for _ in range(2):
        assert airflow.run(airflow.trigger(deliver_mail=False)).state == "success"
    mails = [email.message_from_bytes(m.read_bytes(), policy=email.policy.default) for m in site.mailbox.messages()]
    assert [mail["Subject"] for mail in mails] == ["critical_backup FAILED: timed out", "critical_backup works again"]
    body = mails[1].get_body(("plain",))
    assert body is not None
    assert "It is over: critical_backup FAILED: timed out." in body.get_content()


def test_task_that_has_told_is_not_told_again_by_its_run(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One mail for a task that failed; without its word (its process was killed) the run speaks for it."""
    monkeypatch.setenv("BACKUP_SCOPE_FILE", "/no/such/scope.yaml")
    run_id = airflow.trigger()
    assert airflow.run(run_id).state == "failed"
    end = airflow.end_of_run(run_id, "task_failure")
    for mails in (1, 2):
        for _ in range(2):
            alert_run_failure(end)
        (site.backup_dir / ALERTED_FILE.format(dag_id="critical_backup")).unlink()
        subjects = [email.message_from_bytes(m.read_bytes())["Subject"] for m in site.mailbox.messages()]
        assert subjects == ["critical_backup FAILED in check_prerequisites"] * mails
