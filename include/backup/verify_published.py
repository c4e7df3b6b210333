"""Verify an archive that has its final name: whole where it can be read, by SHA-256 and structure where no key is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from include.backup.age_file import read_age_file
from include.backup.age_keys import Identity
from include.backup.errors import VerificationError
from include.backup.manifest import Sidecar
from include.backup.verify import verify_archive


def verify_published(archive: Path, sidecar: Sidecar, identities: Sequence[Identity]) -> int | None:
    """
    Hold an archive against the manifest beside it.

    Args:
        archive: Plain or encrypted.
        sidecar: The archive's.
        identities: Private keys; none if there are none on this host.

    Returns:
        The rows that were read; None if the archive is encrypted and there is no key: then it has the SHA-256 that it
        had when it was verified, and all of its encrypted chunks.

    Raises:
        VerificationError: If it is not as the manifest says.
        PrerequisiteError: If it is encrypted and there are keys, but none opens it.
    """
    if not sidecar.encryption:
        verified = verify_archive(archive, sidecar.without_archive_facts())
        _expect_same(archive, verified.archive_sha256, sidecar.archive_sha256)
        return verified.rows
    found = read_age_file(archive)
    _expect_same(archive, found.sha256, sidecar.archive_sha256)
    _expect_same(archive, found.plain_bytes, sidecar.encryption.plain_bytes)
    if not identities:
        return None
    verified = verify_archive(archive, sidecar.without_archive_facts(), identities=identities)
    _expect_same(archive, verified.archive_sha256, sidecar.encryption.plain_sha256)
    return verified.rows


def _expect_same(archive: Path, seen: object, expected: object) -> None:
    if seen != expected:
        raise VerificationError(
            f"{archive} has changed since it was verified first (got {seen}, its manifest says {expected}); "
            "do not restore from it"
        )
