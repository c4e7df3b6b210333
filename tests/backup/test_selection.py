"""Which rows of a windowed table are taken, as SQL."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from zoneinfo import ZoneInfo

from include.backup.selection import Window


def test_window_cut_off_in_any_zone_is_written_in_utc() -> None:
    """The same moment is meant whatever zone the cut-off came in and the session is in."""
    window = Window("at", 3, datetime(2026, 3, 1, tzinfo=ZoneInfo("Asia/Bangkok")))
    since = "'2026-02-28 17:00:00+00'"
    assert window.inside("t") == f'(t."at" >= {since} OR t."at" IS NULL)'
    assert window.outside("t") == f't."at" < {since}'
    assert dataclasses.replace(window, not_null=True).inside("t") == f't."at" >= {since}'
