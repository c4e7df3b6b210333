"""One run of the backup: which day it stands for, its cut-off, and its workspace."""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import pendulum

from include.backup.backup_id import Backup
from include.backup.errors import BackupError, MissingStepError
from include.backup.rights import PRIVATE_FOLDER

WORKSPACES = ".work"
WORKSPACE_KEPT = timedelta(days=1)

Kind = Literal["scheduled", "manual", "backfill"]


@dataclass(frozen=True)
class BackupRun:
    """
    Which run this is.

    Args:
        run_id: Airflow's id of the run.
        kind: What started it.
        stands_for: Aware, UTC: the slot of a scheduled or backfilled run, the start of a manual one.
        reason: What the person who started it by hand said; may be empty.
    """

    run_id: str
    kind: Kind
    stands_for: datetime
    reason: str = ""

    def workspace(self, backup_dir: Path) -> Path:
        """Return this run's own directory: the same for every try, different for every run."""
        readable = re.sub(r"[^\w.-]+", "_", self.run_id, flags=re.ASCII)[:80]
        digest = hashlib.sha256(self.run_id.encode(errors="surrogatepass")).hexdigest()[:8]
        return backup_dir / WORKSPACES / f"{readable}-{digest}"


def cut_off(stands_for: datetime, months: int, timezone_name: str) -> datetime:
    """
    Return the start of the window: midnight in the time zone, so many months before the run's own day.

    Month ends are clamped: 31 May minus 3 months is the last day of February.

    Args:
        stands_for: Aware.
        months: >= 1.
        timezone_name: BACKUP_TIMEZONE.

    Returns:
        Aware, UTC.
    """
    zone = ZoneInfo(timezone_name)
    day = pendulum.instance(stands_for.astimezone(zone)).date().subtract(months=months)
    # fold=0: the first of two midnights; the moment of the change where there is none.
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(timezone.utc)


def make_backup_folder(folder: Path, backup: Backup) -> None:
    """
    Make the folder of a backup that has an id, with the rights of BACKUP_DIR, which itself is never made.

    Raises:
        OSError: If it cannot be made.
    """
    parent = folder.parent
    if backup.id and parent.is_dir() and not folder.exists():
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        folder.chmod(stat.S_IMODE(parent.stat().st_mode))  # the group of a shared one is handed on by itself


def create_workspace(run: BackupRun, backup_dir: Path) -> Path:
    """Make the run's workspace (0700), keeping what an earlier try left in it; sweep old ones. Return it."""
    workspace = run.workspace(backup_dir)
    workspace.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    _sweep(workspace)
    workspace.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    return workspace


def open_workspace(run: BackupRun, backup_dir: Path) -> Path:
    """
    Return the run's existing workspace.

    Raises:
        MissingStepError: If it is not there: a run that succeeded has removed it, or another machine has made it in a
            BACKUP_DIR that this one does not have.
    """
    workspace = run.workspace(backup_dir)
    if not workspace.is_dir():
        raise MissingStepError(
            f"the workspace of run {run.run_id} is not in BACKUP_DIR={backup_dir} (a run that succeeded removes it; "
            "all workers must mount the same folder): clear create_workspace together with everything downstream"
        )
    return workspace


def remove_workspace(run: BackupRun, backup_dir: Path) -> list[Path]:
    """Remove the run's workspace and those that nobody has touched for a day. Return what was removed."""
    workspace = run.workspace(backup_dir)
    own = [workspace] if workspace.is_dir() else []
    for path in own:
        try:
            shutil.rmtree(path)
        except OSError as error:  # it names the file without its folder
            raise OSError(error.errno, error.strerror, str(path)) from None
    return own + _sweep(workspace)


def _sweep(but_not: Path) -> list[Path]:
    """
    Remove the other workspaces that nobody has touched for a day: failed runs must not fill the disk.

    And, in BACKUP_DIR, the files that a killed task has half written under a hidden name.

    Raises:
        BackupError: If the folder of the workspaces is a link: old folders at its end are somebody else's.
    """
    folder = but_not.parent
    if folder.is_symlink():
        raise BackupError(
            f"{folder} is a link; expected a folder of its own in BACKUP_DIR, since publishing is a rename and what is "
            "old in it is removed: replace the link by a folder"
        )
    oldest = time.time() - WORKSPACE_KEPT.total_seconds()
    left_over = [path for path in folder.glob("*") if path != but_not and path.is_dir()]
    left_over = [path for path in left_over if _last_touched(path) < oldest]
    for path in left_over:
        shutil.rmtree(path, ignore_errors=True)
    half_written = [path for path in folder.parent.glob(".*.partial") if path.is_file() and not path.is_symlink()]
    half_written = [path for path in half_written if _last_touched(path) < oldest]
    for path in half_written:
        path.unlink(missing_ok=True)
    return left_over + half_written


def _last_touched(workspace: Path) -> float:
    try:
        return max(path.stat().st_mtime for path in (workspace, *workspace.rglob("*")))
    except FileNotFoundError:
        return time.time()  # somebody is at work in it


def utc_now() -> datetime:
    """Return the present moment, aware, UTC, to the second: archives are named by seconds."""
    return datetime.now(timezone.utc).replace(microsecond=0)
