"""
`python -m benchmarks.growth`: very many backups, and a very large one, computed and not run; docs/GROWTH.md says it.

What is computed of many is Airflow's scheduler (3.3): in each turn it begins some runs, looks at some of the runs that
it has not looked at for longest, and hands tasks that may start to free slots, those of the highest weight first.
"""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

STEPS = 13  # tasks of critical_backup that run in one run
TASK_SECONDS = 2.5  # a slot's time for one small step, the worker's own included: the median of two runs under Celery
TURN_SECONDS = 1.0  # of the scheduler, while it is busy: an assumption

# Two connections, two cores: docs/benchmarks/data_path.json of 2026-11-22.
MEASURED_BYTES = 765_521_497
MEASURED_SECONDS = (4.76, 0.24, 1.31)  # export, archive, verify
MEASURED_ARCHIVE_BYTES = 248_548_420
DISK_TIMES = 1.05  # of the archive, while it is put together: docs/benchmarks/disk.md
LARGE_GB = (10, 100, 1000)


@dataclass(frozen=True)
class Night:
    """
    What is asked of Airflow, and what it has.

    Args:
        backups: How many come due.
        slots: Tasks at once, over all workers; the pools and `core.parallelism` let as many run.
        looked_at: Runs in one turn (`scheduler.max_dagruns_per_loop_to_schedule`).
        queued: Tasks in one turn (`scheduler.max_tis_per_query`).
        first: Whose task gets the next slot: that of the run that is furthest, or least far (`weight_rule` upstream or
            downstream; the second is Airflow's default).
        spread_minutes: Within how many minutes they come due, evenly; 0: all at once.
        task_seconds: For how long a task holds its slot.
    """

    backups: int
    slots: int
    looked_at: int = 20
    queued: int = 16
    first: Literal["furthest", "least far"] = "furthest"
    spread_minutes: int = 0
    task_seconds: float = TASK_SECONDS


@dataclass
class Run:
    """One backup; moments are seconds since the first came due."""

    due_at: float
    step: int = 0
    is_ready: bool = True  # the step before is over, and the scheduler has not seen it yet
    done_at: float = 0.0


@dataclass
class Course:
    """A night as it goes on; numbers stand for runs, in the order in which they come due."""

    night: Night
    runs: list[Run]
    now: float = 0.0
    begun: int = 0
    done: int = 0
    under_way_at_most: int = 0
    _looked_at: deque[int] = field(default_factory=deque)  # the one that was not looked at for longest first
    _waiting: list[tuple[int, int]] = field(default_factory=list)  # place in the queue, run
    _working: list[tuple[float, int]] = field(default_factory=list)  # end, run

    def end_tasks(self) -> None:
        """Workers report what is over."""
        while self._working and self._working[0][0] <= self.now:
            end, number = heapq.heappop(self._working)
            run = self.runs[number]
            run.step += 1
            run.is_ready = run.step < STEPS
            if not run.is_ready:
                run.done_at = end
                self.done += 1

    def begin_runs(self) -> None:
        """The scheduler begins runs that have come due, and looks at them first."""
        last = self.begun
        while last < min(self.begun + self.night.looked_at, len(self.runs)) and self.runs[last].due_at <= self.now:
            last += 1
        self._looked_at.extendleft(reversed(range(self.begun, last)))
        self.begun = last

    def look_at_runs(self) -> None:
        """The scheduler looks which of some runs have a step that may start."""
        for _ in range(min(self.night.looked_at, len(self._looked_at))):
            number = self._looked_at.popleft()
            run = self.runs[number]
            if run.is_ready:
                run.is_ready = False
                heapq.heappush(self._waiting, (-run.step if self.night.first == "furthest" else run.step, number))
            if run.step < STEPS:
                self._looked_at.append(number)

    def hand_out(self) -> None:
        """The scheduler gives tasks to free slots."""
        for _ in range(min(self.night.queued, self.night.slots - len(self._working), len(self._waiting))):
            _, number = heapq.heappop(self._waiting)
            heapq.heappush(self._working, (self.now + self.night.task_seconds, number))
        waiting_to_begin = sum(place == 0 for place, _ in self._waiting) + sum(
            run.is_ready and run.step == 0 for run in self.runs[: self.begun]
        )
        self.under_way_at_most = max(self.under_way_at_most, self.begun - waiting_to_begin - self.done)


def compute(night: Night) -> Course:
    """Go through the night, turn by turn of the scheduler, until the last backup is done."""
    apart = night.spread_minutes * 60 / night.backups
    course = Course(night, [Run(number * apart) for number in range(night.backups)])
    while course.done < night.backups:
        course.end_tasks()
        course.begin_runs()
        course.look_at_runs()
        course.hand_out()
        course.now += TURN_SECONDS
    return course


MANY = 200  # runs and tasks in one turn, where Airflow's settings are raised
NIGHTS = {
    "Airflow's defaults": Night(1000, 32, first="least far"),
    "the furthest run first, as here": Night(1000, 32),
    "and 200 runs and tasks a turn": Night(1000, 32, looked_at=MANY, queued=MANY),
    "and 64 slots": Night(1000, 64, looked_at=MANY, queued=MANY),
    "and 128 slots": Night(1000, 128, looked_at=MANY, queued=MANY),
    "and each task reads 1,000 DAGs, 10 s": Night(1000, 128, looked_at=MANY, queued=MANY, task_seconds=12.5),
    "Airflow's defaults, due over an hour": Night(1000, 32, first="least far", spread_minutes=60),
    "10 slots, due over an hour": Night(1000, 10, looked_at=MANY, queued=MANY, spread_minutes=60),
}


def many_databases() -> Iterator[str]:
    """Yield the table of 1,000 backups, line by line."""
    yield "| 1,000 backups at 02:00 | slots | first done | half done | all done | a backup takes | at once at most |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for name, night in NIGHTS.items():
        course = compute(night)
        done_at = [run.done_at for run in course.runs]
        took = median(run.done_at - run.due_at for run in course.runs)
        figures = " | ".join(f"{s / 60:.0f} min" for s in (min(done_at), median(done_at), max(done_at), took))
        yield f"| {name} | {night.slots} | {figures} | {course.under_way_at_most:,} |"


def one_large() -> Iterator[str]:
    """Yield the table of one large window, line by line: what was measured, in proportion."""
    yield "| rows in the window | export, one snapshot | archive | verify | all | size | disk at most | 30 nights |"
    yield "|--:|--:|--:|--:|--:|--:|--:|--:|"
    for gigabytes in LARGE_GB:
        times = gigabytes * 1e9 / MEASURED_BYTES
        minutes = [seconds * times / 60 for seconds in MEASURED_SECONDS]
        steps = " | ".join(f"{minute:,.0f} min" for minute in (*minutes, sum(minutes)))
        size = MEASURED_ARCHIVE_BYTES * times / 1e9
        yield f"| {gigabytes:,} GB | {steps} | {size:,.0f} GB | {DISK_TIMES * size:,.0f} GB | {30 * size:,.0f} GB |"


def main() -> int:
    """Print both tables."""
    print("\n".join([*many_databases(), "", *one_large()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
