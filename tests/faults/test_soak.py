"""
Sixty nights with random faults, over both changes of the clock: what the status page says is what is on the disk.

What is true is kept here from what was done, never from what the page reads. Morocco changes its clocks twice within
five weeks, just at two: at the beginning of Ramadan and at its end.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from include.backup import health
from include.backup.archive_name import archive_name
from include.backup.drill import drill
from include.backup.manifest import Sidecar, read_sidecar
from include.backup.missed import slots
from include.backup.overview import AirflowFacts, Overview, look
from include.backup.run import Kind
from include.backup.run_outcome import RunOutcome, RunState
from include.backup.settings import load_settings
from include.backup.status import read_last_success
from include.backup.verify import verify_archive
from tests.fix_disks import MB, MakeDisk
from tests.fix_faults import FaultSite, MakeFaultSite
from tests.fix_pipeline import database_of
from tests.one_backup import Ended
from tests.soak_faults import ACCIDENTS, FAULTS, Night

NIGHTS = int(os.environ.get("SOAK_NIGHTS", "60"))
SEED = int(os.environ.get("SOAK_SEED", "2"))
ZONE, SCHEDULE = "Africa/Casablanca", "0 2 * * *"
FIRST = datetime(2026, 1, 28, tzinfo=timezone.utc)
FAULTY, ACCIDENT = 0.4, 0.1  # so many of the nights
KEPT, MIN_KEEP, MAX_AGE_HOURS = timedelta(days=30), 7, 25
DEADLINE, MORNING, LOOKED_AT = timedelta(minutes=10), timedelta(hours=6), timedelta(hours=8)


@dataclasses.dataclass
class Truth:
    """What was done: every archive that was ever made, what accidents have befallen, and how each run ended."""

    site: FaultSite
    made: dict[str, Sidecar] = dataclasses.field(default_factory=dict)
    removed: set[str] = dataclasses.field(default_factory=set)
    truncated: set[str] = dataclasses.field(default_factory=set)
    runs: dict[str, RunOutcome] = dataclasses.field(default_factory=dict)
    last_success: datetime | None = None

    @property
    def outcomes(self) -> tuple[RunOutcome, ...]:
        """As Airflow tells them: newest first."""
        return tuple(sorted(self.runs.values(), key=lambda run: run.started_at or FIRST, reverse=True))

    def note_run(self, night: Night, ended: Ended, *, at: datetime, kind: Kind = "scheduled") -> None:
        """Note how a run ended, as Airflow has it."""
        run_id = f"{kind}__{night.slot.isoformat()}"
        before = self.runs.get(run_id)
        began, ended_at = (before.started_at if before else at), at + timedelta(seconds=30)
        state: RunState = "failed" if ended.error else "success"
        self.runs[run_id] = RunOutcome(run_id, kind, night.slot, state, began, ended_at, ended.step or None)

    def look_at_the_disk(self, now: datetime) -> None:
        """Assert that every new archive is verified, no old one has changed, and only what is due has gone."""
        there = self.site.published
        for name in sorted(there - self.made.keys()):
            path = self.site.backup_dir / name
            sidecar = read_sidecar(path)
            assert verify_archive(path, sidecar.without_archive_facts()).archive_sha256 == sidecar.archive_sha256
            assert name == archive_name(sidecar.snapshot_at.astimezone(ZoneInfo(ZONE)))
            self.made[name] = sidecar
        sound = sorted((self.made[n].snapshot_at for n in there - self.truncated), reverse=True)
        for name in self.made.keys() - there - self.removed:
            taken = self.made[name].snapshot_at
            assert now - taken > KEPT, f"{name} is gone too early"
            assert sum(one > taken for one in sound) >= MIN_KEEP, f"{name} was among the last good ones"
        for name in there - self.truncated:
            content = (self.site.backup_dir / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == self.made[name].archive_sha256
        recorded = read_last_success(self.site.backup_dir)
        assert recorded is None or recorded in {sidecar.snapshot_at for sidecar in self.made.values()}
        assert self.last_success is None or (recorded and recorded >= self.last_success)
        self.last_success = recorded

    def state_of(self, slot: datetime, now: datetime) -> str:
        """Return what has become of a night."""
        runs = [run for run in self.outcomes if run.stands_for == slot]
        succeeded = next((run for run in runs if run.state == "success"), None)
        if runs and not succeeded:
            return "failed"
        usable = self.site.published - self.truncated
        kinds = [self.made[n].run.kind for n in sorted(usable) if self.made[n].run.stands_for == slot]
        kinds = [kind for kind in kinds if kind != "manual"]
        if not kinds and (now - slot < KEPT or not succeeded):
            return "lost" if succeeded else "missed"
        if "backfill" in (succeeded and succeeded.kind, kinds and kinds[-1]):
            return "backfilled"
        return "late" if succeeded and succeeded.ended_at and succeeded.ended_at - slot > DEADLINE else "done"

    def assert_page(self, page: Overview, nights: list[datetime], now: datetime) -> None:
        """Assert that what the page says is so."""
        there = sorted(self.site.published, reverse=True)
        assert page.archives is not None
        assert list(page.archives.names) == there
        for entry in page.archives.entries():
            assert bool(entry.problem) == (entry.name in self.truncated), entry
            assert entry.head is not None
            assert entry.head.rows == sum(table.rows for table in self.made[entry.name].tables) == 14_000
            assert entry.head.snapshot_at == self.made[entry.name].snapshot_at
        states = {night.slot: night.state for night in page.nights}
        assert {slot: states[slot] for slot in nights} == {slot: self.state_of(slot, now) for slot in nights}
        assert {states[slot] for slot in states.keys() - set(nights)} <= {"unknown"}
        missed = [slot for slot in nights if states[slot] == "missed"]
        assert [s for first, last in page.missed for s in nights if first <= s <= last] == missed
        assert len(page.backfill) == len(page.missed)
        assert page.next_at == slots(SCHEDULE, ZONE, after=now, until=now + timedelta(days=2))[0]
        self.assert_verdict(page, there, now)

    def assert_verdict(self, page: Overview, there: list[str], now: datetime) -> None:
        """Assert that it says safe when it is."""
        assert self.last_success is not None
        age = health.age_hours(self.last_success, now=now, zone=ZoneInfo(ZONE))
        newest_is_good = bool(there) and there[0] not in self.truncated
        healthy = age <= MAX_AGE_HOURS and newest_is_good and self.made[there[0]].snapshot_at >= self.last_success
        assert page.health.healthy == healthy, page.health
        assert (page.verdict.state == "unsafe") == (not healthy)
        if healthy:
            facts = page.health.facts
            assert datetime.fromisoformat(facts["last_success_at"]) == self.last_success
            assert (facts["archive"], facts["archive_bytes"]) == (there[0], self.made[there[0]].archive_bytes)
            assert f"Last backup {(now - self.last_success) // timedelta(hours=1)} h ago" in page.verdict.sentence
        said = " ".join(concern.text for concern in page.verdict.concerns)
        assert ("The last run" in said) == (self.outcomes[0].state == "failed")
        assert ("not to be used" in said) == bool(self.truncated & set(there)), said


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Path | None:
    """A small file system, where one can be mounted."""
    if os.geteuid() != 0:
        return None
    make_disk: MakeDisk = request.getfixturevalue("make_disk")
    return make_disk(size=(64 + NIGHTS) * MB, inodes=20 * NIGHTS + 1000)


def age_files(folder: Path, began: float, difference: timedelta) -> None:
    """Let what was written since have the time of the night in which it was."""
    for path in folder.rglob("*"):
        seconds = path.stat().st_mtime
        if seconds >= began:
            os.utime(path, (seconds + difference.total_seconds(),) * 2)


def nights_to_come() -> Iterator[datetime]:
    """Yield the slots."""
    yield from islice(slots(SCHEDULE, ZONE, after=FIRST, until=FIRST + timedelta(days=NIGHTS + 2)), NIGHTS)


@pytest.mark.timeout(600 + 10 * NIGHTS)
def test_every_claim_of_the_page_holds_over_many_nights_with_faults(
    make_fault_site: MakeFaultSite, disk: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was good is there or has expired, nights without a fault succeed; SOAK_NIGHTS and SOAK_SEED for others."""
    folder = (disk or tmp_path) / "backups"
    folder.mkdir(mode=0o700)
    site = make_fault_site(BACKUP_DIR=str(folder), BACKUP_TIMEZONE=ZONE, BACKUP_SCHEDULE=SCHEDULE, BACKUP_DRILL="off")
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    settings, truth, dice = load_settings(), Truth(site), random.Random(SEED)  # noqa: S311 - the same every time
    nights: list[datetime] = []
    without_fault: list[bool] = []
    for slot in nights_to_come():
        began = datetime.now(timezone.utc)
        night = Night(site, slot, dice, disk)
        fault = dice.choice(FAULTS) if nights and dice.random() < FAULTY else Night.back_up
        ended = fault(night)
        nights.append(slot)
        if ended:
            truth.note_run(night, ended, at=slot + timedelta(seconds=2))
        if fault is Night.back_up:
            without_fault.append(bool(ended and not ended.error))
        truth.look_at_the_disk(slot + DEADLINE)
        morning = slot + MORNING
        if ended and ended.error and dice.random() < 0.5:  # somebody clears it
            truth.note_run(night, night.back_up(at=morning), at=morning)
        elif not ended and dice.random() < 0.5:
            truth.note_run(night, night.back_up(at=morning, kind="backfill"), at=morning, kind="backfill")
        truth.look_at_the_disk(morning + DEADLINE)
        if dice.random() < ACCIDENT and (there := sorted(site.published - truth.truncated)):
            name, accident = dice.choice(there), dice.choice(ACCIDENTS)
            accident(folder / name)
            (truth.removed if accident.__name__ == "remove" else truth.truncated).add(name)
        age_files(folder, began.timestamp(), slot - began)
        now = slot + LOOKED_AT
        truth.assert_page(look(settings, AirflowFacts(truth.outcomes, paused=False), now=now), nights, now)
    site.assert_unharmed(site.before(), workspaces=0)
    assert sum(without_fault) >= 0.99 * len(without_fault)
    sound = sorted(site.published - truth.truncated)
    server = database_of(site.server.conninfo())
    for name in (sound[0], sound[-1]):
        assert drill(folder / name, server, folder=tmp_path).passed
    print(
        f"{len(nights)} nights, {len(without_fault)} of them without a fault, {sum(without_fault)} of these succeeded; "
        f"{len(truth.made)} archives made, {len(sound)} there and sound"
    )
