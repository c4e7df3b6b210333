"""When the watch speaks: once, daily while it lasts, once when it is over; and what it sees in BACKUP_DIR."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from include.backup.archive_name import sidecar_path
from include.backup.manifest import RunRecord, Sidecar
from include.backup.observe import age_hours, observe
from include.backup.settings import Settings
from include.backup.status import LAST_SUCCESS_FILE
from include.backup.watch import Memory, Observation, plan_alerts, read_memory

if TYPE_CHECKING:
    from tests.fix_archives import MakeSidecar, MakeTable

UTC = timezone.utc
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "since", "now", "hours"),
    [
        ("Asia/Bangkok", "2026-11-19T02:00:00+07:00", "2026-11-20T03:00:00+07:00", 25),
        # Autumn: 02:00 to 02:00 are 25 hours that have passed, and 24 on the wall.
        ("Europe/Berlin", "2026-10-24T02:00:00+02:00", "2026-10-25T02:00:00+01:00", 24),
        ("Europe/Berlin", "2026-10-24T02:00:00+02:00", "2026-10-25T03:00:00+01:00", 25),
        ("America/New_York", "2026-10-31T01:30:00-04:00", "2026-11-01T01:30:00-05:00", 24),
        # Spring: 02:00 to 03:00 are 24 hours that have passed, and 25 on the wall.
        ("Europe/Berlin", "2026-03-28T02:00:00+01:00", "2026-03-29T03:00:00+02:00", 24),
        ("America/New_York", "2026-03-07T02:00:00-05:00", "2026-03-08T03:00:00-04:00", 24),
    ],
)
def test_age_is_that_of_the_wall_clock_and_never_more_than_has_passed(
    zone: str, since: str, now: str, hours: float
) -> None:
    """Neither change makes a backup of the same time the next night too old."""
    assert age_hours(datetime.fromisoformat(since), datetime.fromisoformat(now), ZoneInfo(zone)) == hours


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a folder, with the defaults of the rest."""
    return Settings(admin_emails=("admin@example.com",), backup_dir=tmp_path)


def look(settings: Settings, now: datetime = NOW, first_look_at: datetime = NOW) -> Observation:
    """Look at the folder."""
    return observe(settings, first_look_at=first_look_at, now=now, url=None)


def titles(seen: Observation) -> list[str]:
    """Return what a first look would say."""
    alerts, _ = plan_alerts(seen, Memory(first_look_at=NOW), now=NOW)
    return [alert.notice.title for alert in alerts]


def succeed(settings: Settings, at: datetime) -> None:
    """Record a success."""
    (settings.backup_dir / LAST_SUCCESS_FILE).write_text(at.isoformat())


@pytest.mark.parametrize(
    ("hours", "expected"), [(25, []), (25.01, ["No backup for 25 hours"]), (50, ["No backup for 50 hours"])]
)
def test_success_over_the_limit_is_stale(settings: Settings, hours: float, expected: list[str]) -> None:
    """25 hours are good, more are not."""
    succeed(settings, NOW - hours * HOUR)
    assert titles(look(settings)) == expected


def test_without_a_success_the_first_look_counts(settings: Settings) -> None:
    """A new system has a day for its first backup; then the mail says that there never was one."""
    assert titles(look(settings, first_look_at=NOW - 25 * HOUR)) == []
    (finding,) = look(settings, first_look_at=NOW - 26 * HOUR).lasting
    assert finding.notice.title == "No backup for 26 hours"
    assert "No success is known" in finding.notice.text


def test_success_in_the_future_is_told(settings: Settings) -> None:
    """It would hide every failure until then."""
    succeed(settings, NOW + DAY)
    assert titles(look(settings)) == ["The last backup lies in the future"]


def test_missing_folder_is_told_and_nothing_else_is_judged(settings: Settings, tmp_path: Path) -> None:
    """Staleness is neither new nor over, and told nights are not forgotten."""
    gone = settings.model_copy(update={"backup_dir": tmp_path / "gone"})
    seen = look(gone, first_look_at=NOW - 9 * DAY)
    assert titles(seen) == [f"BACKUP_DIR cannot be read: {tmp_path / 'gone'}"]
    succeed(settings, NOW - 2 * DAY)
    _, memory = plan_alerts(look(settings), Memory(first_look_at=NOW, told=("a night",)), now=NOW)
    memory = memory.model_copy(update={"told": ("a night",)})
    alerts, after = plan_alerts(seen, memory, now=NOW + HOUR)
    assert [alert.notice.state for alert in alerts] == ["failed"]
    assert set(after.incidents) == {"stale", "folder"}
    assert after.told == ("a night",)


def test_file_in_place_of_the_folder_is_told(settings: Settings, tmp_path: Path) -> None:
    """Whatever the operating system says is passed on."""
    (tmp_path / "file").touch()
    (finding,) = look(settings.model_copy(update={"backup_dir": tmp_path / "file"})).lasting
    assert "Not a directory" in finding.notice.text


