"""The fault matrix names tests that are there, and every fault that the project promises to survive."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = tuple((ROOT / "tests").glob("*/test_*.py"))


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    """The cells of the table."""
    section = (ROOT / "docs/BACKUP_DEVELOPMENT.md").read_text().partition("## Fault matrix")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_every_row_names_tests_that_are_there(rows: list[list[str]]) -> None:
    """Whoever renames or removes one of these tests changes the table as well."""
    there = {name for file in TESTS for name in re.findall(r"(?m)^def (test_\w+)", file.read_text())}
    assert len(rows) > 40
    for fault, moment, holds, tests in rows:
        named = set(re.findall(r"`(test_\w+)`", tests))
        assert named, f"{fault}: {moment}: no test"
        assert named - there == set(), fault
        assert holds, fault


def test_every_test_of_faults_stands_in_the_table(rows: list[list[str]]) -> None:
    """Whoever adds one there says which fault it stands for."""
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row[3])}
    files = (ROOT / "tests" / "faults").glob("test_*.py")
    there = {name for file in files for name in re.findall(r"(?m)^def (test_\w+)", file.read_text())}
    assert there - named == set()
