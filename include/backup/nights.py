"""The calendar of the nights: what became of each, from the schedule, the archives and Airflow's runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from include.backup.archive_list import ArchiveEntry
from include.backup.missed import nearest
from include.backup.run_outcome import RunOutcome

NightState = Literal["done", "late", "backfilled", "failed", "missed", "lost", "pending", "unknown"]


@dataclass(frozen=True)
class Night:
    """
    One slot of the schedule.

    Args:
        slot: Aware.
        state: What became of it. `lost`: its run succeeded, but its archive is gone before its time, or damaged;
            `pending`: under way, or about to begin; `unknown`: before the first archive and the first run.
        entry: The archive that stands for it, if it is still there.
        outcome: Airflow's run of it, if Airflow still has it; one that succeeded goes before those that did not.
    """

    slot: datetime
    state: NightState
    entry: ArchiveEntry | None
    outcome: RunOutcome | None


@dataclass(frozen=True)
class NightRules:
    """
    What nights are judged by.

    Args:
        now: Aware.
        deadline: A run that ended later than this after its slot was late.
        grace: So long after its slot a run may be under way, or not have begun.
        kept_for: So long an archive has to be there.
    """

    now: datetime
    deadline: timedelta
    grace: timedelta
    kept_for: timedelta

    def judge(self, slot: datetime, entry: ArchiveEntry | None, outcome: RunOutcome | None) -> NightState:
        """Return what became of a slot that is not before everything that is known."""
        if outcome and outcome.state != "success":
            return "failed" if outcome.state == "failed" else "pending"
        if not entry and self.now - slot < self.kept_for:
            if outcome:
                return "lost"
            return "pending" if self.now - slot < self.grace else "missed"
        if not entry and not outcome:
            return "missed"
        if "backfill" in (outcome and outcome.kind, entry and entry.head and entry.head.run.kind):
            return "backfilled"
        ended = outcome.ended_at if outcome else entry and entry.head and entry.head.snapshot_at
        return "late" if ended and ended - slot > self.deadline else "done"


def judge_nights(
    every: Sequence[datetime], entries: Iterable[ArchiveEntry], outcomes: Iterable[RunOutcome], rules: NightRules
) -> tuple[Night, ...]:
    """
    Return what became of each slot, oldest first.

    Args:
        every: The slots, oldest first, aware.
        entries: The archives, newest first.
        outcomes: Airflow's runs, newest first.
        rules: What they are judged by.
    """
    archives: dict[datetime, ArchiveEntry] = {}
    for entry in entries:
        if entry.head and not entry.problem and entry.head.run.kind != "manual":
            slot = nearest(every, entry.head.run.stands_for)
            if slot:
                archives.setdefault(slot, entry)
    runs: dict[datetime, RunOutcome] = {}
    for outcome in outcomes:
        slot = nearest(every, outcome.stands_for) if outcome.kind != "manual" else None
        if slot and (slot not in runs or (outcome.state == "success" and runs[slot].state != "success")):
            runs[slot] = outcome
    first = min((*archives, *runs), default=rules.now)

    def night(slot: datetime) -> Night:
        entry, outcome = archives.get(slot), runs.get(slot)
        return Night(slot, rules.judge(slot, entry, outcome) if slot >= first else "unknown", entry, outcome)

    return tuple(map(night, every))
