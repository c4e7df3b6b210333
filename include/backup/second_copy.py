"""The second copy of an archive: written to another place, read back, and compared."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from include.backup.archive_name import decrypt_path, sidecar_path
from include.backup.copy_place import BLOCK_BYTES, CopyPlace
from include.backup.copy_record import CopyRecord
from include.backup.errors import BackupError, VerificationError
from include.backup.manifest import Sidecar
from include.backup.run import utc_now

log = logging.getLogger(__name__)

PROBE = ".critical_backup_probe"
PROBE_CONTENT = b"Critical Backup writes and reads this to see that it can.\n"  # always the same: two may do so at once


def copy_archive(archive: Path, sidecar: Sidecar, place: CopyPlace) -> CopyRecord:
    """
    Copy a verified archive and its manifest; memory does not grow with the archive.

    The archive comes first and the manifest last: in the place, an archive without a manifest is unfinished. Nothing
    that is there is overwritten; what is there already with the same content is read and compared like a new copy.

    Args:
        archive: In BACKUP_DIR.
        sidecar: Its manifest.
        place: Where to.

    Returns:
        What was found when the copy was read back.

    Raises:
        VerificationError: If the archive is not what its manifest says, or the copy is not the archive.
        BackupError, TemporaryError: If something else is there under that name, or the place fails.
    """
    began = time.monotonic()
    manifest = sidecar_path(archive)
    _copy(archive, place, expected=sidecar.archive_sha256)
    text = decrypt_path(archive)
    if text.exists():
        _copy(text, place, expected=hashlib.sha256(text.read_bytes()).hexdigest())
    _copy(manifest, place, expected=hashlib.sha256(manifest.read_bytes()).hexdigest())
    return CopyRecord(
        url=f"{place.url}/{archive.name}",
        copied_at=utc_now(),
        sha256=sidecar.archive_sha256,
        bytes=sidecar.archive_bytes,
        seconds=round(time.monotonic() - began, 3),
    )


def _copy(path: Path, place: CopyPlace, *, expected: str) -> None:
    found = _sha256(place, path.name)
    if found is None:
        place.write(path.name, _unchanged(path, expected))
        # Read back whole: an ETag is what the server says that it took, it is no digest of the content after an
        # upload in parts, and none at all with a key of the server's; it says nothing of what will be handed out.
        if _sha256(place, path.name) != expected:
            raise VerificationError(
                f"{place.url}/{path.name} was altered between writing and reading it back; do not restore from it: "
                "look for what else writes there, remove it, then clear copy_archive"
            )
        log.info("copied to %s/%s, read back, SHA-256 %s", place.url, path.name, expected)
    elif found == expected:
        log.info("%s/%s is there already, SHA-256 %s", place.url, path.name, expected)
    else:
        raise BackupError(
            f"{place.url}/{path.name} is there with other content, and nothing is overwritten: SHA-256 {found[:16]}…, "
            f"expected {expected[:16]}…; each system needs a place of its own in BACKUP_COPY_URL. If it is known to be "
            "worthless, remove it there and clear copy_archive"
        )


def _unchanged(path: Path, expected: str) -> Iterator[bytes]:
    """Yield the file's content; raise at its end if that is not what was expected, so that nothing is published."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
                yield block
    except OSError as error:
        raise VerificationError(f"cannot read {path}: {error.strerror}; do not restore from it") from error
    if digest.hexdigest() != expected:
        raise VerificationError(f"{path} has changed since it was verified: it is not copied; do not restore from it")


def _sha256(place: CopyPlace, name: str) -> str | None:
    """Return the SHA-256 of what the place hands out under that name; None if that is nothing."""
    digest = hashlib.sha256()
    try:
        for block in place.read(name):
            digest.update(block)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def check_place(place: CopyPlace) -> None:
    """
    Write a small object, read it back and remove it; where removing is not allowed, it stays.

    Raises:
        BackupError, TemporaryError: If it cannot be written, or not read.
    """
    place.write(PROBE, [PROBE_CONTENT])
    if _sha256(place, PROBE) != hashlib.sha256(PROBE_CONTENT).hexdigest():
        raise BackupError(f"{place.url}/{PROBE} was written and reads differently: what is copied there is not safe")
    try:
        place.remove(PROBE)
    except BackupError as error:
        log.info(
            "nothing can be removed at %s, which keeps the copies safe from whoever takes over this host: %s",
            place.url,
            error,
        )
