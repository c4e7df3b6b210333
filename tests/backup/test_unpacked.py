"""Unpacking gzip members, and reading ahead of whoever wants the bytes."""

from __future__ import annotations

import gzip
import io
import random
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from isal import isal_zlib

from include.backup.gzip_members import HEAD_BYTES, MEMBER_BYTES, FastMember, gzip_member, member_length, unpack_member
from include.backup.unpacked import MEMBERS_AHEAD, Unpacked, unpacked
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


def sized(content: bytes) -> bytes:
    """Return the content as members that say how long they are."""
    return b"".join(gzip_member(content[at : at + MEMBER_BYTES]) for at in range(0, len(content), MEMBER_BYTES))


def test_members_that_say_their_length_are_held_to_what_zlib_says() -> None:
    """Changed in any byte, cut, or with something between them: the same content, or refused where zlib refuses."""
    chance = random.Random(20261122)  # noqa: S311 - the same in every run
    members = [sized(ROWS[:5_000]), sized(ROWS[5_000:5_700]), packed(ROWS[:300], 1), sized(b"end")]
    whole = b"".join(members)
    starts = [len(b"".join(members[:number])) for number in range(len(members))]
    taken = refused = 0
    for _ in range(MUTANTS):
        changed = mutant(whole, chance)
        expected = by_zlib(changed)
        try:
            with unpacked(io.BytesIO(changed)) as stream:
                seen = stream.read(1 << 30)
        except (ValueError, EOFError):
            # What says a wrong length is none of ours, whatever gzip makes of it.
            other_head = any(changed[at : at + HEAD_BYTES] != whole[at : at + HEAD_BYTES] for at in starts)
            assert expected is None or other_head, changed.hex()
            refused += 1
        else:
            assert seen == expected, changed.hex()
            taken += 1
    assert min(taken, refused) > MUTANTS / 100, (taken, refused)


@pytest.mark.parametrize("size", [1, 511, MEMBER_BYTES, 3 * MEMBER_BYTES + 1])
@pytest.mark.parametrize("form", [sized, partial(packed, form=0)], ids=["sized", "plain"])
def test_reading_ahead_gives_the_same_bytes(form: Callable[[bytes], bytes], size: int) -> None:
    """Whatever sizes are asked for; at the end nothing, however often it is asked."""
    content = ROWS if size == 1 else ROWS * 60
    with unpacked(io.BytesIO(form(content))) as stream:
        pieces = list(iter(lambda: stream.read(size), b""))
        assert stream.read(size) == b""
    assert b"".join(pieces) == content
    assert {len(piece) for piece in pieces[:-1]} <= {size}


def test_members_of_all_kinds_follow_one_another() -> None:
    """As in an archive that this system made, and one of another program behind it."""
    parts = [b"header", ROWS * 60, b"", b"\0" * 300, ROWS[:1]]
    content = b"".join(parts)
    archive = b"".join(map(sized, parts)) + packed(ROWS, 2) + sized(ROWS) + packed(b"", 0)
    with unpacked(io.BytesIO(archive)) as stream:
        assert stream.read(1 << 30) == content + ROWS + ROWS
    assert gzip.decompress(archive) == content + ROWS + ROWS


@pytest.mark.parametrize("form", [sized, partial(packed, form=1)], ids=["sized", "plain"])
def test_damage_is_told_where_it_is_read_and_not_before(form: Callable[[bytes], bytes]) -> None:
    """What comes before it is handed over."""
    whole = form(ROWS * 60)
    with unpacked(io.BytesIO(whole[: len(whole) * 2 // 3])) as stream:
        assert stream.read(1000) == ROWS[:1000]
        with pytest.raises(EOFError, match="inside a gzip member"):
            stream.read(1 << 30)


def test_a_bomb_that_looks_like_a_member_of_this_system_is_refused() -> None:
    """It is unpacked no further than a member of this system may go."""
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = bomb.compress(b"\0" * (100 * MEMBER_BYTES)) + bomb.flush()
    whole = gzip_member(b"x")
    length = HEAD_BYTES + len(body) + 8
    head = whole[: HEAD_BYTES - 8] + length.to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little")
    tracemalloc.start()
    for size, words in ((100 * MEMBER_BYTES, f"none more than {MEMBER_BYTES}"), (MEMBER_BYTES, "cannot be unpacked")):
        with pytest.raises(ValueError, match=words):
            unpack_member(head, body + whole[-8:-4] + size.to_bytes(4, "little"))
    assert tracemalloc.get_traced_memory()[1] < 4 * MEMBER_BYTES
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"x", random.Random(1).randbytes(MEMBER_BYTES)])  # noqa: S311
def test_a_member_says_its_length_and_every_gzip_reads_it(content: bytes) -> None:
    """Also what does not compress."""
    member = gzip_member(content)
    assert member_length(member) == (len(member) or None)
    assert gzip.decompress(member) == content
    assert not member or unpack_member(member[:HEAD_BYTES], member[HEAD_BYTES:]) == content


def test_any_changed_bit_of_a_member_is_refused_or_read_by_what_reads_any_gzip() -> None:
    """Also where it describes Huffman codes: libdeflate reads over some that gzip refuses."""
    for content in (ROWS[:3_000], b""):
        compressor = FastMember()
        compressor.add(content)
        member = compressor.end()
        for position in range(len(member)):
            for bit in range(8):
                changed = bytearray(member)
                changed[position] ^= 1 << bit
                if member_length(bytes(changed)) is None:
                    continue  # it says none of its own: zlib-ng reads it
                with pytest.raises(ValueError, match="a gzip member"):
                    unpack_member(bytes(changed[:HEAD_BYTES]), bytes(changed[HEAD_BYTES:]))


@pytest.mark.parametrize("length", [0, HEAD_BYTES, HEAD_BYTES + 1, HEAD_BYTES + 8, (1 << 32) - 1])
def test_a_length_that_no_member_has_is_passed_over(length: int) -> None:
    """Nothing so long is read into memory, or so short taken apart; the stream is read as any gzip is."""
    member = bytearray(gzip_member(ROWS))
    member[HEAD_BYTES - 8 : HEAD_BYTES - 4] = length.to_bytes(4, "little")
    assert member_length(bytes(member)) is None
    with unpacked(io.BytesIO(bytes(member))) as stream:
        assert stream.read(1 << 30) == ROWS


def test_reading_ahead_stays_a_few_members_ahead_and_leaves_no_thread() -> None:
    """Memory does not grow with the archive; whoever stops in the middle waits for nothing."""
    whole = sized(ROWS * 20)
    read: list[int] = []

    class Endless:
        def __init__(self) -> None:
            self.left = b""

        def read(self, size: int) -> bytes:
            read.append(size)
            self.left = self.left or whole
            piece, self.left = self.left[:size], self.left[size:]
            return piece

    before = threading.active_count()
    with unpacked(Endless()) as stream:
        stream.read(MEMBER_BYTES // 2)
    assert sum(read) <= (MEMBERS_AHEAD + 1) * len(whole)
    assert threading.active_count() == before
