"""Archives that are gone before their time: a wiped or exchanged BACKUP_DIR, a volume that is not mounted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta


def vanished_archives(
    known: Mapping[str, datetime], present: Collection[str], *, keep_days: int, min_keep: int, now: datetime
) -> tuple[str, ...]:
    """
    Return the archives that retention cannot have removed, oldest first.

    It removes what is older than `keep_days`, and never the newest `min_keep`.

    Args:
        known: Snapshot times by name, of those that were seen and those that are there.
        present: The names of those that are there, sound.
        keep_days: BACKUP_RETENTION_DAYS.
        min_keep: BACKUP_RETENTION_MIN_KEEP.
        now: Aware.
    """
    oldest_first = sorted(known, key=lambda name: known[name])
    never_removed = set(oldest_first[-min_keep:])
    oldest = now - timedelta(days=keep_days)
    gone = (name for name in oldest_first if name not in present)
    return tuple(name for name in gone if known[name] > oldest or name in never_removed)
