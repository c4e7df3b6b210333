"""How an archive compares with those of the nights before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from pathlib import Path
from statistics import median

from include.backup.manifest import Sidecar, readable_archives
from include.backup.names import QualifiedName
from include.backup.unusual import NOTABLE, is_unusual, is_unusually_empty

NIGHTS = 14


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
    """
    An archive and those before it.

    Args:
        sidecar: The archive's.
        nights: The last archive of each day that has one, oldest first.
        zone: Of the days.
        told: The tables of which a warning says already that they are odd.
    """

    sidecar: Sidecar
    nights: tuple[Sidecar, ...]
    zone: tzinfo
    told: frozenset[QualifiedName] = frozenset()

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
        """The tables that changed unusually since the latest of the nights, by name, but those that were told."""
        counts = [_rows(night) for night in self.nights]
        if not counts:
            return ()
        now, before = _rows(self.sidecar), counts[-1]
        return tuple(
            Change(table, before.get(table), now.get(table))
            for table in sorted((now.keys() | before.keys()) - self.told)
            if is_notable([count[table] for count in counts if table in count], before.get(table), now.get(table))
        )

    def _day(self, sidecar: Sidecar) -> date:
        return sidecar.snapshot_at.astimezone(self.zone).date()


def read_history(
    sidecar: Sidecar, backup_dir: Path, zone: tzinfo, *, told: frozenset[QualifiedName] = frozenset()
) -> History:
    """Return the archive's history, from the manifests beside the archives; as `history_of`."""
    return history_of(sidecar, (other for _, other in readable_archives(backup_dir)), zone, told=told)


def history_of(
    sidecar: Sidecar, others: Iterable[Sidecar], zone: tzinfo, *, told: frozenset[QualifiedName] = frozenset()
) -> History:
    """
    Return the archive's history.

    Args:
        sidecar: The archive's.
        others: In any order; those of other databases, and of other days than the 14 before, do not count.
        zone: Of the days.
        told: The tables of which a warning says already that they are odd.
    """
    today = sidecar.snapshot_at.astimezone(zone).date()
    by_day: dict[date, Sidecar] = {}
    for other in sorted(others, key=lambda other: other.snapshot_at):
        day = other.snapshot_at.astimezone(zone).date()
        if today - timedelta(days=NIGHTS) <= day < today and other.server.database == sidecar.server.database:
            by_day[day] = other
    return History(sidecar, tuple(by_day.values()), zone, told)


def is_notable(earlier: Sequence[int], before: int | None, now: int | None) -> bool:
    """
    Whether a table's change since the latest night is worth a line in the mail.

    Args:
        earlier: Its rows in the nights, oldest first.
        before: In the latest night; None if it was not in the backup.
        now: In this archive; None if it is not in it.
    """
    if before is None or now is None:
        return True
    if now == before:  # however unusual it is, an earlier mail has said so
        return False
    if is_unusually_empty(now, earlier):
        return True
    return abs(now - before) > NOTABLE.rows and is_unusual(now, earlier, NOTABLE, at_least=NOTABLE.rows)


def _rows(sidecar: Sidecar) -> dict[QualifiedName, int]:
    return {table.qualified: table.rows for table in sidecar.tables}
