"""The calendar: what became of each night."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from include.backup.archive_list import ArchiveEntry, find_archive
from include.backup.manifest import RunRecord
from include.backup.nights import NightRules, judge_nights
from include.backup.run_outcome import RunOutcome
from tests.fix_archives import NOW

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_archives import Publish

DAY = timedelta(days=1)
SLOTS = [NOW - timedelta(hours=3) - DAY * days for days in range(9, -1, -1)]
RULES = NightRules(now=NOW, deadline=timedelta(minutes=10), grace=timedelta(hours=2), kept_for=6 * DAY)


@pytest.fixture
def archive(folder: Path, publish: Publish) -> Any:
    """Return a maker of an archive that stands for a slot."""

    def make(slot: datetime, kind: str = "scheduled", minutes: int = 1) -> ArchiveEntry:
        run = RunRecord.model_validate({"run_id": "r", "kind": kind, "stands_for": slot, "reason": ""})
        made = publish(hours_old=(NOW - slot).total_seconds() / 3600 - minutes / 60, run=run)
        return find_archive(folder, made.name)

    return make


def outcome(slot: datetime, state: Any = "success", kind: Any = "scheduled", minutes: float = 2) -> RunOutcome:
    """Return a run of the slot that took so long."""
    ended = None if state in ("running", "queued") else slot + timedelta(minutes=minutes)
    return RunOutcome(f"{kind}__{slot}", kind, slot, state, started_at=slot, ended_at=ended)


def state(*, entry: ArchiveEntry | None = None, runs: tuple[RunOutcome, ...] = (), slot: datetime = SLOTS[-1]) -> str:
    """Return what became of a slot, after others that are known."""
    known = outcome(SLOTS[0])
    found = judge_nights(SLOTS, [entry] if entry else [], [*runs, known], RULES)
    return next(night.state for night in found if night.slot == slot)


def test_night_is_done_when_archive_and_run_say_so(archive: Any) -> None:
    """Also when Airflow has forgotten the run, or retention has removed the archive."""
    entry = archive(SLOTS[-1])
    assert state(entry=entry, runs=(outcome(SLOTS[-1]),)) == "done"
    assert state(entry=entry) == "done"
    assert state(runs=(outcome(SLOTS[1]),), slot=SLOTS[1]) == "done"


def test_night_is_late_when_its_run_ended_after_the_deadline(archive: Any) -> None:
    """Ten minutes are allowed; without the run the archive's own time counts."""
    assert state(entry=archive(SLOTS[-1]), runs=(outcome(SLOTS[-1], minutes=10),)) == "done"
    assert state(entry=archive(SLOTS[-1]), runs=(outcome(SLOTS[-1], minutes=10.1),)) == "late"
    assert state(entry=archive(SLOTS[-2], minutes=11), slot=SLOTS[-2]) == "late"


def test_failed_run_is_a_failed_night_though_the_archive_is_there(archive: Any) -> None:
    """Nobody has got its mail."""
    assert state(entry=archive(SLOTS[-1]), runs=(outcome(SLOTS[-1], "failed"),)) == "failed"


def test_backfill_after_a_failure_is_what_counts(archive: Any) -> None:
    """Whichever of the two runs Airflow lists first."""
    failed, made_up = outcome(SLOTS[-2], "failed"), outcome(SLOTS[-2], kind="backfill")
    entry = archive(SLOTS[-2], "backfill", minutes=90)
    for runs in ((failed, made_up), (made_up, failed)):
        assert state(entry=entry, runs=runs, slot=SLOTS[-2]) == "backfilled"


def test_night_without_anything_is_missed(archive: Any) -> None:
    """A manual archive of that night does not stand for it, as for the watch."""
    assert state() == "missed"
    assert state(entry=archive(SLOTS[-1], "manual")) == "missed"
    assert state(slot=SLOTS[1]) == "missed"


def test_night_whose_archive_is_gone_before_its_time_is_lost() -> None:
    """Its run succeeded; after its time that is what retention does."""
    assert state(runs=(outcome(SLOTS[-3]),), slot=SLOTS[-3]) == "lost"
    assert state(runs=(outcome(SLOTS[2]),), slot=SLOTS[2]) == "done"


@pytest.mark.parametrize("run_state", ["queued", "running"])
def test_run_under_way_is_pending(run_state: str) -> None:
    """It is neither done nor missed."""
    assert state(runs=(outcome(SLOTS[-1], run_state),)) == "pending"


def test_slot_of_a_moment_ago_is_pending() -> None:
    """The scheduler may make the run yet."""
    slots = [*SLOTS, NOW - timedelta(minutes=1)]
    assert judge_nights(slots, [], [outcome(SLOTS[0])], RULES)[-1].state == "pending"


def test_nights_before_everything_are_unknown() -> None:
    """A new installation has missed nothing."""
    assert {night.state for night in judge_nights(SLOTS, [], [], RULES)} == {"unknown"}
    found = judge_nights(SLOTS, [], [outcome(SLOTS[4], "failed")], RULES)
    assert [night.state for night in found][:6] == ["unknown"] * 4 + ["failed", "missed"]


def test_broken_archive_stands_for_nothing(archive: Any) -> None:
    """Its night is as if it were not there."""
    entry = archive(SLOTS[-1])
    entry.path.write_bytes(b"")
    broken = find_archive(entry.path.parent, entry.name)
    assert state(entry=broken, runs=(outcome(SLOTS[-1]),)) == "lost"
