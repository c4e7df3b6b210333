"""The bytes within an archive: gzip members one after the other, unpacked a few blocks ahead of whoever reads them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from zlib_ng import zlib_ng

from include.backup.tar_members import Stream

GZIP_WINDOW_BITS = 31
BLOCK_BYTES = 1 << 20
BLOCKS_AHEAD = 4


class Source(Protocol):
    """Where bytes come from: a file, or what is in one."""

    def read(self, size: int, /) -> bytes | None:
        """Return up to so many bytes; none at the end."""


class Unpacked:
    """
    The archive unpacked by zlib-ng, which takes and refuses what the gzip of every machine does.

    Not by ISA-L, which made it: it reads on over reserved header flags and incomplete Huffman codes.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
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
            packed = packed or self._source.read(BLOCK_BYTES) or b""
            if not packed:
                if self._started:
                    raise EOFError("it ends inside a gzip member")
                break
            self._started = True
            try:
                pieces.append(self._member.decompress(packed, size))
            except zlib_ng.error as error:  # type: ignore[misc]  # the stubs call it an instance
                raise ValueError(str(error)) from None
            size -= len(pieces[-1])
        return b"".join(pieces)


class _ReadAhead:
    def __init__(self, pool: ThreadPoolExecutor, stream: Stream) -> None:
        self._pool = pool
        self._stream = stream
        self._block = memoryview(b"")
        self._ahead: deque[Future[bytes]] = deque()
        for _ in range(BLOCKS_AHEAD):
            self._read_one_more()

    def read(self, size: int) -> bytes:
        pieces: list[memoryview] = []
        while size > 0:
            if not self._block:
                block = self._ahead.popleft().result()
                self._read_one_more()
                if not block:
                    break
                self._block = memoryview(block)
            pieces.append(self._block[:size])
            self._block = self._block[size:]
            size -= len(pieces[-1])
        return b"".join(pieces)

    def _read_one_more(self) -> None:
        self._ahead.append(self._pool.submit(self._stream.read, BLOCK_BYTES))


@contextmanager
def read_ahead(stream: Stream) -> Iterator[Stream]:
    """
    Read a stream in a thread of its own while the block lasts: whoever hashes and parses it waits less for it.

    Args:
        stream: Goes on returning no bytes at its end.

    Returns:
        The same bytes; what the stream raises is raised where they are read.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="unpack") as pool:
        try:
            yield _ReadAhead(pool, stream)
        finally:
            pool.shutdown(cancel_futures=True)
