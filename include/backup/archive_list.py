"""The archives that lie in BACKUP_DIR, with what is recorded of each: fast, also for thousands, and never a guess."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import cached_property, lru_cache
from itertools import islice, takewhile
from pathlib import Path

from pydantic import ValidationError

from include.backup.archive_name import ARCHIVE_NAME, archive_name, delivery_path, drill_path, sidecar_path
from include.backup.copy_record import CopyRecord, read_copy
from include.backup.delivery_record import DeliveryRecord
from include.backup.drill_record import DrillRecord, read_drill
from include.backup.errors import UnknownArchiveError
from include.backup.in_clear import secrets_in_clear
from include.backup.manifest import Count, Moment, Record, RunRecord, Sha256
from include.backup.retention import RetentionPolicy, expiries
from include.backup.small_file import read_small_file


class _Rows(Record):
    rows: Count
    bytes: Count


class _File(Record):
    name: str
    kind: str


class _Server(Record):
    database: str


class _HeadFields(Record):
    """The fields of the manifest that a list needs; its other fields are not even made into objects."""

    archive: str
    run: RunRecord
    snapshot_at: Moment
    cut_off: Moment
    server: _Server
    tables: tuple[_Rows, ...]
    files: tuple[_File, ...]
    warnings: tuple[str, ...]
    archive_bytes: Count
    archive_sha256: Sha256


@dataclass(frozen=True)
class ManifestHead:
    """
    What a list of archives needs of a manifest.

    The names are the manifest's, but for `in_clear`: secret files, and `row_bytes`: uncompressed.
    """

    archive: str
    run: RunRecord
    snapshot_at: datetime
    cut_off: datetime
    database: str
    tables: int
    rows: int
    in_clear: tuple[str, ...]
    row_bytes: int
    warnings: tuple[str, ...]
    archive_bytes: int
    archive_sha256: str


@dataclass(frozen=True)
class ArchiveEntry:
    """
    An archive.

    Args:
        path: Where it lies.
        head: Of its manifest; None if that cannot be read.
        problem: Why it is not to be restored from, in one line; empty if nothing is known against it.
    """

    path: Path
    head: ManifestHead | None
    problem: str

    @property
    def name(self) -> str:
        """The archive's name."""
        return self.path.name

    @cached_property
    def drill(self) -> DrillRecord | None:
        """What its last drill showed."""
        return read_drill(self.path)

    @cached_property
    def copy(self) -> CopyRecord | None:
        """Where its second copy is."""
        return read_copy(self.path)

    @cached_property
    def delivery(self) -> DeliveryRecord | None:
        """Who has its mail; None if the record cannot be read."""
        try:
            return DeliveryRecord.model_validate_json(read_small_file(delivery_path(self.path)))
        except FileNotFoundError:
            return DeliveryRecord()
        except (OSError, ValueError):
            return None

    @property
    def verified_at(self) -> datetime | None:
        """When it was verified: its manifest is written then, and never again."""
        try:
            modified = sidecar_path(self.path).stat().st_mtime
        except OSError:
            return None
        return datetime.fromtimestamp(modified).astimezone()


