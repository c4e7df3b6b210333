"""The members of a tar as this system writes them: plain files, and nothing that memory would have to grow for."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from include.backup.errors import VerificationError
from include.backup.gzip_members import MEMBER_BYTES

MAX_NAME_BYTES = 4096  # Linux takes no longer path
_END = b"\0" * tarfile.BLOCKSIZE


class Stream(Protocol):
    """Where bytes come from."""

    def read(self, size: int, /) -> bytes | bytearray:
        """Return so many bytes; fewer only at the end."""


@dataclass
class Member:
    """A plain file: its content is read once, before the next member."""

    name: str
    size: int
    _stream: Stream
    _left: int = 0

    def __post_init__(self) -> None:
        self._left = self.size

    def blocks(self) -> Iterator[bytes | bytearray]:
        """Yield what is left of the content; raise EOFError if the tar ends within."""
        while self._left:
            block = _read(self._stream, min(self._left, MEMBER_BYTES))
            self._left -= len(block)
            yield block


def read_members(stream: Stream) -> Iterator[Member]:
    """
    Yield the members of a tar, to its end.

    Not by tarfile, which reads names and headers of any length into memory, follows sparse maps and takes links.

    Raises:
        VerificationError: If a member is not a plain file, or the tar does not end as it should.
        tarfile.TarError, EOFError, ValueError: If it is no tar.
    """
    name = ""
    while (header := stream.read(tarfile.BLOCKSIZE)) != _END:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        if info.type == tarfile.GNUTYPE_LONGNAME:  # a name of more than 100 bytes: the content of a member of its own
            if not 0 < info.size <= MAX_NAME_BYTES:
                raise VerificationError(f"a member has a name of {info.size} bytes, expected at most {MAX_NAME_BYTES}")
            name = _read(stream, info.size).rstrip(b"\0").decode("utf-8", "surrogateescape")
            _read(stream, -info.size % tarfile.BLOCKSIZE)
            continue
        name = name or info.name
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.size < 0:
            raise VerificationError(f"{name} is not a plain file")
        member = Member(name, info.size, stream)
        yield member
        for _ in member.blocks():
            pass
        _read(stream, -info.size % tarfile.BLOCKSIZE)
        name = ""
    if stream.read(2 * tarfile.BLOCKSIZE) != _END:
        raise VerificationError("the tar has no end, or something follows it")


def _read(stream: Stream, size: int) -> bytes | bytearray:
    content = stream.read(size) if size else b""
    if len(content) < size:
        raise EOFError("it ends inside a member")
    return content
