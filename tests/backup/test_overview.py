"""Are we safe: the sentence, the reason, and what to do, for everything that can be so."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from include.backup import health
from include.backup.archive_list import _read_head
from include.backup.archive_name import delivery_path
from include.backup.delivery_record import DeliveryRecord, RecipientRecord
from include.backup.drill_record import DrillRecord, write_drill
from include.backup.manifest import FileRecord, RunRecord, read_sidecar
from include.backup.notice import Notice
from include.backup.overview import AirflowFacts, Overview, age_text, clock_text, look
from include.backup.run_outcome import RunOutcome
from include.backup.settings import Settings
from include.backup.unsent import Unsent, keep_while_sending, settle
from tests.fix_archives import ENCRYPTION, NOW

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_archives import Publish

NOTHING = AirflowFacts(outcomes=(), paused=False)
SLOT = (NOW - timedelta(hours=3)).replace(minute=0, second=0)


@pytest.fixture
def settings(folder: Path) -> Settings:
    """Settings whose nightly slot was some three hours ago."""
    return Settings(admin_emails=("ada@example.com",), backup_dir=folder, backup_schedule=f"0 {SLOT.hour} * * *")


@pytest.fixture
def nightly(publish: Publish) -> Any:
    """Return a maker of the archive of a night, drilled."""

    def make(days_ago: int = 0, *, drilled: bool = True) -> Path:
        slot = SLOT - timedelta(days=days_ago)
        run = RunRecord(run_id=f"scheduled__{slot}", kind="scheduled", stands_for=slot, reason="")
        archive = publish(hours_old=(NOW - slot).total_seconds() / 3600, run=run)
        if drilled:
            figures = {"seconds": 41.2, "tables": 1, "rows": 1, "server_version": "18.0", "error": ""}
            write_drill(archive, DrillRecord(drilled_at=NOW, passed=True, **figures))
        return archive

    return make


def failed(days_ago: int = 0, task: str | None = "export_database") -> RunOutcome:
    """Return the run of a night that failed."""
    slot = SLOT - timedelta(days=days_ago)
    return RunOutcome("scheduled__x", "scheduled", slot, "failed", slot, slot + timedelta(minutes=1), task)


def concerns(seen: Overview) -> str:
    """Return what wants attention, in one text; each has its remedy."""
    assert all(concern.remedy for concern in seen.verdict.concerns)
    return " ".join(concern.text for concern in seen.verdict.concerns)


def test_safe_is_one_sentence_with_its_reason(settings: Settings, nightly: Any) -> None:
    """Age, verified, restored in so many seconds, and when the next is due."""
    nightly(1)
    nightly()
    seen = look(settings, NOTHING, now=NOW)
    assert seen.verdict.state == "safe"
    hours = int((NOW - SLOT) / timedelta(hours=1))
    expected = f"Last backup {hours} h ago, verified and restored in 41 s; next at {SLOT:%H:%M}."
    assert seen.verdict.sentence == expected
    assert (seen.verdict.remedy, seen.verdict.concerns) == ("", ())
    assert [night.state for night in seen.nights][-2:] == ["done", "done"]
    assert seen.next_at == SLOT + timedelta(days=1)


def test_archive_that_was_not_drilled_says_so(settings: Settings, nightly: Any) -> None:
    """Verified is less than proven; that none was ever proven wants attention."""
    nightly(1)
    nightly(drilled=False)
    assert "verified, not yet drilled" in look(settings, NOTHING, now=NOW).verdict.sentence


def test_never_proven_wants_attention_unless_drills_are_off(settings: Settings, nightly: Any) -> None:
    """Whoever has turned them off knows."""
    nightly(drilled=False)
    assert "No archive has been proven" in concerns(look(settings, NOTHING, now=NOW))
    off = settings.model_copy(update={"backup_drill": "off"})
    assert look(off, NOTHING, now=NOW).verdict.state == "safe"


def test_nothing_yet_is_new_and_not_an_alarm(settings: Settings) -> None:
    """It says what to do; with a failed run it is an alarm."""
    seen = look(settings, NOTHING, now=NOW)
    assert seen.verdict.state == "new"
    assert seen.verdict.sentence == f"No backup yet; next at {SLOT:%H:%M}."
    assert seen.verdict.remedy == health.FIRST_BACKUP
    assert look(settings, AirflowFacts((failed(),), paused=False), now=NOW).verdict.state == "unsafe"


def test_folder_that_is_not_mounted_is_unsafe_and_nothing_else_is_claimed(settings: Settings) -> None:
    """Every night would look missed or lost."""
    settings.backup_dir.rmdir()
    seen = look(settings, NOTHING, now=NOW)
    assert seen.verdict.state == "unsafe"
    assert "is not there: is the volume mounted?" in seen.verdict.sentence
    assert seen.verdict.remedy == health.MOUNT
    assert (seen.archives, seen.nights, seen.recent, seen.verdict.concerns) == (None, (), (), ())


def test_too_old_is_unsafe(settings: Settings, nightly: Any) -> None:
    """The reason is the health check's."""
    nightly()
    seen = look(settings, NOTHING, now=NOW + timedelta(days=1))
    assert seen.verdict.state == "unsafe"
    assert "expected at most BACKUP_MAX_AGE_HOURS=25" in seen.verdict.sentence
    assert "Open the newest run" in seen.verdict.remedy


