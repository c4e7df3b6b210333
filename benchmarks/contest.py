"""Competitors take turns; they are compared round by round, so that what slows a whole round cancels out."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from benchmarks.programs import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Competitor", "Ratio", "Run", "hold_contest", "ratio_of", "turn_order"]

SEED = 11


class Competitor(Protocol):
    """Somebody who does the job: untimed preparation and checks are inside, the stages are what counts."""

    @property
    def name(self) -> str:
        """Return what the report calls it."""

    def run(self) -> tuple[Stage, ...]:
        """Do the job once and return its stages, which together are the time taken."""


@dataclass(frozen=True)
class Run:
    """One competitor's turn; rounds and turns count from 1."""

    competitor: str
    round: int
    turn: int
    stages: tuple[Stage, ...]

    @property
    def seconds(self) -> float:
        """Return the seconds of all stages."""
        return sum(stage.seconds for stage in self.stages)


@dataclass(frozen=True)
class Ratio:
    """How many times as long somebody took as a peer, in each round."""

    competitor: str
    peer: str
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the middle one."""
        return statistics.median(self.rounds)


def turn_order(count: int, round_number: int) -> list[int]:
    """
    Return the order of a round, counted from 1: shuffled anew every other round, and turned round in between.

    So in each pair of rounds everybody has the same place on average (ABBA), and nobody always follows the same one.
    """
    pair, second = divmod(round_number - 1, 2)
    order = list(range(count))
    random.Random(SEED + pair).shuffle(order)  # noqa: S311 - the same order on every machine
    return order[::-1] if second else order


def hold_contest(competitors: Sequence[Competitor], *, rounds: int, show: Callable[[Run], None]) -> list[Run]:
    """Let everybody run once in each round; `show` is given each run as it ends."""
    runs: list[Run] = []
    for round_number in range(1, rounds + 1):
        for turn, index in enumerate(turn_order(len(competitors), round_number), 1):
            competitor = competitors[index]
            runs.append(Run(competitor.name, round_number, turn, competitor.run()))
            show(runs[-1])
    return runs


def ratio_of(runs: Sequence[Run], competitor: str, peer: str) -> Ratio:
    """Return the ratio of the two in each round, in the order of the rounds."""
    seconds = {(run.competitor, run.round): run.seconds for run in runs}
    rounds = sorted({run.round for run in runs})
    return Ratio(competitor, peer, tuple(seconds[competitor, one] / seconds[peer, one] for one in rounds))
