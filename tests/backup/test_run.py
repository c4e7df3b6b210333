"""A run: its cut-off and its workspace."""

from __future__ import annotations

import os
import stat
import time
from calendar import monthrange
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from include.backup.errors import MissingStepError
from include.backup.run import BackupRun, create_workspace, cut_off, open_workspace, remove_workspace, utc_now

UTC = timezone.utc
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Bangkok")
# Their clocks change at midnight, so that a day may begin at 01:00, or midnight may come twice.
CHANGING_AT_MIDNIGHT = ("Africa/Cairo", "America/Sao_Paulo", "Asia/Beirut", "America/Havana", "Atlantic/Azores")
TWO_DAYS = 2 * 86400

MOMENTS = st.datetimes(datetime(2010, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def run(run_id: str = "manual__1") -> BackupRun:
    return BackupRun(run_id, "manual", NOON)


def day_before(moment: datetime, months: int, zone: ZoneInfo) -> date:
    """Return the local day so many months before, with month ends clamped, without any library's help."""
    local = moment.astimezone(zone)
    year, month = divmod(local.year * 12 + local.month - 1 - months, 12)
    return date(year, month + 1, min(local.day, monthrange(year, month + 1)[1]))


def first_moment_is_of(moment: datetime, day: date, zone: ZoneInfo) -> bool:
    """Whether the moment is the very first of the local day."""
    before = moment - timedelta(microseconds=1)
    return moment.astimezone(zone).date() == day and before.astimezone(zone).date() < day


@pytest.mark.parametrize(
    ("stands_for", "months", "expected"),
    [
        ("2026-11-20", 3, "2026-08-20"),
        ("2026-05-31", 3, "2026-02-28"),
        ("2024-05-31", 3, "2024-02-29"),
        ("2024-05-30", 3, "2024-02-29"),
        ("2024-05-29", 3, "2024-02-29"),
        ("2026-05-28", 3, "2026-02-28"),
        ("2025-02-28", 12, "2024-02-28"),
        ("2024-02-29", 12, "2023-02-28"),
        ("2024-02-29", 48, "2020-02-29"),
        ("2026-12-31", 1, "2026-11-30"),
        ("2026-01-01", 1, "2025-12-01"),
        ("2026-03-31", 13, "2025-02-28"),
    ],
)
def test_cut_off_month_ends_clamped(stands_for: str, months: int, expected: str) -> None:
    """A day that the month does not have becomes its last; leap years count."""
    moment = datetime.fromisoformat(f"{stands_for}T02:00:00+00:00")
    assert cut_off(moment, months, "UTC") == datetime.fromisoformat(f"{expected}T00:00:00+00:00")


@pytest.mark.parametrize(
    ("stands_for", "zone", "expected"),
    [
        ("2026-11-20T01:00:00+00:00", "Europe/Berlin", "2026-08-19T22:00:00+00:00"),  # winter to summer
        ("2026-06-15T00:00:00+00:00", "Europe/Berlin", "2026-03-14T23:00:00+00:00"),  # summer to winter
        ("2026-06-29T00:30:00+00:00", "Europe/Berlin", "2026-03-28T23:00:00+00:00"),  # to the day of the change
        ("2026-06-30T02:00:00+00:00", "America/New_York", "2026-03-29T04:00:00+00:00"),  # still 29 June there
        ("2026-06-08T06:00:00+00:00", "America/New_York", "2026-03-08T05:00:00+00:00"),  # to the day of the change
        ("2026-11-19T19:00:00+00:00", "Asia/Bangkok", "2026-08-19T17:00:00+00:00"),  # 02:00 of the 20th there
        ("2026-11-19T16:59:59+00:00", "Asia/Bangkok", "2026-08-18T17:00:00+00:00"),  # a second before midnight
    ],
)
def test_cut_off_clock_changes_local_midnight(stands_for: str, zone: str, expected: str) -> None:
    """The run's own day and the cut-off's midnight are those of BACKUP_TIMEZONE, whatever its clocks do."""
    assert cut_off(datetime.fromisoformat(stands_for), 3, zone) == datetime.fromisoformat(expected)


@given(MOMENTS, st.integers(1, 36), st.sampled_from(ZONES))
def test_cut_off_any_moment_is_local_midnight(moment: datetime, months: int, zone_name: str) -> None:
    """It is the first moment of the local day so many months before, and never after the exact moment then."""
    zone = ZoneInfo(zone_name)
    start = cut_off(moment, months, zone_name)
    day = day_before(moment, months, zone)
    assert start.astimezone(zone).replace(tzinfo=None) == datetime.combine(day, datetime.min.time())
    assert first_moment_is_of(start, day, zone)
    assert start <= datetime.combine(day, moment.astimezone(zone).time(), zone)
    assert start.utcoffset() == timedelta(0)


@pytest.mark.parametrize("zone_name", CHANGING_AT_MIDNIGHT)
def test_cut_off_clock_changes_at_midnight_is_first_moment(zone_name: str) -> None:
    """Where midnight is missing, or comes twice, on the run's day or on the cut-off's, the day is taken whole."""
    zone = ZoneInfo(zone_name)
    moments = [datetime(2009, 1, 1, 12, tzinfo=UTC) + timedelta(days=day) for day in range(365 * 4)]
    wrong = [
        moment.date().isoformat()
        for moment in moments
        if not first_moment_is_of(cut_off(moment, 3, zone_name), day_before(moment, 3, zone), zone)
    ]
    assert wrong == []


def test_workspace_same_run_same_folder(tmp_path: Path) -> None:
    """Every try of a run finds what an earlier one left."""
    workspace = create_workspace(run(), tmp_path)
    (workspace / "left").touch()
    assert create_workspace(BackupRun("manual__1", "backfill", NOON - timedelta(1), "again"), tmp_path) == workspace
    assert (workspace / "left").exists()


def test_workspace_created_private(tmp_path: Path) -> None:
    """Rows, compressed or not, are nobody else's to read."""
    workspace = create_workspace(run(), tmp_path)
    assert workspace.parent == tmp_path / ".work"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (workspace, workspace.parent)] == [0o700, 0o700]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("manual__a/b", "manual__a:b"),
        ("manual__a b", "manual__a  b"),
        ("scheduled__2026-11-20T02:00:00+00:00", "scheduled__2026-11-20T02_00_00_00_00"),
        ("x" * 80 + "1", "x" * 80 + "2"),
        ("", "_"),
        ("A", "a"),
    ],
)
def test_workspace_names_that_look_alike_are_distinct(tmp_path: Path, first: str, second: str) -> None:
    """Two runs never share a workspace, even if the readable part of their names is the same."""
    assert run(first).workspace(tmp_path) != run(second).workspace(tmp_path)


