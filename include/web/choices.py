"""The choice among several backups at the top of the page, and what is wrong with the file that names them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from include.backup.backup_id import Backup
from include.backup.errors import SettingsError
from include.backup.fleet import Fleet, settings_of
from include.backup.health import check_health
from include.backup.overview import limits_of
from include.backup.settings import load_settings


@dataclass(frozen=True)
class Choices:
    """
    The backups to choose from.

    Args:
        backups: Each with whether it is healthy.
        wrong: Why backups are missing or not made.
    """

    backups: tuple[tuple[Backup, bool], ...]
    wrong: tuple[str, ...]


def choices_of(fleet: Fleet, *, now: datetime) -> Choices:
    """Return the choice among these backups; one whose settings are wrong is not healthy, and named with the reason."""
    environment = load_settings()
    backups: list[tuple[Backup, bool]] = []
    wrong = list(fleet.errors)
    for backup in fleet.backups if len(fleet.backups) > 1 else ():
        try:
            limits = limits_of(settings_of(backup, environment))
            backups.append((backup, check_health(limits, now=now).healthy))
        except SettingsError as error:
            backups.append((backup, False))
            wrong.append(f"{backup.dag_id} is not made: {error}")
    return Choices(tuple(backups), tuple(wrong))
