"""A folder as the place of second copies: another disk, or a mounted share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from include.backup.copy_place import BLOCK_BYTES, place_errors
from include.backup.durable import sync_folder


@dataclass(frozen=True)
class FolderPlace:
    """
    A folder, which is never created: a volume that is not mounted must not fill the disk below it.

    Args:
        folder: Absolute.
    """

    folder: Path

    @property
    def url(self) -> str:
        """Its address."""
        return f"file://{self.folder}"

    def names(self) -> list[str]:
        """Return the names of the files in it."""
        with place_errors(f"cannot list {self.url}"):
            return os.listdir(self.folder)  # noqa: PTH208 - only the names, as of an object store

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the file's content as the disk has it, in blocks."""
        path = self.folder / name
        if not os.path.lexists(path):
            raise FileNotFoundError(path)
        with place_errors(f"cannot read {self.url}/{name}"), path.open("rb") as file:
            # What has just been written is to be read from the disk, not from memory.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while block := file.read(BLOCK_BYTES):
                yield block

    def write(self, name: str, blocks: Iterable[bytes]) -> None:
        """Write the file under another name, sync it, rename it."""
        final, partial = self.folder / name, self.folder / f".{name}.partial"
        with place_errors(f"cannot write {self.url}/{name}"):
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            try:
                with os.fdopen(descriptor, "wb", buffering=0) as file:
                    for block in blocks:
                        _write_all(file.fileno(), block)
                    os.fsync(file.fileno())
                partial.rename(final)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            sync_folder(self.folder)

    def remove(self, name: str) -> None:
        """Remove the file; one that is gone already is no error."""
        with place_errors(f"cannot remove {self.url}/{name}"):
            (self.folder / name).unlink(missing_ok=True)


def _write_all(descriptor: int, block: bytes) -> None:
    """A write may take a part only, for example of the room that is left."""
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]
