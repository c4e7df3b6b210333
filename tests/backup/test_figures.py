"""The figures of the nights: which there are, and which of them are marked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from include.backup.archive_list import ArchiveEntry, find_archive
from include.backup.drill_record import DrillRecord, write_drill
from include.backup.figures import NightFigures, figures_of
from include.backup.nights import Night
from include.backup.run_outcome import RunOutcome
from tests.fix_archives import Publish

SLOT = datetime(2026, 11, 1, 2, tzinfo=timezone.utc)
MB = 1 << 20


def night(
    number: int, *, entry: ArchiveEntry | None = None, minutes: float | None = None, state: str = "success"
) -> Night:
    """Return the night so many days after the first; its run took so long."""
    slot = SLOT + timedelta(days=number)
    outcome = None
    if minutes is not None:
        ended = slot + timedelta(minutes=minutes)
        outcome = RunOutcome("run", "scheduled", slot, state, started_at=slot, ended_at=ended)  # type: ignore[arg-type]
    return Night(slot, "done", entry, outcome)


def of_minutes(minutes: Sequence[float]) -> tuple[NightFigures, ...]:
    """Return the figures of nights without archives whose runs took so long."""
    return figures_of(night(number, minutes=took) for number, took in enumerate(minutes))


def test_night_has_size_duration_and_drill(folder: Path, publish: Publish) -> None:
    """The archive's size as it was verified, the run's time, and the restore of a drill that passed."""
    archive = publish(size=3 * MB)
    drill = DrillRecord(drilled_at=SLOT, passed=True, seconds=41, tables=1, rows=1, server_version="18", error="")
    write_drill(archive, drill)
    (found,) = figures_of([night(0, entry=find_archive(folder, archive.name), minutes=2)])
    assert found == NightFigures(SLOT, 3 * MB, 120.0, 41.0, odd_size=False, odd_seconds=False)
    write_drill(archive, drill.model_copy(update={"passed": False, "error": "users differs"}))
    (found,) = figures_of([night(0, entry=find_archive(folder, archive.name))])
    assert (found.seconds, found.drill_seconds) == (None, None)


def test_night_without_archive_and_without_success_has_no_figures() -> None:
    """A failed run's time says nothing, and a missed night has none."""
    assert figures_of([night(0), night(1, minutes=5, state="failed")]) == ()


@pytest.mark.parametrize(
    ("minutes", "odd"),
    [
        ([3, 3, 3, 3, 9], []),  # too few before it
        ([3, 3, 3, 3, 3, 9], [5]),
        ([3, 3, 3, 3, 3, 3.9], []),  # not a minute more
        ([3, 3, 3, 3, 3, 3, 9, 3, 3], [6]),  # back to what is usual is a step, but not odd
        ([10, 11, 12, 13, 14, 15, 9], [6]),  # a step that none before was like, among the usual figures
        ([3, 3, 3, 3, 3, *[9] * 16], [5, 6, 7, 8, 9]),  # a new level is usual in time
    ],
)
def test_figure_far_from_those_before_is_odd(minutes: list[float], odd: list[int]) -> None:
    """By the rule of the warnings; the night after, which is as usual again, is not marked."""
    assert [number for number, figures in enumerate(of_minutes(minutes)) if figures.odd_seconds] == odd
