"""Prove an archive sound without a database: every byte is read again, from the disk, as a restore will read it."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from include.backup.age_keys import Identity
from include.backup.age_stream import opened
from include.backup.background_hash import BackgroundHash
from include.backup.errors import VerificationError
from include.backup.manifest import MANIFEST_FILE, FileRecord, Manifest
from include.backup.names import is_csv
from include.backup.rows import RowsError, read_copy_file, read_csv_file
from include.backup.small_file import MAX_BYTES
from include.backup.tar_members import Stream, read_members
from include.backup.unpacked import unpacked


@dataclass(frozen=True)
class Verified:
    """What was seen: the archive's own size and SHA-256, and how much was read from it."""

    archive_bytes: int
    archive_sha256: str
    uncompressed_bytes: int
    rows: int


class _HashingReader:
    """Reads the archive once, for the decompression and for its own SHA-256."""

    def __init__(self, file: BinaryIO, hashing: Executor) -> None:
        self._file = file
        self.sha256 = BackgroundHash(hashing)
        self.bytes = 0

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self.sha256.update(block)
        self.bytes += len(block)
        return block


def verify_archive(archive: Path, manifest: Manifest, *, identities: Sequence[Identity] = ()) -> Verified:
    """
    Read the whole archive and hold it against its manifest.

    Checked are the gzip checksum of every member, the tar structure, that the members are exactly those of
    the manifest (plain files, no others), size and SHA-256 of each, and that every COPY block and CSV can be
    parsed to its end, with the columns and rows of the manifest.

    Args:
        archive: Plain, or encrypted with a name that says so.
        manifest: As it is in the archive.
        identities: Private keys, for an encrypted one.

    Returns:
        What was seen; size and SHA-256 are those of the plain archive.

    Raises:
        PrerequisiteError: If it is encrypted and none of the identities opens it.
        VerificationError: The first thing that is not as it should be, with what was seen and expected.

    Source: specs/011-automated-backup/spec.md FR-5.
    """
    try:
        with opened(archive, identities) as file, ThreadPoolExecutor(1, thread_name_prefix="hash") as hashing:
            reader = _HashingReader(file, hashing)
            with unpacked(reader) as stream:
                uncompressed, rows = _verify_members(stream, manifest, hashing)
    except VerificationError as error:
        raise VerificationError(f"{archive.name}: {_one_line(error)}; do not restore from it") from None
    except FileNotFoundError:
        raise VerificationError(f"{archive} is gone: it has expired, or was removed") from None
    except (EOFError, OSError, ValueError, tarfile.TarError) as error:
        raise VerificationError(f"{archive.name} is damaged: {_one_line(error)}; do not restore from it") from None
    return Verified(reader.bytes, reader.sha256.hexdigest(), uncompressed, rows)


def _verify_members(stream: Stream, manifest: Manifest, hashing: Executor) -> tuple[int, int]:
    expected = {record.name: record for record in manifest.files}
    files_of_rows = {record.name for record in manifest.files if record.kind == "rows"}
    lost = [str(table.name) for table in manifest.tables if table.file not in files_of_rows]
    _expect(not lost, f"the manifest names no file of rows for {', '.join(lost)}")
    seen: set[str] = set()
    uncompressed = rows = 0
    for member in read_members(stream):
        _expect(member.name not in seen, f"{member.name} is there twice")
        seen.add(member.name)
        if member.name == MANIFEST_FILE:
            _expect(member.size <= MAX_BYTES, f"{MANIFEST_FILE} has {member.size} bytes, expected at most {MAX_BYTES}")
            same = _read_manifest(b"".join(member.blocks())) == manifest
            _expect(same, f"{MANIFEST_FILE} differs from the run's manifest")
            continue
        record = expected.get(member.name)
        if record is None:
            raise VerificationError(f"{member.name} is not in the manifest")
        # Before it is unpacked: a few bytes may claim to be terabytes, and be them.
        said = f"the manifest says {record.bytes}"
        _expect(member.size == record.bytes, f"{record.name} has {member.size} bytes, {said}")
        rows += _verify_member(member.blocks(), record, manifest, BackgroundHash(hashing))
        uncompressed += record.bytes
    missing = sorted({*expected, MANIFEST_FILE} - seen)
    _expect(not missing, f"missing: {', '.join(missing)}")
    return uncompressed, rows


def _verify_member(
    blocks: Iterator[bytes | bytearray], record: FileRecord, manifest: Manifest, sha256: BackgroundHash
) -> int:
    def hashed() -> Iterator[bytes | bytearray]:
        for block in blocks:
            sha256.update(block)
            yield block

    rows = _parse(hashed(), record, manifest)
    seen = sha256.hexdigest()
    _expect(seen == record.sha256, f"checksum mismatch in {record.name}: got {seen}, the manifest says {record.sha256}")
    return rows


def _parse(blocks: Iterator[bytes | bytearray], record: FileRecord, manifest: Manifest) -> int:
    tables = [table for table in manifest.tables if table.file == record.name]
    parse: Callable[..., int] = read_csv_file if is_csv(record.name) else read_copy_file
    try:
        if record.kind == "rows":
            return parse(blocks, tables)
    except RowsError as error:
        raise VerificationError(f"{record.name}: {error}") from None
    for _ in blocks:
        pass
    return 0


def _read_manifest(text: bytes) -> Manifest:
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise VerificationError(f"{MANIFEST_FILE} cannot be read: {error.error_count()} wrong values") from None


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise VerificationError(otherwise)


def _one_line(error: Exception) -> str:
    """Return the error's text; names in it are somebody else's, and may hold anything."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(error).split()))
