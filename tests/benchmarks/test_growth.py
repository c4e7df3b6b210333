"""What docs/GROWTH.md claims in figures is what the program computes, and that is not nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.growth import NIGHTS, STEPS, TASK_SECONDS, TURN_SECONDS, Night, compute, many_databases, one_large

PAPER = Path(__file__).parents[2] / "docs" / "GROWTH.md"


@pytest.mark.parametrize("table", [many_databases, one_large])
def test_tables_of_the_paper_are_those_of_the_program(table: object) -> None:
    """Line by line; `python -m benchmarks.growth` writes them anew."""
    assert callable(table)
    assert "\n".join(table()) in PAPER.read_text()


def test_one_backup_takes_its_steps_and_what_the_scheduler_needs_between_them() -> None:
    """A whole number of turns for each step, so that it begins at one and is seen at one."""
    (run,) = compute(Night(1, 1)).runs
    turns_a_step = -(-TASK_SECONDS // TURN_SECONDS)
    assert run.done_at == pytest.approx((STEPS - 1) * turns_a_step * TURN_SECONDS + TASK_SECONDS)


@pytest.mark.parametrize("name", NIGHTS)
def test_no_night_ends_before_its_work_can_be_done(name: str) -> None:
    """All tasks take place, and never more at once than there are slots."""
    night = NIGHTS[name]
    course = compute(night)
    assert all(run.step == STEPS for run in course.runs)
    work = night.backups * STEPS * night.task_seconds
    assert max(run.done_at for run in course.runs) >= work / night.slots
    assert night.slots <= course.under_way_at_most <= night.backups or night.spread_minutes


def test_twice_the_slots_halve_a_night_that_is_short_of_slots() -> None:
    """As long as the scheduler keeps up."""
    few, many = (compute(Night(100, slots, looked_at=200, queued=200)) for slots in (4, 8))
    last = [max(run.done_at for run in course.runs) for course in (few, many)]
    assert last[0] / last[1] == pytest.approx(2, rel=0.1)


def test_furthest_first_has_an_archive_early_and_fewer_workspaces_at_once() -> None:
    """Why the DAG has another weight rule than Airflow's default."""
    early, late = (compute(Night(200, 8, looked_at=200, queued=200, first=f)) for f in ("furthest", "least far"))
    assert min(run.done_at for run in early.runs) * 10 < min(run.done_at for run in late.runs)
    assert early.under_way_at_most * 4 < late.under_way_at_most
