"""The line on a backup's page about its checkpoints, and on theirs about it: each has a page of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from include.backup.backup_id import Backup
from include.backup.errors import SettingsError
from include.backup.fleet import Fleet, settings_of
from include.backup.health import check_health
from include.backup.overview import age_text, limits_of


@dataclass(frozen=True)
class Neighbour:
    """The other backup of the same database; `text` says how it is, whatever the page's own state."""

    backup: Backup
    healthy: bool
    text: str


def neighbour_of(backup: Backup, readable: Fleet, *, now: datetime) -> Neighbour | None:
    """
    Return the checkpoints of a backup, or the backup of checkpoints.

    Args:
        backup: Whose page it is.
        readable: The backups that the person may see.
        now: Aware.

    Returns:
        None if there is none, or none that the person may see.
    """
    other = backup.parent if backup.is_checkpoints else backup.checkpoints
    if other not in readable.backups:
        return None
    what = "Checkpoints in between" if other.is_checkpoints else "The regular backup"
    try:
        settings = settings_of(other)
    except SettingsError as error:
        return Neighbour(other, False, f"{what}: {error}.")
    report = check_health(limits_of(settings), now=now)
    if not report.healthy:
        return Neighbour(other, False, f"{what}: {report.reason}.")
    age = age_text(now - datetime.fromisoformat(report.facts["last_success_at"]))
    return Neighbour(other, True, f"{what}: the last is {age} old, at most {age_text(settings.max_age)} are allowed.")
