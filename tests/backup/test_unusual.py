"""The one rule of what is unusual: levels and steps, against the median and MAD of those before."""

from __future__ import annotations

import pytest

from include.backup.unusual import NOTABLE, ODD, is_odd, is_unusual, is_unusually_empty

GROWING = [1000, 1100, 1190, 1300, 1400]
CALM, NOISY = [1000, 1001, 999, 1002, 998], [1000, 1300, 700, 1500, 500]
STEADY = [1000] * 14


@pytest.mark.parametrize(
    ("earlier", "now", "notable", "odd"),
    [
        (STEADY, 1100, False, False),
        (STEADY, 1101, True, False),
        (STEADY, 899, True, False),
        (STEADY, 1250, True, False),
        (STEADY, 1251, True, True),
        (STEADY, 749, True, True),
        (CALM, 2000, True, True),
        (NOISY, 2000, False, False),
        (GROWING, 1500, False, False),
        (GROWING, 1619, False, False),
        (GROWING, 1620, True, False),
        (GROWING, 1800, True, True),
        (GROWING, 1400, False, False),
        (GROWING, 1180, True, False),  # among its figures of two weeks, but it never took such a step
        (GROWING, 1000, True, True),
        ([*STEADY, 2000], 1000, True, False),  # the night after an odd one is as usual again
        ([*STEADY, 2000], 2000, True, True),
        ([0, 300, 0, 300], 0, False, False),
        ([0, 300, 0, 300], 700, True, True),
        ([5, 5, 5, 5], 15, False, False),
        ([5, 5, 5, 5], 16, True, False),
        ([5, 5, 5, 5], 26, True, True),
        ([1000], 1100, False, False),
        ([1000], 1101, True, False),
    ],
)
def test_figure_is_unusual_by_its_level_or_by_its_step(
    earlier: list[int], now: int, *, notable: bool, odd: bool
) -> None:
    """What is odd is notable, too: the same rule with wider limits."""
    assert is_unusual(now, earlier, NOTABLE, at_least=NOTABLE.rows) is notable
    assert is_odd(now, earlier, at_least=ODD.rows) is odd


@pytest.mark.parametrize(
    ("earlier", "rows", "unusual"),
    [
        ([4, 4, 4, 4], 0, True),
        ([4, 4, 4, 4], 1, False),
        ([0, 4, 4, 4], 0, True),
        ([0, 4, 0, 4], 0, False),
        ([0], 0, False),
    ],
)
def test_table_that_is_empty_now_and_then_is_not_unusual(earlier: list[int], rows: int, *, unusual: bool) -> None:
    """However few rows it had, none at all is a loss, where it hardly ever had none."""
    assert is_unusually_empty(rows, earlier) is unusual
