"""Where an archive's second copy is: a small JSON beside the archive."""

from __future__ import annotations

from pathlib import Path

from pydantic import AwareDatetime

from include.backup.durable import write_atomically
from include.backup.manifest import Record, Sha256

COPY_SUFFIX = ".copy.json"


class CopyRecord(Record):
    """A copy that was read back whole, and is the archive. `url` is the copied archive's, without any login."""

    url: str
    copied_at: AwareDatetime
    sha256: Sha256
    bytes: int
    seconds: float


def copy_path(archive: Path) -> Path:
    """Return where the archive's second copy is recorded."""
    return archive.with_name(archive.name.removesuffix(".tar.gz") + COPY_SUFFIX)


def read_copy(archive: Path) -> CopyRecord | None:
    """Return the archive's second copy; None if there is no record that can be read."""
    try:
        return CopyRecord.model_validate_json(copy_path(archive).read_bytes())
    except (OSError, ValueError):
        return None


def write_copy(archive: Path, record: CopyRecord) -> None:
    """Record the copy beside the archive, in place of the record before."""
    write_atomically(copy_path(archive), record.model_dump_json(indent=1).encode())
