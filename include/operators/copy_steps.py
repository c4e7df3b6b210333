"""The second copy in the nightly run: looked at before, made after verification, expired at the end."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from include.backup.archive_name import archive_names
from include.backup.copy_folder import FolderPlace
from include.backup.copy_place import CopyPlace
from include.backup.copy_record import CopyRecord, write_copy
from include.backup.copy_retention import expire_copies
from include.backup.errors import BackupError, TemporaryError, VerificationError
from include.backup.manifest import Sidecar
from include.backup.retention import RetentionPolicy, proven_archives
from include.backup.second_copy import check_place, copy_archive
from include.backup.settings import Settings
from include.operators.object_place import open_place

log = logging.getLogger(__name__)

CHECK_SECONDS = 20


def copy_warnings(settings: Settings) -> list[str]:
    """
    Return what is wrong with the place of second copies; [] also where none is wanted.

    Nothing about the copy keeps an archive from being made, so that nothing here is an error: copy_archive will fail.
    """
    if not settings.backup_copy_url:
        return []
    try:
        place = open_place(settings.backup_copy_url)
        _check_in_time(place)
    except BackupError as error:
        return [f"the second copy will fail: {error}"]
    if isinstance(place, FolderPlace) and place.folder.stat().st_dev == settings.backup_dir.stat().st_dev:
        return [f"{place.url} is on the file system of BACKUP_DIR={settings.backup_dir}: one disk takes both copies"]
    return []


def _check_in_time(place: CopyPlace) -> None:
    """Check the place in a thread that is left behind: a server that says nothing must not hold up the backup."""
    outcome: list[BackupError | None] = []

    def check() -> None:
        try:
            check_place(place)
            outcome.append(None)
        except BackupError as error:
            outcome.append(error)

    thread = threading.Thread(target=check, daemon=True)
    thread.start()
    thread.join(CHECK_SECONDS)
    error = outcome[0] if outcome else TemporaryError(f"{place.url} gave no answer within {CHECK_SECONDS} seconds")
    if error:
        raise error


def make_copy(settings: Settings, archive: Path, sidecar: Sidecar) -> CopyRecord:
    """Copy the archive to BACKUP_COPY_URL and record it. Raises as `open_place` and `copy_archive` do."""
    if not settings.backup_copy_url:
        raise BackupError("BACKUP_COPY_URL is not set any more: no second copy is wanted; clear update_status instead")
    try:
        record = copy_archive(archive, sidecar, open_place(settings.backup_copy_url))
    except VerificationError:
        raise  # the archive itself may be affected
    except BackupError as error:
        raise type(error)(f"{error}; the archive in BACKUP_DIR is sound, only its second copy is missing") from error
    write_copy(archive, record)
    return record


def expire_old_copies(settings: Settings, *, now: datetime) -> None:
    """Remove expired copies, unless the place removes them itself (BACKUP_COPY_RETENTION_DAYS=0)."""
    if not settings.backup_copy_url or not settings.backup_copy_retention_days:
        return
    policy = RetentionPolicy.of(settings)
    if not settings.backup.is_checkpoints:  # those are of no use for months, nor are their copies
        policy = replace(policy, keep=max(policy.keep, timedelta(days=settings.backup_copy_retention_days)))
    place = open_place(settings.backup_copy_url)
    proven = proven_archives(settings.backup_dir / name for name in archive_names(settings.backup_dir))
    plan, refused = expire_copies(place, policy, now=now, proven=proven)
    gone = [sidecar.archive for sidecar in plan.expire if sidecar.archive not in refused]
    log.info("second copies: %d kept, %d expired: %s", len(plan.keep) + len(refused), len(gone), plan.reason)
    for name in gone:
        log.info("expired %s/%s", place.url, name)
