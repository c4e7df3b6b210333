"""A verified archive's files, written into a folder, and held against the manifest once more while they are."""

from __future__ import annotations

import hashlib
import os
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
    expected = {record.name: (record.bytes, record.sha256) for record in manifest.files}
    for member in read_members(stream):
        if member.name == MANIFEST_FILE:
            continue  # restore.sh does not need it
        if member.name not in expected:
            raise VerificationError(f"{member.name} is not in the manifest")
        seen = member.size, _write(member, folder / member.name)
        if seen != expected.pop(member.name):
            raise VerificationError(f"{member.name} has changed since the archive was verified; do not restore from it")
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
