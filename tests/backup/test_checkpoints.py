"""Checkpoints: which backups have them, their settings, and how old they may be."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from include.backup.backup_id import UNNAMED, Backup
from include.backup.drill_record import DrillRecord, write_drill
from include.backup.errors import SettingsError
from include.backup.fleet import known_fleet, settings_of, usable_settings_of
from include.backup.fleet_limits import write_limits
from include.backup.health import FIRST_BACKUP, check_fleet, read_fleet_limits
from include.backup.observe import observe
from include.backup.overview import AirflowFacts, look
from include.backup.scope import load_scope
from include.backup.settings import Settings, load_settings, load_usable_settings
from tests.fix_archives import NOW, publish_archive

EVERY = "*/10 * * * *"
ENTRY: dict[str, object] = {"connection": "orders_db", "tables": {"orders.sql": ["orders"]}}
ON = {"settings": {"BACKUP_CHECKPOINT_SCHEDULE": EVERY}}
CHECKPOINTS, ORDERS = UNNAMED.checkpoints, Backup("orders")
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "backup-monitor.sh"
NOTHING = AirflowFacts(outcomes=(), paused=False)

Name = Callable[..., None]


@pytest.fixture(autouse=True)
def name(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Name:
    """Let the scope file name backups beside the one without an id; nothing else is set but who gets mails."""
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.setenv("ADMIN_EMAILS", "admin@example.com")
    monkeypatch.setenv("BACKUP_DIR", str(folder))
    monkeypatch.setenv("BACKUP_SCOPE_FILE", str(tmp_path / "scope.yaml"))

    def write(**entries: object) -> None:
        content = f"version: 1\ntables: {{a.sql: [a]}}\nbackups: {json.dumps(entries)}\n"
        (tmp_path / "scope.yaml").write_text(content)

    (tmp_path / "scope.yaml").write_text("version: 1\ntables: {a.sql: [a]}\n")
    return write


@pytest.fixture
def _everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints for whoever says nothing else."""
    monkeypatch.setenv("BACKUP_CHECKPOINT_SCHEDULE", EVERY)


def ids() -> list[str]:
    return [backup.id for backup in known_fleet().backups]


def test_no_backup_has_checkpoints_until_a_schedule_is_set(name: Name) -> None:
    """Neither the one without an id nor another; off is the same as nothing."""
    name(orders=ENTRY)
    assert ids() == ["", "orders"]
    assert load_settings().backup_checkpoint_schedule is None


@pytest.mark.usefixtures("_everywhere")
def test_schedule_of_the_environment_is_for_all_and_an_entry_may_say_off(name: Name) -> None:
    """Each backup is followed by its checkpoints."""
    assert ids() == ["", "checkpoints"]
    name(orders=ENTRY, stock=ENTRY | {"settings": {"BACKUP_CHECKPOINT_SCHEDULE": False}})
    assert ids() == ["", "checkpoints", "orders", "orders_checkpoints", "stock"]
    assert settings_of(Backup("stock")).backup_checkpoint_schedule is None


def test_schedule_of_an_entry_is_for_that_backup_alone(name: Name) -> None:
    """Connection and scope are its own, the folder is another."""
    name(orders=ENTRY | ON)
    assert ids() == ["", "orders", "orders_checkpoints"]
    settings = settings_of(ORDERS.checkpoints)
    assert settings.backup_connection == "orders_db"
    assert settings.backup_schedule == EVERY
    assert settings.backup_dir == settings_of(UNNAMED).backup_dir / "orders_checkpoints"
    assert [str(table) for table in load_scope(settings.scope_file, settings.backup).taken] == ["orders"]


@pytest.mark.parametrize("wrong", ["checkpoints", "orders_checkpoints"])
def test_id_of_checkpoints_is_no_id_for_another(name: Name, wrong: str) -> None:
    """One line says so, and the others are there."""
    name(orders=ENTRY, **{wrong: ENTRY})
    fleet = known_fleet()
    assert fleet.backups == (UNNAMED, ORDERS)
    (error,) = fleet.errors
    assert f"{wrong!r} is no id" in error
    assert "nor …checkpoints" in error


def test_checkpoints_are_known_by_their_dags_and_know_whose_they_are() -> None:
    """Also those of the longest id."""
    for parent in (UNNAMED, ORDERS, Backup("a" * 31)):
        for dag_id in (parent.checkpoints.dag_id, parent.checkpoints.restore_dag_id, parent.checkpoints.drill_dag_id):
            backup = Backup.of_dag(dag_id)
            assert backup == parent.checkpoints
            assert (backup.parent, backup.is_checkpoints, parent.is_checkpoints) == (parent, True, False)
    assert CHECKPOINTS.dag_id == "critical_backup_checkpoints"
    assert ORDERS.checkpoints.dag_id == "critical_backup_orders_checkpoints"


