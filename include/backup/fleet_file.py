"""A scope file as it is written, read strictly: what nobody means in it is an error."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from include.backup.errors import ScopeError

# Below `backups` a scope file has further ones by id, each with its own scope or the name of another scope file.
BACKUPS, SCOPE_FILE = "backups", "scope_file"
SCOPE_KEYS = frozenset({"tables", "windowed", "configuration", "exclude"})

# libyaml reads ten times as fast, which counts with hundreds of backups; not every build of PyYAML has it.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Refuses equal keys: PyYAML takes the last of two, and the first one's tables would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            seen.add(str(key.value))
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_mapping(path: Path) -> dict[Any, Any]:
    """
    Return what a scope file says, not yet checked; the same object as long as the file is the same: not to be changed.

    Raises:
        ScopeError: If it cannot be read, is not YAML, or is no mapping.
    """
    try:
        facts = os.stat(path)  # noqa: PTH116 - it is asked again and again
        return _read(path, (facts.st_ino, facts.st_size, facts.st_mtime_ns))
    except OSError as error:
        raise ScopeError(f"cannot read the scope file {path}: {error.strerror}; see BACKUP_SCOPE_FILE") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: also a date or number that is none
        raise ScopeError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


@lru_cache(maxsize=4)
def _read(path: Path, _state: tuple[int, int, int]) -> dict[Any, Any]:
    text = path.read_text(encoding="utf-8")
    # A few lines of aliases, each of several of the one before, stand for more than any memory holds.
    for event in yaml.parse(text, Loader=_SafeLoader) if "*" in text else ():
        if isinstance(event, yaml.AliasEvent):
            reason = f"an alias (*{event.anchor}) is not taken here; write it out"
            raise yaml.composer.ComposerError(None, None, reason, event.start_mark)  # type: ignore[arg-type]
    content = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    if not isinstance(content, dict):
        raise ScopeError(f"{path} is not a scope file: expected 'version: 1' and 'tables:'; see include/scope.yaml")
    return content
