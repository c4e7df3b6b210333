"""The sizes of the last nights as a small picture for the mail."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

SLOT_PIXELS = 36
BAR_PIXELS = 26
HEIGHT_PIXELS = 96

_TRANSPARENT, _EARLIER, _NOW, _MISSING = range(4)
# Legible on white and on black: which of them the reader has is not known.
_COLOURS = ((0, 0, 0), (139, 158, 181), (47, 129, 227), (214, 69, 65))
_MISSING_PIXELS = 3


def size_picture(sizes: Sequence[int | None]) -> bytes:
    """
    Return a PNG with a bar for each size, from zero up, the last one in another colour; a red line where there is none.

    PNG, because many mail programs show no SVG; transparent, for dark mode.
    """
    highest = max(size or 0 for size in sizes) or 1
    bars = [_bar(size, highest, is_last=number == len(sizes) - 1) for number, size in enumerate(sizes)]
    margin = bytes([_TRANSPARENT]) * ((SLOT_PIXELS - BAR_PIXELS) // 2)
    rows = [
        b"".join(
            margin + bytes([colour if row >= HEIGHT_PIXELS - height else _TRANSPARENT]) * BAR_PIXELS + margin
            for height, colour in bars
        )
        for row in range(HEIGHT_PIXELS)
    ]
    return _png(rows)


def _bar(size: int | None, highest: int, *, is_last: bool) -> tuple[int, int]:
    """Return a bar's height in pixels, and its colour."""
    if size is None:
        return _MISSING_PIXELS, _MISSING
    return max(1, round(HEIGHT_PIXELS * size / highest)), _NOW if is_last else _EARLIER


def _png(rows: Sequence[bytes]) -> bytes:
    """Return a PNG of rows of colour numbers. Source: https://www.w3.org/TR/png-3/."""
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    palette = b"".join(map(bytes, _COLOURS))
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"tRNS", b"\0"), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
