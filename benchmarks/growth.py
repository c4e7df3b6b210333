"""
`python -m benchmarks.growth`: a night of very many backups, computed and not run: when is the last one done?

What is computed is Airflow's scheduler (3.3): in each turn it begins some runs, looks at some of the runs that it has
not looked at for longest, and hands some of the tasks that may start to free slots, those of the highest weight first.
"""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Literal

STEPS = 13  # tasks of critical_backup that run in one run
TASK_SECONDS = 2.5  # a slot's time for one small step, the worker's own included: the median of two runs under Celery
TURN_SECONDS = 1.0  # of the scheduler, while it is busy: an assumption


@dataclass(frozen=True)
class Night:
    """
    What is asked of Airflow, and what it has.

    Args:
        backups: How many come due.
        slots: Tasks at once, over all workers; the pools and `core.parallelism` let as many run.
        looked_at: Runs in one turn (`scheduler.max_dagruns_per_loop_to_schedule`).
        queued: Tasks in one turn (`scheduler.max_tis_per_query`).
        order: Which task is first in the queue: of the runs that are furthest, or of those that are least far
            (`weight_rule` upstream or downstream; the second is Airflow's default).
        spread_minutes: Within how many minutes they come due, evenly; 0: all at once.
        export_seconds: What export and verification of one backup take besides.
    """

    backups: int
    slots: int
    looked_at: int = 20
    queued: int = 16
    order: Literal["furthest", "least far"] = "furthest"
    spread_minutes: int = 0
    export_seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """When backups were done, in seconds after the first came due, and how many were under way at the most."""

    done_at: tuple[float, ...]
    took: tuple[float, ...]
    most_under_way: int


def compute(night: Night) -> Outcome:
    """Go through the night, turn by turn of the scheduler."""
    due = deque((number * night.spread_minutes * 60 / night.backups, number) for number in range(night.backups))
    begun_at = dict.fromkeys(range(night.backups), 0.0)
    looked_at: deque[int] = deque()  # runs, the one that was not looked at for longest first
    at_step = [0] * night.backups
    waiting: list[tuple[int, int]] = []  # (place in the queue, run) of tasks that may start
    is_ready = set(range(night.backups))  # runs whose step before is over, and whose next one was not seen yet
    working: list[tuple[float, int]] = []  # (end, run)
    done: list[float] = []
    took: list[float] = []
    now, under_way, most_under_way = 0.0, 0, 0
    while len(done) < night.backups:
        while working and working[0][0] <= now:
            end, run = heapq.heappop(working)
            at_step[run] += 1
            if at_step[run] == STEPS:
                done.append(end)
                took.append(end - begun_at[run])
                under_way -= 1
            else:
                is_ready.add(run)
        begun = [due.popleft() for _ in range(min(night.looked_at, len(due))) if due[0][0] <= now]
        begun_at.update((run, at) for at, run in begun)
        looked_at.extendleft(run for _, run in reversed(begun))  # never looked at: first
        for _ in range(min(night.looked_at, len(looked_at))):
            run = looked_at.popleft()
            if run in is_ready:
                is_ready.remove(run)
                place = -at_step[run] if night.order == "furthest" else at_step[run]
                heapq.heappush(waiting, (place, run))
            if at_step[run] < STEPS:
                looked_at.append(run)
        for _ in range(min(night.queued, night.slots - len(working), len(waiting))):
            _, run = heapq.heappop(waiting)
            under_way += at_step[run] == 0
            seconds = TASK_SECONDS + (night.export_seconds if at_step[run] == STEPS // 4 else 0)
            heapq.heappush(working, (now + seconds, run))
        most_under_way = max(most_under_way, under_way)
        now += TURN_SECONDS
    return Outcome(tuple(done), tuple(took), most_under_way)


MANY = 200  # runs and tasks in one turn, where Airflow's settings are raised
NIGHTS = {
    "Airflow's defaults": Night(1000, 32, order="least far"),
    "runs that are furthest first": Night(1000, 32),
    "and 200 runs and tasks a turn": Night(1000, 32, looked_at=MANY, queued=MANY),
    "and 64 slots": Night(1000, 64, looked_at=MANY, queued=MANY),
    "and 128 slots": Night(1000, 128, looked_at=MANY, queued=MANY),
    "32 slots, due over an hour": Night(1000, 32, looked_at=MANY, queued=MANY, spread_minutes=60),
    "16 slots, due over an hour": Night(1000, 16, looked_at=MANY, queued=MANY, spread_minutes=60),
    "defaults, due over an hour": Night(1000, 32, order="least far", spread_minutes=60),
}


def table() -> Iterator[str]:
    """Yield the table of docs/GROWTH.md, line by line; minutes are rounded."""
    yield "| 1,000 backups at once | slots | first done | half done | all done | one takes, median | under way at most |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for name, night in NIGHTS.items():
        outcome = compute(night)
        seconds = (outcome.done_at[0], median(outcome.done_at), outcome.done_at[-1], median(outcome.took))
        figures = " | ".join(f"{second / 60:.0f} min" for second in seconds)
        yield f"| {name} | {night.slots} | {figures} | {outcome.most_under_way:,} |"


if __name__ == "__main__":
    for line in table():
        print(line)
    sys.exit(0)
