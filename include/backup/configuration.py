"""Files on disk that belong to the backup: configuration, certificates, and folders that a user names."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from include.backup.errors import BackupError
from include.backup.gzip_part import GzipPart, PartRecord
from include.backup.manifest import Record
from include.backup.scope import ConfigurationItem, Scope
from include.backup.settings import BYTES_PER_MB

BLOCK_BYTES = 1 << 20


class ConfigurationResult(Record):
    """What copy_configuration leaves for the steps after it."""

    parts: tuple[PartRecord, ...]
    warnings: tuple[str, ...]


def copy_configuration(scope: Scope, config_dir: Path, folder: Path) -> ConfigurationResult:
    """
    Compress the configuration files of the scope into the folder.

    Returns:
        The parts, and a warning for each file that is missing or over its limit.

    Raises:
        BackupError: If a file is there but cannot be read.
    """
    paths, warnings = find_configuration(scope, config_dir)
    return ConfigurationResult(
        parts=tuple(_compress(path, name, folder) for name, path in sorted(paths.items())),
        warnings=tuple(warnings),
    )


def find_configuration(scope: Scope, config_dir: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the files by their name in the archive, and a warning for each that cannot be taken."""
    paths: dict[str, Path] = {}
    warnings = []
    for item in scope.configuration:
        found = dict(_files_of(item, config_dir))
        if not found and not item.optional:
            seen = "has no file that matches" if (config_dir / item.path).is_dir() else "is missing"
            warnings.append(f"configuration {item.path} {seen} in {config_dir}: not in this backup")
        size = sum(path.stat().st_size for path in found.values())
        if size > item.max_mb * BYTES_PER_MB:
            warnings.append(
                f"configuration {item.path} has {size / BYTES_PER_MB:.1f} MB, more than its limit of "
                f"{item.max_mb} MB: not in this backup; raise max_mb in the scope file"
            )
            continue
        paths |= found
    return paths, warnings


def _files_of(item: ConfigurationItem, config_dir: Path) -> Iterator[tuple[str, Path]]:
    root = config_dir / item.path
    candidates = sorted(root.rglob("*")) if root.is_dir() else [root]
    for path in candidates:
        matches = path == root or any(fnmatchcase(path.name, pattern) for pattern in item.patterns)
        if matches and path.is_file():
            yield path.relative_to(config_dir).as_posix(), path


def _compress(path: Path, name: str, folder: Path) -> PartRecord:
    try:
        with path.open("rb") as source:
            mode = stat.S_IMODE(path.stat().st_mode) & 0o777
            with GzipPart(folder, name, mode=mode) as part:
                while block := source.read(BLOCK_BYTES):
                    part.write(block)
    except OSError as error:
        raise BackupError(f"cannot copy the configuration file {path}: {error.strerror}") from None
    return part.record("configuration")
