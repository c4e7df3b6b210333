"""
Reading exported rows again: how many there are and whether each has its columns.

Values are never interpreted (a round trip through Python would change them); only the structure is read.
COPY text: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from include.backup.manifest import TableRecord
from include.backup.names import quote
from include.backup.row_counter import RowCounter, WrongColumnsError

END_OF_COPY = b"\\.\n"
# https://www.postgresql.org/docs/current/limits.html: a field has 1 GB, as has what COPY makes
MAX_LINE_BYTES = 1 << 30


class RowsError(ValueError):
    """The rows are not what the manifest says."""


def read_copy_file(blocks: Iterable[bytes | bytearray], tables: Sequence[TableRecord]) -> int:
    """
    Read a file of COPY blocks to its end and return its rows.

    Raises:
        RowsError: If the blocks are not those of `tables`, in order, each with its columns and rows.
    """
    lines = _whole_lines(blocks)
    waiting = b""
    rows = 0
    for table in tables:
        waiting = _skip_to_copy(waiting, lines, table)
        seen, waiting = _read_copy_block(waiting, lines, table)
        rows += seen
    for batch in (waiting, *lines):
        if _find_line(batch, b"COPY ") is not None:
            raise RowsError("a COPY block that the manifest does not know")
    return rows


def read_csv_file(blocks: Iterable[bytes | bytearray], tables: Sequence[TableRecord]) -> int:
    """
    Read a CSV file with its header to its end and return its rows.

    Raises:
        RowsError: If it ends inside quotes, a record lacks columns, or the rows are not those of the manifest.
    """
    if len(tables) != 1:
        raise RowsError(f"a CSV file holds one table, the manifest names {len(tables)}")
    (table,) = tables
    counter = RowCounter(len(table.columns), b",", quote=b'"')
    is_ended = True
    for block in _with_header(blocks, table):
        _count(counter, block, table)
        is_ended = block.endswith(b"\n") if block else is_ended
    if counter.is_quoted:
        raise RowsError("the file ends inside quotes")
    if not is_ended:
        raise RowsError("the last line has no end")
    rows = counter.rows - 1
    _check_rows(rows, table)
    return rows


def _with_header(blocks: Iterable[bytes | bytearray], table: TableRecord) -> Iterator[bytes | bytearray]:
    """Check the header, and hand it on with what follows: it has the columns of a row."""
    expected = ",".join(map(_csv_name, table.columns)).encode() + b"\n"
    head = b""
    blocks = iter(blocks)
    for block in blocks:
        head += block
        if len(head) >= len(expected):
            break
    if not head:
        raise RowsError(f"the header of {_name(table)} is missing")
    if not head.startswith(expected):
        raise RowsError(f"the header is {head[: len(expected)]!r}, the manifest says {expected!r}")
    yield head
    yield from blocks


def _csv_name(column: str) -> str:
    odd = any(c in column for c in ',"\n\r')
    return quote(column) if odd else column


def _read_copy_block(waiting: bytes, lines: Iterator[bytes], table: TableRecord) -> tuple[int, bytes]:
    counter = RowCounter(len(table.columns), b"\t")
    batch = waiting
    while True:
        # In COPY text a backslash in a value is doubled, so this line can only be the end.
        end = _find_line(batch, END_OF_COPY)
        _count(counter, batch if end is None else batch[:end], table)
        if end is not None:
            _check_rows(counter.rows, table)
            return counter.rows, batch[end + len(END_OF_COPY) :]
        try:
            batch = next(lines)
        except StopIteration:
            raise RowsError(f"the rows of {_name(table)} have no end") from None


def _skip_to_copy(waiting: bytes, lines: Iterator[bytes], table: TableRecord) -> bytes:
    columns = f" ({', '.join(map(quote, table.columns))})" if table.columns else ""
    start = f"COPY {table.qualified.sql}{columns} FROM stdin;\n".encode()
    batch = waiting
    while True:
        begin = _find_line(batch, b"COPY ")
        if begin is not None:
            if not batch.startswith(start, begin):
                line = batch[begin : batch.index(b"\n", begin)]
                raise RowsError(f"found {line[:200]!r}, expected the rows of {_name(table)}")
            return batch[begin + len(start) :]
        try:
            batch = next(lines)
        except StopIteration:
            raise RowsError(f"the rows of {_name(table)} are missing") from None


def _find_line(lines: bytes, beginning: bytes) -> int | None:
    """Return where the first line with that beginning is; None if there is none."""
    if lines.startswith(beginning):
        return 0
    found = lines.find(b"\n" + beginning)
    return None if found < 0 else found + 1


def _whole_lines(blocks: Iterable[bytes | bytearray]) -> Iterator[bytes]:
    """Yield the same bytes, cut behind line feeds."""
    begun: list[bytes | bytearray] = []
    length = 0
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join((*begun, block[:end]))
            begun, length = [], 0
        begun.append(block[end:])
        length += len(begun[-1])
        if length > MAX_LINE_BYTES:
            raise RowsError(f"a line has more than {MAX_LINE_BYTES} bytes, which no server writes")
    if length:
        raise RowsError("the last line has no end")


def _count(counter: RowCounter, block: bytes | bytearray, table: TableRecord) -> None:
    try:
        counter.add(block)
    except WrongColumnsError as error:
        raise RowsError(
            f"a row of {_name(table)} has {error.columns} columns, expected {len(table.columns) or 1}"
        ) from None


def _check_rows(rows: int, table: TableRecord) -> None:
    if rows != table.rows:
        raise RowsError(f"{_name(table)} has {rows} rows, the manifest says {table.rows}")


def _name(table: TableRecord) -> str:
    return str(table.qualified)
