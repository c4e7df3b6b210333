"""Counting rows by bit masks, held to Python's own reader of CSV where the pieces and their words end."""

from __future__ import annotations

import csv
import io
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from include.backup.row_counter import PIECE_BYTES, RowCounter, WrongColumnsError

VALUES = (
    "",
    "a",
    '"',
    '""',
    ",",
    "\n",
    ',"\n',
    "plain text",
    "two\nlines, a comma",
    "ภาษาไทย",
    "x" * 61,
    '{"a": [1, 2]}',
)


def random_csv(rows: int, seed: int) -> bytes:
    """Return three columns of values that are hard to read, as COPY writes them."""
    dice = random.Random(seed)  # noqa: S311 - the same values every time
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([dice.choice(VALUES) for _ in range(3)] for _ in range(rows))
    return text.getvalue().encode()


@pytest.mark.parametrize("block_bytes", [1, 63, 64, 65, 4096, PIECE_BYTES - 1, PIECE_BYTES + 1, 1 << 22])
def test_rows_are_counted_over_the_ends_of_words_pieces_and_blocks(block_bytes: int) -> None:
    """Quotes that are open at such an end, and rows that go on after it, are no other rows."""
    content = random_csv(40_000 if block_bytes > 65 else 400, block_bytes)
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    counter = RowCounter(3, b",", quote=b'"')
    seen = 0
    for begin in range(0, len(content), block_bytes):
        block = content[begin : begin + block_bytes]
        counter.add(block)
        seen += block.count(b'"')
        assert counter.is_quoted == bool(seen % 2)
    assert {len(row) for row in rows} == {3}
    assert counter.rows == len(rows)
    assert len(content) > PIECE_BYTES or block_bytes <= 65


@pytest.mark.parametrize("before", [0, 1, 63, 64, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES])
@pytest.mark.parametrize(("row", "columns"), [(b"1,2\n", 2), (b"1,2,3,4\n", 4), (b'"1,2,3"\n', 1), (b'"\n",\n', 2)])
def test_wrong_row_is_found_wherever_it_begins(before: int, row: bytes, columns: int) -> None:
    """Its columns are named, not those of the rows about it."""
    value = b"v" * before
    content = value + b",,\n" + row + b"1,2,3\n" * 100
    counter = RowCounter(3, b",", quote=b'"')
    with pytest.raises(WrongColumnsError) as caught:
        counter.add(content)
    assert caught.value.columns == columns


def test_row_longer_than_a_piece_is_one_row() -> None:
    """The separators of all pieces are its own."""
    value = b"v" * PIECE_BYTES
    counter = RowCounter(4, b"\t")
    counter.add(b"\t".join([value] * 4) + b"\n")
    assert counter.rows == 1


def test_without_a_quote_quotes_are_content() -> None:
    """COPY's text has none."""
    counter = RowCounter(2, b"\t")
    counter.add(b'"a\tb\nc"\td"\n')
    assert (counter.rows, counter.is_quoted) == (2, False)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="on one core there is one thread anyway")
def test_numpy_starts_no_threads() -> None:
    """A task on a machine of 64 cores, or in a container with a limit of processes, does not need one for each."""
    script = "import include.backup.row_counter, os; print(len(os.listdir('/proc/self/task')))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")}
    folder = Path(__file__).parents[2]
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env=environment, cwd=folder)
    assert seen.stdout.strip() == b"1"
