"""The table of restore traps names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_restore_traps_name_existing_tests() -> None:
    """Whoever renames or removes one of these tests changes the table as well."""
    section = (ROOT / "docs/BACKUP_DEVELOPMENT.md").read_text().partition("## Restore traps")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(test_\w+)`", section))
    there = {
        name
        for file in (ROOT / "tests").glob("*/test_*.py")
        for name in re.findall(r"(?m)^def (test_\w+)", file.read_text())
    }
    assert named
    assert named - there == set()
