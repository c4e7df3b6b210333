"""The parts become one archive: an ordinary .tar.gz, made of gzip members that were compressed before."""

from __future__ import annotations

import fcntl
import logging
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from include.backup.archive_name import decrypt_path, encrypted_name, forms, sidecar_path
from include.backup.durable import sync_file, sync_folder, write_atomically
from include.backup.errors import BackupError, VerificationError
from include.backup.gzip_members import gzip_member
from include.backup.gzip_part import PartRecord, part_path
from include.backup.manifest import EncryptionRecord, Manifest, Sidecar
from include.backup.piecewise import Piece, move_together
from include.backup.rights import publish_rights, published_mode
from include.backup.templates import render

log = logging.getLogger(__name__)

PARTIAL_ARCHIVE = "archive.tar.gz.partial"
ARCHIVE_IN_WORK = "archive.tar.gz.in_work"
PARTS_LAYOUT = "parts.layout"


def compress_archive(
    workspace: Path, folders: Sequence[tuple[Path, Sequence[PartRecord]]], *, modified_at: datetime
) -> Path:
    """
    Put the members together, in the order given, under a name that is not an archive's; the parts are used up.

    RFC 1952 lets gzip members follow one another, so the parts are moved as they are; only the tar headers
    and the padding between them are compressed here.

    Args:
        workspace: Where the result goes. What a call that was interrupted has left in it is taken up.
        folders: Folders and the parts in them.
        modified_at: The time that the members get, aware.

    Returns:
        The partial archive, synced to the disk.

    Raises:
        BackupError: If a part is not as it was written, and has not been moved either.
    """
    pieces = [piece for folder, parts in folders for part in parts for piece in _member(folder, part, modified_at)]
    end = gzip_member(b"\0" * 2 * tarfile.BLOCKSIZE)
    pieces.append(Piece(len(end), content=end))
    partial = workspace / PARTIAL_ARCHIVE
    building, layout = workspace / ARCHIVE_IN_WORK, workspace / PARTS_LAYOUT
    # A part that was moved is known only if it is where it would go now: sizes and names are as they were.
    sizes = "".join(f"{piece.size_bytes} {piece.path and piece.path.name}\n" for piece in pieces).encode()
    is_known = layout.exists() and layout.read_bytes() == sizes
    if is_known and not building.exists() and partial.exists():
        partial.rename(building)
    _check_parts(pieces, may_be_moved=is_known and building.exists())
    partial.unlink(missing_ok=True)
    if not is_known:
        building.unlink(missing_ok=True)
        layout.write_bytes(sizes)
    try:
        move_together(pieces, building)
    except BaseException:
        if not any(map(_is_moved, pieces)):
            for file in (building, layout):
                file.unlink(missing_ok=True)  # the disk may be what was short
        raise
    building.rename(partial)
    return partial


def _member(folder: Path, part: PartRecord, modified_at: datetime) -> Iterator[Piece]:
    header = tarfile.TarInfo(part.name)
    header.size = part.bytes
    header.mode = int(part.mode, 8)
    header.mtime = int(modified_at.timestamp())
    header.uname = header.gname = "root"
    head, padding = (
        gzip_member(header.tobuf(tarfile.GNU_FORMAT)),
        gzip_member(b"\0" * (-part.bytes % tarfile.BLOCKSIZE)),
    )
    yield Piece(len(head), content=head)
    yield Piece(part.compressed_bytes, path=part_path(folder, part.name))
    yield Piece(len(padding), content=padding)


def _check_parts(pieces: Sequence[Piece], *, may_be_moved: bool) -> None:
    for piece in pieces:
        size = _size(piece)
        if size > piece.size_bytes or (size < piece.size_bytes and not may_be_moved):
            raise BackupError(
                f"{piece.path} has {size} bytes, expected {piece.size_bytes}: it changed after it was "
                "written, or is in an archive already; clear export_database with everything downstream"
            )


def _is_moved(piece: Piece) -> bool:
    return _size(piece) < piece.size_bytes


def _size(piece: Piece) -> int:
    """Return how much of it is still to be moved."""
    if piece.path is None:
        return piece.size_bytes
    try:
        return piece.path.stat().st_size
    except FileNotFoundError:
        return 0


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
