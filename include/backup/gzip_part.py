"""A file of the archive as it lies on the disk until then: gzip members, compressed while the file arrives."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from include.backup.durable import named
from include.backup.gzip_members import FastMember, MemberWriter, SmallMember
from include.backup.manifest import FileKind, FileRecord
from include.backup.rights import PRIVATE_FILE

if TYPE_CHECKING:
    from typing_extensions import Self

LONG_NAME_BYTES = 200  # file systems take 255


class PartRecord(FileRecord):
    """A member of the archive and the size of its compressed part on the disk."""

    compressed_bytes: int

    @property
    def file_record(self) -> FileRecord:
        """What the manifest says of it."""
        return FileRecord(**self.model_dump(exclude={"compressed_bytes"}))


@dataclass(frozen=True)
class Section:
    """A stretch of a part, uncompressed."""

    offset: int
    bytes: int
    sha256: str


def part_path(folder: Path, name: str) -> Path:
    """Return where the compressed part of the member `name` lies."""
    plain = "/" not in name and len(os.fsencode(name)) < LONG_NAME_BYTES
    return folder / ((name if plain else hashlib.sha256(os.fsencode(name)).hexdigest()) + ".gz")


class GzipPart:
    """
    A writer: bytes go in, gzip members come out in one file of the folder (mode 0600).

    The first member is made small, all that most tables need; what comes after it is made fast.

    Use as a context manager; `record` is complete after it. A section is a stretch whose size and SHA-256
    are wanted apart from the whole file's (one table of several).
    """

    def __init__(self, folder: Path, name: str, *, mode: int = PRIVATE_FILE) -> None:
        self.name = name
        self._mode = mode
        self._path = part_path(folder, name)
        self._bytes = 0
        self._compressed_bytes = 0
        self._sha256 = hashlib.sha256()
        self._section_sha256: Any = None
        self._section_start = 0

    def __enter__(self) -> Self:
        self._member: MemberWriter = SmallMember()
        self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "wb", 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._put(self._member.end())
        finally:
            self._file.close()

    def write(self, block: bytes) -> None:
        """Add a block."""
        self._bytes += len(block)
        self._sha256.update(block)
        if self._section_sha256:
            self._section_sha256.update(block)
        left = memoryview(block)
        while left:
            if not self._member.room:
                self._put(self._member.end())
                self._member = FastMember()
            now, left = left[: self._member.room], left[self._member.room :]
            self._member.add(now)

    def begin_section(self) -> None:
        """Start to count and to hash apart."""
        # From the beginning on, the file's own is the same: a CSV, most of what there is, is hashed once.
        self._section_sha256 = hashlib.sha256() if self._bytes else None
        self._section_start = self._bytes

    def end_section(self) -> Section:
        """Return where the section began, its bytes and its SHA-256."""
        sha256 = self._section_sha256 or self._sha256
        self._section_sha256 = None
        return Section(self._section_start, self._bytes - self._section_start, sha256.hexdigest())

    def record(self, kind: FileKind) -> PartRecord:
        """Return what was written, once the part is closed."""
        return PartRecord(
            name=self.name,
            kind=kind,
            mode=f"{self._mode:04o}",
            bytes=self._bytes,
            sha256=self._sha256.hexdigest(),
            compressed_bytes=self._compressed_bytes,
        )

    def _put(self, compressed: bytes) -> None:
        view = memoryview(compressed)
        with named(self._path):
            while view:
                written = self._file.write(view)
                self._compressed_bytes += written
                view = view[written:]