@given(st.text())
@example("../../etc")
@example("..")
@example(".")
@example("")
@example("a\0b")
@example("a\nb")
@example("\U00010437" * 80)
@example("\N{THAI CHARACTER KO KAI}" * 300)
def test_workspace_any_run_id_is_one_name(run_id: str) -> None:
    """Whatever the run is called, its workspace is a folder directly below .work, of a length that exists."""
    name = run(run_id).workspace(Path("/backups")).relative_to("/backups/.work")
    assert len(name.parts) == 1
    assert name.name not in {"", ".", ".."}
    assert name.name.isprintable()
    assert len(os.fsencode(name.name)) <= 255


def test_open_workspace_gone_names_what_to_clear(tmp_path: Path) -> None:
    """One sentence says which task to clear, and where was looked: another worker may have another folder."""
    with pytest.raises(MissingStepError) as caught:
        open_workspace(run("manual__7"), tmp_path)
    message = str(caught.value)
    assert message.splitlines() == [message]
    assert "manual__7" in message
    assert f"BACKUP_DIR={tmp_path}" in message
    assert "clear create_workspace together with everything downstream" in message


def test_open_workspace_there_returned(tmp_path: Path) -> None:
    """It is the one that was made."""
    assert create_workspace(run(), tmp_path) == open_workspace(run(), tmp_path)


def age(path: Path, seconds: float) -> None:
    """Set the times of a folder and of everything in it back."""
    then = time.time() - seconds
    for each in (*path.rglob("*"), path):
        os.utime(each, (then, then))


def test_remove_workspace_sweeps_only_old_ones(tmp_path: Path) -> None:
    """The run's own goes; of the others those that nobody has touched for a day, with all that is in them."""
    own, old, fresh, at_work = (create_workspace(run(name), tmp_path) for name in ("own", "old", "fresh", "at_work"))
    for workspace in (own, old, fresh, at_work):
        (workspace / "export").mkdir()
        (workspace / "export" / "users.sql.gz").write_bytes(b"x")
    age(old, TWO_DAYS)
    age(at_work, TWO_DAYS)
    age(fresh, 86400 - 60)
    (at_work / "export" / "roles.sql.gz").touch()
    assert sorted(remove_workspace(run("own"), tmp_path)) == sorted([own, old])
    assert sorted((tmp_path / ".work").iterdir()) == sorted([fresh, at_work])
    assert (fresh / "export" / "users.sql.gz").exists()


def test_remove_workspace_nothing_there_is_no_error(tmp_path: Path) -> None:
    """Clearing the last task again does no harm."""
    assert remove_workspace(run(), tmp_path) == []
    create_workspace(run(), tmp_path)
    remove_workspace(run(), tmp_path)
    assert remove_workspace(run(), tmp_path) == []


def test_remove_workspace_link_not_followed(tmp_path: Path) -> None:
    """A link among the workspaces is never followed: what it points to is somebody else's."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").touch()
    age(other, TWO_DAYS)
    create_workspace(run(), tmp_path)
    (tmp_path / ".work" / "link").symlink_to(other)
    remove_workspace(run(), tmp_path)
    assert (other / "precious").exists()


def test_utc_now_is_aware_and_whole_seconds() -> None:
    """Archives are named by seconds."""
    now = utc_now()
    assert now.utcoffset() == timedelta(0)
    assert now.microsecond == 0
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=5)
