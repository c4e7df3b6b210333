"""
How many rows exported text holds, and whether each has its columns: by bit masks, many bytes at once.

The masks, and which of their bits stand between quotes, are those of simdjson's first stage (Langdale and Lemire,
"Parsing Gigabytes of JSON per Second", 2019, https://arxiv.org/abs/1902.08318, 3.1.1), made by numpy's SIMD loops.
"""

from __future__ import annotations

import os

# Nothing here multiplies matrices, and a thread for each core of a large machine is more than a small task may start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt

PIECE_BYTES = 1 << 19  # looked at in one go: its masks stay in the processor's cache
WORD_BITS = 64
LINE_FEED = ord("\n")

_Bytes = npt.NDArray[np.uint8]
_Words = npt.NDArray[np.uint64]


class WrongColumnsError(ValueError):
    """A row has so many columns instead."""

    def __init__(self, columns: int) -> None:
        super().__init__(f"a row has {columns} columns")
        self.columns = columns


class RowCounter:
    """
    Counts the rows of one table. Values are never looked into.

    Args:
        columns: Of each row; a row of a table without any is an empty line.
        separator: The byte between values.
        quote: The byte around values in which separators and line feeds are content; none if there is no such byte.

    `rows` are those that have ended; `is_quoted` says whether the last byte was within quotes.
    """

    def __init__(self, columns: int, separator: bytes, *, quote: bytes = b"") -> None:
        self.rows = 0
        self.is_quoted = False
        self._between = max(columns - 1, 0)
        self._separator = ord(separator)
        self._quote = ord(quote) if quote else None
        self._begun = 0  # separators of the row that has not ended

    def add(self, content: bytes | bytearray | memoryview) -> None:
        """Look at what comes next, cut anywhere. Raises WrongColumnsError for a row with others."""
        view = memoryview(content)
        for begin in range(0, len(view), PIECE_BYTES):
            self._add(np.frombuffer(view[begin : begin + PIECE_BYTES], np.uint8))

    def _add(self, piece: _Bytes) -> None:
        separators = _mask(piece == self._separator)
        ends = np.flatnonzero(piece == LINE_FEED)
        if self._quote is not None:
            quoted = self._quoted(_mask(piece == self._quote))
            separators &= ~quoted
            ends = ends[~_bits(quoted, ends)]
        upto = np.bitwise_count(separators).cumsum(dtype=np.int64)  # to the end of each word
        word, bit = _place(ends)
        before = upto[word] - np.bitwise_count(separators[word] >> bit)
        between = np.diff(before, prepend=-self._begun)
        wrong = between[between != self._between]
        if wrong.size:
            raise WrongColumnsError(int(wrong.min()) + 1)
        self.rows += ends.size
        self._begun = int(upto[-1]) - (int(before[-1]) if ends.size else -self._begun)

    def _quoted(self, quotes: _Words) -> _Words:
        """Return which bits stand between quotes, after an odd number of them; a quote's own bit says nothing."""
        # Two quotes in a row, which are one in a value, close and open again.
        for shift in (1, 2, 4, 8, 16, 32):
            quotes ^= quotes << np.uint64(shift)
        odd = np.bitwise_xor.accumulate(quotes >> np.uint64(WORD_BITS - 1))
        quotes[1:] ^= np.negative(odd[:-1])
        if self.is_quoted:
            np.invert(quotes, out=quotes)
        self.is_quoted ^= bool(odd[-1])
        return quotes


def _mask(hits: npt.NDArray[np.bool_]) -> _Words:
    """Return one bit for each hit, the first one the lowest of the first word."""
    packed = np.packbits(hits, bitorder="little")
    missing = -packed.size % (WORD_BITS // 8)
    return (np.pad(packed, (0, missing)) if missing else packed).view("<u8")


def _bits(mask: _Words, places: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    word, bit = _place(places)
    found: npt.NDArray[np.bool_] = ((mask[word] >> bit) & np.uint64(1)).astype(np.bool_)
    return found


def _place(places: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], _Words]:
    """Return in which word of a mask the places are, and where in it."""
    return places >> 6, (places & (WORD_BITS - 1)).astype(np.uint64)
