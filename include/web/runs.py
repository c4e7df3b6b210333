"""What Airflow knows of the runs: the only place in the package that reads the tables of its metadata database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import groupby
from typing import Any, cast

from airflow.models import DagModel, DagRun, Pool, TaskInstance
from sqlalchemy import Row, and_, or_, select
from sqlalchemy.orm import Session

from include.backup.backup_id import BACKUP_DAG, UNNAMED, Backup
from include.backup.overview import AirflowFacts, look_back
from include.backup.run import Kind
from include.backup.run_outcome import RunOutcome, RunState
from include.backup.running import EXPORT_TASK

DEFAULT_POOL = Pool.DEFAULT_POOL_NAME
IN_PROGRESS = ("queued", "running")
# A task that waits for its next try, or for a slot, is still the one that the run is at.
AT_WORK = ("running", "restarting", "deferred", "up_for_reschedule", "up_for_retry", "queued", "scheduled")


def read_facts(session: Session, *, now: datetime, backup: Backup = UNNAMED, pool: str = DEFAULT_POOL) -> AirflowFacts:
    """
    Return what only Airflow knows of a DAG; one that it does not know has no runs and is not paused.

    Two queries, and one more for a pool other than Airflow's own, which is always there.

    Args:
        session: Of Airflow's metadata database.
        now: Aware.
        backup: Of whose DAG.
        pool: Of its export.

    Raises:
        SQLAlchemyError: If the database does not answer.
    """
    dag_id = backup.dag_id
    paused = session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == dag_id))
    is_missing = pool != DEFAULT_POOL and session.scalar(select(Pool.id).where(Pool.pool == pool)) is None
    outcomes = read_runs(session, since=now - look_back(backup), dag_id=dag_id)
    return AirflowFacts(outcomes, bool(paused), missing_pool=pool if is_missing else "")


def read_runs(session: Session, *, since: datetime, dag_id: str = BACKUP_DAG) -> tuple[RunOutcome, ...]:
    """
    Return the runs of a DAG that stand for that moment or a later one, and those in progress, newest first.

    One query, however many runs there are: it also brings the tasks that failed, those that are at work, and an export
    that was skipped.

    Args:
        session: Of Airflow's metadata database.
        since: Aware.
        dag_id: Whose runs.

    Raises:
        SQLAlchemyError: If the database does not answer.
    """
    tasks = and_(
        TaskInstance.dag_id == DagRun.dag_id,
        TaskInstance.run_id == DagRun.run_id,
        or_(
            TaskInstance.state.in_(("failed", *AT_WORK)),
            and_(TaskInstance.task_id == EXPORT_TASK, TaskInstance.state == "skipped"),
        ),
    )
    query = (
        select(
            DagRun.run_id,
            DagRun.run_type,
            DagRun.logical_date,
            DagRun.run_after,
            DagRun.state,
            DagRun.start_date,
            DagRun.end_date,
            TaskInstance.task_id,
            TaskInstance.state.label("task_state"),
        )
        .outerjoin(TaskInstance, tasks)
        .where(DagRun.dag_id == dag_id, or_(DagRun.run_after >= since, DagRun.state.in_(IN_PROGRESS)))
        .order_by(DagRun.run_after.desc(), DagRun.id.desc(), TaskInstance.end_date)
    )
    return tuple(_outcomes(session.execute(query).all()))


def _outcomes(rows: Any) -> Iterator[RunOutcome]:
    """Yield a run for each group of rows: there is one row for each of its tasks that says something, or one at all."""
    for _, group in groupby(rows, key=lambda row: row.run_id):
        tasks = list(group)
        yield _outcome(tasks[0], tasks)


def _outcome(run: Row[Any], tasks: list[Row[Any]]) -> RunOutcome:
    state = str(run.state)
    if state == "success" and any(task.task_state == "skipped" for task in tasks):
        state = "left_out"
    kind = str(run.run_type)
    failed = [task.task_id for task in tasks if task.task_state == "failed"]
    at_work = sorted((task for task in tasks if task.task_state in AT_WORK), key=lambda t: AT_WORK.index(t.task_state))
    ended = run.end_date if state not in IN_PROGRESS else None
    return RunOutcome(
        run_id=run.run_id,
        # Whatever else may start it one day (an asset, another DAG) is no slot of the schedule.
        kind=cast("Kind", kind if kind in ("scheduled", "backfill") else "manual"),
        stands_for=(run.logical_date or run.run_after).astimezone(timezone.utc),
        state=cast("RunState", state),
        started_at=run.start_date and run.start_date.astimezone(timezone.utc),
        ended_at=ended and ended.astimezone(timezone.utc),
        failed_task=failed[0] if failed else None,
        running_task=at_work[0].task_id if at_work and state in IN_PROGRESS else None,
    )
