"""Rows compared whatever their order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.backup.row_set import RowSet


def digest(content: bytes, *, in_csv: bool, block_bytes: int = 3) -> int:
    rows = RowSet(in_csv=in_csv)
    for start in range(0, len(content), block_bytes):
        rows.update(content[start : start + block_bytes])
    return rows.digest


@given(st.permutations([b"1\ta\n", b"1\ta\n", b"2\t\\N\n", b"\\\\.\t\n"]), st.integers(1, 9))
def test_order_and_blocks_do_not_matter(rows: list[bytes], block_bytes: int) -> None:
    """The same rows, one of them twice."""
    expected = digest(b"1\ta\n1\ta\n2\t\\N\n\\\\.\t\n", in_csv=False)
    assert digest(b"".join(rows), in_csv=False, block_bytes=block_bytes) == expected


def test_line_feed_between_quotes_ends_no_row() -> None:
    """Lines of one CSV record may not change places with those of another."""
    rows = [b'1,"a\nb"\n', b'2,"c ""x""\nd"\n']
    assert digest(b"".join(rows), in_csv=True) == digest(b"".join(reversed(rows)), in_csv=True)
    assert digest(b'1,"a\nd"\n2,"c ""x""\nb"\n', in_csv=True) != digest(b"".join(rows), in_csv=True)


@pytest.mark.parametrize("other", [b"1\n", b"1\n1\n2\n", b"1\n3\n", b""])
def test_other_rows_are_another_set(other: bytes) -> None:
    """One missing, one twice, one changed, none."""
    assert digest(other, in_csv=False) != digest(b"1\n2\n", in_csv=False)


def test_every_pair_of_rows_differs() -> None:
    """No two rows of different bytes are taken for the same."""
    rows = [b"\n", b"a\n", b"a\tb\n", b"ab\n", b"\\N\n"]
    digests = [digest(row, in_csv=False) for row in rows]
    assert all(one != other for one, other in itertools.combinations(digests, 2))