@pytest.mark.usefixtures("_everywhere")
def test_settings_are_those_of_the_backup_but_for_what_frequent_archives_need(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours instead of days, minutes instead of hours, no tiers, fewer drills, a place and a switch of their own."""
    for variable, value in {
        "BACKUP_COPY_URL": "file:///mnt/copies",
        "BACKUP_HEARTBEAT_URL": "https://hc-ping.com/0000-nightly-0000",
        "BACKUP_RETENTION_WEEKS": "9",
        "BACKUP_CHECKPOINT_KEEP_HOURS": "6",
        "BACKUP_CHECKPOINT_MAX_AGE_MINUTES": "20",
    }.items():
        monkeypatch.setenv(variable, value)
    settings = settings_of(CHECKPOINTS)
    assert (settings.keep, settings.max_age) == (timedelta(hours=6), timedelta(minutes=20))
    assert (settings.backup_retention_weeks, settings.backup_drill) == (0, "weekly")
    assert settings.backup_run_timeout_minutes == 20
    assert settings.backup_dir == folder / "checkpoints"
    assert settings.backup_copy_url == "file:///mnt/copies/checkpoints"
    assert settings.backup_heartbeat_url is None
    nights = settings_of(UNNAMED)
    assert (nights.keep, nights.max_age) == (timedelta(days=30), timedelta(hours=25))
    assert (nights.backup_retention_weeks, nights.backup_drill) == (9, "always")


@pytest.mark.usefixtures("_everywhere")
@pytest.mark.parametrize("drill", ["monthly", "off"])
def test_checkpoints_are_not_drilled_more_often_than_the_backup(drill: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has turned drills off has none here either."""
    monkeypatch.setenv("BACKUP_DRILL", drill)
    assert settings_of(CHECKPOINTS).backup_drill == drill


def test_checkpoints_that_were_switched_off_say_so() -> None:
    """A task that is cleared later fails with the reason; whoever alerts still knows where and to whom."""
    with pytest.raises(SettingsError, match="BACKUP_CHECKPOINT_SCHEDULE is not set"):
        settings_of(CHECKPOINTS)
    assert usable_settings_of(CHECKPOINTS).backup_dir.name == "checkpoints"


def test_wrong_schedule_of_an_entry_is_named_and_takes_no_other_away(name: Name) -> None:
    """With file, id, variable and value."""
    name(orders=ENTRY | {"settings": {"BACKUP_CHECKPOINT_SCHEDULE": "often"}})
    with pytest.raises(SettingsError, match=r"backups\.orders: .*BACKUP_CHECKPOINT_SCHEDULE='often': not a cron"):
        settings_of(ORDERS.checkpoints)
    assert settings_of(UNNAMED).backup == UNNAMED


@pytest.mark.usefixtures("_everywhere")
def test_health_check_counts_checkpoints_in_minutes(folder: Path) -> None:
    """By the limit that the watch has left; the nightly backup keeps its hours."""
    (folder / "checkpoints").mkdir(mode=0o700)
    now = datetime.now(timezone.utc)
    publish_archive(folder, hours_old=20)
    publish_archive(folder / "checkpoints", hours_old=25 / 60, now=now)
    write_limits(known_fleet(), load_settings())
    environment = {"BACKUP_DIR": str(folder), "PATH": os.environ["PATH"]}
    done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[:3]) == (0, "OK:")
    report = check_fleet(read_fleet_limits(environment), now=now + timedelta(minutes=10))
    assert not report.healthy
    assert report.reason.startswith("1 of 2 backups; critical_backup_checkpoints: the last backup that succeeded is 35")
    assert "expected at most BACKUP_CHECKPOINT_MAX_AGE_MINUTES=30" in report.reason
    assert "the newest run of critical_backup_checkpoints:" in report.remedy


