"""The benchmark of the health check measures what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import health
from benchmarks.errors import BenchmarkError
from benchmarks.health import look, main


def test_benchmark_of_the_health_check_reports_each_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each number of archives: milliseconds, and the promise beside them; the page has the same."""
    assert main(counts=(1, 2), rounds=2, report=tmp_path) == 0
    _, _, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for count, line in zip((1, 2), lines, strict=True):
        assert re.fullmatch(rf"\| {count} (\| \d+ ){{4}}\| below 50 \|", line)
    assert "\n".join(lines) in (tmp_path / "health.md").read_text()


def test_folder_without_backups_is_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error in one line, not the time of a failed look."""
    with pytest.raises(BenchmarkError, match="is empty"):
        look(tmp_path)
    monkeypatch.setattr(health, "lay_archives", lambda *_, **__: None)
    assert main(counts=(1,), rounds=1) == 1
    assert "expected healthy backups" in capsys.readouterr().err
