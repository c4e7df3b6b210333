"""The parts become one archive: an ordinary .tar.gz, made of gzip members that were compressed before."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from isal import isal_zlib

from include.backup.archive_name import decrypt_path, encrypted_name, forms, sidecar_path
from include.backup.durable import named, sync_file, sync_folder, write_atomically
from include.backup.errors import BackupError, VerificationError
from include.backup.gzip_part import COMPRESSION_LEVEL, GZIP_WINDOW_BITS, PartRecord, part_path
from include.backup.manifest import EncryptionRecord, Manifest, Sidecar
from include.backup.rights import PRIVATE_FILE, publish_rights, published_mode
from include.backup.templates import render

log = logging.getLogger(__name__)

PARTIAL_ARCHIVE = "archive.tar.gz.partial"
COPY_BYTES = 4 << 20


def compress_archive(
    workspace: Path, folders: Sequence[tuple[Path, Sequence[PartRecord]]], *, modified_at: datetime
) -> Path:
    """
    Put the members together, in the order given, under a name that is not an archive's.

    RFC 1952 lets gzip members follow one another, so the parts are copied as they are; only the tar headers
    and the padding between them are compressed here.

    Args:
        workspace: Where the result goes.
        folders: Folders and the parts in them.
        modified_at: The time that the members get, aware.

    Returns:
        The partial archive, synced to the disk.
    """
    partial = workspace / PARTIAL_ARCHIVE
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    try:
        with named(partial), os.fdopen(descriptor, "wb") as archive:
            for folder, parts in folders:
                for part in parts:
                    _append(archive, part, part_path(folder, part.name), modified_at)
            archive.write(_gzip(b"\0" * 2 * tarfile.BLOCKSIZE))
        sync_file(partial)
    except BaseException:
        partial.unlink(missing_ok=True)  # the disk may be what was short
        raise
    return partial


def _append(archive: BinaryIO, part: PartRecord, path: Path, modified_at: datetime) -> None:
    header = tarfile.TarInfo(part.name)
    header.size = part.bytes
    header.mode = int(part.mode, 8)
    header.mtime = int(modified_at.timestamp())
    header.uname = header.gname = "root"
    archive.write(_gzip(header.tobuf(tarfile.GNU_FORMAT)))
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        size = 0
    if size != part.compressed_bytes:
        raise BackupError(
            f"{path} has {size} bytes, expected {part.compressed_bytes}: it changed after it was "
            "written; clear export_database with everything downstream"
        )
    with path.open("rb") as source:
        shutil.copyfileobj(source, archive, COPY_BYTES)
    archive.write(_gzip(b"\0" * (-part.bytes % tarfile.BLOCKSIZE)))


def _gzip(data: bytes) -> bytes:
    if not data:
        return b""
    compressor = isal_zlib.compressobj(COMPRESSION_LEVEL, isal_zlib.DEFLATED, GZIP_WINDOW_BITS)
    return bytes(compressor.compress(data) + compressor.flush())


def publish(
    partial: Path, manifest: Manifest, *, sha256: str, backup_dir: Path, encryption: EncryptionRecord | None = None
) -> Sidecar:
    """
    Give a verified archive its final name, with its manifest beside it. Never overwrites an archive.

    The manifest comes first: a manifest without an archive is nothing, an archive without one is unknown.

    Args:
        partial: The archive, on the file system of BACKUP_DIR.
        manifest: As it is in the archive.
        sha256: Of the file, as it lies there.
        backup_dir: Where it goes.
        encryption: If it is encrypted: how. Then a text beside it says how it is decrypted.

    Raises:
        VerificationError: If another archive has that name already.
    """
    final = backup_dir / (encrypted_name(manifest.archive) if encryption else manifest.archive)
    sidecar = Sidecar(
        **manifest.model_dump(by_alias=True, exclude={"archive"}),
        archive=final.name,
        archive_bytes=partial.stat().st_size,
        archive_sha256=sha256,
        encryption=encryption,
    )
    sync_file(partial)
    with _alone_in(backup_dir):
        for existing in filter(os.path.lexists, forms(final)):
            raise VerificationError(
                f"{existing} exists already and is never overwritten; clear export_database with everything downstream"
            )
        publish_rights(partial, backup_dir)
        mode = published_mode(backup_dir)
        if encryption:
            write_atomically(decrypt_path(final), render("decrypt.txt.j2", {"sidecar": sidecar}).encode(), mode=mode)
        write_atomically(sidecar_path(final), sidecar.model_dump_json(indent=1, by_alias=True).encode(), mode=mode)
        partial.rename(final)
        sync_folder(backup_dir)
    return sidecar


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other publishers out; the kernel lets go if this process dies."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
