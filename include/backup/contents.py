"""What is in one archive, beside what was in the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from include.backup.anomaly import odd_sizes
from include.backup.archive_list import ArchiveEntry, ArchiveList
from include.backup.errors import VerificationError
from include.backup.manifest import Sidecar, TableRecord, read_sidecar
from include.backup.settings import Settings

# As many archives before are looked at for what is usual; those of manual runs are among them.
LOOKED_AT = 30


@dataclass(frozen=True)
class TableLine:
    """A table: its record now and in the archive before; None where it is not in."""

    name: str
    now: TableRecord | None
    before: TableRecord | None

    @property
    def change(self) -> int:
        """How many rows more there are now."""
        return (self.now.rows if self.now else 0) - (self.before.rows if self.before else 0)


@dataclass(frozen=True)
class Contents:
    """
    An archive's contents.

    Args:
        sidecar: Its manifest.
        before: The manifest of the archive before; None if there is none that can be read.
        tables: Those of both, by name.
        odd_sizes: What is odd about its size and its tables', in full.
    """

    sidecar: Sidecar
    before: Sidecar | None
    tables: tuple[TableLine, ...]
    odd_sizes: tuple[str, ...]

    @property
    def differences(self) -> tuple[TableLine, ...]:
        """The tables that are new, gone, or have another number of rows, the largest change first."""
        changed = (line for line in self.tables if line.change or not (line.now and line.before))
        return tuple(sorted(changed, key=lambda line: (-abs(line.change), line.name))) if self.before else ()


def read_contents(entry: ArchiveEntry, archives: ArchiveList, settings: Settings) -> Contents:
    """
    Return what is in an archive.

    Args:
        entry: The archive.
        archives: All that are there.
        settings: The limits of its size.

    Raises:
        VerificationError: If its manifest cannot be read.
    """
    sidecar = read_sidecar(entry.path)
    place = sum(name >= entry.name for name in archives.names)
    others = _sidecars(archives.entries(place, LOOKED_AT))
    before = next((other for other in others if other.server.database == sidecar.server.database), None)
    limits = {"min_mb": settings.backup_min_size_mb, "max_mb": settings.backup_max_size_mb}
    return Contents(sidecar, before, _lines(sidecar, before), odd_sizes(sidecar, others, **limits).every)


def _sidecars(entries: Sequence[ArchiveEntry]) -> list[Sidecar]:
    found = []
    for entry in entries:
        if not entry.problem:
            try:
                found.append(read_sidecar(entry.path))
            except VerificationError:  # the list shows which one it is
                continue
    return found


def _lines(sidecar: Sidecar, before: Sidecar | None) -> tuple[TableLine, ...]:
    now = {str(table.qualified): table for table in sidecar.tables}
    then = {str(table.qualified): table for table in before.tables} if before else {}
    return tuple(TableLine(name, now.get(name), then.get(name)) for name in sorted(now.keys() | then.keys()))