@pytest.mark.usefixtures("_everywhere")
def test_page_of_checkpoints_says_their_age_against_their_limit_and_misses_no_slot(folder: Path) -> None:
    """Four slots without an archive are nothing; the newest is what counts."""
    (folder / "checkpoints").mkdir(mode=0o700)
    for minutes in (55, 7):
        publish_archive(folder / "checkpoints", hours_old=minutes / 60)
    settings = settings_of(CHECKPOINTS).model_copy(update={"backup_drill": "off"})
    seen = look(settings, NOTHING, now=NOW)
    assert seen.verdict.state == "safe"
    assert seen.verdict.sentence.startswith("Last checkpoint 7 min ago, at most 30 min are allowed; next at ")
    assert (seen.nights, seen.missed, seen.backfill) == ((), (), ())
    assert len(seen.recent) == 2
    late = look(settings, NOTHING, now=NOW + timedelta(minutes=24))
    assert late.verdict.state == "unsafe"
    assert "is 31 minutes old" in late.verdict.sentence


@pytest.mark.parametrize(("schedule", "minutes"), [("0 * * * *", None), ("*/10 * * * *", "10"), ("0 2 * * *", "1440")])
def test_limit_that_every_checkpoint_would_exceed_is_refused(
    schedule: str, minutes: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every hour and the usual half hour, for example; whoever tells that it is wrong is there all the same."""
    monkeypatch.setenv("BACKUP_CHECKPOINT_SCHEDULE", schedule)
    if minutes:
        monkeypatch.setenv("BACKUP_CHECKPOINT_MAX_AGE_MINUTES", minutes)
    with pytest.raises(SettingsError, match=r"BACKUP_CHECKPOINT_MAX_AGE_MINUTES='\d+': not more than the \d+ minutes"):
        load_settings()
    assert load_usable_settings().admin_emails == ("admin@example.com",)
    monkeypatch.setenv("BACKUP_CHECKPOINT_MAX_AGE_MINUTES", "3000")
    assert settings_of(CHECKPOINTS).max_age == timedelta(minutes=3000)


@pytest.mark.usefixtures("_everywhere")
def test_checkpoint_that_was_proven_days_ago_is_proof_for_its_week(folder: Path) -> None:
    """The newest that passed its drill stays; until there is one, that wants attention."""
    (folder / "checkpoints").mkdir(mode=0o700)
    proven = publish_archive(folder / "checkpoints", hours_old=5 * 24)
    publish_archive(folder / "checkpoints", hours_old=0.1)
    settings = settings_of(CHECKPOINTS)
    assert [concern.text for concern in look(settings, NOTHING, now=NOW).verdict.concerns] == [
        "No archive has been proven by restoring it."
    ]
    figures = {"seconds": 4.0, "tables": 1, "rows": 1, "server_version": "18.0", "error": ""}
    write_drill(proven, DrillRecord(drilled_at=NOW, passed=True, **figures))
    assert look(settings, NOTHING, now=NOW).verdict.concerns == ()


@pytest.mark.usefixtures("_everywhere")
def test_page_before_the_first_checkpoint_names_its_own_dag(folder: Path) -> None:
    """Nothing is wrong yet."""
    seen = look(settings_of(CHECKPOINTS), NOTHING, now=NOW)
    assert seen.verdict.state == "new"
    assert seen.verdict.remedy == FIRST_BACKUP.replace("critical_backup", "critical_backup_checkpoints")


@pytest.mark.usefixtures("_everywhere")
def test_states_of_nights_and_checkpoints_are_their_own(folder: Path) -> None:
    """Stale checkpoints do not make the nightly page unsafe, nor the other way round."""
    (folder / "checkpoints").mkdir(mode=0o700)
    publish_archive(folder, hours_old=2)
    publish_archive(folder / "checkpoints", hours_old=2)
    nights, checkpoints = settings_of(UNNAMED), settings_of(CHECKPOINTS)
    assert look(nights, NOTHING, now=NOW).verdict.state != "unsafe"
    assert look(checkpoints, NOTHING, now=NOW).verdict.state == "unsafe"
    publish_archive(folder / "checkpoints", hours_old=-30)
    later = NOW + timedelta(hours=30, minutes=5)
    assert look(nights, NOTHING, now=later).verdict.state == "unsafe"
    assert look(checkpoints, NOTHING, now=later).verdict.state != "unsafe"


@pytest.mark.usefixtures("_everywhere")
def test_watch_counts_from_its_first_look_until_there_is_a_checkpoint(folder: Path) -> None:
    """Half an hour of patience, not a day."""
    settings = settings_of(CHECKPOINTS)
    for minutes, keys in ((29, []), (31, ["stale"])):
        seen = observe(settings, first_look_at=NOW, now=NOW + timedelta(minutes=minutes), url=None)
        assert [finding.key for finding in seen.lasting] == keys
