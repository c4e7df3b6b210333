"""How an archive compares with those of the nights before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path
from statistics import median

from include.backup.manifest import Sidecar, readable_archives
from include.backup.names import QualifiedName

NIGHTS = 14
MIN_KNOWN_CHANGES = 3  # fewer say nothing about what is usual
UNUSUAL_TIMES = 5  # as many times the usual change
UNUSUAL_SHARE = 0.2  # of the rows, while nothing is usual yet
NEGLIGIBLE_ROWS = 10
NEGLIGIBLE_SHARE = 0.01


@dataclass(frozen=True)
class Change:
    """A table that changed unusually since the night before: its rows then and now; None if it was or is not in."""

    table: QualifiedName
    before: int | None
    now: int | None

    def __str__(self) -> str:
        """Return it as people read it, for example `orders: 1,200 → 15 rows (-98.8 %)`."""
        if self.before is None:
            return f"{self.table}: new in the backup, {self.now:,} rows"
        if self.now is None:
            return f"{self.table}: no longer in the backup, {self.before:,} rows the night before"
        if not self.now:
            return f"{self.table}: became empty, {self.before:,} rows the night before"
        percent = f" ({100 * (self.now - self.before) / self.before:+,.1f} %)" if self.before else ""
        return f"{self.table}: {self.before:,} → {self.now:,} rows{percent}"


@dataclass(frozen=True)
class History:
    """An archive and those before it: `nights` has the last archive of each day that has one, oldest first."""

    sidecar: Sidecar
    nights: tuple[Sidecar, ...]
    zone: tzinfo

    @property
    def sizes(self) -> tuple[tuple[date, int | None], ...]:
        """The size of each of the last 14 nights, None where no archive is, and of this one: 15 pairs."""
        by_day = {self._day(night): night.archive_bytes for night in (*self.nights, self.sidecar)}
        today = self._day(self.sidecar)
        days = [today - timedelta(days=ago) for ago in range(NIGHTS, -1, -1)]
        return tuple((day, by_day.get(day)) for day in days)

    @property
    def usual_bytes(self) -> float:
        """The median size of the nights; there must be one."""
        return median(night.archive_bytes for night in self.nights)

    @property
    def changes(self) -> tuple[Change, ...]:
        """The tables that changed unusually since the latest of the nights, by name."""
        counts = [_rows(night) for night in self.nights]
        if not counts:
            return ()
        now, before = _rows(self.sidecar), counts[-1]
        return tuple(
            Change(table, before.get(table), now.get(table))
            for table in sorted(now.keys() | before.keys())
            if is_unusual([count[table] for count in counts if table in count], before.get(table), now.get(table))
        )

    def _day(self, sidecar: Sidecar) -> date:
        return sidecar.snapshot_at.astimezone(self.zone).date()


def read_history(sidecar: Sidecar, backup_dir: Path, zone: tzinfo) -> History:
    """Return the archive's history, from the manifests beside the archives."""
    return history_of(sidecar, (other for _, other in readable_archives(backup_dir)), zone)


def history_of(sidecar: Sidecar, others: Iterable[Sidecar], zone: tzinfo) -> History:
    """
    Return the archive's history.

    Args:
        sidecar: The archive's.
        others: In any order; those of other databases, and of other days than the 14 before, do not count.
        zone: Of the days.
    """
    today = sidecar.snapshot_at.astimezone(zone).date()
    by_day: dict[date, Sidecar] = {}
    for other in sorted(others, key=lambda other: other.snapshot_at):
        day = other.snapshot_at.astimezone(zone).date()
        if today - timedelta(days=NIGHTS) <= day < today and other.server.database == sidecar.server.database:
            by_day[day] = other
    return History(sidecar, tuple(by_day.values()), zone)


def is_unusual(earlier: Sequence[int], before: int | None, now: int | None) -> bool:
    """
    Whether a table's rows changed more than they use to.

    Args:
        earlier: Its rows in the nights, oldest first.
        before: In the latest night; None if it was not in the backup.
        now: In this archive; None if it is not in it.
    """
    if before is None or now is None or (before and not now):
        return True
    change = abs(now - before)
    if change <= NEGLIGIBLE_ROWS or change <= NEGLIGIBLE_SHARE * before:
        return False
    known = [abs(later - sooner) for sooner, later in pairwise(earlier)]
    if len(known) >= MIN_KNOWN_CHANGES:
        return change > UNUSUAL_TIMES * median(known)
    return change > UNUSUAL_SHARE * before


def _rows(sidecar: Sidecar) -> dict[QualifiedName, int]:
    return {table.qualified: table.rows for table in sidecar.tables}
