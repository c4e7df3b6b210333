"""What Airflow's metadata database says of the runs, in the core's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.models import DagModel, DagRun, Pool, TaskInstance
from airflow.settings import engine
from airflow.utils.session import create_session
from sqlalchemy import delete, event, select, update
from sqlalchemy.orm import Session

from include.backup.backup_id import BACKUP_DAG, Backup
from include.backup.run_outcome import RunOutcome
from include.web.runs import read_facts, read_runs
from tests.fix_airflow import LocalAirflow, Site

NOW = datetime.now(timezone.utc).replace(microsecond=0)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SLOT = NOW.replace(hour=2, minute=0, second=0) - DAY


@pytest.fixture
def session(airflow: LocalAirflow, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session of Airflow's own database, which knows the DAGs and no run."""
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    airflow.load_dag()
    with create_session() as session:
        session.execute(delete(DagRun))  # those of all DAGs: what ran before in this process used the same database
        session.commit()
        yield session


def set_run(run_id: str, state: str, *, tasks: dict[str, str] | None = None, **columns: Any) -> None:
    """Put a run and its tasks into these states, as the scheduler does."""
    with create_session() as session:
        session.execute(
            update(DagRun).where(DagRun.dag_id == BACKUP_DAG, DagRun.run_id == run_id).values(_state=state, **columns)
        )
        for minute, (task_id, task_state) in enumerate((tasks or {}).items()):
            chosen = (TaskInstance.dag_id == BACKUP_DAG, TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
            ended = SLOT + timedelta(minutes=minute)
            session.execute(update(TaskInstance).where(*chosen).values(state=task_state, end_date=ended))


@contextmanager
def counted_queries() -> Iterator[list[str]]:
    """Collect the statements that the database gets."""
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(str(arguments[2]))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_runs_are_told_newest_first_with_what_started_them(airflow: LocalAirflow, session: Session) -> None:
    """Scheduled and backfilled runs stand for their slots, one started by hand for its own moment."""
    scheduled = airflow.schedule(SLOT)
    (backfilled,) = airflow.backfill(SLOT - 3 * DAY, SLOT - 3 * DAY + HOUR)
    by_hand, by_asset = airflow.trigger(), airflow.trigger()
    set_run(scheduled, "success", start_date=SLOT, end_date=SLOT + HOUR)
    set_run(backfilled, "success", start_date=NOW, end_date=NOW + HOUR)
    set_run(by_hand, "success", run_after=NOW, start_date=NOW, end_date=NOW + HOUR)
    set_run(by_asset, "success", run_after=NOW - HOUR, run_type="asset_triggered", start_date=NOW, end_date=NOW)
    assert read_runs(session, since=NOW - 10 * DAY) == (
        RunOutcome(by_hand, "manual", NOW, "success", NOW, NOW + HOUR),
        RunOutcome(by_asset, "manual", NOW - HOUR, "success", NOW, NOW),
        RunOutcome(scheduled, "scheduled", SLOT, "success", SLOT, SLOT + HOUR),
        RunOutcome(backfilled, "backfill", SLOT - 3 * DAY, "success", NOW, NOW + HOUR),
    )


def test_failed_run_names_the_task_that_failed_first(airflow: LocalAirflow, session: Session) -> None:
    """Not those that could not begin; a run that took too long has none."""
    run_id, too_long = airflow.schedule(SLOT), airflow.schedule(SLOT - DAY)
    states = {"check_size": "failed", "email_link": "failed", "update_status": "upstream_failed"}
    set_run(run_id, "failed", tasks=states, start_date=SLOT, end_date=SLOT + HOUR)
    set_run(too_long, "failed", tasks={"export_database": "skipped"}, start_date=SLOT, end_date=SLOT + HOUR)
    first, second = read_runs(session, since=NOW - 10 * DAY)
    assert (first.failed_task, first.running_task, first.took) == ("check_size", None, HOUR)
    assert (second.state, second.failed_task) == ("failed", None)


def test_run_whose_export_was_skipped_is_left_out_and_no_success(airflow: LocalAirflow, session: Session) -> None:
    """So a checkpoint that met another export counts for nothing; a mail that is not sent is skipped in every run."""
    left_out, done = airflow.schedule(SLOT), airflow.schedule(SLOT - DAY)
    set_run(left_out, "success", tasks={"export_database": "skipped"}, start_date=SLOT, end_date=SLOT)
    set_run(done, "success", tasks={"email_attachment": "skipped"}, start_date=SLOT, end_date=SLOT + HOUR)
    assert [outcome.state for outcome in read_runs(session, since=NOW - 10 * DAY)] == ["left_out", "success"]


@pytest.mark.parametrize("task_state", ["running", "up_for_retry", "queued", "deferred"])
def test_run_in_progress_names_the_task_it_is_at(airflow: LocalAirflow, session: Session, task_state: str) -> None:
    """Also while that waits for its next try; and whatever day the run stands for."""
    (run_id,) = airflow.backfill(SLOT - 200 * DAY, SLOT - 200 * DAY + HOUR)
    tasks = {"create_workspace": "success", "export_database": task_state, "copy_configuration": "scheduled"}
    set_run(run_id, "running", tasks=tasks, start_date=NOW, end_date=NOW)
    (outcome,) = read_runs(session, since=NOW - DAY)
    assert (outcome.state, outcome.running_task) == ("running", "export_database")
    assert (outcome.started_at, outcome.ended_at) == (NOW, None), "a cleared run keeps the end that it had before"
    set_run(run_id, "success", end_date=NOW)
    assert read_runs(session, since=NOW - DAY) == ()


def test_queued_run_has_not_begun(airflow: LocalAirflow, session: Session) -> None:
    """Neither start nor end nor task."""
    run_id = airflow.schedule(SLOT)
    assert read_runs(session, since=SLOT) == (RunOutcome(run_id, "scheduled", SLOT, "queued"),)
    assert read_runs(session, since=SLOT, dag_id="restore_drill") == ()


def test_any_number_of_runs_takes_two_queries(airflow: LocalAirflow, session: Session) -> None:
    """One for the runs with their tasks, one for the DAG's pause."""
    run_ids = [airflow.schedule(SLOT - ago * DAY) for ago in range(40)]
    for run_id in run_ids:
        set_run(run_id, "failed", tasks={"export_database": "failed"}, start_date=SLOT, end_date=SLOT)
    with counted_queries() as statements:
        facts = read_facts(session, now=NOW)
    assert [outcome.run_id for outcome in facts.outcomes] == run_ids
    assert {outcome.failed_task for outcome in facts.outcomes} == {"export_database"}
    assert len(statements) == 2, statements


def test_pause_of_the_dag_is_told(session: Session) -> None:
    """As Airflow has it; a DAG that it does not know has no runs and is not paused."""
    for paused in (True, False):
        session.execute(update(DagModel).where(DagModel.dag_id == BACKUP_DAG).values(is_paused=paused))
        assert read_facts(session, now=NOW).paused is paused
    unknown = read_facts(session, now=NOW, backup=Backup("nobody_knows"))
    assert (unknown.outcomes, unknown.paused) == ((), False)
    assert session.scalar(select(DagModel.dag_id).where(DagModel.dag_id == "nobody_knows")) is None


def test_pool_counts_as_missing_until_airflow_has_it(session: Session) -> None:
    """Airflow's own is always there, and not asked for."""
    assert read_facts(session, now=NOW, pool="server_1").missing_pool == "server_1"
    session.add(Pool(pool="server_1", slots=2, include_deferred=False))
    session.flush()
    assert read_facts(session, now=NOW, pool="server_1").missing_pool == ""
    assert read_facts(session, now=NOW).missing_pool == ""


def test_run_that_really_failed_is_read_as_it_was(
    airflow: LocalAirflow, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real run whose mail nobody takes, then the same run cleared and successful."""
    site.mailbox.refusals.update({f"admin{number}@example.com": "550 nobody of that name" for number in (1, 2)})  # type: ignore[attr-defined]
    since = datetime.now(timezone.utc) - timedelta(seconds=5)
    run_id = airflow.trigger()
    assert airflow.run(run_id).state == "failed"
    with create_session() as session:
        (outcome,) = [outcome for outcome in read_runs(session, since=since) if outcome.run_id == run_id]
    assert (outcome.kind, outcome.state, outcome.failed_task) == ("manual", "failed", "email_attachment")
    assert since <= outcome.stands_for <= datetime.now(timezone.utc)
    assert outcome.took is not None
    assert timedelta(0) < outcome.took < HOUR
    site.mailbox.refusals.clear()  # type: ignore[attr-defined]
    airflow.clear(run_id, "email_attachment", downstream=True)
    assert airflow.run(run_id).state == "success"
    with create_session() as session:
        (outcome,) = [outcome for outcome in read_runs(session, since=since) if outcome.run_id == run_id]
    assert (outcome.state, outcome.failed_task) == ("success", None)
