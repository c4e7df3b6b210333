"""Where an archive's second copy is: a small JSON beside the archive."""

from __future__ import annotations

from pathlib import Path

from pydantic import AwareDatetime

from include.backup.archive_name import copy_path
from include.backup.durable import write_atomically
from include.backup.manifest import Record, Sha256
from include.backup.rights import published_mode
from include.backup.small_file import read_small_file


class CopyRecord(Record):
    """A copy that was read back whole, and is the archive. `url` is the copied archive's, without any login."""

    url: str
    copied_at: AwareDatetime
    sha256: Sha256
    bytes: int
    seconds: float


def read_copy(archive: Path) -> CopyRecord | None:
    """Return the archive's second copy; None if there is no record that can be read."""
    try:
        return CopyRecord.model_validate_json(read_small_file(copy_path(archive)))
    except (OSError, ValueError):
        return None


def write_copy(archive: Path, record: CopyRecord) -> None:
    """Record the copy beside the archive, in place of the record before."""
    write_atomically(copy_path(archive), record.model_dump_json(indent=1).encode(), mode=published_mode(archive.parent))
