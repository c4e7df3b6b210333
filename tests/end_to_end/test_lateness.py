"""
Slots of a real Airflow that come due on time, while the run hangs; and the mails that arrive by themselves.

The tests share one Airflow and run in the order of this file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from tests.end_to_end.running_airflow import RunningAirflow, daily, start_airflow

DAG = "critical_backup"
HELD_UP = "export_database"  # which waits while another run exports, however long that takes
BOTH = "admin1@example.com, admin2@example.com"
LATE = f"{DAG} is LATE"
OVER = f"{DAG} works again"
TIMED_OUT = f"{DAG} FAILED: timed out"

MINUTE = timedelta(minutes=1)
DEADLINE = 2 * MINUTE


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAirflow]:
    """An Airflow with short settings; critical_backup has no slot until a test wants one."""
    settings = {
        **daily(datetime.now(timezone.utc) + timedelta(hours=12)),
        "BACKUP_TIMEZONE": "UTC",
        "BACKUP_RETRY_DELAY_SECONDS": "1",
        "BACKUP_DEADLINE_MINUTES": str(DEADLINE // MINUTE),
    }
    with start_airflow(tmp_path_factory.mktemp("lateness"), {**os.environ, **settings}) as running:
        running.api.unpause(DAG)
        yield running


@pytest.fixture(scope="module")
def slots(airflow: RunningAirflow) -> tuple[datetime, datetime]:
    """Two slots to come, two minutes apart; the first one while Airflow is already waiting for it."""
    first = datetime.now(timezone.utc).replace(second=0, microsecond=0) + 2 * MINUTE
    while first.hour != (first + 2 * MINUTE).hour:
        first += MINUTE
    airflow.restart(DAG, daily(first, first + 2 * MINUTE))
    assert datetime.now(timezone.utc) < first
    return first, first + 2 * MINUTE


def run_of(airflow: RunningAirflow, slot: datetime) -> str:
    """Return the run of a slot, once Airflow has made it by itself."""
    path = f"/api/v2/dags/{DAG}/dagRuns?run_type=scheduled&logical_date_gte={slot:%Y-%m-%dT%H:%M:%SZ}"
    left = (slot - datetime.now(timezone.utc)).total_seconds()
    look = lambda: airflow.api.request("GET", path).json()["dag_runs"]  # noqa: E731
    (run,) = airflow.wait_for(look, f"run of {slot}", seconds=left + 60)
    return str(run["dag_run_id"])


def deadlines(airflow: RunningAirflow) -> list[tuple[datetime, bool]]:
    """Return when runs are late, and whether Airflow has said so, from its own tables."""
    with psycopg.connect(airflow.metadata) as session:
        return session.execute("SELECT deadline_time, missed FROM deadline ORDER BY 1").fetchall()


def test_hanging_run_can_be_cleared_and_its_success_takes_the_deadline_away(
    airflow: RunningAirflow, slots: tuple[datetime, datetime]
) -> None:
    """Airflow answers 200 while the deadline is pending, the task runs again, and nobody hears of it."""
    slot = slots[0]
    with airflow.other_export():
        run_id = run_of(airflow, slot)
        before = airflow.process_of(DAG, run_id, HELD_UP, try_number=1)
        assert deadlines(airflow) == [(slot + DEADLINE, False)]
        order = {"dry_run": False, "dag_run_id": run_id, "task_ids": [HELD_UP], "only_failed": False}
        answer = airflow.api.request("POST", f"/api/v2/dags/{DAG}/clearTaskInstances", json=order)
        assert (answer.status_code, answer.json()["total_entries"]) == (200, 1)
        assert airflow.process_of(DAG, run_id, HELD_UP, try_number=2) != before
    assert airflow.wait_for_end(DAG, run_id, seconds=110) == "success"
    assert deadlines(airflow) == []


def test_hanging_run_is_mailed_when_it_is_late_and_once_when_it_is_over(
    airflow: RunningAirflow, slots: tuple[datetime, datetime]
) -> None:
    """The mail arrives by itself, not before the deadline, and says which run, since when, and that it goes on."""
    slot = slots[1]
    with airflow.other_export():
        run_id = run_of(airflow, slot)
        mail = airflow.wait_for_mail(LATE, seconds=200)
        assert timedelta(0) < datetime.now(timezone.utc) - (slot + DEADLINE) < MINUTE
    assert mail.subject == f"{LATE}: not finished by {slot + DEADLINE:%Y-%m-%d %H:%M:%S} UTC"
    assert mail.recipients == BOTH
    assert "is running" in mail.text
    assert run_id in mail.text
    assert airflow.wait_for_end(DAG, run_id, seconds=120) == "success"
    over = airflow.wait_for_mail(OVER, seconds=10)
    assert f"It is over: {mail.subject}" in " ".join(over.text.split())


def test_run_that_exceeds_its_time_is_mailed(airflow: RunningAirflow) -> None:
    """No task has failed, so only the DAG's own callback can say so; it names the limit and the run."""
    airflow.restart(DAG, {"BACKUP_DEADLINE_MINUTES": "1", "BACKUP_RUN_TIMEOUT_MINUTES": "1"})
    with airflow.other_export():
        run_id = airflow.api.trigger(DAG, note="hangs")
        mail = airflow.wait_for_mail(TIMED_OUT, seconds=150)
    assert mail.recipients == BOTH
    assert "longer than 1 minutes (BACKUP_RUN_TIMEOUT_MINUTES)" in mail.text
    assert run_id in mail.text
    assert airflow.api.run_state(DAG, run_id) == "failed"
    assert airflow.task(DAG, run_id, HELD_UP)["state"] == "skipped"


def test_nothing_else_is_mailed_and_nothing_twice(airflow: RunningAirflow) -> None:
    """All mails of the tests above, in their order; a run by hand is never late."""
    subjects = [mail.subject.partition(" with")[0].partition(":")[0] for mail in airflow.mails("")]
    assert subjects == ["Backup", LATE, "Backup", OVER, TIMED_OUT.partition(":")[0]]
