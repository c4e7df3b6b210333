"""Retention in tiers: the newest of each week and of each month, over months of nights with gaps."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.backup.archive_list import ArchiveList
from include.backup.archive_name import archive_name
from include.backup.manifest import Sidecar, readable_archives
from include.backup.retention import RetentionPolicy, expire_archives, expiries, plan_expiry
from include.backup.settings import Settings
from include.backup.vanished import vanished_archives
from tests.fix_archives import NOW

if TYPE_CHECKING:
    from tests.fix_archives import Publish

DAY = timedelta(days=1)
BEGIN = datetime(2026, 1, 1, 2, 0, tzinfo=timezone.utc)
TIERED = RetentionPolicy(keep=30 * DAY, min_keep=7, max_age=timedelta(hours=25), weeks=12, months=12)
POLICIES = st.builds(
    RetentionPolicy,
    keep=st.integers(1, 40 * 24).map(lambda hours: timedelta(hours=hours)),
    min_keep=st.integers(1, 8),
    max_age=st.just(timedelta(hours=25)),
    weeks=st.integers(0, 16),
    months=st.integers(0, 6),
    zone=st.sampled_from(["UTC", "Asia/Bangkok", "America/New_York", "Pacific/Apia"]),
)
# Mostly nightly, now and then none for weeks; or many in a day.
GAPS = st.lists(
    st.one_of(st.just(DAY), st.integers(1, 40 * 24).map(lambda hours: timedelta(hours=hours))), min_size=1, max_size=90
)


def archive_of(snapshot_at: datetime) -> Sidecar:
    """Return a sidecar of which only name and time matter."""
    values: dict[str, Any] = {"archive": archive_name(snapshot_at), "snapshot_at": snapshot_at, "archive_bytes": 1}
    return Sidecar.model_construct(**values)


def names(archives: tuple[Sidecar, ...]) -> set[str]:
    return {archive.archive for archive in archives}


@settings(max_examples=200)
@given(GAPS, POLICIES, st.data())
def test_what_is_wanted_is_always_there_and_what_has_expired_is_never_wanted_again(
    gaps: list[timedelta], policy: RetentionPolicy, data: st.DataObject
) -> None:
    """Deciding night after night leaves what one decision would leave that knew every archive ever made."""
    now, every, there = BEGIN, list[Sidecar](), list[Sidecar]()
    expired, proven = set[str](), set[str]()
    for gap in gaps:
        now += gap
        made = archive_of(now)
        every.append(made)
        there.append(made)
        if data.draw(st.booleans()):
            proven.add(made.archive)
        plan = plan_expiry(there, policy, now=now, proven=proven)
        fresh = plan_expiry(every, policy, now=now, proven=proven)
        assert names(plan.keep) == names(fresh.keep)
        assert not expired & names(fresh.keep)
        young = [archive for archive in there if now - archive.snapshot_at <= policy.keep]
        assert not names(plan.expire) & names(tuple(young))
        tiers = (policy.weeks + 1 if policy.weeks else 0) + (policy.months + 1 if policy.months else 0)
        assert len(plan.keep) <= len(young) + policy.min_keep + tiers + 1
        expired |= names(plan.expire)
        there = list(plan.keep)


@settings(max_examples=100)
@given(GAPS, POLICIES)
def test_newest_of_each_week_and_month_is_there_as_long_as_was_promised(
    gaps: list[timedelta], policy: RetentionPolicy
) -> None:
    """Weeks and months are those of the time zone, and reckoned here anew."""
    now, there, newest = BEGIN, list[Sidecar](), dict[tuple[str, int, int], datetime]()
    for gap in gaps:
        now += gap
        there.append(archive_of(now))
        local = now.astimezone(ZoneInfo(policy.zone))
        newest["week", local.isocalendar()[0], local.isocalendar()[1]] = now
        newest["month", local.year, local.month] = now
        there = list(plan_expiry(there, policy, now=now).keep)
        kept = {archive.snapshot_at for archive in there}
        for (kind, _, _), made in newest.items():
            # 28 days are a month in which no calendar can be wrong.
            least = timedelta(weeks=policy.weeks) if kind == "week" else 28 * DAY * policy.months
            assert now - made >= least or made in kept


def test_a_year_of_nights_leaves_thirty_days_then_sundays_then_ends_of_months() -> None:
    """What an administrator expects who has set 12 weeks and 12 months."""
    there: list[Sidecar] = []
    for night in range(730):
        there.append(archive_of(BEGIN + night * DAY))
        there = list(plan_expiry(there, TIERED, now=BEGIN + night * DAY + timedelta(minutes=5)).keep)
    ages = [(there[0].snapshot_at - archive.snapshot_at).days for archive in there]
    assert ages[:30] == list(range(30))
    old = [archive.snapshot_at for archive in there[30:]]
    sundays = [at for at in old if at.weekday() == 6]
    ends = [at for at in old if (at + DAY).day == 1]
    assert set(old) == {*sundays, *ends}
    weekly = [at for at in sundays if there[0].snapshot_at - at <= timedelta(weeks=12)]
    assert len(weekly) in (7, 8)
    assert len(ends) in (11, 12)


def test_archive_of_a_week_stays_when_the_days_of_the_others_are_over() -> None:
    """The older ones of its week go; it goes itself after so many weeks."""
    monday = datetime(2026, 3, 2, 2, tzinfo=timezone.utc)
    week = [archive_of(monday + day * DAY) for day in range(7)]
    later = [archive_of(monday + timedelta(days=40 + day)) for day in range(7)]
    policy = RetentionPolicy(keep=30 * DAY, min_keep=7, max_age=timedelta(hours=25), weeks=8)
    plan = plan_expiry([*week, *later], policy, now=later[-1].snapshot_at)
    assert plan.expire == tuple(reversed(week[:6]))
    until = expiries([*week, *later], policy)
    assert until[week[0].archive] == week[0].snapshot_at + 30 * DAY
    assert until[week[6].archive] == week[6].snapshot_at + timedelta(weeks=8)


@pytest.mark.parametrize(("zone", "kept"), [("UTC", 1), ("Asia/Bangkok", 0)])
def test_week_ends_at_midnight_of_the_time_zone(zone: str, kept: int) -> None:
    """Sunday 18:00 UTC is Monday in Bangkok: there the archive of the morning is the week's last."""
    sunday = datetime(2026, 3, 8, tzinfo=timezone.utc)
    morning, evening = (archive_of(sunday + timedelta(hours=hour)) for hour in (2, 18))
    later = archive_of(sunday + timedelta(days=1, hours=2))
    policy = RetentionPolicy(keep=DAY, min_keep=1, max_age=DAY, weeks=8, zone=zone)
    until = expiries([morning, evening, later], policy)
    weeks = timedelta(weeks=8)
    last, not_last = (morning, evening)[kept], (evening, morning)[kept]
    assert until[last.archive] == last.snapshot_at + weeks
    assert until[not_last.archive] == not_last.snapshot_at + DAY


