"""Which archives expire. Never the last good ones, and none while backups are failing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from include.backup.archive_name import companions
from include.backup.drill_record import read_drill
from include.backup.durable import sync_folder
from include.backup.manifest import Sidecar, readable_archives


@dataclass(frozen=True)
class RetentionPolicy:
    """
    How long archives live.

    Args:
        keep_days: Older ones expire; >= 1.
        min_keep: So many of the newest never expire; >= 1.
        max_age_hours: While the newest is older than this, backups are failing and nothing expires.
    """

    keep_days: int
    min_keep: int
    max_age_hours: int


@dataclass(frozen=True)
class ExpiryPlan:
    """Two disjoint sets, newest first, and why nothing expires where that is so."""

    keep: tuple[Sidecar, ...]
    expire: tuple[Sidecar, ...]
    reason: str


def plan_expiry(
    archives: Sequence[Sidecar], policy: RetentionPolicy, *, now: datetime, proven: Collection[str] = ()
) -> ExpiryPlan:
    """
    Given the verified archives of one database, decide which to keep.

    Args:
        archives: In any order; may be empty.
        policy: Ages in days and hours, counts >= 1.
        now: Aware.
        proven: Names of the archives whose drill passed; the newest of them never expires.

    Returns:
        The plan. Deletes nothing.

    Source: specs/011-automated-backup/spec.md FR-6.
    """
    newest_first = tuple(sorted(archives, key=lambda sidecar: sidecar.snapshot_at, reverse=True))
    if not newest_first:
        return ExpiryPlan((), (), "there is no archive")
    age = now - newest_first[0].snapshot_at
    if age > timedelta(hours=policy.max_age_hours):
        hours = age / timedelta(hours=1)
        return ExpiryPlan(newest_first, (), f"backups are failing: the newest archive is {hours:.0f} hours old")
    oldest = now - timedelta(days=policy.keep_days)
    newest_proven = next((s.archive for s in newest_first if s.archive in proven), None)
    expire = tuple(s for s in newest_first[policy.min_keep :] if s.snapshot_at < oldest and s.archive != newest_proven)
    expired = {sidecar.archive for sidecar in expire}
    keep = tuple(s for s in newest_first if s.archive not in expired)
    return ExpiryPlan(keep, expire, f"older than {policy.keep_days} days" if expire else "none is old enough")


def proven_archives(archives: Iterable[Path]) -> set[str]:
    """Return the names of those archives whose last drill passed."""
    drills = ((archive.name, read_drill(archive)) for archive in archives)
    return {name for name, drill in drills if drill and drill.passed}


def expire_archives(backup_dir: Path, policy: RetentionPolicy, *, now: datetime) -> ExpiryPlan:
    """
    Remove the archives that the plan names, each with its manifest and records, and return the plan.

    Only files with an archive's name and a readable manifest of that name count; all others stay.
    """
    archives = dict(readable_archives(backup_dir))
    plan = plan_expiry(list(archives.values()), policy, now=now, proven=proven_archives(archives))
    for sidecar in plan.expire:
        archive = backup_dir / sidecar.archive
        # The archive goes first: a manifest alone is nothing, an archive alone would be unknown for ever.
        for path in (archive, *companions(archive)):
            path.unlink(missing_ok=True)
    if plan.expire:
        sync_folder(backup_dir)
    return plan
