"""What the routes work with: the settings and the archives of this server; where they are wrong, a 503 says why."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, status

from include.backup.archive_list import ArchiveEntry, ArchiveList, find_archive
from include.backup.archive_name import ARCHIVE_NAME
from include.backup.errors import SettingsError, UnknownArchiveError
from include.backup.fleet import settings_of
from include.backup.settings import Settings
from include.web.access import Chosen


def _settings(backup: Chosen) -> Settings:
    try:
        return settings_of(backup)
    except SettingsError as error:
        reason = f"{error}; set it right for the api-server and start that again"
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, reason) from None


Configured = Annotated[Settings, Depends(_settings)]


def _archives(settings: Configured) -> ArchiveList:
    try:
        return ArchiveList(settings.backup_dir)
    except OSError as error:
        raise HTTPException(
            status.HTTP_503_SERVICE_UNAVAILABLE,
            f"BACKUP_DIR={settings.backup_dir} cannot be read by the api-server: {error.strerror}; "
            "mount the volume of the backups there, readable for the user that runs Airflow",
        ) from None


Archives = Annotated[ArchiveList, Depends(_archives)]


def sound_archive(name: str, settings: Settings) -> ArchiveEntry:
    """
    Return the archive of that name, whose size is the one that was verified.

    Args:
        name: Whatever somebody has sent.
        settings: Where it lies.

    Raises:
        HTTPException: 404 if there is none, 409 if something is known against it.
    """
    try:
        entry = find_archive(settings.backup_dir, name)
    except UnknownArchiveError as error:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"{error}; the status page shows those that there are") from None
    if entry.problem:
        raise HTTPException(status.HTTP_409_CONFLICT, f"{name} is not to be used: {entry.problem}; take another one")
    return entry


# Only for the description: whatever does not match is simply not there.
NAME_SCHEMA = {"pattern": ARCHIVE_NAME.pattern, "examples": ["critical_backup_20261120_020004.tar.gz"]}
