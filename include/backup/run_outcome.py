"""What Airflow knows of one run of the backup, in the core's words: whoever asks Airflow passes it in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from include.backup.run import Kind

# left_out: a checkpoint that met another export, or came too late. To Airflow it is a success.
RunState = Literal["queued", "running", "success", "failed", "left_out"]


@dataclass(frozen=True)
class RunOutcome:
    """
    One run.

    Args:
        run_id: Airflow's id of the run.
        kind: What started it.
        stands_for: Aware: the slot of a scheduled or backfilled run, the start of a manual one.
        state: As Airflow has it, save that it knows no run that is left out.
        started_at: Aware; None while it waits.
        ended_at: Aware; None until it has ended.
        failed_task: The first task that failed for good; None if none did, as when the run took too long.
        running_task: The task that runs now, if one does.
    """

    run_id: str
    kind: Kind
    stands_for: datetime
    state: RunState
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failed_task: str | None = None
    running_task: str | None = None

    @property
    def took(self) -> timedelta | None:
        """How long it took; None until it has ended."""
        return self.ended_at - self.started_at if self.ended_at and self.started_at else None