class ArchiveList:
    """
    The archives of one moment, newest first by their names. Only those that are asked for are read.

    Args:
        backup_dir: BACKUP_DIR.

    Raises:
        OSError: If BACKUP_DIR cannot be read.
    """

    def __init__(self, backup_dir: Path) -> None:
        self._folder = backup_dir
        found = os.listdir(backup_dir)  # noqa: PTH208 - glob passes over a folder that it may not read
        self.names: tuple[str, ...] = tuple(sorted(filter(ARCHIVE_NAME.fullmatch, found), reverse=True))
        self._files = frozenset(found)

    def __len__(self) -> int:
        return len(self.names)

    def entries(self, offset: int = 0, limit: int | None = None) -> list[ArchiveEntry]:
        """Return so many archives from that place on; what has expired meanwhile is left out."""
        return list(self._read(self.names[offset : None if limit is None else offset + limit]))

    def since(self, moment: datetime, zone: tzinfo) -> list[ArchiveEntry]:
        """Return the archives whose names say that they were made at that moment or later; the zone is the names'."""
        first = archive_name(moment.astimezone(zone))
        return list(self._read(takewhile(lambda name: name >= first, self.names)))

    def expires_at(self, entries: Iterable[ArchiveEntry], policy: RetentionPolicy) -> dict[str, datetime | None]:
        """
        Return when each archive may be removed, by name; None for one that stays whatever its age.

        As `plan_expiry` decides, by the same rule; what cannot be read is never removed. Only those are read that
        decide of these: the newest, the newest that was proven, and what came later in the same week or month.
        """
        entries = tuple(entries)
        sound = (entry for entry in self._read(self.names) if not entry.problem)
        drilled = self._read(name for name in self.names if drill_path(Path(name)).name in self._files)
        proven = [*islice((e for e in drilled if not e.problem and e.drill and e.drill.passed), 1)]
        later = self._read(self._names_later_in_a_month(entries)) if policy.has_tiers else ()
        deciding = (*islice(sound, policy.min_keep), *proven, *entries, *later)
        heads = {entry.name: entry.head for entry in deciding if entry.head and not entry.problem}
        until = expiries(heads.values(), policy, proven={entry.name for entry in proven})
        return {entry.name: until.get(entry.name) for entry in entries}

    def _names_later_in_a_month(self, entries: Sequence[ArchiveEntry]) -> list[str]:
        """Return the names of a time span that holds the rest of the week and of the month of each of these."""
        taken = [entry.head.snapshot_at for entry in entries if entry.head]
        if not taken:
            return []
        # Names are times in whatever zone was set then.
        first, last = archive_name(min(taken) - timedelta(days=1)), archive_name(max(taken) + timedelta(days=33))
        return [name for name in self.names if first <= name <= last]

    def _read(self, names: Iterable[str]) -> Iterator[ArchiveEntry]:
        return (entry for name in names if (entry := read_entry(self._folder / name)))


def find_archive(backup_dir: Path, name: str) -> ArchiveEntry:
    """
    Return the archive of that name.

    Args:
        backup_dir: BACKUP_DIR.
        name: Whatever somebody has sent: it need not be a name at all.

    Raises:
        UnknownArchiveError: If no archive of that name lies there as an ordinary file.
    """
    entry = read_entry(backup_dir / name) if ARCHIVE_NAME.fullmatch(name) else None
    if entry is None:
        raise UnknownArchiveError(f"there is no archive {name[:80]!r}; it may have expired")
    return entry


def read_entry(path: Path) -> ArchiveEntry | None:
    """Return the archive at that path; None if there is none. A link is none: it leads who knows where."""
    try:
        facts = path.lstat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    try:
        manifest = sidecar_path(path).stat()
        head = _read_head(path, manifest.st_mtime_ns, manifest.st_size, manifest.st_ino)
    except OSError as error:
        return ArchiveEntry(path, None, f"its manifest cannot be read: {error.strerror or error}")
    except ValidationError as error:
        return ArchiveEntry(path, None, f"its manifest is damaged: {error.error_count()} wrong values")
    return ArchiveEntry(path, head, _problem(head, path.name, facts.st_size))


def _problem(head: ManifestHead, name: str, size_bytes: int) -> str:
    if head.archive != name:
        return f"the manifest beside it is that of {head.archive}"
    if size_bytes != head.archive_bytes:
        return f"it has {size_bytes:,} bytes, {head.archive_bytes:,} when it was verified"
    return ""


@lru_cache(maxsize=8192)
def _read_head(path: Path, *_file_facts: int) -> ManifestHead:
    """Read the manifest beside an archive again only when it is another file than before."""
    fields = _HeadFields.model_validate_json(read_small_file(sidecar_path(path)))
    return ManifestHead(
        archive=fields.archive,
        run=fields.run,
        snapshot_at=fields.snapshot_at,
        cut_off=fields.cut_off,
        database=fields.server.database,
        tables=len(fields.tables),
        rows=sum(table.rows for table in fields.tables),
        in_clear=secrets_in_clear(fields.archive, fields.files),
        row_bytes=sum(table.bytes for table in fields.tables),
        warnings=fields.warnings,
        archive_bytes=fields.archive_bytes,
        archive_sha256=fields.archive_sha256,
    )
