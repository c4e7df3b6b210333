"""The benchmark of parsing measures what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import dag_parsing
from benchmarks.dag_parsing import main, parse_in_child
from benchmarks.errors import BenchmarkError


def test_benchmark_of_parsing_reports_each_number_of_backups(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each: milliseconds by file and together; the promise beside those that have one."""
    assert main(counts=(1, 3), rounds=1) == 0
    _, _, one, three = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\| 1 (\| [\d,]+ ){6}\| below 100 \|", one)
    assert re.fullmatch(r"\| 3 (\| [\d,]+ ){6}\|  \|", three)


def test_dags_that_are_missing_are_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another number of backups is noticed, not timed."""
    monkeypatch.setattr(dag_parsing, "scope_of", lambda _: "version: 1\ntables: {a.sql: [a]}\n")
    with pytest.raises(BenchmarkError, match="made 1 DAGs, expected 2"):
        parse_in_child(tmp_path, 2)
