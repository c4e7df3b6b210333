"""A verified archive's files, written into a folder, and held against the manifest once more while they are."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

from include.backup.errors import VerificationError
from include.backup.manifest import MANIFEST_FILE, Manifest
from include.backup.rights import PRIVATE_FILE, PRIVATE_FOLDER
from include.backup.tar_members import Member, Stream, read_members


def unpack_archive(stream: Stream, manifest: Manifest, folder: Path) -> None:
    """
    Write the archive's files, for their owner alone.

    Verifying came before, but the file may be another one by now. Names cannot lead out of the folder: they are the
    manifest's, and a manifest with such names is not read.

    Args:
        stream: The tar.
        manifest: The archive's.
        folder: Must be there, and empty.

    Raises:
        VerificationError: If a file is not as the manifest says; the folder holds what came before it.
    """
    expected = {record.name: record for record in manifest.files}
    try:
        for member in read_members(stream):
            if member.name != MANIFEST_FILE:  # which restore.sh does not need
                record = expected.pop(member.name, None)
                if not (
                    record and member.size == record.bytes and _write(member, folder / member.name) == record.sha256
                ):
                    raise VerificationError(f"{member.name!r} is not as it was when the archive was verified")
    except (EOFError, ValueError, tarfile.TarError) as error:
        raise VerificationError(f"the archive was damaged since it was verified: {error}") from None
    if expected:
        raise VerificationError(f"missing since the archive was verified: {', '.join(sorted(expected))}")


def _write(member: Member, path: Path) -> str:
    """Write a new file, never through a link, and return its SHA-256."""
    path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        for block in member.blocks():
            digest.update(block)
            file.write(block)
    return digest.hexdigest()
