"""The figures of each night: how large its archive is, how long it took, how fast it restores, and what is odd."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from include.backup.anomaly import HISTORY_ARCHIVES, MIN_HISTORY_ARCHIVES
from include.backup.nights import Night
from include.backup.unusual import ODD, is_odd

MIN_SECONDS = 60.0  # a run that takes a minute more is nothing to look at
RESTORE_OBJECTIVE_SECONDS = 30 * 60


@dataclass(frozen=True)
class NightFigures:
    """
    The figures of a night that has an archive or a run.

    Args:
        slot: Aware.
        size_bytes: Of its archive; None if that is not there.
        seconds: That its run took; None if Airflow does not have it, or it has not ended.
        drill_seconds: That the restore of its archive took; None if no drill of it passed.
        odd_size: Whether its size is far from those of the nights before.
        odd_seconds: Whether its run took far longer, or shorter, than those of the nights before.
    """

    slot: datetime
    size_bytes: int | None
    seconds: float | None
    drill_seconds: float | None
    odd_size: bool
    odd_seconds: bool


def figures_of(nights: Iterable[Night]) -> tuple[NightFigures, ...]:
    """
    Return the figures of the nights that have any, oldest first.

    Args:
        nights: Oldest first.

    Source: spec FR-17 for what is odd.
    """
    sizes: list[float] = []
    durations: list[float] = []
    figures = []
    for night in nights:
        head, outcome = night.entry.head if night.entry else None, night.outcome
        took = outcome.took if outcome and outcome.state == "success" else None
        drill = night.entry.drill if night.entry else None
        size = head.archive_bytes if head else None
        seconds = took.total_seconds() if took else None
        if size is None and seconds is None:
            continue
        figures.append(
            NightFigures(
                slot=night.slot,
                size_bytes=size,
                seconds=seconds,
                drill_seconds=drill.seconds if drill and drill.passed else None,
                odd_size=_is_odd(size, sizes, at_least=ODD.size_bytes),
                odd_seconds=_is_odd(seconds, durations, at_least=MIN_SECONDS),
            )
        )
        sizes += [] if size is None else [size]
        durations += [] if seconds is None else [seconds]
    return tuple(figures)


def _is_odd(value: float | None, earlier: Sequence[float], *, at_least: float) -> bool:
    history = earlier[-HISTORY_ARCHIVES:]
    if value is None or len(history) < MIN_HISTORY_ARCHIVES:
        return False
    return is_odd(value, history, at_least=at_least)
