"""Which archives expire. Never the last good ones, and none while backups are failing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from zoneinfo import ZoneInfo

import pendulum

from include.backup.archive_name import companions
from include.backup.drill_record import read_drill
from include.backup.durable import sync_folder
from include.backup.manifest import Sidecar, readable_archives

if TYPE_CHECKING:
    from include.backup.settings import Settings

# Ages are told in the unit of the settings: minutes of checkpoints, hours, days.
HOURS_FROM, DAYS_FROM = timedelta(hours=2), timedelta(days=2)


class Kept(Protocol):
    """What is asked of an archive: its name, and when its rows were read."""

    @property
    def archive(self) -> str:
        """The archive's name."""

    @property
    def snapshot_at(self) -> datetime:
        """Aware."""


@dataclass(frozen=True)
class RetentionPolicy:
    """
    How long archives live.

    Args:
        keep: All of them, so long; > 0.
        min_keep: So many of the newest never expire; >= 1.
        max_age: While the newest is older than this, backups are failing and nothing expires.
        weeks: The newest of each ISO week lives so many weeks; 0: no longer than others.
        months: The newest of each calendar month lives so many months; 0: no longer than others.
        zone: In which weeks and months begin.
    """

    keep: timedelta
    min_keep: int
    max_age: timedelta
    weeks: int = 0
    months: int = 0
    zone: str = "UTC"

    @property
    def has_tiers(self) -> bool:
        """Whether some archives are kept longer than others."""
        return bool(self.weeks or self.months)

    @classmethod
    def of(cls, settings: Settings) -> RetentionPolicy:
        """Return the policy of a backup's archives."""
        return cls(
            keep=settings.keep,
            min_keep=settings.backup_retention_min_keep,
            max_age=settings.max_age,
            weeks=settings.backup_retention_weeks,
            months=settings.backup_retention_months,
            zone=settings.backup_timezone,
        )


@dataclass(frozen=True)
class ExpiryPlan:
    """Two disjoint sets, newest first, and why nothing expires where that is so."""

    keep: tuple[Sidecar, ...]
    expire: tuple[Sidecar, ...]
    reason: str


def expiries(
    archives: Iterable[Kept], policy: RetentionPolicy, *, proven: Collection[str] = ()
) -> dict[str, datetime | None]:
    """
    Return from when on each archive may be removed, by name, newest first; None for one that stays whatever its age.

    Which archive of a week or a month is its newest does not change once that is over, and while it lasts its newest
    is the newest of all, which stays: so what is kept for its week is kept to the end, and what has expired is never
    wanted again.

    Args:
        archives: The sound ones of one backup, in any order.
        policy: How long they live.
        proven: Names of the archives whose drill passed; the newest of them stays.

    Source: specs/011-automated-backup/spec.md FR-6.
    """
    newest_first = sorted(archives, key=lambda archive: archive.snapshot_at, reverse=True)
    newest_proven = next((one.archive for one in newest_first if one.archive in proven), None)
    zone = ZoneInfo(policy.zone)
    periods: set[tuple[int, ...]] = set()
    found: dict[str, datetime | None] = {}
    for place, archive in enumerate(newest_first):
        until = archive.snapshot_at + policy.keep
        if policy.has_tiers:
            local = archive.snapshot_at.astimezone(zone)
            week, month = local.isocalendar()[:2], (local.year, 0, local.month)
            if week not in periods:
                until = max(until, archive.snapshot_at + timedelta(weeks=policy.weeks))
            if month not in periods:
                until = max(until, pendulum.instance(local).add(months=policy.months))
            periods |= {week, month}
        stays = place < policy.min_keep or archive.archive == newest_proven
        found[archive.archive] = None if stays else until
    return found


def plan_expiry(
    archives: Sequence[Sidecar], policy: RetentionPolicy, *, now: datetime, proven: Collection[str] = ()
) -> ExpiryPlan:
    """
    Given the verified archives of one database, decide which to keep.

    Args:
        archives: In any order; may be empty.
        policy: How long they live.
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
    if age > policy.max_age:
        return ExpiryPlan(newest_first, (), f"backups are failing: the newest archive is {_age_text(age)} old")
    until = expiries(newest_first, policy, proven=proven)
    expired = {name for name, end in until.items() if end and end < now}
    keep = tuple(sidecar for sidecar in newest_first if sidecar.archive not in expired)
    expire = tuple(sidecar for sidecar in newest_first if sidecar.archive in expired)
    return ExpiryPlan(keep, expire, f"older than {_age_text(policy.keep)}" if expire else "none is old enough")


def _age_text(age: timedelta) -> str:
    """Return an age in the unit that its setting has."""
    if age < HOURS_FROM:
        return f"{age / timedelta(minutes=1):.0f} minutes"
    return f"{age.days} days" if age >= DAYS_FROM else f"{age / timedelta(hours=1):.0f} hours"


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
