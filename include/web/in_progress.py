"""The runs in progress: backups with how far they are, drills, and restores, which may wait for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from include.backup.archive_list import ArchiveEntry
from include.backup.run_outcome import RunOutcome
from include.backup.running import RunningRun, look_at_run
from include.backup.settings import Settings
from include.web.runs import read_runs

APPROVAL_TASK = "approve_restore"


@dataclass(frozen=True)
class InProgress:
    """What runs or waits now: backups, and runs of the DAGs that drill and restore."""

    backups: tuple[RunningRun, ...]
    drills: tuple[RunOutcome, ...]
    restores: tuple[RunOutcome, ...]

    def __bool__(self) -> bool:
        """Whether anything does."""
        return bool(self.backups or self.drills or self.restores)


def read_in_progress(
    session: Session,
    settings: Settings,
    *,
    outcomes: Sequence[RunOutcome],
    newest: ArchiveEntry | None,
    now: datetime,
) -> InProgress:
    """
    Return what is in progress.

    Args:
        session: Of Airflow's metadata database.
        settings: Where the workspaces are.
        outcomes: The backup's runs, newest first: how long they took says how long one takes.
        newest: The newest archive; its rows say how much there is to export.
        now: Aware.
    """
    backup = settings.backup
    expected_bytes = newest.head.row_bytes if newest and newest.head else None
    backups = (
        look_at_run(outcome, settings.backup_dir, earlier=outcomes, expected_bytes=expected_bytes, now=now)
        for outcome in outcomes
        if _goes_on(outcome)
    )
    drills, restores = (
        read_runs(session, since=now, dag_id=dag_id) for dag_id in (backup.drill_dag_id, backup.restore_dag_id)
    )
    return InProgress(tuple(backups), tuple(filter(_goes_on, drills)), tuple(filter(_goes_on, restores)))


def _goes_on(outcome: RunOutcome) -> bool:
    return outcome.state in ("queued", "running")
