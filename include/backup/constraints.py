"""constraints.sql: as pg_dump writes it, but for the foreign keys that are to be restored NOT VALID."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from include.backup.catalog import ForeignKey
from include.backup.errors import BackupError
from include.backup.names import QualifiedName

_NAME = rb'(?:(?:"[^"]*")+|[^\s".;]+)'

# A statement that adds a foreign key, or something in which no statement can begin: a comment, a string, a quoted
# name. These are passed over whole, so that no text inside them is taken for a statement.
# https://www.postgresql.org/docs/current/sql-syntax-lexical.html
_KEY_OR_OPAQUE = re.compile(
    rb"ALTER TABLE (?:ONLY )?(?P<schema>" + _NAME + rb")\.(?P<table>" + _NAME + rb")\s+"
    rb"ADD CONSTRAINT (?P<key>" + _NAME + rb') FOREIGN KEY (?:[^";]|"[^"]*")*(?=;)'
    rb"|--[^\n]*"
    rb"|\bE'(?:[^'\\]|\\.|'')*'"
    rb"|'[^']*'"  # a doubled quote: two strings side by side
    rb'|"[^"]*"'
    rb"|\$(?P<tag>(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?)\$.*?\$(?P=tag)\$",
    re.DOTALL,
)


class ConstraintsDump:
    """
    Hands a dump on, with NOT VALID at the foreign keys given; `flush` ends it.

    Without such keys it only passes blocks on. With them the post-data section is held in memory: it grows with
    the number of tables, not with their rows.
    """

    def __init__(self, take: Callable[[bytes], None], not_valid: Iterable[ForeignKey]) -> None:
        self._take = take
        self._wanted = {(key.declared_on, key.name) for key in not_valid}
        self._held = bytearray()

    def take(self, block: bytes) -> None:
        if self._wanted:
            self._held += block
        else:
            self._take(block)

    def flush(self) -> None:
        """
        Hand on what was held.

        Raises:
            BackupError: If a key's statement is not in it: the archive would not restore.
        """
        left = set(self._wanted)

        def mark(match: re.Match[bytes]) -> bytes:
            key = _key(match)
            if key not in left:
                return match[0]
            left.discard(key)
            return match[0] + b" NOT VALID"

        text = _KEY_OR_OPAQUE.sub(mark, bytes(self._held))
        if left:
            names = ", ".join(sorted(f"{key} of {table}" for table, key in left))
            raise BackupError(f"pg_dump wrote no statement for the foreign key {names}: it cannot be made NOT VALID")
        self._take(text)
        self._held.clear()


def _key(match: re.Match[bytes]) -> tuple[QualifiedName, str] | None:
    if not match["key"]:
        return None
    schema, table, key = (_unquoted(match[part]) for part in ("schema", "table", "key"))
    return QualifiedName(schema, table), key


def _unquoted(name: bytes) -> str:
    text = name.decode()
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
