"""What is backed up: the model of scope.yaml."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from include.backup.backup_id import UNNAMED, Backup
from include.backup.errors import ScopeError
from include.backup.fleet_file import BACKUPS, SCOPE_FILE, SCOPE_KEYS, read_mapping
from include.backup.names import QualifiedName, copy_text_file

RESERVED_FILES = frozenset(
    {
        "BACKUP_INFO.txt",
        "MANIFEST.json",
        "restore.sh",
        "restore.sql",
        "finish.sql",
        "roles.sql",
        "SHA256SUMS",
        "schema.sql",
        "sequences.sql",
        "constraints.sql",
    }
)


def _table(value: Any) -> Any:
    return QualifiedName.parse(value) if isinstance(value, str) else value


def _whole(value: Any) -> Any:
    return {"table": value} if isinstance(value, str | QualifiedName) else value


def _relative(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{value!r} is not a path below BACKUP_CONFIG_DIR")
    return str(path)


def _file(suffix: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(rf"[\w-][\w.-]*\.{suffix}", value):
            raise ValueError(f"{value!r} is not a file name; expected for example 'name.{suffix}'")
        return value

    return AfterValidator(check)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


TableName = Annotated[QualifiedName, BeforeValidator(_table)]

# What happens when a table's rows refer to rows that would not be in the archive: these come along (of windowed
# tables, recursively), or the foreign key is restored NOT VALID, or the backup is refused.
Reference = Literal["take", "not_valid", "error"]


class WholeTable(_Part):
    """A table of which all rows are taken; in scope.yaml its name alone is enough."""

    table: TableName
    reference: Reference = "take"

    def __str__(self) -> str:
        """Return the table's name as scope.yaml has it."""
        return str(self.table)


class WindowedTable(_Part):
    """A table of which only the rows from the cut-off on are taken."""

    table: TableName
    column: str
    months: Annotated[int, Field(ge=1, le=1200)] | None = None
    reference: Reference = "take"


class ConfigurationItem(_Part):
    """A file, or a folder with everything in it that matches one of the patterns."""

    path: Annotated[str, AfterValidator(_relative)]
    patterns: tuple[str, ...] = ("*",)
    max_mb: Annotated[int, Field(ge=1)] = 25
    optional: bool = False


def _item(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class Scope(_Part):
    """What one backup takes and what it leaves out. Source: specs/011-automated-backup/data-model.md."""

    version: Literal[1]
    tables: dict[Annotated[str, _file("sql")], tuple[Annotated[WholeTable, BeforeValidator(_whole)], ...]] = {}
    windowed: dict[Annotated[str, _file("csv")], WindowedTable] = {}
    configuration: tuple[Annotated[ConfigurationItem, BeforeValidator(_item)], ...] = ()
    exclude: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _no_doubles(self) -> Scope:
        doubles = [str(name) for name, count in Counter(self.taken).items() if count > 1]
        if doubles:
            raise ValueError(f"taken twice: {', '.join(doubles)}; name each table once")
        # A windowed table may have to become COPY text: that file's name must be free as well.
        rows = [*self.tables, *self.windowed, *map(copy_text_file, self.windowed)]
        files = [*rows, *(item.path for item in self.configuration)]
        clashes = [name for name, count in Counter(files).items() if count > 1 or name in RESERVED_FILES]
        clashes += [name for name in files if "/" in name and name.split("/")[0] in {*RESERVED_FILES, *rows}]
        if clashes:
            raise ValueError(f"file name in use: {', '.join(sorted(clashes))}; choose another")
        if not self.taken:
            raise ValueError("no table is taken; name at least one below 'tables' or 'windowed'")
        return self

    @property
    def taken(self) -> tuple[QualifiedName, ...]:
        """Every table that is taken, whole or windowed, in load order."""
        whole = [whole.table for group in self.tables.values() for whole in group]
        return (*whole, *(window.table for window in self.windowed.values()))

    def excludes(self, table: QualifiedName) -> bool:
        """Whether a table that is not taken is left out on purpose; `*` is everything else."""
        names = {str(table), f"{table.schema}.{table.name}"}
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.exclude)


def load_scope(path: Path, backup: Backup = UNNAMED) -> Scope:
    """
    Read and check the scope of a backup: the top of a scope file, or what it has for the backup below `backups:`.

    Raises:
        ScopeError: One message that names the file and everything wrong in it.
    """
    content = read_mapping(path)
    if backup.parent.id:
        return _entry_scope(path, content, backup.parent)
    return _checked(f"{path}", {key: value for key, value in content.items() if key != BACKUPS})


def _entry_scope(path: Path, content: Mapping[Any, Any], backup: Backup) -> Scope:
    """Return the scope of an entry: its own, or that of the file it names, whose place counts from this one's."""
    entries = content.get(BACKUPS)
    entry = entries.get(backup.id) if isinstance(entries, dict) else None
    if not isinstance(entry, dict):
        raise ScopeError(f"{path} has no backup {backup.id!r} below '{BACKUPS}:'")
    if entry.get(SCOPE_FILE):
        return load_scope(path.parent / str(entry[SCOPE_FILE]))
    own = {key: value for key, value in entry.items() if key in SCOPE_KEYS}
    return _checked(f"{path}: {BACKUPS}.{backup.id}", {"version": content.get("version"), **own})


def _checked(place: str, content: Mapping[Any, Any]) -> Scope:
    try:
        return Scope.model_validate(content)
    except ValidationError as error:
        raise ScopeError(f"{place}: " + "; ".join(map(_describe, error.errors()))) from None


def _describe(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    message = str(problem["msg"]).removeprefix("Value error, ")
    return " ".join((f"{place}: {message}" if place else message).split())


if __name__ == "__main__":
    from include.backup.scope_command import main

    sys.exit(main())
