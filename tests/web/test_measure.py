"""The values of the metrics, from folders and runs made by hand."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from include.backup.backup_id import UNNAMED
from include.backup.drill_record import DrillRecord, write_drill
from include.backup.manifest import RunRecord
from include.backup.run_outcome import RunOutcome
from include.backup.settings import BYTES_PER_MB
from include.web.gauges import GAUGES, PREFIX, Gauges
from include.web.measure import measure
from include.web.runs import read_runs
from tests.fix_archives import NOW, MakeTable, Publish

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TONIGHT = NOW - 3 * HOUR

Measured = dict[str, float]
Look = Callable[..., Measured]


@pytest.fixture(autouse=True)
def _settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings whose nights began three hours ago, and every day before."""
    for name in [name for name in os.environ if name.startswith("BACKUP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_DIR", str(folder))
    monkeypatch.setenv("BACKUP_SCHEDULE", f"{TONIGHT:%M %H} * * *")


def look(runs: Sequence[RunOutcome] = (), *, now: datetime = NOW) -> Measured:
    """Return what is served, by name, and by name and label where there is one."""
    registry = CollectorRegistry()
    registry.register(Gauges({UNNAMED: measure(os.environ, lambda _: runs, now=now)}))
    return served(generate_latest(registry).decode())


def served(text: str) -> Measured:
    """Return the samples of an answer without the common beginning of their names."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {".".join([s.name.removeprefix(PREFIX), *s.labels.values()]): s.value for s in samples}


def slot(nights_ago: int) -> datetime:
    """Return the slot of that night."""
    return (TONIGHT - nights_ago * DAY).replace(second=0)


def run(nights_ago: int, state: str = "success", **facts: object) -> RunOutcome:
    """Return the scheduled run of that night, which took five minutes."""
    begin = slot(nights_ago)
    ended = {} if state in ("queued", "running") else {"ended_at": begin + timedelta(minutes=5)}
    values = {"kind": "scheduled", "stands_for": begin, "state": state, "started_at": begin, **ended, **facts}
    return RunOutcome(f"run {nights_ago} {state}", **values)  # type: ignore[arg-type]


def night(publish: Publish, nights_ago: int, **changes: object) -> Path:
    """Put that night's archive there."""
    record = RunRecord(run_id=f"run {nights_ago}", kind="scheduled", stands_for=slot(nights_ago), reason="")
    return publish(hours_old=3 + 24 * nights_ago, run=record, **changes)


def test_good_night_has_all_its_figures(publish: Publish, table: MakeTable) -> None:
    """Each is what was put there."""
    tables = (table("users", "users.sql", ("id",), rows=70), table("orders", "orders.csv", ("id",), rows=5))
    night(publish, 1, size=3 * BYTES_PER_MB)
    archive = night(publish, 0, tables=tables)
    write_drill(
        archive,
        DrillRecord(
            drilled_at=NOW - HOUR, passed=True, seconds=12.5, tables=2, rows=75, server_version="18.0", error=""
        ),
    )
    values = look([run(0), run(1)])
    disk = os.statvfs(archive.parent)
    assert values.pop("disk_free_bytes") == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.05)
    assert values == {
        "up.settings": 1,
        "up.backup_dir": 1,
        "up.airflow": 1,
        "healthy": 1,
        "last_success_timestamp_seconds": (NOW - 3 * HOUR).timestamp(),
        "age_seconds": 3 * 3600,
        "max_age_seconds": 25 * 3600,
        "last_run_success": 1,
        "last_run_end_timestamp_seconds": (slot(0) + timedelta(minutes=5)).timestamp(),
        "last_success_duration_seconds": 300,
        "run_in_progress": 0,
        "success_ratio.7d": 1,
        "success_ratio.30d": 1,
        "archive_size_bytes": 2 * BYTES_PER_MB,
        "archive_rows": 75,
        "archives": 2,
        "archives_size_bytes": 5 * BYTES_PER_MB,
        "drill_success": 1,
        "drill_timestamp_seconds": (NOW - HOUR).timestamp(),
        "drill_duration_seconds": 12.5,
        "drill_interval_seconds": 0,
        "disk_size_bytes": disk.f_blocks * disk.f_frsize,
    }
    named = {name.partition(".")[0] for name in values} | {"disk_free_bytes", "failed_runs"}
    assert named == set(GAUGES), "a gauge without a value is no gauge"


