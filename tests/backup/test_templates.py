"""Sizes and times as people read them, and what becomes of odd text in HTML."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from include.backup.letter import Choice, Letter
from include.backup.notice import Notice
from include.backup.templates import printable, render, size_text, time_text

if TYPE_CHECKING:
    from tests.fix_archives import MakeSidecar

KB, MB, GB = 1024, 1024**2, 1024**3
ODD = "<script>alert('x')</script> & \"quoted\""


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (KB, "1.0 KB"),
        (1536, "1.5 KB"),
        (MB, "1.0 MB"),
        (int(4.6 * MB), "4.6 MB"),
        (1000 * MB, "1,000.0 MB"),
        (GB, "1.0 GB"),
        (1234 * GB, "1,234.0 GB"),
        (MB - 1, "1.0 MB"),
        (GB - 1, "1.0 GB"),
    ],
)
def test_size_text_any_size_in_its_unit(size: int, text: str) -> None:
    """A size has the unit that people would choose, of 1,024; never 1,024.0 of the smaller one."""
    assert size_text(size) == text


@given(st.integers(0, 10**15))
def test_size_text_any_size_is_near(size: int) -> None:
    """What is shown is the size, to a tenth of its unit."""
    number, unit = size_text(size).split()
    factor = {"bytes": 1, "KB": KB, "MB": MB, "GB": GB}[unit]
    assert abs(float(number.replace(",", "")) * factor - size) <= 0.05 * factor + 1


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("UTC", "2026-07-01 22:30:05 UTC"),
        ("Europe/Berlin", "2026-07-02 00:30:05 CEST"),
        ("Asia/Bangkok", "2026-07-02 05:30:05 +07"),
        ("America/New_York", "2026-07-01 18:30:05 EDT"),
    ],
)
def test_time_text_in_the_zone(zone: str, text: str) -> None:
    """A moment is shown in the zone, which is named; fractions of a second are not."""
    moment = datetime(2026, 7, 1, 22, 30, 5, 999_999, tzinfo=timezone.utc)
    assert time_text(moment, ZoneInfo(zone)) == text
    assert time_text(moment.astimezone(timezone(timedelta(hours=-3))), ZoneInfo(zone)) == text


def mail_values(sidecar: MakeSidecar, folder: Path, **changes: object) -> dict[str, object]:
    server = sidecar().server.model_copy(update={"database": ODD})
    values: dict[str, object] = {
        "sidecar": sidecar(server=server),
        "letter": Letter(
            archive=folder / "x.tar.gz",
            sidecar=sidecar(),
            choice=Choice("link", ODD),
            warnings=(),
            link_base_url='https://example.com/"><script>',
            run_url='https://example.com/"onclick="x',
            zone=timezone.utc,
        ),
        "warnings": (ODD,),
        "in_clear": [ODD],
    }
    return values | changes


def test_render_html_odd_text_escaped(sidecar: MakeSidecar, tmp_path: Path) -> None:
    """Names, reasons, warnings and addresses cannot become HTML."""
    html = render("backup_mail.html.j2", mail_values(sidecar, tmp_path))
    assert "<script" not in html
    assert '"onclick="' not in html
    assert "&lt;script&gt;" in html


def test_render_text_odd_text_kept(sidecar: MakeSidecar, tmp_path: Path) -> None:
    """Plain text is plain: nothing in it is escaped."""
    text = render("backup_mail.txt.j2", mail_values(sidecar, tmp_path))
    assert f"* {ODD}" in text
    assert "&lt;" not in text
    assert "&#" not in text


def test_render_unknown_name_is_an_error(sidecar: MakeSidecar, tmp_path: Path) -> None:
    """A name that is not given is an error, not an empty place in a mail."""
    values = mail_values(sidecar, tmp_path)
    del values["warnings"]
    with pytest.raises(UndefinedError, match="warnings"):
        render("backup_mail.txt.j2", values)


@given(st.text())
def test_value_in_a_plain_text_adds_no_line_and_no_control_character(text: str) -> None:
    """A name with line feeds or a terminal's escape sequence stays in its line, and is still to be recognised."""
    notice = Notice(state="ok", title=text, text="why", facts=(("Name", text),), next_steps=(text,), url=None)
    body = render("notice_mail.txt.j2", {"notice": notice, "page_url": None})
    lines = len(render("notice_mail.txt.j2", {"notice": replace(notice, title="a"), "page_url": None}).split("\n"))
    assert len(body.split("\n")) == lines
    assert all(line.isprintable() for line in body.split("\n"))


def test_readable_names_stay_as_they_are() -> None:
    """Only what cannot be seen is written otherwise."""
    assert printable("ตาราง user's “table” 🙂 é") == "ตาราง user's “table” 🙂 é"
    assert printable("a\nb\x1b[31m\u202ec") == r"a\nb\x1b[31m\u202ec"
