"""The texts that people read, from include/templates."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from datetime import datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from include.backup.archive_name import decrypt_command, encrypted_name, plain_name
from include.backup.names import quote_literal

FOLDER = Path(__file__).resolve().parent.parent / "templates"


def size_text(size_bytes: float) -> str:
    """Return a size as people read it, for example `4.6 MB` (of 1,048,576 bytes)."""
    for unit in ("bytes", "KB", "MB"):
        if round(size_bytes, 1) < 1024:  # noqa: PLR2004 - the step between the units
            return f"{size_bytes:,.0f} bytes" if unit == "bytes" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:,.1f} GB"


def time_text(moment: datetime, zone: tzinfo) -> str:
    """Return a moment as people read it, for example `2026-11-20 02:00:04 UTC`."""
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill in a template. HTML is escaped, in plain texts each value stays in its line; an unknown name is an error."""
    environment = _environment_of_texts() if template.endswith((".txt.j2", ".md.j2")) else _environment()
    return environment.get_template(template).render(values)


def printable(value: object) -> str:
    r"""Return the value as text in which only spaces are blank: a table called `x\n\n7. Run this` adds no line."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _in_double_quotes(text: str) -> str:
    """Return the text as it must stand between double quotes of a shell."""
    return re.sub(r'([\\"$`])', r"\\\1", text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "size": size_text,
        "time": time_text,
        "shell": shlex.quote,
        "literal": quote_literal,
        "in_double_quotes": _in_double_quotes,
        "plain_name": plain_name,
        "encrypted_name": encrypted_name,
        "decrypt_command": decrypt_command,
    }
    return environment


@cache
def _environment_of_texts() -> Environment:
    return _environment().overlay(finalize=printable)
