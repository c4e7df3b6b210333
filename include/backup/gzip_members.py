"""
Gzip members that say how long they are, so that a reader can take them apart in several threads.

An ordinary gzip file to everybody else: the length stands in the extra field of the header (RFC 1952, 2.3.1.1), as in
BGZF (https://samtools.github.io/hts-specs/SAMv1.pdf, 4.1), but in four bytes: a member holds up to 4 MB.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Protocol

import deflate
from isal import isal_zlib
from zlib_ng import zlib_ng

MEMBER_BYTES = 4 << 20  # unpacked; a window that starts anew so seldom costs less than 0.1 % of size

# ISA-L's best makes about what gzip -6 makes; libdeflate takes three times as long for 5 to 12 % less.
FAST_LEVEL, SMALL_LEVEL = 3, 6
MEMORY_LEVEL = 9
RAW_WINDOW_BITS, GZIP_WINDOW_BITS = -15, 31
# Magic, deflate, an extra field, no time (the same rows give the same bytes), Unix; the extra field's own length, its
# only entry's name and length; and the member's bytes, header and all.
_HEAD = struct.Struct("<4sIBB H2sHI")
_MAGIC, _LENGTHS = b"\x1f\x8b\x08\x04", (8, b"SZ", 4)
_TAIL = struct.Struct("<II")
HEAD_BYTES = _HEAD.size
# Deflate keeps what does not compress as it is, in blocks of 64 KB with a head of five bytes.
MAX_PACKED_BYTES = MEMBER_BYTES + MEMBER_BYTES // 1000 + HEAD_BYTES + _TAIL.size + 64


class MemberWriter(Protocol):
    """Makes one member of what is added. Add no more than there is `room` for."""

    @property
    def room(self) -> int:
        """How many bytes it still takes."""

    def add(self, content: bytes | memoryview) -> None:
        """Add up to `room` bytes."""

    def end(self) -> bytes:
        """Return the member."""


class FastMember:
    """Made by ISA-L, while the content arrives."""

    def __init__(self) -> None:
        self._compressor = isal_zlib.compressobj(FAST_LEVEL, isal_zlib.DEFLATED, RAW_WINDOW_BITS, MEMORY_LEVEL)
        self._pieces: list[bytes] = []
        self._crc = 0
        self._bytes = 0

    @property
    def room(self) -> int:
        """How many bytes it still takes."""
        return MEMBER_BYTES - self._bytes

    def add(self, content: bytes | memoryview) -> None:
        """Add up to `room` bytes."""
        self._pieces.append(self._compressor.compress(content))
        self._crc = isal_zlib.crc32(content, self._crc)
        self._bytes += len(content)

    def end(self) -> bytes:
        """Return the member."""
        return _framed([*self._pieces, self._compressor.flush()], self._crc, self._bytes)


class SmallMember:
    """Made by libdeflate, once the content is there."""

    def __init__(self) -> None:
        self._content = bytearray()

    @property
    def room(self) -> int:
        """How many bytes it still takes."""
        return MEMBER_BYTES - len(self._content)

    def add(self, content: bytes | memoryview) -> None:
        """Add up to `room` bytes."""
        self._content += content

    def end(self) -> bytes:
        """Return the member."""
        packed = deflate.deflate_compress(self._content, SMALL_LEVEL)
        return _framed([packed], deflate.crc32(self._content), len(self._content))


def _framed(pieces: Sequence[bytes | bytearray], crc: int, size: int) -> bytes:
    length = HEAD_BYTES + sum(map(len, pieces)) + _TAIL.size
    return b"".join((_HEAD.pack(_MAGIC, 0, 0, 3, *_LENGTHS, length), *pieces, _TAIL.pack(crc, size)))


def gzip_member(content: bytes) -> bytes:
    """Return up to MEMBER_BYTES as one member; nothing for nothing."""
    if not content:
        return b""
    member = FastMember()
    member.add(content)
    return member.end()


def member_length(head: bytes) -> int | None:
    """Return how long the member is that begins like this; None if it does not say so, or says what none here is."""
    if len(head) < HEAD_BYTES:
        return None
    magic, *_, extra, name, entry, length = _HEAD.unpack_from(head)
    is_one = magic == _MAGIC and (extra, name, entry) == _LENGTHS and HEAD_BYTES < length <= MAX_PACKED_BYTES
    return length if is_one else None


def unpack_member(member: bytes) -> bytes:
    """
    Return what is in a member that said its length.

    By zlib-ng, which takes and refuses what the gzip of every machine does; ISA-L and libdeflate take more.

    Raises:
        ValueError: If it is none, its checksum is wrong, or it is not one and whole.
    """
    reader = zlib_ng.decompressobj(wbits=GZIP_WINDOW_BITS)
    try:
        content = reader.decompress(member, MEMBER_BYTES + 1)
    except zlib_ng.error as error:  # type: ignore[misc]  # the stubs call it an instance
        raise ValueError(str(error)) from None
    if len(content) > MEMBER_BYTES:
        raise ValueError(f"a gzip member holds more than {MEMBER_BYTES} bytes, which is none of this system's")
    if not reader.eof or reader.unused_data:
        raise ValueError(f"a gzip member is not as long as it says ({len(member)} bytes)")
    return bytes(content)
