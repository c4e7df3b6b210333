"""What is unusual: the one rule by which figures are held against those of the nights before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

# The median absolute deviation times this is the standard deviation of normal data.
DEVIATION_IN_MADS = 1.4826
# A table that is empty now and then is not unusual when it is empty.
MAX_EMPTY_SHARE = 0.25


class Limits(NamedTuple):
    """
    How far is far: all of these are exceeded.

    Args:
        deviations: In standard deviations, estimated by the MAD.
        share: Of the median; where nothing ever changes, the MAD is 0.
        rows: Of a table; a few are never worth a word.
        size_bytes: The same for sizes.
    """

    deviations: float
    share: float
    rows: int
    size_bytes: int


NOTABLE = Limits(deviations=3, share=0.1, rows=10, size_bytes=32 * 1024)  # worth a line in the mail
ODD = Limits(deviations=6, share=0.25, rows=20, size_bytes=64 * 1024)  # worth a warning and an alert


def is_unusual(now: float, earlier: Sequence[float], limits: Limits, *, at_least: float) -> bool:
    """
    Whether a figure is far from those before it, or has taken a step that is far larger than those before.

    The step tells a growing table that loses a third in a night, which leaves it among its figures of two weeks.

    Args:
        now: The figure.
        earlier: Those before it, oldest first; at least one.
        limits: How far is far.
        at_least: Its `rows` or its `size_bytes`.
    """
    steps = [abs(later - sooner) for sooner, later in pairwise(earlier)]  # up or down: some tables go to and fro
    step = abs(now - earlier[-1])
    least = _least(earlier, limits, at_least)
    jumped = bool(steps) and step > median(steps) and _deviates(step, steps, limits.deviations, least)
    return jumped or _is_far(now, earlier, limits, at_least)


def is_odd(now: float, earlier: Sequence[float], *, at_least: float) -> bool:
    """
    Whether a figure is unusual enough for a warning; the arguments are those of `is_unusual`.

    The night after an odd one that is as those before it is a step, too, but none to warn of.
    """
    *before, last = earlier
    back = before and _is_far(last, before, ODD, at_least) and not _is_far(now, before, ODD, at_least)
    return not back and is_unusual(now, earlier, ODD, at_least=at_least)


def is_unusually_empty(rows: int, earlier: Sequence[int]) -> bool:
    """Whether a table is empty that hardly ever was."""
    return rows == 0 and earlier.count(0) <= MAX_EMPTY_SHARE * len(earlier)


def _is_far(value: float, history: Sequence[float], limits: Limits, at_least: float) -> bool:
    return _deviates(value, history, limits.deviations, _least(history, limits, at_least))


def _least(earlier: Sequence[float], limits: Limits, at_least: float) -> float:
    return max(limits.share * median(earlier), at_least)


def _deviates(value: float, history: Sequence[float], deviations: float, least: float) -> bool:
    middle = median(history)
    mad = median(abs(earlier - middle) for earlier in history)
    return abs(value - middle) > max(deviations * DEVIATION_IN_MADS * mad, least)
