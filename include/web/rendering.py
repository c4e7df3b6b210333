"""The pages that people see: Jinja templates in which everything is escaped and every name must be known."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, tzinfo
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from include.backup.backup_id import UNNAMED, Backup
from include.backup.templates import size_text, time_text

HERE = Path(__file__).resolve().parent
STATIC = HERE / "static"
APP_PATH = "/backup"


def render_page(
    template: str,
    request: Request,
    values: Mapping[str, Any],
    *,
    zone: tzinfo,
    status: int = 200,
    backup: Backup = UNNAMED,
) -> HTMLResponse:
    """
    Return a page.

    Args:
        template: A file of the templates folder.
        request: Says below which path this app and Airflow are served.
        values: What the template names.
        zone: In which the page's times are.
        status: Of the answer.
        backup: Which the page is about: its links stay with it.
    """
    root = request.scope.get("root_path", "").rstrip("/")
    common = {
        "root": root,
        "airflow": root.removesuffix(APP_PATH),
        "static": partial(_static_address, root),
        "backup": backup,
        "at": partial(_address, root, backup),
        "clock": partial(_clock, zone=zone),
    }
    return HTMLResponse(_environment().get_template(template).render(common | dict(values)), status)


def _address(root: str, backup: Backup, path: str, **query: object) -> str:
    """Return the address of a page about the backup."""
    asked = ({"backup": backup.id} if backup.id else {}) | query
    return f"{root}{path}{'?' if asked else ''}{urlencode(asked)}"


def _static_address(root: str, name: str) -> str:
    """Return the address of a static file; it changes with the file, so that no browser shows an old one."""
    return f"{root}/static/{name}?v={_fingerprint(name, os.stat(STATIC / name).st_mtime_ns)}"  # noqa: PTH116 - fast


@cache
def _fingerprint(name: str, _modified: int) -> str:
    return sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def _clock(moment: datetime, form: str = "%a %d %b %Y, %H:%M", *, zone: tzinfo) -> Markup:
    """Return a moment as people read it, for machines too, and to the second where the pointer rests."""
    # Markup.format() would take ten times as long, and a page has hundreds of times.
    title, text = escape(time_text(moment, zone)), escape(moment.astimezone(zone).strftime(form))
    return Markup(f'<time datetime="{moment.isoformat()}" title="{title}">{text}</time>')  # noqa: S704 - both are escaped


def duration_text(seconds: float) -> str:
    """Return a duration as people read it, for example `41 s`, `3 min 20 s`, `1 h 5 min`."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:,.1f} s" if seconds < 10 else f"{seconds:,.0f} s"  # noqa: PLR2004
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60:,} h {minutes % 60} min"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": size_text, "duration": duration_text}
    return environment
