"""
Gzip members that say how long they are, so that a reader can take them apart in several threads.

An ordinary gzip file to everybody else: the length stands in the extra field of the header (RFC 1952, 2.3.1.1), as in
BGZF (https://samtools.github.io/hts-specs/SAMv1.pdf, 4.1), but in four bytes: a member holds up to 4 MB. The CRC-32 of
the packed bytes stands beside it: gzip's own, of the content, does not see every change of how that is written down.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Protocol

import deflate
from isal import isal_zlib

MEMBER_BYTES = 4 << 20  # unpacked; a window that starts anew so seldom costs less than 0.1 % of size

# ISA-L's best makes about what gzip -6 makes; libdeflate takes three times as long for 5 to 12 % less.
FAST_LEVEL, SMALL_LEVEL = 3, 6
MEMORY_LEVEL = 9
RAW_WINDOW_BITS = -15
# Magic, deflate, an extra field, no time (the same rows give the same bytes), Unix; the extra field's own length, its
# only entry's name and length; the member's bytes, header and all, and the CRC-32 of those between header and end.
_HEAD = struct.Struct("<8sBB H2sHII")
_FIXED = (b"\x1f\x8b\x08\x04\0\0\0\0", 0, 3, 12, b"SZ", 8)
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
    packed = b"".join(pieces)
    length = HEAD_BYTES + len(packed) + _TAIL.size
    return b"".join((_HEAD.pack(*_FIXED, length, isal_zlib.crc32(packed)), packed, _TAIL.pack(crc, size)))


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
    *fixed, length, _ = _HEAD.unpack_from(head)
    is_ours = tuple(fixed) == _FIXED and HEAD_BYTES + _TAIL.size < length <= MAX_PACKED_BYTES
    return length if is_ours else None


def unpack_member(head: bytes, rest: bytes) -> bytearray:
    """
    Return what is in a member that said its length, in the HEAD_BYTES that it begins with.

    By libdeflate, half as fast again as zlib-ng. Some changed members that gzip refuses it would read over: none whose
    packed bytes are those that were written.

    Raises:
        ValueError: If its head, its packed bytes or its content are not those that were written.
    """
    if member_length(head) != HEAD_BYTES + len(rest):
        raise ValueError(f"a gzip member is not as long as it says ({HEAD_BYTES + len(rest)} bytes)")
    packed = memoryview(rest)[: -_TAIL.size]
    *_, written_crc = _HEAD.unpack(head)
    _expect_crc("packed bytes", isal_zlib.crc32(packed), written_crc)
    crc, size = _TAIL.unpack_from(rest, len(rest) - _TAIL.size)
    if size > MEMBER_BYTES:
        raise ValueError(f"a gzip member holds {size} bytes, of this system's none more than {MEMBER_BYTES}")
    try:
        content: bytearray = deflate.deflate_decompress(packed, size)
    except (ValueError, deflate.DeflateError) as error:
        raise ValueError(f"a gzip member that should hold {size} bytes cannot be unpacked: {error}") from None
    if len(content) != size:
        raise ValueError(f"a gzip member holds {len(content)} bytes, its end says {size}")
    _expect_crc("content", deflate.crc32(content), crc)
    return content


def _expect_crc(what: str, seen: int, expected: int) -> None:
    if seen != expected:
        raise ValueError(f"the CRC-32 of a gzip member's {what} is {seen:08x}, it says {expected:08x}")
