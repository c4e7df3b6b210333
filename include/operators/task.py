"""What a step needs to know of its task and run, and what becomes of its errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from include.backup.backup_id import Backup
from include.backup.errors import BackupError, MissingStepError, TemporaryError
from include.backup.fleet import settings_of
from include.backup.manifest import Sidecar, read_sidecar, readable_archives
from include.backup.rights import PRIVATE_FOLDER
from include.backup.run import BackupRun, cut_off, open_workspace
from include.backup.settings import Settings
from include.operators.error_log import recorded_errors
from include.operators.links import run_url

if TYPE_CHECKING:
    from airflow.sdk import Context

# Waiting does not mend these; everything else of the operating system is left to Airflow's retries.
_FINAL_OS_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


@contextmanager
def errors_for_airflow(context: Context | None = None) -> Iterator[None]:
    """
    Let the core's errors that no waiting mends fail the task at once; all others are left to Airflow's retries.

    Every error is recorded in BACKUP_LOG_FILE, with what the context says of the task.
    """
    try:
        with recorded_errors(context):
            yield
    except TemporaryError:
        raise
    except BackupError as error:
        raise AirflowFailException(str(error)) from error
    except OSError as error:
        if error.errno not in _FINAL_OS_ERRORS:
            raise
        raise AirflowFailException(
            f"{error.strerror}{_which_room(error)}: {error.filename or 'no file named'}; "
            "make room or mend the rights of BACKUP_DIR"
        ) from error


def _which_room(error: OSError) -> str:
    """Say so if it is not bytes that are short."""
    try:
        disk = os.statvfs(Path(str(error.filename)).parent)
    except OSError:
        return ""
    no_inode = error.errno == errno.ENOSPC and disk.f_files and not disk.f_favail
    return " (no inode is free: too many files)" if no_inode else ""


@dataclass
class BackupTask:
    """
    One task of one run.

    Args:
        context: Airflow's.
        cancel: Ends what the step is doing, from a signal handler; a long step sets it.
    """

    context: Context
    cancel: Callable[[], None] | None = None

    @cached_property
    def settings(self) -> Settings:
        """The settings of the DAG's backup, read again in every task."""
        return settings_of(Backup.of_dag(self.context["dag_run"].dag_id))

    @cached_property
    def run(self) -> BackupRun:
        """The run, whether it was scheduled, backfilled or started by hand (then it has no logical date)."""
        dag_run = self.context["dag_run"]
        run_type = str(getattr(dag_run.run_type, "value", dag_run.run_type))
        slot = dag_run.logical_date or dag_run.run_after
        return BackupRun(
            run_id=dag_run.run_id,
            kind=run_type if run_type in ("scheduled", "backfill") else "manual",  # type: ignore[arg-type]
            # A date in the future would move the cut-off forward and lose rows.
            stands_for=min(slot, datetime.now(timezone.utc)).astimezone(timezone.utc),
            reason=" ".join(str(self.params.get("reason") or "").split()),
        )

    @property
    def params(self) -> dict[str, Any]:
        """What the person who started the run chose."""
        return dict(self.context["params"])

    @property
    def is_manual(self) -> bool:
        """Whether a person started the run."""
        return str(getattr(self.context["dag_run"].run_type, "value", "")) == "manual"

    @property
    def delivers_mail(self) -> bool:
        """Whether the administrators get a mail of this run: never of a checkpoint."""
        return not self.settings.backup.is_checkpoints and bool(self.params.get("deliver_mail", True))

    @property
    def may_be_left_out(self) -> bool:
        """Whether the run is one checkpoint of many, that nobody has asked for by hand."""
        return self.settings.backup.is_checkpoints and not self.is_manual

    @property
    def sends_again(self) -> bool:
        """Whether a cleared mail task also mails those who have the mail already."""
        return bool(self.params.get("send_again", False))

    @property
    def series(self) -> str:
        """A name that a task's retries share; clearing the task raises its last try, and so begins another."""
        ti = self.context["ti"]
        return f"{ti.task_id}.{ti.max_tries}"

    @property
    def is_last_try(self) -> bool:
        """Whether Airflow will not retry the task by itself."""
        ti = self.context["ti"]
        return bool(ti.try_number > ti.max_tries)

    @property
    def backup_dir(self) -> Path:
        """BACKUP_DIR, or the backup's own folder in it."""
        return self.settings.backup_dir

    @property
    def workspace(self) -> Path:
        """The run's workspace, which must be there."""
        return open_workspace(self.run, self.backup_dir)

    def folder(self, name: str) -> Path:
        """Return a folder of the workspace for a step's parts, made if it is not there."""
        folder = self.workspace / name
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        return folder

    def cut_off(self, months: int) -> datetime:
        """Return the run's cut-off for a window of so many months."""
        return cut_off(self.run.stands_for, months, self.settings.backup_timezone)

    @property
    def archive(self) -> tuple[Path, Sidecar]:
        """
        The verified archive of this run: the one that verify_archive named, otherwise the run's newest.

        Raises:
            MissingStepError: If there is none, or it has expired.
        """
        name = self.context["ti"].xcom_pull(task_ids="verify_archive")
        if name and (self.backup_dir / str(name)).is_file():
            path = self.backup_dir / str(name)
            return path, read_sidecar(path)
        return self.published_archive()

    def published_archive(self) -> tuple[Path, Sidecar]:
        """Return the newest archive that this run has made. Raise MissingStepError if there is none."""
        own = [pair for pair in readable_archives(self.backup_dir) if pair[1].run.run_id == self.run.run_id]
        if not own:
            raise MissingStepError(
                f"run {self.run.run_id} has no archive in {self.backup_dir} (none was verified, or it has expired): "
                "clear create_workspace together with everything downstream"
            )
        return max(own, key=lambda pair: pair[1].snapshot_at)

    @property
    def run_url(self) -> str | None:
        """The run's page in Airflow, if its address is configured."""
        dag_run = self.context["dag_run"]
        return run_url(dag_run.dag_id, dag_run.run_id)
