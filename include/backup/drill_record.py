"""What a drill showed: a small JSON beside the archive."""

from __future__ import annotations

from pathlib import Path

from pydantic import AwareDatetime

from include.backup.durable import write_atomically
from include.backup.manifest import Record

DRILL_SUFFIX = ".drill.json"


class DrillRecord(Record):
    """What the last drill of an archive showed; it lies beside the archive."""

    drilled_at: AwareDatetime
    passed: bool
    seconds: float
    tables: int
    rows: int
    server_version: str
    error: str


def drill_path(archive: Path) -> Path:
    """Return where the archive's drill is recorded."""
    return archive.with_name(archive.name.removesuffix(".tar.gz") + DRILL_SUFFIX)


def read_drill(archive: Path) -> DrillRecord | None:
    """Return the archive's last drill; None if there is none that can be read."""
    try:
        return DrillRecord.model_validate_json(drill_path(archive).read_bytes())
    except (OSError, ValueError):
        return None


def write_drill(archive: Path, record: DrillRecord) -> None:
    """Record the drill beside the archive, in place of the one before."""
    write_atomically(drill_path(archive), record.model_dump_json(indent=1).encode())
