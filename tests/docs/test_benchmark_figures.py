"""docs/benchmarks/README.md: what it says was seen stands on the page that the program wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (FOLDER / "README.md").read_text().splitlines()
    if re.match(r"\| \[\w+\]\(\w+\.md\) \|", line)
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0].partition("]")[0].strip("[") for row in ROWS])
def test_what_was_seen_stands_on_the_page(row: list[str]) -> None:
    """Each figure, written as there; and the program is the one that writes the page."""
    link, _, _, seen, program = row
    page = (FOLDER / link.partition("(")[2].rstrip(")")).read_text()
    figures = re.findall(r"\d[\d,.]*\d|\d", seen)
    assert figures
    assert [
        figure for figure in figures if not re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d]|[.,]\d)", page)
    ] == []
    assert program.strip("`") in page


def test_every_page_has_its_line() -> None:
    """A page that nobody links is one that nobody reads."""
    linked = {row[0].partition("(")[2].rstrip(")") for row in ROWS}
    assert linked == {page.name for page in FOLDER.glob("*.md")} - {"README.md"}
