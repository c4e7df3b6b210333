"""Files on disk that belong to the backup: configuration, certificates, and folders that a user names."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
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


@dataclass
class FoundConfiguration:
    """The files by their name in the archive, what cannot be taken (warnings), and what cannot be read (errors)."""

    paths: dict[str, Path] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def copy_configuration(scope: Scope, config_dir: Path, folder: Path) -> ConfigurationResult:
    """
    Compress the configuration files of the scope into the folder.

    Returns:
        The parts, and a warning for each file that is missing, over its limit, or removed meanwhile.

    Raises:
        BackupError: If a file is there but cannot be read.
    """
    found = find_configuration(scope, config_dir)
    if found.errors:
        raise BackupError("; ".join(found.errors))
    parts = {name: _compress(path, name, folder) for name, path in sorted(found.paths.items())}
    gone = [
        f"configuration {name} was removed while it was copied: not in this backup" for name in parts if not parts[name]
    ]
    return ConfigurationResult(parts=tuple(filter(None, parts.values())), warnings=(*found.warnings, *gone))


def find_configuration(scope: Scope, config_dir: Path) -> FoundConfiguration:
    """
    Return the configuration files that the scope names.

    A link is followed: certificates are often links to the file that is valid now.

    Args:
        scope: The scope.
        config_dir: BACKUP_CONFIG_DIR; need not be there.
    """
    found = FoundConfiguration()
    for item in scope.configuration:
        files = _files_of(item, config_dir, found)
        if not files and not item.optional and not found.errors:
            seen = "has no file that matches" if (config_dir / item.path).is_dir() else "is missing"
            found.warnings.append(f"configuration {item.path} {seen} in {config_dir}: not in this backup")
        size = sum(path.stat().st_size for path in files.values())
        if size > item.max_mb * BYTES_PER_MB:
            found.warnings.append(
                f"configuration {item.path} has {size / BYTES_PER_MB:.1f} MB, more than its limit of "
                f"{item.max_mb} MB: not in this backup; raise max_mb in the scope file"
            )
            continue
        found.paths |= files
    return found


def _files_of(item: ConfigurationItem, config_dir: Path, found: FoundConfiguration) -> dict[str, Path]:
    """Return the item's files; note on the way which names and files cannot be used."""
    root = config_dir / item.path
    files = {}
    for path in _below(root, found):
        matches = path == root or any(fnmatchcase(path.name, pattern) for pattern in item.patterns)
        if not matches or (not path.is_symlink() and not path.exists()):
            continue
        name = path.relative_to(config_dir).as_posix()
        if not name.isprintable():  # line feeds, and bytes that are not UTF-8
            found.warnings.append(f"configuration {name!r} has an unprintable name: not in this backup; rename it")
        elif not path.is_file():
            found.warnings.append(
                f"configuration {name} is no file (a dead link, a pipe, a device): not in this backup"
            )
        elif not os.access(path, os.R_OK):
            found.errors.append(_unreadable(path))
        else:
            files[name] = path
    return files


def _below(root: Path, found: FoundConfiguration) -> Iterator[Path]:
    """Yield the file, or every path below the folder, in order; links to folders are followed, but not in circles."""
    if not root.is_dir():
        yield root
        return
    seen = {root.resolve()}
    walk = os.walk(root, followlinks=True, onerror=lambda error: found.errors.append(_unreadable(error.filename)))
    for folder, folders, names in walk:
        new = {name: (Path(folder) / name).resolve() for name in sorted(folders)}
        folders[:] = [name for name, real in new.items() if real not in seen]
        seen.update(new.values())
        yield from (Path(folder) / name for name in sorted(names))


def _unreadable(path: Path | str) -> str:
    return f"configuration {path} is not readable for the user that runs Airflow; change its owner or mode"


def _compress(path: Path, name: str, folder: Path) -> PartRecord | None:
    """Write the part; None if the file is gone by now, as in a folder that is in use."""
    try:
        with path.open("rb") as source:
            mode = stat.S_IMODE(path.stat().st_mode) & 0o777
            with GzipPart(folder, name, mode=mode) as part:
                while block := source.read(BLOCK_BYTES):
                    part.write(block)
    except OSError as error:
        if error.filename not in (None, str(path)):  # it is where the copy goes that fails
            raise
        if isinstance(error, FileNotFoundError):
            return None
        raise BackupError(f"cannot copy the configuration file {path}: {error.strerror}") from None
    return part.record("configuration")
