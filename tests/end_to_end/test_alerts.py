"""
Alerts of a real Airflow: its processes are killed, stuck, or cannot read a DAG, and the mailbox is read.

The tests share one Airflow and run in the order of this file.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from tests.end_to_end.running_airflow import RunningAirflow, start_airflow

DAG, WATCH = "critical_backup", "backup_watch"
TABLE, HELD_UP = "users", "check_prerequisites"  # the first task that waits for whoever has locked the table
BOTH = "admin1@example.com, admin2@example.com"
LATE = f"{DAG} is LATE"
TIMED_OUT = f"{DAG} FAILED: timed out"
KILLED = f"{DAG} FAILED in {HELD_UP}"
NO_DAG = f"{DAG} cannot be imported"
DAG_AGAIN = f"{DAG} can be imported again"


def daily(time: datetime) -> dict[str, str]:
    """Return the setting with which critical_backup has its slot at this time of every day."""
    return {"BACKUP_SCHEDULE": f"{time.minute} {time.hour} * * *"}


NEVER_NOW = daily(datetime.now(timezone.utc) + timedelta(hours=12))


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAirflow]:
    """An Airflow with short settings; critical_backup has no slot while the tests run."""
    settings = {
        **NEVER_NOW,
        "BACKUP_TIMEZONE": "UTC",
        "BACKUP_RETRY_DELAY_SECONDS": "1",
        "BACKUP_DEADLINE_MINUTES": "1",
        "BACKUP_RUN_TIMEOUT_MINUTES": "2",
    }
    with start_airflow(tmp_path_factory.mktemp("alerts"), {**os.environ, **settings}) as running:
        for dag_id in (DAG, WATCH):
            running.api.unpause(dag_id)
        yield running


@pytest.fixture(scope="module")
def scheduled_run(airflow: RunningAirflow) -> Iterator[str]:
    """
    A scheduled run that is held up.

    Its slot was ten minutes ago: Airflow makes up for it at once, and its time begins to count when it is made.
    """
    with airflow.locked(TABLE):
        airflow.restart(DAG, daily(datetime.now(timezone.utc) - timedelta(minutes=10)))
        path = f"/api/v2/dags/{DAG}/dagRuns?run_type=scheduled"
        look = lambda: airflow.api.request("GET", path).json()["dag_runs"]  # noqa: E731
        (run,) = airflow.wait_for(look, "scheduled run", seconds=60)
        yield str(run["dag_run_id"])


def test_task_killed_in_every_try_is_mailed_though_its_process_cannot(airflow: RunningAirflow) -> None:
    """SIGKILL for each of its four tries: the mail names task, run and try, and says that nobody knows the reason."""
    with airflow.locked(TABLE):
        run_id = airflow.api.trigger(DAG, note="each try is killed")
        for number in range(1, 5):
            os.kill(process_of(airflow, run_id, try_number=number), signal.SIGKILL)
        mail = airflow.wait_for_mail(KILLED, seconds=90)
        airflow.wait_for(lambda: airflow.api.run_state(DAG, run_id) == "failed", "failed run", seconds=30)
    assert mail.recipients == BOTH
    assert "it was killed" in mail.text
    assert run_id in mail.text
    assert "4 of 4" in mail.text


def test_dag_that_cannot_be_imported_is_mailed_once_and_once_when_it_is_over(airflow: RunningAirflow) -> None:
    """A wrong BACKUP_SCHEDULE takes critical_backup away; the watch, which is left, names the setting."""
    airflow.restart(DAG, {"BACKUP_SCHEDULE": "every night"})
    assert airflow.api.import_error(DAG, datetime.min.replace(tzinfo=timezone.utc))
    look_at_backups(airflow)
    (mail,) = airflow.mails(NO_DAG)
    assert mail.recipients == BOTH
    assert "BACKUP_SCHEDULE" in mail.text
    assert "every night" in mail.text
    look_at_backups(airflow)
    assert airflow.mails(NO_DAG) == [mail]
    airflow.restart(DAG, NEVER_NOW)
    look_at_backups(airflow)
    assert len(airflow.mails(DAG_AGAIN)) == 1


def test_task_can_be_cleared_while_the_deadline_is_pending(airflow: RunningAirflow, scheduled_run: str) -> None:
    """Airflow answers 200, and the task runs again."""
    before = process_of(airflow, scheduled_run, try_number=1)
    assert not airflow.mails(LATE)
    order = {"dry_run": False, "dag_run_id": scheduled_run, "task_ids": [HELD_UP], "only_failed": False}
    answer = airflow.api.request("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", json=order)
    assert (answer.status_code, answer.json()["total_entries"]) == (200, 1)
    assert process_of(airflow, scheduled_run, try_number=2) != before
    assert not airflow.mails(LATE)


def test_scheduled_run_that_misses_its_deadline_is_mailed(airflow: RunningAirflow, scheduled_run: str) -> None:
    """The mail says that the run goes on, and which it is; a task that was cleared before does not prevent it."""
    mail = airflow.wait_for_mail(LATE, seconds=120)
    assert mail.recipients == BOTH
    assert "is running" in mail.text
    assert scheduled_run in mail.text


def test_run_that_exceeds_its_time_is_mailed(airflow: RunningAirflow, scheduled_run: str) -> None:
    """No task has failed, so only the DAG's own callback can say so; it names the limit and the run."""
    mail = airflow.wait_for_mail(TIMED_OUT, seconds=180)
    assert mail.recipients == BOTH
    assert "longer than 2 minutes (BACKUP_RUN_TIMEOUT_MINUTES)" in mail.text
    assert scheduled_run in mail.text
    assert airflow.api.run_state(DAG, scheduled_run) == "failed"
    assert airflow.task(DAG, scheduled_run, HELD_UP)["state"] == "skipped"


def test_nothing_else_is_mailed_and_nothing_twice(airflow: RunningAirflow) -> None:
    """All mails of the tests above, in their order."""
    subjects = [mail.subject.partition(":")[0] if LATE in mail.subject else mail.subject for mail in airflow.mails("")]
    assert subjects == [KILLED, NO_DAG, DAG_AGAIN, LATE, TIMED_OUT]


def process_of(airflow: RunningAirflow, run_id: str, *, try_number: int) -> int:
    """Return the process of this try of the task that is held up, once it runs."""

    def look() -> int | None:
        task = airflow.task(DAG, run_id, HELD_UP)
        is_there = task["state"] == "running" and task["try_number"] == try_number
        return int(task["pid"]) if is_there and task["pid"] else None

    return airflow.wait_for(look, f"try {try_number} of {HELD_UP}", seconds=60)


def look_at_backups(airflow: RunningAirflow) -> None:
    """Let the watch look once."""
    run_id = airflow.api.trigger(WATCH, note="by hand")
    ended = ("success", "failed")
    airflow.wait_for(lambda: airflow.api.run_state(WATCH, run_id) in ended, "look of the watch", seconds=90)
    assert airflow.api.run_state(WATCH, run_id) == "success"
