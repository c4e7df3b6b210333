"""
Reading exported rows again: how many there are and whether each has its columns.

Values are never interpreted (a round trip through Python would change them); only the structure is read.
COPY text: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from include.backup.manifest import TableRecord
from include.backup.names import quote

END_OF_COPY = b"\\.\n"
MAX_LINE_BYTES = (
    1 << 30
)  # https://www.postgresql.org/docs/current/limits.html: a field has 1 GB, as has what COPY makes
MAX_COLUMNS = 1600  # of a table, the same page
PIECE_BYTES = 1 << 18  # looked at in one go: it stays in the processor's cache, and other threads wait for no longer

# What bytes.translate takes out, so that of each line only what separates it and its columns is left.
_ALL_BUT_TABS, _ALL_BUT_COMMAS = (bytes(set(range(256)) - set(kept)) for kept in (b"\t\n", b',\n"'))


class RowsError(ValueError):
    """The rows are not what the manifest says."""


def read_copy_file(blocks: Iterable[bytes], tables: Sequence[TableRecord]) -> int:
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
    begun = b""  # the separators of a record that goes on in the next block
    for batch in _separators(_without_header(blocks, table)):
        separators = begun + batch
        ended = separators.rfind(b"\n") + 1
        records += _count_rows(separators[:ended], b",", table)
        begun = separators[ended:]
        if len(begun) >= MAX_COLUMNS:
            raise RowsError(f"a row of {_name(table)} has more than {MAX_COLUMNS} columns")
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


def _read_copy_block(waiting: bytes, lines: Iterator[bytes], table: TableRecord) -> tuple[int, bytes]:
    rows = 0
    batch = waiting
    while True:
        # In COPY text a backslash in a value is doubled, so this line can only be the end.
        end = _find_line(batch, END_OF_COPY)
        found = batch if end is None else batch[:end]
        rows += _count_rows(found.translate(None, _ALL_BUT_TABS), b"\t", table)
        if end is not None:
            _check_rows(rows, table)
            return rows, batch[end + len(END_OF_COPY) :]
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


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, cut behind line feeds."""
    begun: list[bytes] = []
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


def _separators(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield only the commas and line feeds that stand outside quotes: those that separate."""
    inside = False
    last = b"\n"
    for block in blocks:
        for begin in range(0, len(block), PIECE_BYTES):
            kept = block[begin : begin + PIECE_BYTES].translate(None, _ALL_BUT_COMMAS)
            # Two quotes in a row, as most are by now, open and close again.
            pieces = kept.replace(b'""', b"").split(b'"')
            yield b"".join(pieces[inside::2])
            inside ^= len(pieces) % 2 == 0
        last = block[-1:] or last
    if inside:
        raise RowsError("the file ends inside quotes")
    if last != b"\n":
        raise RowsError("the last line has no end")


def _count_rows(separators: bytes, separator: bytes, table: TableRecord) -> int:
    """Return how many lines these are: of each only its separators and its line feed are left."""
    expected = max(len(table.columns) - 1, 0)
    rows = separators.count(b"\n")
    if separators != (separator * expected + b"\n") * rows:
        wrong = {*map(len, separators[:-1].split(b"\n"))} - {expected}
        raise RowsError(f"a row of {_name(table)} has {min(wrong) + 1} columns, expected {expected + 1}")
    return rows


def _check_rows(rows: int, table: TableRecord) -> None:
    if rows != table.rows:
        raise RowsError(f"{_name(table)} has {rows} rows, the manifest says {table.rows}")


def _name(table: TableRecord) -> str:
    return str(table.qualified)