def test_run_that_failed_wants_attention_while_the_last_backup_is_young(settings: Settings, nightly: Any) -> None:
    """Its task is named."""
    nightly(1)
    nightly()
    seen = look(settings, AirflowFacts((failed(),), paused=False), now=NOW)
    assert seen.verdict.state == "attention"
    assert "The last run, scheduled__x, failed in export_database." in concerns(seen)
    assert "scheduled__x, failed." in concerns(
        look(settings, AirflowFacts((failed(task=None),), paused=False), now=NOW)
    )


def test_paused_dag_has_no_next_run(settings: Settings, nightly: Any) -> None:
    """Somebody has forgotten it, perhaps."""
    nightly()
    seen = look(settings, AirflowFacts((), paused=True), now=NOW)
    assert (seen.verdict.state, seen.next_at) == ("attention", None)
    assert "critical_backup is paused" in concerns(seen)
    assert seen.verdict.sentence.endswith("none is planned.")


def test_pool_that_does_not_exist_is_told_with_the_command_that_makes_it(settings: Settings, nightly: Any) -> None:
    """Its export waits for ever, and Airflow itself only notes a warning at the DAG."""
    seen = look(settings, AirflowFacts((), paused=False, missing_pool="server_1"), now=NOW)
    assert "Airflow has no pool server_1: export_database waits for ever" in concerns(seen)
    assert [c.remedy for c in seen.verdict.concerns if "airflow pools set server_1 2" in c.remedy]


def test_missed_night_is_counted_and_has_its_command(settings: Settings, nightly: Any) -> None:
    """The exact one, ready to copy."""
    nightly(3)
    nightly()
    seen = look(settings, NOTHING, now=NOW)
    assert "2 nights were missed: no run, no archive." in concerns(seen)
    first, last = (SLOT - timedelta(days=days) for days in (2, 1))
    assert f"--from-date {first.isoformat()} --to-date {last.isoformat()}" in seen.backfill[0]


def test_archive_that_is_gone_before_its_time_wants_attention(settings: Settings, nightly: Any) -> None:
    """Airflow knows that its run succeeded."""
    nightly()
    slot = SLOT - timedelta(days=1)
    gone = RunOutcome("scheduled__gone", "scheduled", slot, "success", slot, slot + timedelta(minutes=1))
    assert "of run scheduled__gone" in concerns(look(settings, AirflowFacts((gone,), paused=False), now=NOW))