def test_new_installation_says_nothing_that_it_does_not_know() -> None:
    """No age, size, drill or ratio: 0 would raise alarms, or hide them."""
    known = {name.partition(".")[0] for name in look()}
    assert known == {
        *("up", "healthy", "max_age_seconds", "run_in_progress", "archives", "archives_size_bytes"),
        *("drill_interval_seconds", "disk_free_bytes", "disk_size_bytes"),
    }
    assert look()["healthy"] == 0


def test_backups_that_stopped_long_ago_are_still_measured(publish: Publish) -> None:
    """The health check stops at the first reason; size, rows and drill of the last archive are known nevertheless."""
    archive = night(publish, 50)
    figures = {"seconds": 1.0, "tables": 1, "rows": 1, "server_version": "18.0", "error": "rows differ"}
    write_drill(archive, DrillRecord(drilled_at=NOW - 50 * DAY, passed=False, **figures))
    values = look()
    assert values["healthy"] == 0
    assert values["age_seconds"] == 50 * 86400 + 3 * 3600
    assert values["archive_size_bytes"] == 2 * BYTES_PER_MB
    assert values["drill_success"] == 0
    assert (values["success_ratio.7d"], values["success_ratio.30d"]) == (0, 0)


def test_newest_archive_is_measured_however_old_it_is(publish: Publish) -> None:
    """It is what there is to restore from; which nights are missed is no longer known."""
    publish(hours_old=24 * 200)
    values = look()
    assert values["archive_size_bytes"] == 2 * BYTES_PER_MB
    assert "success_ratio.30d" not in values


def test_success_ratio_counts_nights_and_not_runs(publish: Publish) -> None:
    """Ten nights: one failed, one missed, one made up for by a backfill; manual runs are no nights."""
    for ago in (0, 1, 2, 4, 5, 6, 8, 9):
        night(publish, ago)
    record = RunRecord(run_id="backfill", kind="backfill", stands_for=slot(7), reason="")
    publish(hours_old=1, run=record)
    runs = [run(ago) for ago in (0, 1, 2, 4, 5, 6, 8, 9)]
    failed = [run(3, "failed", failed_task="export_database"), run(7, "failed", failed_task="check_prerequisites")]
    made_up = run(7, kind="backfill", ended_at=NOW)
    by_hand = run(0, "failed", kind="manual", failed_task="export_database")
    values = look([*runs, *failed, made_up, by_hand])
    assert values["success_ratio.7d"] == pytest.approx(6 / 7)
    assert values["success_ratio.30d"] == pytest.approx(9 / 10)
    assert values["failed_runs.export_database"] == 2
    assert values["failed_runs.check_prerequisites"] == 1


def test_night_without_a_run_is_missed_and_one_under_way_is_not_judged(publish: Publish) -> None:
    """Of the last three nights one has its backup, one never began, and the newest is being made."""
    night(publish, 2)
    values = look([run(0, "running", running_task="export_database"), run(2)])
    assert values["success_ratio.7d"] == 1 / 2
    assert values["run_in_progress"] == 1


def test_run_that_took_too_long_is_a_failure_of_no_step() -> None:
    """Airflow ends it without a task that failed."""
    values = look([run(0, "failed")])
    assert values["failed_runs.none"] == 1
    assert values["last_run_success"] == 0
    assert "last_success_duration_seconds" not in values


def test_failures_of_long_ago_are_not_counted() -> None:
    """Only the last 30 days."""
    values = look([run(0), run(29, "failed", failed_task="check_size"), run(31, "failed", failed_task="check_size")])
    assert values["failed_runs.check_size"] == 1


def test_last_run_is_the_one_that_ended_last() -> None:
    """A backfill of an old night may end after the newest night's run."""
    made_up = run(9, "failed", kind="backfill", ended_at=NOW, failed_task="export_database")
    values = look([run(0), made_up])
    assert values["last_run_success"] == 0
    assert values["last_run_end_timestamp_seconds"] == NOW.timestamp()
    assert values["last_success_duration_seconds"] == 300


def test_run_that_is_left_out_is_neither_a_success_nor_the_last_one() -> None:
    """A checkpoint that met the nightly export does not hide that the one before failed."""
    values = look([run(0, "left_out"), run(1, "failed"), run(2)])
    assert values["last_run_success"] == 0
    assert values["last_run_end_timestamp_seconds"] == (slot(1) + timedelta(minutes=5)).timestamp()
    assert values["last_success_duration_seconds"] == 300


