"""What a drill showed: a small JSON beside the archive."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime

from include.backup.archive_name import drill_path
from include.backup.durable import write_atomically
from include.backup.manifest import Record, readable_archives
from include.backup.rights import published_mode
from include.backup.small_file import read_small_file


class DrillRecord(Record):
    """What the last drill of an archive showed; it lies beside the archive."""

    drilled_at: AwareDatetime
    passed: bool
    seconds: float
    tables: int
    rows: int
    server_version: str
    error: str
    constraints: int = 0
    not_valid: tuple[str, ...] = ()


def read_drill(archive: Path) -> DrillRecord | None:
    """Return the archive's last drill; None if there is none that can be read."""
    try:
        return DrillRecord.model_validate_json(read_small_file(drill_path(archive)))
    except (OSError, ValueError):
        return None


def write_drill(archive: Path, record: DrillRecord) -> None:
    """Record the drill beside the archive, in place of the one before."""
    content = record.model_dump_json(indent=1).encode()
    write_atomically(drill_path(archive), content, mode=published_mode(archive.parent))


def last_passed(backup_dir: Path) -> datetime | None:
    """Return when a drill of any archive passed last; None if none did."""
    records = (read_drill(archive) for archive, _ in readable_archives(backup_dir))
    return max((record.drilled_at for record in records if record and record.passed), default=None)


def is_due(how_often: Literal["always", "weekly", "monthly", "off"], last: datetime | None, *, now: datetime) -> bool:
    """
    Whether a drill is due after a backup.

    Args:
        how_often: BACKUP_DRILL.
        last: When one passed last, aware; None if never.
        now: Aware.
    """
    if how_often == "off":
        return False
    # An hour less: drills follow backups, which do not take the same time every night.
    pause = {"always": timedelta(0), "weekly": timedelta(days=7, hours=-1), "monthly": timedelta(days=28, hours=-1)}
    return last is None or now - last >= pause[how_often]