def test_archive_that_is_damaged_is_not_also_called_gone(settings: Settings, nightly: Any) -> None:
    """It is there, and named once; whoever looks for a thief wastes the night."""
    nightly()
    broken = nightly(1)
    broken.write_bytes(b"")
    slot = SLOT - timedelta(days=1)
    run_id = read_sidecar(broken).run.run_id
    made = RunOutcome(run_id, "scheduled", slot, "success", slot, slot + timedelta(minutes=1))
    seen = look(settings, AirflowFacts((made,), paused=False), now=NOW)
    assert f"One archive is not to be used, the newest {broken.name}" in concerns(seen)
    assert "gone before" not in concerns(seen)


def test_secrets_of_the_newest_archive_that_travel_in_clear_are_named(settings: Settings, publish: Publish) -> None:
    """As in its mail; once archives are encrypted, nothing of the older ones is said here."""
    files = [
        FileRecord(name=name, kind="configuration", mode="0600", bytes=1, sha256="5f" * 32)
        for name in (".env.production", "ssl/server.key", "ssl/server.crt")
    ]
    publish(hours_old=30, files=files)
    assert look(settings, NOTHING, now=NOW).in_clear == (".env.production", "ssl/server.key")
    publish(files=files, encryption=ENCRYPTION)
    assert look(settings, NOTHING, now=NOW).in_clear == ()


def test_other_concerns_are_named(settings: Settings, nightly: Any) -> None:
    """A broken archive, a mail that did not arrive, an alert that could not be sent, a full disk."""
    nightly(1).write_bytes(b"")
    archive = nightly()
    refused = RecipientRecord(state="refused", series="1", at=NOW, answer="550 no such user")
    delivery_path(archive).write_text(DeliveryRecord(recipients={"eve@example.com": refused}).model_dump_json())
    notice = Notice(state="failed", title="backup FAILED", text="", facts=(), next_steps=(), url=None)
    alert = Unsent(notice, NOW, ("mail",))
    sending = keep_while_sending(settings.backup_dir, alert)
    assert sending
    settle(sending, alert)
    seen = look(settings.model_copy(update={"backup_min_size_mb": 3}), NOTHING, now=NOW)
    assert seen.verdict.state == "attention"
    for words in (
        "One archive is not to be used", "did not reach eve@example.com",
        "An alert could not be sent by mail: backup FAILED",
        "The newest archive has 2.0 MB, less than BACKUP_MIN_SIZE_MB=3",
    ):  # fmt: skip
        assert words in concerns(seen)


def test_manifests_are_read_once(settings: Settings, publish: Publish) -> None:
    """A second look reads none again, and the first only those of the calendar."""
    for days in range(120):
        publish(hours_old=24 * days + 3, succeeded=not days)
    _read_head.cache_clear()
    seen = look(settings, NOTHING, now=NOW)
    assert seen.archives
    assert (len(seen.archives), len(seen.recent), _read_head.cache_info().misses) == (120, 90, 90)
    look(settings, NOTHING, now=NOW)
    assert _read_head.cache_info().misses == 90


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(-5, "0 min"), (0, "0 min"), (59, "59 min"), (60, "1 h"), (6 * 60, "6 h"), (47 * 60, "47 h"), (48 * 60, "2 days")],
)
def test_ages_are_as_people_say_them(minutes: int, text: str) -> None:
    """One unit is enough."""
    assert age_text(timedelta(minutes=minutes)) == text


def test_coming_moment_has_its_date_only_when_it_is_far() -> None:
    """In the time zone of the backup."""
    now, zone = datetime(2026, 11, 20, 8, tzinfo=timezone.utc), ZoneInfo("Asia/Bangkok")
    assert clock_text(now + timedelta(hours=11), now=now, zone=zone) == "02:00"
    assert clock_text(now + timedelta(hours=35), now=now, zone=zone) == "2026-11-22 02:00"
