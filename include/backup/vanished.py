"""Archives that are gone before their time: a wiped or exchanged BACKUP_DIR, a volume that is not mounted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from include.backup.retention import RetentionPolicy, expiries


@dataclass(frozen=True)
class _Known:
    archive: str
    snapshot_at: datetime


def vanished_archives(
    known: Mapping[str, datetime], present: Collection[str], policy: RetentionPolicy, *, now: datetime
) -> tuple[str, ...]:
    """
    Return the archives that retention cannot have removed, oldest first.

    Args:
        known: Snapshot times by name, of those that were seen and those that are there.
        present: The names of those that are there, sound.
        policy: By which retention removes.
        now: Aware.
    """
    until = expiries((_Known(name, at) for name, at in known.items()), policy)
    gone = (name for name in reversed(until) if name not in present)
    return tuple(name for name in gone if (end := until[name]) is None or end > now)
