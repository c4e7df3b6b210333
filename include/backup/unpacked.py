"""The bytes within an archive: gzip members, taken apart several at once, ahead of whoever reads them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Protocol

from zlib_ng import zlib_ng

from include.backup.gzip_members import HEAD_BYTES, member_length, unpack_member
from include.backup.tar_members import Stream

BLOCK_BYTES = 1 << 20
GZIP_WINDOW_BITS = 31
UNPACKERS = 2  # with whoever hashes and counts what they give, as much as two cores do
MEMBERS_AHEAD = 4
CUT_OFF = "it ends inside a gzip member"


class Source(Protocol):
    """Where bytes come from: a file, or what is in one."""

    def read(self, size: int, /) -> bytes | None:
        """Return up to so many bytes; none at the end."""


class Unpacked:
    """
    Any gzip, unpacked by zlib-ng, which takes and refuses what the gzip of every machine does.

    ISA-L and libdeflate read on over reserved header flags or incomplete Huffman codes.
    """

    def __init__(self, source: Source, begun: bytes = b"") -> None:
        self._source = source
        self._begun = begun
        self._member = zlib_ng.decompressobj(wbits=GZIP_WINDOW_BITS)
        self._started = False

    def read(self, size: int) -> bytes:
        """
        Return so many bytes; fewer only at the end.

        Raises:
            ValueError: If they are not gzip, or a checksum is wrong.
            EOFError: If the source ends within a member.
        """
        pieces: list[bytes] = []
        while size > 0:
            packed = self._member.unused_data or self._member.unconsumed_tail
            if self._member.eof:
                self._member = zlib_ng.decompressobj(wbits=GZIP_WINDOW_BITS)
                self._started = False
            packed, self._begun = packed or self._begun or self._source.read(BLOCK_BYTES) or b"", b""
            if not packed:
                if self._started:
                    raise EOFError(CUT_OFF)
                break
            self._started = True
            try:
                pieces.append(self._member.decompress(packed, size))
            except zlib_ng.error as error:  # type: ignore[misc]  # the stubs call it an instance
                raise ValueError(str(error)) from None
            size -= len(pieces[-1])
        return b"".join(pieces)


class _ReadAhead:
    def __init__(self, pool: ThreadPoolExecutor, source: Source) -> None:
        self._pool = pool
        self._source = source
        self._members = self._submitted()
        self._ahead: deque[Callable[[], bytearray]] = deque()
        self._block = memoryview(b"")
        self._at = 0
        self._rest: Unpacked | None = None

    def read(self, size: int) -> bytes | bytearray:
        pieces: list[bytes | memoryview] = []
        while size > 0:
            if self._at == len(self._block):
                self._ahead.extend(islice(self._members, MEMBERS_AHEAD - len(self._ahead)))
                if not self._ahead:
                    pieces.append(self._rest.read(size) if self._rest else b"")
                    break
                content = self._ahead.popleft()()
                if len(content) == size and not pieces:
                    return content  # as most are asked for: nothing is copied
                self._block, self._at = memoryview(content), 0
            pieces.append(self._block[self._at : self._at + size])
            self._at += len(pieces[-1])
            size -= len(pieces[-1])
        return b"".join(pieces)

    def _submitted(self) -> Iterator[Callable[[], bytearray]]:
        """Yield what gives each member's content, up to the first that does not say its length: a stream from there."""
        while head := _read(self._source, HEAD_BYTES):
            length = member_length(head)
            if length is None:
                self._rest = Unpacked(self._source, head)
                return
            rest = _read(self._source, length - HEAD_BYTES)
            is_whole = len(rest) == length - HEAD_BYTES
            yield self._pool.submit(unpack_member, head, rest).result if is_whole else _cut_off


def _cut_off() -> bytearray:
    raise EOFError(CUT_OFF)


def _read(source: Source, size: int) -> bytes:
    """Return so many bytes; fewer only at the end."""
    pieces: list[bytes] = []
    while size > 0 and (piece := source.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


@contextmanager
def unpacked(source: Source) -> Iterator[Stream]:
    """
    Give what is in an archive, some members ahead of the reader, for as long as the block lasts.

    Args:
        source: The archive, from its beginning.

    Returns:
        The bytes. Damage is told where it is read: ValueError if it is no gzip or a checksum is wrong, EOFError if it
        ends within a member, and what the source raises.
    """
    with ThreadPoolExecutor(UNPACKERS, thread_name_prefix="unpack") as pool:
        try:
            yield _ReadAhead(pool, source)
        finally:
            pool.shutdown(cancel_futures=True)
