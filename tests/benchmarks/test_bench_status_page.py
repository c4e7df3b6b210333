"""The benchmark of the status page measures what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import status_page


def test_benchmark_of_the_status_page_reports_each_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real api-server answers with the archives that were laid; table and page have a line for each address."""
    monkeypatch.setattr(status_page, "ADDRESSES", {"/backup/": "the page"})
    assert status_page.main(counts=[3], rounds=2, report=tmp_path) == 0
    output = capsys.readouterr().out
    line = re.search(r"^\| 3 \| the page \|( [\d,]+ \|){5}  \|$", output, re.MULTILINE)
    assert line, output
    assert line[0] in (tmp_path / "status_page.md").read_text()
