"""The run in progress: how far it is, and about when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from include.backup.progress import ExportProgress, read_progress
from include.backup.run import BackupRun
from include.backup.run_outcome import RunOutcome

EXPORT_TASK = "export_database"
COMPARED_RUNS = 14


@dataclass(frozen=True)
class RunningRun:
    """
    A run that has begun and not ended.

    Args:
        outcome: What Airflow knows of it.
        progress: How far its export is; None while it exports nothing.
        share: Of the rows that the archive before had, how much is out: 0 to 1; None if that is not known.
        ends_at: About when it ends, aware; None if nothing is known to judge by.
    """

    outcome: RunOutcome
    progress: ExportProgress | None
    share: float | None
    ends_at: datetime | None


def look_at_run(
    outcome: RunOutcome, backup_dir: Path, *, earlier: Sequence[RunOutcome], expected_bytes: int | None, now: datetime
) -> RunningRun:
    """
    Return how far a run is.

    Args:
        outcome: Of the run.
        backup_dir: BACKUP_DIR, where its workspace is.
        earlier: Other runs, newest first: a run takes about as long as they took.
        expected_bytes: The bytes of rows that the archive before had, uncompressed; None if there is none.
        now: Aware.
    """
    workspace = BackupRun(outcome.run_id, outcome.kind, outcome.stands_for).workspace(backup_dir)
    progress = read_progress(workspace) if outcome.running_task == EXPORT_TASK else None
    took = [run.took.total_seconds() for run in earlier if run.state == "success" and run.took][:COMPARED_RUNS]
    ends_at = None
    if took and outcome.started_at:
        # One that takes longer than they did ends some time soon, not in the past.
        ends_at = max(outcome.started_at + timedelta(seconds=median(took)), now)
    share = None
    if progress and expected_bytes:
        share = min(progress.bytes / expected_bytes, 1.0)
        if progress.bytes_per_second:
            rest = max(expected_bytes - progress.bytes, 0) / progress.bytes_per_second
            ends_at = max(ends_at or now, now + timedelta(seconds=rest))
    return RunningRun(outcome, progress, share, ends_at)