def test_months_end_on_the_day_that_the_calendar_has() -> None:
    """Three months after the last of November is the last of February."""
    end = archive_of(datetime(2026, 11, 30, 2, tzinfo=timezone.utc))
    policy = RetentionPolicy(keep=DAY, min_keep=1, max_age=DAY, months=3)
    until = expiries([end, archive_of(end.snapshot_at + 9 * DAY)], policy)
    assert until[end.archive] == datetime(2027, 2, 28, 2, tzinfo=timezone.utc)


@pytest.mark.parametrize("tiers", [{}, {"weeks": 10}, {"months": 6}, {"weeks": 10, "months": 6}])
def test_list_promises_what_retention_then_does(folder: Path, publish: Publish, tiers: dict[str, Any]) -> None:
    """One second before the moment of the list it is there, one second after it is gone; the watch misses none."""
    policy = RetentionPolicy(keep=5 * DAY, min_keep=2, max_age=timedelta(days=9999), **tiers)
    for days in range(60):
        publish(hours_old=24 * days + 1)
    archives = ArchiveList(folder)
    promised = archives.expires_at(archives.entries(), policy)
    assert all(archives.expires_at([entry], policy)[entry.name] == promised[entry.name] for entry in archives.entries())
    ends = sorted({end for end in promised.values() if end and end > NOW})
    known = {sidecar.archive: sidecar.snapshot_at for _, sidecar in readable_archives(folder)}
    for end in ends:
        for moment in (end - timedelta(seconds=1), end + timedelta(seconds=1)):
            expire_archives(folder, policy, now=moment)
            there = {sidecar.archive for _, sidecar in readable_archives(folder)}
            assert there == {name for name, until in promised.items() if until is None or until >= moment}
            assert vanished_archives(known, there, policy, now=moment) == ()


def test_kept_archive_of_a_week_that_is_gone_is_missed() -> None:
    """Its days alone are over, its weeks are not."""
    monday = datetime(2026, 3, 2, 2, tzinfo=timezone.utc)
    known = {archive_name(monday + day * DAY): monday + day * DAY for day in (0, 6, 40, 41)}
    policy = RetentionPolicy(keep=30 * DAY, min_keep=1, max_age=DAY, weeks=8)
    found = vanished_archives(known, set(list(known)[2:]), policy, now=monday + 41 * DAY)
    assert found == (archive_name(monday + 6 * DAY),)


def test_policy_is_that_of_the_settings(folder: Path) -> None:
    """Days, weeks and months of the nights; hours of checkpoints, without tiers."""
    nights = Settings(
        admin_emails=("a@example.com",), backup_dir=folder, backup_retention_weeks=3, backup_retention_months=4,
        backup_timezone="Asia/Bangkok",
    )  # fmt: skip
    expected = RetentionPolicy(30 * DAY, 7, timedelta(hours=25), weeks=3, months=4, zone="Asia/Bangkok")
    assert RetentionPolicy.of(nights) == expected
