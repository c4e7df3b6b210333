"""Choices written as the YAML of scope.yaml, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from glob import escape

import yaml

from include.backup.names import QualifiedName
from include.backup.scope import RESERVED_FILES
from include.backup.table_choice import Choice

FILES_AT_MOST = 5


def yaml_text(choices: Mapping[QualifiedName, Choice], used_files: Iterable[str] = (), *, group: str = "tables") -> str:
    """
    Return the keys `tables`, `windowed` and `exclude` with the choices in them; a key without a table is not there.

    Args:
        choices: At least one.
        used_files: File names that are taken.
        group: Name of the file for whole tables; several schemas, if they are few, have a file each.
    """
    names = _FileNames(used_files)
    whole = sorted(name for name, choice in choices.items() if choice.kind == "whole")
    windowed = sorted(name for name, choice in choices.items() if choice.kind == "windowed")
    left_out = sorted(name for name, choice in choices.items() if choice.kind == "left out")
    schemas = sorted({name.schema for name in whole})
    groups = {group: whole}
    if 1 < len(schemas) <= FILES_AT_MOST:
        groups = {schema: [name for name in whole if name.schema == schema] for schema in schemas}
    lines = ["tables:"] if whole else []
    for title, tables in groups.items() if whole else ():
        lines.append(f"  {names.new(title, 'sql')}:")
        lines += [f"    - {_scalar(str(name))}{_comment(choices[name].reason)}" for name in tables]
    lines += ["windowed:"] if windowed else []
    for name in windowed:
        title = name.name if name.schema == "public" else f"{name.schema}_{name.name}"
        window = f"{{table: {_scalar(str(name))}, column: {_scalar(choices[name].column)}}}"
        lines.append(f"  {names.new(title, 'csv')}: {window}{_comment(choices[name].reason)}")
    lines += ["exclude:"] if left_out else []
    lines += [f"  - {_scalar(escape(str(name)))}{_comment(choices[name].reason)}" for name in left_out]
    return "\n".join(lines) + "\n"


def on_one_line(text: str) -> str:
    """Return the text with everything that is not printable made visible: names may hold line feeds and worse."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


class _FileNames:
    """Gives every file a name of its own, also for file systems that do not tell capitals apart."""

    def __init__(self, used: Iterable[str]) -> None:
        self._used = {name.casefold() for name in (*used, *RESERVED_FILES)}

    def new(self, title: str, suffix: str) -> str:
        plain = re.sub(r"\W+", "_", title).strip("_") or "table"
        number = 1
        name = f"{plain}.{suffix}"
        while name.casefold() in self._used:
            number += 1
            name = f"{plain}_{number}.{suffix}"
        self._used.add(name.casefold())
        return name


def _scalar(text: str) -> str:
    """Return the text as YAML, quoted where it has to be, on one line."""
    style = None if text.isprintable() else '"'
    dumped = yaml.safe_dump(
        [text], default_style=style, default_flow_style=True, allow_unicode=True, width=float("inf")
    )
    return dumped.strip()[1:-1]


def _comment(reason: str) -> str:
    return f"  # {on_one_line(reason)}"
