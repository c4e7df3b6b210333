"""Names in the database: how they are written in scope.yaml, quoted in SQL and shown to people."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_IDENTIFIER_BYTES = 63  # of PostgreSQL

_PART = r'(?:"(?:[^"]|"")+"|[^".]+)'
_NAME = re.compile(rf"(?:({_PART})\.)?({_PART})")


def quote(identifier: str) -> str:
    """Return the identifier in double quotes, as SQL wants a name that may hold anything."""
    return '"' + identifier.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Return the text as an SQL string literal, whatever standard_conforming_strings says."""
    escaped = text.replace("'", "''")
    return "E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in escaped else f"'{escaped}'"


def printable(value: object) -> str:
    r"""Return the value as text in which only spaces are blank: a table called `x\n\n7. Run this` adds no line."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_csv(file: str) -> bool:
    """Whether a file of rows is CSV with a header; the others hold COPY text."""
    return file.endswith(".csv")


def copy_text_file(csv_file: str) -> str:
    """Return the name of the file that stands for a CSV whose rows have to be COPY text."""
    return csv_file.removesuffix(".csv") + ".copy.sql"


@dataclass(frozen=True, order=True)
class QualifiedName:
    """A table or sequence: schema and name, exactly as the catalog has them."""

    schema: str
    name: str

    @classmethod
    def parse(cls, text: str) -> QualifiedName:
        """
        Read `table`, `schema.table` or `"Odd.Schema"."Odd table"`; without a schema it is `public`.

        Raises:
            ValueError: If the text is none of these.
        """
        match = _NAME.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} is not a table name; expected 'table' or 'schema.table'")
        schema, name = match.groups()
        return cls(_unquote(schema) if schema else "public", _unquote(name))

    @property
    def sql(self) -> str:
        """The name quoted for SQL."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    def __str__(self) -> str:
        """Return the name as scope.yaml has it, without `public`."""
        parts = [self.name] if self.schema == "public" else [self.schema, self.name]
        return ".".join(quote(part) if re.search(r'[."]', part) else part for part in parts)


def _unquote(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def restored_name(database: str) -> str:
    """Return a name for the restored database that needs no quotes in SQL or in a shell."""
    name = re.sub(r"\W", "_", database.lower(), flags=re.ASCII)
    name = f"{'db_' if name[0].isdigit() else ''}{name}"
    return name[: MAX_IDENTIFIER_BYTES - len("_restored")] + "_restored"
