"""The calendar: the nights as days in weeks, each day with its state, a sign for it and words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo

from include.backup.nights import Night, NightState

DAYS_OF_WEEK = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class Meaning:
    """What a state is called, its sign (colour is never the only one) and what it says."""

    label: str
    sign: str
    text: str


# The worst first: a day with several slots shows its worst.
MEANINGS: dict[NightState, Meaning] = {
    "failed": Meaning("failed", "✕", "its run failed, and there is no archive of it"),
    "missed": Meaning("missed", "∅", "no run, no archive"),
    "lost": Meaning("lost", "?", "its run succeeded, but its archive is gone too early, or damaged"),
    "late": Meaning("late", "◔", "done, later than the objective"),
    "backfilled": Meaning("backfilled", "↺", "made up for later, with what the database held then"),
    "pending": Meaning("under way", "…", "under way, or about to begin"),
    "done": Meaning("done", "✓", "done in time"),
    "unknown": Meaning("unknown", "·", "before the first archive and the first run"),
}
_WORST_FIRST = tuple(MEANINGS)


@dataclass(frozen=True)
class Day:
    """
    A day of the calendar.

    Args:
        day: In BACKUP_TIMEZONE.
        nights: Its slots, oldest first.
    """

    day: date
    nights: tuple[Night, ...]

    @property
    def state(self) -> NightState | None:
        """The worst state of its slots; None if it has none."""
        return min((night.state for night in self.nights), key=_WORST_FIRST.index, default=None)

    @property
    def run_id(self) -> str | None:
        """The run of its worst slot, if Airflow has it."""
        worst = next((night for night in self.nights if night.state == self.state), None)
        return worst.outcome.run_id if worst and worst.outcome else None

    @property
    def text(self) -> str:
        """What became of it, for example `Tue 3 Nov: failed in export_database`."""
        return f"{self.day:%a} {self.day.day} {self.day:%b}: {'; '.join(map(_night_text, self.nights)) or 'no slot'}"


@dataclass(frozen=True)
class Calendar:
    """
    The days of the calendar.

    Args:
        weeks: Of seven days each, Monday first; None before the first day and after the last.
        counts: How many slots are in each state that any is in, as `MEANINGS` has them in order.
    """

    weeks: tuple[tuple[Day | None, ...], ...]
    counts: tuple[tuple[NightState, int], ...]


def calendar_of(nights: Sequence[Night], zone: tzinfo) -> Calendar:
    """
    Return the calendar.

    Args:
        nights: Oldest first.
        zone: In which their days are.
    """
    by_day: dict[date, list[Night]] = {}
    for night in nights:
        by_day.setdefault(night.slot.astimezone(zone).date(), []).append(night)
    counted = Counter(night.state for night in nights)
    counts = tuple((state, counted[state]) for state in MEANINGS if counted[state])
    return Calendar(tuple(_weeks(by_day)) if by_day else (), counts)


def _weeks(by_day: dict[date, list[Night]]) -> Iterable[tuple[Day | None, ...]]:
    first, last = min(by_day), max(by_day)
    monday = first - timedelta(days=first.weekday())
    while monday <= last:
        days = (monday + timedelta(days=number) for number in range(7))
        yield tuple(Day(day, tuple(by_day.get(day, ()))) if first <= day <= last else None for day in days)
        monday += timedelta(days=7)


def _night_text(night: Night) -> str:
    label = MEANINGS[night.state].label
    if night.state == "failed" and night.outcome and night.outcome.failed_task:
        return f"{label} in {night.outcome.failed_task}"
    return label
