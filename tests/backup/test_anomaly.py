"""Odd sizes: limits, and what is far from the archives before."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from include.backup.anomaly import MAX_LINES, odd_sizes
from include.backup.manifest import Sidecar

if TYPE_CHECKING:
    from tests.fix_archives import MakeSidecar, MakeTable

MB = 1024 * 1024
DAY = timedelta(days=1)


@pytest.fixture
def night(sidecar: MakeSidecar, table: MakeTable) -> Any:
    """Return a maker of archives by their age in days and the rows of their tables."""

    def make(days_ago: int, archive_bytes: int = 5 * MB, bytes_per_row: int = 50, **rows: int) -> Sidecar:
        tables = tuple(
            table(name, "users.sql", ("id",), rows=count, bytes=count * bytes_per_row) for name, count in rows.items()
        )
        at = sidecar().snapshot_at - days_ago * DAY
        return sidecar(snapshot_at=at, tables=tables, archive_bytes=archive_bytes)

    return make


def odd(latest: Sidecar, archives: list[Sidecar]) -> tuple[str, ...]:
    """Return the reasons with the limits of the specification."""
    return odd_sizes(latest, archives, min_mb=1, max_mb=100).lines


def test_emptied_table_is_named_with_what_it_had(night: Any) -> None:
    """One line names the table and its usual rows; tables that are as always are not named."""
    before = [night(day, users=1000 + day, roles=4) for day in range(1, 15)]
    (line,) = odd(night(0, users=0, roles=4), before)
    assert line == "table users is empty, the 14 archives before about 1,008 rows: was it emptied by mistake?"


def test_emptied_small_table_is_odd(night: Any) -> None:
    """Four rows are too few for statistics, but none at all is a loss."""
    (line,) = odd(night(0, roles=0), [night(day, roles=4) for day in range(1, 8)])
    assert "table roles is empty" in line


def test_queue_that_is_often_empty_is_not_odd(night: Any) -> None:
    """A table that is empty every other night says nothing by being empty."""
    before = [night(day, jobs=300 * (day % 2)) for day in range(1, 15)]
    assert odd(night(0, jobs=0), before) == ()


@pytest.mark.parametrize(("rows", "is_odd"), [(1000, False), (1240, False), (1260, True), (760, False), (740, True)])
def test_table_that_never_changes_may_differ_by_a_quarter(night: Any, rows: int, is_odd: bool) -> None:
    """Where the MAD is 0, a quarter of the median is the limit on both sides."""
    lines = odd(night(0, users=rows), [night(day, users=1000) for day in range(1, 15)])
    assert bool(lines) is is_odd
    if is_odd:
        assert lines == (f"table users has {rows:,} rows, the 14 archives before about 1,000; the last one 1,000",)


def test_few_rows_more_or_less_in_a_small_table_are_not_odd(night: Any) -> None:
    """Three roles instead of four are a quarter, and nobody's business."""
    before = [night(day, roles=4) for day in range(1, 15)]
    assert odd(night(0, roles=24), before) == ()
    assert len(odd(night(0, roles=25), before)) == 1


def test_table_that_grows_every_night_is_not_odd(night: Any) -> None:
    """Five per cent a night is far from the median of two weeks, but so were the nights before."""
    sizes = [round(1000 * 1.05**day) for day in range(15)]
    before = [night(14 - day, users=rows) for day, rows in enumerate(sizes[:-1])]
    assert odd(night(0, users=sizes[-1]), before) == ()
    assert len(odd(night(0, users=sizes[-1] * 3), before)) == 1


def test_rows_as_always_with_other_bytes_are_odd(night: Any) -> None:
    """Rows that lost their texts are as many as before."""
    before = [night(day, notes=10_000) for day in range(1, 15)]
    (line,) = odd(night(0, bytes_per_row=5, notes=10_000), before)
    assert line == "table notes has 48.8 KB of rows, the 14 archives before about 488.3 KB"


def test_archive_far_from_the_others_is_odd(night: Any) -> None:
    """The archive as a whole counts too, inside the limits."""
    before = [night(day, users=10) for day in range(1, 6)]
    assert odd(night(0, 30 * MB, users=10), before) == ("the archive has 30.0 MB, the 5 archives before about 5.0 MB",)


def test_few_archives_are_no_history_but_limits_count(night: Any) -> None:
    """Four archives before are too few; BACKUP_MAX_SIZE_MB needs none."""
    before = [night(day, users=1000) for day in range(1, 5)]
    assert odd(night(0, users=0), before) == ()
    (line,) = odd(night(0, 101 * MB, users=1000), before)
    assert "BACKUP_MAX_SIZE_MB=100" in line


def test_only_archives_with_the_same_tables_are_compared(night: Any) -> None:
    """A changed scope begins a new history."""
    assert odd(night(0, users=0), [night(day, users=1000, roles=4) for day in range(1, 15)]) == ()


def test_later_archives_and_the_archive_itself_are_no_history(night: Any) -> None:
    """A run that is cleared later is compared with what was before it."""
    latest = night(10, users=0)
    assert odd(latest, [latest, *(night(day, users=1000) for day in range(10))]) == ()


def test_only_the_last_fourteen_count(night: Any) -> None:
    """What was normal three weeks ago is not any more."""
    archives = [night(day, users=1000 if day <= 14 else 5000) for day in range(1, 60)]
    assert odd(night(0, users=1000), archives) == ()


def test_many_reasons_are_cut_short(night: Any) -> None:
    """A mail about three hundred emptied tables names the first and says how many more."""
    names = [f"t{number}" for number in range(300)]
    before = [night(day, **dict.fromkeys(names, 1000)) for day in range(1, 15)]
    lines = odd(night(0, **dict.fromkeys(names, 0)), before)
    assert len(lines) == MAX_LINES + 1
    assert lines[-1] == "and 290 more odd sizes of tables"


def test_table_that_always_grows_is_odd_when_it_shrinks(night: Any) -> None:
    """A third of its rows is gone, which leaves it among its figures of two weeks; the line says what it had last."""
    before = [night(day, users=1000 + 100 * (14 - day)) for day in range(1, 15)]
    (line,) = odd(night(0, users=1600), before)
    assert line == "table users has 1,600 rows, the 14 archives before about 1,650; the last one 2,300"
    assert odd(night(0, users=2400), before) == ()


def test_odd_tables_are_given_also_where_their_lines_are_cut_short(night: Any) -> None:
    """Whoever names changes besides must not name one of them again."""
    names = [f"t{number}" for number in range(30)]
    before = [night(day, roles=4, **dict.fromkeys(names, 1000)) for day in range(1, 15)]
    found = odd_sizes(night(0, roles=4, **dict.fromkeys(names, 0)), before, min_mb=1, max_mb=100)
    assert {str(table) for table in found.tables} == set(names)
