"""Missed nights: slots of the schedule that no archive stands for, and the commands that make up for them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import groupby
from zoneinfo import ZoneInfo

import pendulum
from croniter import croniter

from include.backup.archive_list import ManifestHead
from include.backup.backup_id import UNNAMED, Backup
from include.backup.manifest import Sidecar

MAX_SLOTS = 100
NEAR = timedelta(hours=12)


def slots(schedule: str, timezone_name: str, *, after: datetime, until: datetime) -> list[datetime]:
    """
    Return the slots of a cron expression in a time zone, oldest first, aware, UTC: those of Airflow's timetable.

    A time that a clock change skips is that much later; one that comes twice is the second. Schedules that run every
    hour have one slot more in Airflow where the clock goes back.

    Args:
        schedule: BACKUP_SCHEDULE.
        timezone_name: BACKUP_TIMEZONE.
        after: Aware; a slot at this moment is not in it.
        until: Aware; a slot at this moment is in it.
    """
    zone = pendulum.timezone(timezone_name)
    # An hour before: where a clock change skips the slot's time, it stands earlier on the wall.
    cron = croniter(schedule, after.astimezone(ZoneInfo(timezone_name)).replace(tzinfo=None) - timedelta(hours=1))
    found: list[datetime] = []
    slot = after
    while slot <= until:
        if slot > after and slot not in found[-1:]:
            found.append(slot)
        wall_clock = cron.get_next(datetime)
        slot = datetime.fromtimestamp(zone.convert(wall_clock.replace(fold=1)).timestamp(), timezone.utc)
    return found


def missed_slots(
    every: Sequence[datetime], archives: Sequence[Sidecar | ManifestHead], *, now: datetime, grace: timedelta
) -> tuple[datetime, ...]:
    """
    Return the slots that no scheduled or backfilled archive stands for, oldest first; at most the last `MAX_SLOTS`.

    An archive stands for the nearest slot within 12 hours, so that nights before a change of the schedule still have
    theirs. Slots before the oldest archive do not count, nor those whose run may still be going.

    Args:
        every: The slots, oldest first.
        archives: All that are there.
        now: Aware.
        grace: How long a run may take.
    """
    made = [s.run.stands_for for s in archives if s.run.kind != "manual"]
    first = min([*made, *(s.snapshot_at for s in archives)], default=now)
    covered = {nearest(every, stands_for) for stands_for in made}
    missed = [slot for slot in every if slot not in covered and first <= slot <= now - grace]
    return tuple(missed[-MAX_SLOTS:])


def nearest(every: Sequence[datetime], moment: datetime) -> datetime | None:
    """Return the slot that a moment belongs to: the nearest within 12 hours; None if there is none."""
    place = bisect_left(every, moment)
    near = [slot for slot in every[max(place - 1, 0) : place + 1] if abs(slot - moment) <= NEAR]
    return min(near, key=lambda slot: abs(slot - moment), default=None)


def neighbours(missed: Sequence[datetime], every: Sequence[datetime]) -> tuple[tuple[datetime, datetime], ...]:
    """Return the first and the last of each group of missed slots that no other slot lies between, oldest first."""
    position = {slot: index for index, slot in enumerate(every)}
    # Neighbours have the same distance between their places in both lists.
    groups = (list(g) for _, g in groupby(enumerate(missed), key=lambda pair: position[pair[1]] - pair[0]))
    return tuple((group[0][1], group[-1][1]) for group in groups)


def backfill_commands(
    missed: Sequence[datetime], every: Sequence[datetime], zone: ZoneInfo, backup: Backup = UNNAMED
) -> tuple[str, ...]:
    """
    Return the commands that make up for missed slots, one for each group of neighbours.

    The times are exact, with their offset: a bare date would mean 00:00 in Airflow's own time zone. `completed` lets
    Airflow run a night again whose run has failed, or whose archive is gone; the range holds only missed ones.
    """
    return tuple(
        f"airflow backfill create --dag-id {backup.dag_id} --from-date {first.astimezone(zone).isoformat()} "
        f"--to-date {last.astimezone(zone).isoformat()} --reprocess-behavior completed --max-active-runs 1"
        for first, last in neighbours(missed, every)
    )
