"""Archives are encrypted with age after they are verified, as they stream: the backup host needs public keys only."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyrage

from include.backup.age_file import read_age_file
from include.backup.age_keys import recipient
from include.backup.age_stream import BLOCK_BYTES, written_by
from include.backup.archive import publish
from include.backup.archive_name import encrypted_name
from include.backup.durable import sync_file
from include.backup.errors import VerificationError
from include.backup.manifest import EncryptionRecord, Manifest, Sidecar, read_sidecar
from include.backup.rights import PRIVATE_FILE


@dataclass(frozen=True)
class Encrypted:
    """An encrypted archive that has no final name yet."""

    path: Path
    sha256: str
    record: EncryptionRecord


def publish_encrypted(
    plain: Path, manifest: Manifest, recipients: Sequence[str], *, sha256: str, backup_dir: Path
) -> Sidecar:
    """
    Encrypt a verified archive, give only the encrypted one its final name, and remove the plain one.

    Args:
        plain: Without a final name, verified.
        manifest: As it is in the archive.
        recipients: Public keys, at least one.
        sha256: Of the plain archive, as it was verified.
        backup_dir: Where the encrypted one goes.

    Raises:
        VerificationError: If it could not be encrypted soundly, or an archive of that time is there; then the plain one
            is still there.
    """
    encrypted = encrypt_archive(plain, recipients, sha256=sha256)
    try:
        sidecar = publish(
            encrypted.path, manifest, sha256=encrypted.sha256, backup_dir=backup_dir, encryption=encrypted.record
        )
    finally:
        encrypted.path.unlink(missing_ok=True)
    plain.unlink()
    return sidecar


def is_published(manifest: Manifest, backup_dir: Path) -> bool:
    """Whether the archive of this manifest has its name already, encrypted."""
    archive = backup_dir / encrypted_name(manifest.archive)
    try:
        return archive.exists() and read_sidecar(archive).without_archive_facts() == manifest
    except VerificationError:
        return False


def encrypt_archive(plain: Path, recipients: Sequence[str], *, sha256: str) -> Encrypted:
    """
    Encrypt a verified archive, beside it; then read the result from the disk again.

    Checked are that the bytes which were encrypted are those that were verified, that the disk holds the bytes which
    were written, and the structure of the age file: every chunk, and one stanza for each key.

    Args:
        plain: Without a final name, verified.
        recipients: Public keys, at least one.
        sha256: Of the plain archive, as it was verified.

    Returns:
        The encrypted archive, synced to the disk. The plain one is still there.

    Raises:
        VerificationError: If one of these is not so; then nothing encrypted is left.
    """
    target = plain.with_name(f"{plain.name}.age")
    try:
        source_sha256, written_sha256 = _encrypt(plain, target, recipients)
        sync_file(target)
        found = read_age_file(target)
        kinds = tuple(key.split()[0] if key.startswith("ssh-") else "X25519" for key in recipients)
        _expect("SHA-256 of what was encrypted", source_sha256, sha256)
        _expect("SHA-256 on the disk", found.sha256, written_sha256)
        _expect("bytes in its chunks", found.plain_bytes, plain.stat().st_size)
        _expect("kinds of its keys", found.keys, kinds)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    record = EncryptionRecord(recipients=tuple(recipients), plain_bytes=found.plain_bytes, plain_sha256=sha256)
    return Encrypted(target, found.sha256, record)


def _encrypt(plain: Path, target: Path, recipients: Sequence[str]) -> tuple[str, str]:
    """Return the SHA-256 of what was read and of what was written."""
    keys = [recipient(key) for key in recipients]
    written = hashlib.sha256()
    with plain.open("rb", 0) as file, os.fdopen(_create(target), "wb", 0) as output:
        source = _Hashing(file)
        buffered = io.BufferedReader(source, BLOCK_BYTES)
        with written_by(lambda pipe: pyrage.encrypt_io(buffered, pipe, keys)) as encrypted:
            while block := encrypted.read(BLOCK_BYTES):
                written.update(block)
                _write(output, block)
    return source.sha256.hexdigest(), written.hexdigest()


class _Hashing(io.RawIOBase):
    """Reads a file and hashes it, in large blocks; behind a buffer, as the library asks for 8 KiB at a time."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
        self.sha256.update(memoryview(buffer)[:size])
        return size


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)


def _write(file: Any, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]


def _expect(what: str, seen: object, expected: object) -> None:
    if seen != expected:
        raise VerificationError(
            f"the encrypted archive is not what was verified: {what}: got {seen}, expected {expected}; "
            "look at the disk, then clear compress_archive with everything downstream"
        )