def test_age_is_that_of_the_wall_clock(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the autumn night a backup of 02:00 is 24 hours old the next day at 02:00, when 25 have passed."""
    zone = ZoneInfo("Europe/Berlin")
    monkeypatch.setenv("BACKUP_TIMEZONE", "Europe/Berlin")
    archive = publish()
    taken = datetime(2026, 10, 24, 2, 30, tzinfo=zone)
    (archive.parent / ".last_backup_success").write_text(taken.astimezone(timezone.utc).isoformat())
    later = datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=1)
    values = look(now=later.astimezone(timezone.utc))
    assert values["age_seconds"] == 24 * 3600
    assert values["last_success_timestamp_seconds"] == taken.timestamp()


def test_damaged_newest_archive_is_not_measured(publish: Publish) -> None:
    """Its size would raise the alarm of a shrunken archive, or hide it; the health check says what is wrong."""
    night(publish, 1, size=3 * BYTES_PER_MB)
    night(publish, 0).write_bytes(b"cut off")
    values = look()
    assert values["archive_size_bytes"] == 3 * BYTES_PER_MB
    assert values["healthy"] == 0


@pytest.mark.parametrize("content", ["never\n", "0001-01-01T00:00:00+14:00\n", "9999-12-31T23:59:59-14:00\n"])
def test_damaged_status_file_leaves_the_rest(publish: Publish, content: str) -> None:
    """Not healthy, and no age that could be computed with."""
    archive = night(publish, 0)
    (archive.parent / ".last_backup_success").write_text(content)
    values = look()
    assert values["healthy"] == 0
    assert values["archives"] == 1
    assert values.get("age_seconds", -1) < 0


@pytest.mark.parametrize(("often", "seconds"), [("weekly", 7 * 86400), ("monthly", 28 * 86400), ("off", None)])
def test_drill_interval_is_that_of_the_setting(
    monkeypatch: pytest.MonkeyPatch, often: str, seconds: int | None
) -> None:
    """Missing where nobody wants drills, so that none is overdue."""
    monkeypatch.setenv("BACKUP_DRILL", often)
    assert look().get("drill_interval_seconds") == seconds


def test_wrong_settings_leave_folder_and_runs(
    publish: Publish, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The night's backup cannot run then, and how old the last one is matters most."""
    night(publish, 0)
    monkeypatch.setenv("ADMIN_EMAILS", "nobody")
    with caplog.at_level(logging.WARNING):
        values = look([run(0)])
    assert (values["up.settings"], values["up.backup_dir"], values["up.airflow"]) == (0, 1, 1)
    assert values["age_seconds"] == 3 * 3600
    assert "success_ratio.7d" not in values
    assert "ADMIN_EMAILS='nobody'" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"), [("BACKUP_DIR", "/nowhere/at/all"), ("BACKUP_TIMEZONE", "Mars"), ("BACKUP_MAX_AGE_HOURS", "x")]
)
def test_folder_that_cannot_be_read_leaves_the_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    """A volume that is not mounted, or settings that do not say where and how to look."""
    monkeypatch.setenv(name, value)
    with caplog.at_level(logging.WARNING):
        values = look([run(0)])
    assert (values["up.backup_dir"], values["up.airflow"], values["healthy"]) == (0, 1, 0)
    assert values["last_run_success"] == 1
    assert "archives" not in values
    assert value in caplog.text


def test_metadata_database_that_does_not_answer_leaves_the_folder(
    publish: Publish, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A host that is not there; a password that somebody has typed into its place does not come into the log."""
    night(publish, 0)
    monkeypatch.setenv("METADATA_PASSWORD", "s3cret-word")
    engine = create_engine("postgresql+psycopg://airflow:s3cret-word@s3cret-word.invalid/airflow")
    registry = CollectorRegistry()
    with Session(engine) as session, caplog.at_level(logging.WARNING):
        registry.register(
            Gauges({UNNAMED: measure(os.environ, lambda since: read_runs(session, since=since), now=NOW)})
        )
    values = served(generate_latest(registry).decode())
    assert (values["up.airflow"], values["up.backup_dir"]) == (0, 1)
    assert values["age_seconds"] == 3 * 3600
    assert "run_in_progress" not in values
    assert "metrics without Airflow's runs" in caplog.text
    assert "***.invalid" in caplog.text
    assert "s3cret-word" not in caplog.text
