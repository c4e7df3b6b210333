"""When a checkpoint is left out: its run is skipped, which is neither a failure nor an alert."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowSkipException

from include.backup.archive_list import ArchiveList
from include.backup.errors import AnotherExportError
from include.backup.run import remove_workspace
from include.operators.task import BackupTask


def leave_out_if_overtaken(task: BackupTask) -> None:
    """
    Skip a checkpoint whose slot came while the one before was still being made.

    Airflow begins its run when that one has ended (`max_active_runs`): slow checkpoints would follow without a pause.

    Raises:
        AirflowSkipException: If it is left out; never of a run that somebody has started by hand.
    """
    newest = next(iter(ArchiveList(task.backup_dir).entries(0, 1)), None) if task.may_be_left_out else None
    made_at = newest.verified_at if newest else None
    if newest and made_at and made_at > task.run.stands_for:
        raise AirflowSkipException(
            f"left out: {newest.name} was made after {task.run.stands_for:%H:%M:%S} UTC, which this run stands for; "
            "the next slot makes the next checkpoint"
        )


@contextmanager
def left_out_while_another_exports(task: BackupTask) -> Iterator[None]:
    """
    Skip a checkpoint that meets another export of its database, instead of waiting for it.

    Raises:
        AirflowSkipException: If it is left out; its workspace is gone then, since no later step would remove it.
    """
    try:
        yield
    except AnotherExportError as error:
        remove_workspace(task.run, task.backup_dir)
        raise AirflowSkipException(f"left out: {error}; the next slot makes the next checkpoint") from None
