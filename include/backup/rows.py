"""
Reading exported rows again: how many there are and whether each has its columns.

Values are never interpreted (a round trip through Python would change them); only the structure is read.
COPY text: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import methodcaller

from include.backup.manifest import TableRecord
from include.backup.names import quote

END_OF_COPY = b"\\."
MAX_LINE_BYTES = (
    1 << 30
)  # https://www.postgresql.org/docs/current/limits.html: a field has 1 GB, as has what COPY makes

_count_tabs = methodcaller("count", b"\t")
_count_commas = methodcaller("count", b",")


class RowsError(ValueError):
    """The rows are not what the manifest says."""


def read_copy_file(blocks: Iterable[bytes], tables: Sequence[TableRecord]) -> int:
    """
    Read a file of COPY blocks to its end and return its rows.

    Raises:
        RowsError: If the blocks are not those of `tables`, in order, each with its columns and rows.
    """
    lines = _line_batches(blocks)
    waiting: list[bytes] = []
    rows = 0
    for table in tables:
        waiting = _skip_to_copy(waiting, lines, table)
        seen, waiting = _read_copy_block(waiting, lines, table)
        rows += seen
    for batch in (waiting, *lines):
        if any(line.startswith(b"COPY ") for line in batch):
            raise RowsError("a COPY block that the manifest does not know")
    return rows


def read_csv_file(blocks: Iterable[bytes], tables: Sequence[TableRecord]) -> int:
    """
    Read a CSV file with its header to its end and return its rows.

    Raises:
        RowsError: If it ends inside quotes, a record lacks columns, or the rows are not those of the manifest.
    """
    if len(tables) != 1:
        raise RowsError(f"a CSV file holds one table, the manifest names {len(tables)}")
    (table,) = tables
    records = -1  # the header
    for batch in _line_batches(_outside_quotes(_without_header(blocks, table))):
        _check_columns(set(map(_count_commas, batch)), table)
        records += len(batch)
    _check_rows(records, table)
    return records


def _without_header(blocks: Iterable[bytes], table: TableRecord) -> Iterator[bytes]:
    """Check the header; hand it on as a line with as many commas, without its quotes."""
    plain, quoted = (",".join(map(form, table.columns)).encode() + b"\n" for form in (_csv_name, quote))
    head = b""
    blocks = iter(blocks)
    for block in blocks:
        head += block
        if len(head) >= len(quoted):
            break
    if not head:
        raise RowsError(f"the header of {_name(table)} is missing")
    if not head.startswith(plain):
        raise RowsError(f"the header is {head[: len(plain)]!r}, the manifest says {plain!r}")
    yield head
    yield from blocks


def _csv_name(column: str) -> str:
    odd = any(c in column for c in ',"\n\r')
    return quote(column) if odd else column


def _read_copy_block(waiting: list[bytes], lines: Iterator[list[bytes]], table: TableRecord) -> tuple[int, list[bytes]]:
    rows = 0
    batch = waiting
    while True:
        # In COPY text a backslash in a value is doubled, so this line can only be the end.
        end = batch.index(END_OF_COPY) if END_OF_COPY in batch else len(batch)
        found = batch[:end]
        _check_columns(set(map(_count_tabs, found)), table)
        rows += len(found)
        if end < len(batch):
            _check_rows(rows, table)
            return rows, batch[end + 1 :]
        try:
            batch = next(lines)
        except StopIteration:
            raise RowsError(f"the rows of {_name(table)} have no end") from None


def _skip_to_copy(waiting: list[bytes], lines: Iterator[list[bytes]], table: TableRecord) -> list[bytes]:
    columns = f" ({', '.join(map(quote, table.columns))})" if table.columns else ""
    start = f"COPY {table.qualified.sql}{columns} FROM stdin;".encode()
    batch = waiting
    while True:
        for number, line in enumerate(batch):
            if line.startswith(b"COPY "):
                if line != start:
                    raise RowsError(f"found {line[:200]!r}, expected the rows of {_name(table)}")
                return batch[number + 1 :]
        try:
            batch = next(lines)
        except StopIteration:
            raise RowsError(f"the rows of {_name(table)} are missing") from None


def _line_batches(blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the complete lines of each block, without their line feeds."""
    rest: list[bytes] = []
    length = 0
    for block in blocks:
        first, *more = block.split(b"\n")
        rest.append(first)
        length = len(more[-1]) if more else length + len(first)
        if length > MAX_LINE_BYTES:
            raise RowsError(f"a line has more than {MAX_LINE_BYTES} bytes, which no server writes")
        if more:
            yield [b"".join(rest), *more[:-1]]
            rest = [more[-1]]
    if any(rest):
        raise RowsError("the last line has no end")


def _outside_quotes(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield only what stands outside quotes: there every comma and line feed is a separator."""
    inside = False
    for block in blocks:
        pieces = block.split(b'"')
        yield b"".join(pieces[inside::2])
        inside ^= len(pieces) % 2 == 0
    if inside:
        raise RowsError("the file ends inside quotes")


def _check_columns(separators: set[int], table: TableRecord) -> None:
    expected = max(len(table.columns) - 1, 0)
    wrong = separators - {expected}
    if wrong:
        raise RowsError(f"a row of {_name(table)} has {min(wrong) + 1} columns, expected {expected + 1}")


def _check_rows(rows: int, table: TableRecord) -> None:
    if rows != table.rows:
        raise RowsError(f"{_name(table)} has {rows} rows, the manifest says {table.rows}")


def _name(table: TableRecord) -> str:
    return str(table.qualified)