def test_incident_is_told_once_then_daily_then_over(settings: Settings) -> None:
    """Hourly looks over three days: a mail at the start, one a day, and one when it is over; then silence."""
    said = []
    memory = Memory(first_look_at=NOW)
    succeed(settings, NOW - 25 * HOUR)
    for hour in range(80):
        now = NOW + hour * HOUR + timedelta(seconds=7 * (hour % 3))  # looks are not exact
        if hour == 60:
            succeed(settings, now)
        alerts, memory = plan_alerts(look(settings, now), memory, now=now)
        memory = read_memory(memory.model_dump(mode="json"), now=now)
        said += [(hour, alert.notice.state) for alert in alerts]
    assert said == [(1, "failed"), (25, "failed"), (49, "failed"), (60, "ok")]


def test_unreadable_memory_begins_anew() -> None:
    """What a person or a later version has put there does not stop the watch."""
    for stored in (None, "text", {"first_look_at": "yesterday"}, {}):
        assert read_memory(stored, now=NOW) == Memory(first_look_at=NOW)


@pytest.fixture
def put(settings: Settings, sidecar: MakeSidecar, table: MakeTable) -> Any:
    """Return a function that puts a night's archive into the folder."""

    def put(slot: datetime, rows: int = 1000) -> Sidecar:
        run = RunRecord(run_id="x", kind="scheduled", stands_for=slot, reason="")
        tables = (table("users", "users.sql", ("id",), rows=rows, bytes=rows * 9),)
        at = slot + timedelta(seconds=4)
        made = sidecar(run=run, snapshot_at=at, archive=f"critical_backup_{at:%Y%m%d_%H%M%S}.tar.gz", tables=tables,
                       archive_bytes=2 << 20)  # fmt: skip
        path = settings.backup_dir / made.archive
        with path.open("wb") as file:
            file.truncate(made.archive_bytes)
        sidecar_path(path).write_text(made.model_dump_json(by_alias=True))
        succeed(settings, at)
        return made

    return put


def test_missed_nights_are_told_once_together(settings: Settings, put: Any) -> None:
    """Two nights make one mail; a third makes another, which does not repeat them; a backfill is silent."""
    last = NOW.replace(hour=2)
    for days in (6, 5, 2, 1, 0):
        put(last - days * DAY)
    alerts, memory = plan_alerts(look(settings), Memory(first_look_at=NOW), now=NOW)
    (notice,) = [alert.notice for alert in alerts]
    assert notice.title == "2 nights without an archive"
    assert "2026-11-16 02:00, 2026-11-17 02:00 (UTC)" in notice.text
    assert "--from-date 2026-11-16T02:00:00+00:00 --to-date 2026-11-17T02:00:00+00:00" in notice.commands[0]
    later = NOW + 2 * DAY
    put(later.replace(hour=2))
    alerts, memory = plan_alerts(look(settings, later), memory, now=later)
    assert [alert.notice.title for alert in alerts] == ["No archive for 2026-11-21 02:00"]
    put(last - 4 * DAY)
    succeed(settings, later)
    alerts, memory = plan_alerts(look(settings, later), memory, now=later)
    assert alerts == []
    assert len(memory.told) == 2


def test_nights_that_retention_has_removed_are_not_missed(settings: Settings, put: Any) -> None:
    """An old archive that is kept because its drill passed does not make the expired ones missed."""
    for days in (20, 2, 1, 0):
        put(NOW.replace(hour=2) - days * DAY)
    assert titles(look(settings.model_copy(update={"backup_retention_days": 3}))) == []
    assert titles(look(settings)) == ["17 nights without an archive"]


def test_odd_archive_is_told_once(settings: Settings, put: Any) -> None:
    """With the reason; the archives before it are not odd."""
    for days in range(8, -1, -1):
        odd = put(NOW.replace(hour=2) - days * DAY, rows=1000 if days else 0)
    alerts, memory = plan_alerts(look(settings), Memory(first_look_at=NOW), now=NOW)
    (notice,) = [alert.notice for alert in alerts]
    assert notice.title == f"Odd size: {odd.archive}"
    assert "table users is empty" in notice.text
    assert plan_alerts(look(settings, NOW + HOUR), memory, now=NOW + HOUR)[0] == []


def test_memory_of_an_alert_knows_those_before_it(settings: Settings) -> None:
    """If the second mail cannot be sent, the next look sends that one alone."""
    stale = look(settings, first_look_at=NOW - 2 * DAY)
    folder = look(settings.model_copy(update={"backup_dir": Path("/nowhere")}))
    both = Observation(lasting=(*stale.lasting, *folder.lasting))
    alerts, _ = plan_alerts(both, Memory(first_look_at=NOW), now=NOW)
    assert len(alerts) == 2
    again, _ = plan_alerts(both, alerts[0].memory, now=NOW + HOUR)
    assert [alert.notice.title for alert in again] == [alerts[1].notice.title]
