"""Missed nights: Airflow's own slots, and which of them have an archive."""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pendulum
import pytest
from airflow.timetables.trigger import CronTriggerTimetable

from include.backup.manifest import RunRecord, Sidecar
from include.backup.missed import MAX_SLOTS, backfill_commands, missed_slots, slots

if TYPE_CHECKING:
    from tests.fix_archives import MakeSidecar

UTC = timezone.utc
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)
ZONES = ("UTC", "Asia/Bangkok", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")


def of_airflow(schedule: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """Return the slots of the timetable that the DAG has."""
    timetable = CronTriggerTimetable(schedule, timezone=zone)
    found: list[datetime] = []
    at = timetable._get_next(pendulum.instance(after))
    while at <= until:
        found.append(datetime.fromtimestamp(at.timestamp(), UTC))
        at = timetable._get_next(at)
    return found


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "schedule", ["0 2 * * *", "30 1 * * *", "30 2 * * 0", "0 3 * * *", "15 */6 * * *", "0 2 31 * *"]
)
def test_slots_are_those_of_airflow_over_every_clock_change(schedule: str, zone: str) -> None:
    """Two years in zones that change their clocks by an hour, by half an hour, or never."""
    after, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
    assert slots(schedule, zone, after=after, until=until) == of_airflow(schedule, zone, after, until)


@pytest.mark.parametrize(
    "after", [datetime(2026, 3, 29, hour, minute, tzinfo=UTC) for hour in (0, 1) for minute in (0, 30)]
)
def test_slots_from_within_a_clock_change_are_those_of_airflow(after: datetime) -> None:
    """Beginning in the hour of the spring change finds the shifted slot too, or rightly not."""
    found = slots("0 2 * * *", "Europe/Berlin", after=after, until=after + 2 * DAY)
    assert found == of_airflow("0 2 * * *", "Europe/Berlin", after, after + 2 * DAY)


@pytest.fixture
def made(sidecar: MakeSidecar) -> Any:
    """Return a maker of archives that stand for a moment."""

    def make(stands_for: datetime, kind: str = "scheduled", snapshot_at: datetime | None = None) -> Sidecar:
        run = RunRecord(run_id="x", kind=kind, stands_for=stands_for, reason="")
        return sidecar(run=run, snapshot_at=snapshot_at or stands_for + timedelta(seconds=4))

    return make


def nights(days: int) -> list[datetime]:
    """Return the slots of the last days, oldest first."""
    return slots("0 2 * * *", "UTC", after=NOW - days * DAY, until=NOW)


def test_night_without_an_archive_is_missed(made: Any) -> None:
    """All others have theirs."""
    every = nights(10)
    archives = [made(slot) for slot in every if slot != every[4]]
    assert missed_slots(every, archives, now=NOW, grace=HOUR) == (every[4],)


def test_backfill_closes_the_gap_and_a_manual_run_does_not(made: Any) -> None:
    """A backfill stands for its night, whenever it was made; somebody's own run stands for itself."""
    every = nights(10)
    archives = [made(slot) for slot in every if slot not in every[4:6]]
    archives += [made(every[4], "backfill", NOW), made(every[5], "manual")]
    assert missed_slots(every, archives, now=NOW, grace=HOUR) == (every[5],)


def test_nights_before_the_first_archive_do_not_count(made: Any) -> None:
    """A system that was set up yesterday has missed nothing; neither has one without any archive."""
    every = nights(30)
    assert missed_slots(every, [made(every[-1])], now=NOW, grace=HOUR) == ()
    assert missed_slots(every, [made(every[-2] - HOUR, "manual")], now=NOW, grace=HOUR) == tuple(every[-2:])
    assert missed_slots(every, [], now=NOW, grace=HOUR) == ()


def test_run_that_may_be_going_is_not_missed(made: Any) -> None:
    """Only after the grace is the night of today missed."""
    every = nights(3)
    archives = [made(slot) for slot in every[:-1]]
    assert missed_slots(every, archives, now=every[-1] + 2 * HOUR - timedelta(seconds=1), grace=2 * HOUR) == ()
    assert missed_slots(every, archives, now=every[-1] + 2 * HOUR, grace=2 * HOUR) == (every[-1],)


def test_changed_schedule_keeps_the_nights_before(made: Any) -> None:
    """Archives made at 02:00 stand for their nights also when the schedule says 03:30 by now."""
    every = slots("30 3 * * *", "UTC", after=NOW - 10 * DAY, until=NOW)
    assert missed_slots(every, [made(slot) for slot in nights(12)], now=NOW, grace=HOUR) == ()


def test_frequent_schedule_names_only_the_last(made: Any) -> None:
    """A month of missed quarters of an hour is no list that anybody reads."""
    every = slots("*/15 * * * *", "UTC", after=NOW - 30 * DAY, until=NOW)
    found = missed_slots(every, [made(every[0])], now=NOW, grace=HOUR)
    assert len(found) == MAX_SLOTS
    assert found[-1] == NOW - HOUR


def test_commands_cover_each_group_of_neighbours_exactly() -> None:
    """One command for each range, with times in BACKUP_TIMEZONE and their offset."""
    bangkok = ZoneInfo("Asia/Bangkok")
    every = slots("0 2 * * *", "Asia/Bangkok", after=NOW - 10 * DAY, until=NOW)
    commands = backfill_commands([every[1], every[2], every[5]], every, bangkok)
    ranges = [(shlex.split(command)[6], shlex.split(command)[8]) for command in commands]
    assert ranges == [
        ("2026-11-12T02:00:00+07:00", "2026-11-13T02:00:00+07:00"),
        ("2026-11-16T02:00:00+07:00", "2026-11-16T02:00:00+07:00"),
    ]
    assert all(
        command.startswith("airflow backfill create --dag-id critical_backup --from-date") for command in commands
    )
