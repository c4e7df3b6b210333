"""A file's part: its first member made small, the others fast, all of them gzip's."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from include.backup.gzip_members import HEAD_BYTES, MEMBER_BYTES, gzip_member, member_length, unpack_member
from include.backup.gzip_part import GzipPart, part_path

CHANCE = random.Random(20261122)  # noqa: S311 - the same in every run
ROWS = b"".join(
    b"%d,usage,-%d.50,2026-11-%02d 02:00:00+00\n" % (n, CHANCE.randrange(999), n % 30) for n in range(9_000)
)


def members(content: bytes) -> list[bytes]:
    """Return the members of a file, each of which says its length."""
    found = []
    while content:
        length = member_length(content[:HEAD_BYTES])
        assert length
        found.append(content[:length])
        content = content[length:]
    return found


@pytest.mark.parametrize("block_bytes", [1_000, MEMBER_BYTES + 1])
def test_first_member_is_small_and_the_others_are_fast(block_bytes: int, tmp_path: Path) -> None:
    """Whatever the blocks are that it comes in; each member but the last holds as much as it may."""
    content = ROWS * (2 * MEMBER_BYTES // len(ROWS) + 1)
    with GzipPart(tmp_path, "a.csv") as part:
        for at in range(0, len(content), block_bytes):
            part.write(content[at : at + block_bytes])
    written = part_path(tmp_path, "a.csv").read_bytes()
    assert gzip.decompress(written) == content
    small, *fast = members(written)
    pieces = [content[at : at + MEMBER_BYTES] for at in range(0, len(content), MEMBER_BYTES)]
    assert [gzip.decompress(member) for member in (small, *fast)] == pieces
    assert len(small) < 0.97 * len(gzip_member(pieces[0]))
    assert len(fast[0]) > 0.97 * len(gzip_member(pieces[1]))


@pytest.mark.parametrize("content", [b"", b"x", CHANCE.randbytes(MEMBER_BYTES)], ids=["nothing", "a byte", "noise"])
def test_first_member_holds_anything(content: bytes, tmp_path: Path) -> None:
    """Also what does not compress, up to the last byte that there is room for."""
    with GzipPart(tmp_path, "a.csv") as part:
        part.write(content)
    (member,) = members(part_path(tmp_path, "a.csv").read_bytes())
    assert gzip.decompress(member) == content
    assert unpack_member(member[:HEAD_BYTES], member[HEAD_BYTES:]) == content
    assert part.record("rows").compressed_bytes == len(member)
