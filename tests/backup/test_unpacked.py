"""Unpacking gzip members, and reading ahead of whoever wants the bytes."""

from __future__ import annotations

import io
import random
import threading
import zlib
from typing import Any

import pytest
from isal import isal_zlib

from include.backup.unpacked import BLOCK_BYTES, BLOCKS_AHEAD, Unpacked, read_ahead
from tests.fix_archives import by_zlib

MUTANTS = 4_000
ROWS = b"".join(b"%d,%d,usage,-%d.50,,2026-11-%02d 02:00:00+00\n" % (n, n * 7919, n % 97, n % 30) for n in range(4_000))


def packed(content: bytes, form: int) -> bytes:
    """Return the content as one gzip member, by ISA-L or zlib, with Huffman codes of all kinds."""
    compressor: Any
    if form == 0:
        compressor = isal_zlib.compressobj(3, isal_zlib.DEFLATED, 31)
    else:
        strategy = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY)[form - 1]
        compressor = zlib.compressobj(6, zlib.DEFLATED, 31, 8, strategy)
    return bytes(compressor.compress(content) + compressor.flush())


def by_unpacked(content: bytes) -> bytes | None:
    """Return what the product makes of them; None if it refuses them."""
    try:
        return Unpacked(io.BytesIO(content)).read(1 << 30)
    except (ValueError, EOFError):
        return None


def mutant(content: bytes, chance: random.Random) -> bytes:
    """Change, cut or repeat something, in every second one near the beginning, where headers and codes are."""
    changed = bytearray(content)
    at = chance.randrange(min(len(changed), chance.choice((100, len(changed)))))
    kind = chance.randrange(4)
    if kind == 0:
        del changed[at:]
    elif kind == 1:
        changed[at : at + 3] = chance.randbytes(3)
    else:
        changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def test_what_zlib_refuses_is_refused_and_what_it_takes_is_the_same() -> None:
    """Of changed members of all kinds; ISA-L takes some of them that no gzip would restore."""
    chance = random.Random(20261121)  # noqa: S311 - the same in every run
    taken = refused = 0
    for number in range(MUTANTS):
        start = chance.randrange(len(ROWS))
        whole = packed(ROWS[start : start + chance.choice((0, 1, 300, 5_000))], number % 4)
        changed = mutant(whole, chance) + whole
        expected = by_zlib(changed)
        assert by_unpacked(changed) == expected, changed.hex()
        taken, refused = taken + (expected is not None), refused + (expected is None)
    assert min(taken, refused) > MUTANTS / 100, (taken, refused)


@pytest.mark.parametrize("size", [1, 511, BLOCK_BYTES, 3 * BLOCK_BYTES + 1])
def test_reading_ahead_gives_the_same_bytes(size: int) -> None:
    """Whatever sizes are asked for; at the end nothing, however often it is asked."""
    content = ROWS if size == 1 else ROWS * 60
    with read_ahead(Unpacked(io.BytesIO(packed(content, 0)))) as stream:
        pieces = list(iter(lambda: stream.read(size), b""))
        assert stream.read(size) == b""
    assert b"".join(pieces) == content
    assert {len(piece) for piece in pieces[:-1]} <= {size}


def test_damage_is_told_where_it_is_read_and_not_before() -> None:
    """What comes before it is handed over."""
    whole = packed(ROWS * 60, 1)
    with read_ahead(Unpacked(io.BytesIO(whole[: len(whole) // 2]))) as stream:
        assert stream.read(1000) == ROWS[:1000]
        with pytest.raises(EOFError, match="inside a gzip member"):
            stream.read(1 << 30)


def test_reading_ahead_stays_a_few_blocks_ahead_and_leaves_no_thread() -> None:
    """Memory does not grow with the archive; whoever stops in the middle waits for nothing."""
    read: list[int] = []

    class Endless:
        def read(self, size: int) -> bytes:
            read.append(size)
            return b"x" * size

    before = threading.active_count()
    with read_ahead(Endless()) as stream:
        stream.read(BLOCK_BYTES)
    assert sum(read) <= (BLOCKS_AHEAD + 2) * BLOCK_BYTES
    assert threading.active_count() == before
