"""A table's rows whatever their order: for partitioned tables, whose rows may land in other partitions."""

from __future__ import annotations

import hashlib


class RowSet:
    """
    Takes COPY output block by block; two are equal if the same rows went in, in any order.

    Args:
        in_csv: Whether it is CSV, where a line feed between quotes ends no row; otherwise COPY text.
    """

    def __init__(self, *, in_csv: bool) -> None:
        self._in_csv = in_csv
        self._sum = 0
        self._line = b""
        self._row = hashlib.sha256()
        self._inside_quotes = False

    def update(self, block: bytes) -> None:
        """Take the next block; it may begin and end anywhere."""
        *lines, self._line = (self._line + block).split(b"\n")
        for line in lines:
            self._row.update(line + b"\n")
            self._inside_quotes ^= self._in_csv and line.count(b'"') % 2 == 1
            if not self._inside_quotes:
                self._sum += int.from_bytes(self._row.digest(), "big")
                self._row = hashlib.sha256()

    @property
    def digest(self) -> int:
        """The sum of the rows' SHA-256, so that a row that is there twice counts twice."""
        return self._sum % 2**256
