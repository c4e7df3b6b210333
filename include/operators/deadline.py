"""When a scheduled run is due: the reference of its Deadline Alert, which replaced the SLA."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.deadline import BaseDeadlineReference, deadline_reference

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

# The scheduler makes a run within seconds of its slot. One that it makes later is made up for: after unpausing, or
# after the scheduler itself was down.
PUNCTUAL = timedelta(minutes=5)


@deadline_reference()
class BackupDue(BaseDeadlineReference):
    """A scheduled run is due from its slot on, one that was made late from then on; others never are."""

    required_kwargs = frozenset({"dag_id", "run_id"})

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str, **_: Any) -> datetime | None:
        # Only the scheduler and the api-server come here; whoever parses the DAG need not load the models.
        from airflow.models import DagRun  # noqa: PLC0415
        from sqlalchemy import select  # noqa: PLC0415

        query = select(DagRun.run_type, DagRun.logical_date).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        row = session.execute(query).one_or_none()
        return due_from(str(row[0]), row[1], now=datetime.now(timezone.utc)) if row else None


def due_from(run_type: str, slot: datetime | None, *, now: datetime) -> datetime | None:
    """
    Return when a run's time begins to count; None if it cannot be late.

    Args:
        run_type: Airflow's: only `scheduled` runs can be late.
        slot: The run's logical date, aware.
        now: When the run is made, aware.
    """
    if run_type != "scheduled" or slot is None:
        return None
    return slot if now - slot <= PUNCTUAL else now
