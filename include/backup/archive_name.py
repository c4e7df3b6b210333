"""What an archive is called, and the files beside it. health.py has its own copy, held to this one by a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

PLAIN_NAME = re.compile(r"^critical_backup_[0-9]{8}_[0-9]{6}\.tar\.gz$")
ARCHIVE_NAME = re.compile(r"^critical_backup_[0-9]{8}_[0-9]{6}\.tar\.gz(\.age)?$")
AGE_SUFFIX = ".age"


def archive_name(snapshot_at: datetime) -> str:
    """Return the name of the archive with that snapshot time, which must be in BACKUP_TIMEZONE; not encrypted."""
    return f"critical_backup_{snapshot_at:%Y%m%d_%H%M%S}.tar.gz"


def is_encrypted(archive: str) -> bool:
    """Whether an archive of this name is encrypted."""
    return archive.endswith(AGE_SUFFIX)


def encrypted_name(archive: str) -> str:
    """Return the name of the archive once it is encrypted."""
    return plain_name(archive) + AGE_SUFFIX


def plain_name(archive: str) -> str:
    """Return the name of the archive once it is decrypted; that of one that is not encrypted is the same."""
    return archive.removesuffix(AGE_SUFFIX)


def decrypt_command(archive: str) -> str:
    """Return the command that decrypts an archive of this name, for a shell."""
    return f"age -d -i KEY_FILE -o {plain_name(archive)} {archive}"


def stem(archive: str) -> str:
    """Return what the names of an archive and of the files beside it begin with."""
    return plain_name(archive).removesuffix(".tar.gz")


def sidecar_path(archive: Path) -> Path:
    """Return where the archive's manifest lies: beside it."""
    return archive.with_name(stem(archive.name) + ".manifest.json")


def drill_path(archive: Path) -> Path:
    """Return where the archive's drill is recorded."""
    return archive.with_name(stem(archive.name) + ".drill.json")


def delivery_path(archive: Path) -> Path:
    """Return where it is recorded who has the archive's mail."""
    return archive.with_name(stem(archive.name) + ".delivery.json")


def copy_path(archive: Path) -> Path:
    """Return where the archive's second copy is recorded."""
    return archive.with_name(stem(archive.name) + ".copy.json")


def decrypt_path(archive: Path) -> Path:
    """Return where it says for people how the archive is decrypted, if it is encrypted."""
    return archive.with_name(stem(archive.name) + ".decrypt.txt")


def companions(archive: Path) -> tuple[Path, ...]:
    """Return every file that may lie beside the archive, the manifest first."""
    return (
        sidecar_path(archive),
        drill_path(archive),
        delivery_path(archive),
        copy_path(archive),
        decrypt_path(archive),
    )


def forms(archive: Path) -> tuple[Path, Path]:
    """Return the archive's path plain and encrypted: one of them at most may be there, as they share all companions."""
    return archive.with_name(plain_name(archive.name)), archive.with_name(encrypted_name(archive.name))


def archive_paths(backup_dir: Path) -> Iterator[Path]:
    """Yield whatever has an archive's name, in no order."""
    return (path for path in backup_dir.glob("critical_backup_*") if ARCHIVE_NAME.fullmatch(path.name))


def archive_names(backup_dir: Path) -> list[str]:
    """Return the names of the archives, newest first, without a look into their manifests; [] if no folder is there."""
    return sorted((path.name for path in archive_paths(backup_dir)), reverse=True)
