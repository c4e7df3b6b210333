"""How a row becomes a line of PostgreSQL's COPY text format (manual: COPY, "Text Format")."""

import json
from collections.abc import Iterable
from typing import NamedTuple

NULL = r"\N"
ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


class Rows(NamedTuple):
    """The rows of one table: its name, the columns that are given, and one COPY line per row."""

    table: str
    columns: str
    lines: Iterable[str]


def field(text: str | None) -> str:
    """Return a text as it must stand in a COPY line."""
    return NULL if text is None else text.translate(ESCAPES)


def json_field(value: object) -> str:
    """Return a value as JSON, as it must stand in a COPY line."""
    return field(json.dumps(value, ensure_ascii=False))


def line(*fields: object) -> str:
    """Return one COPY line of fields that are escaped already; None is NULL."""
    return "\t".join(NULL if value is None else str(value) for value in fields) + "\n"
