"""The benchmark of delivery measures what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.delivery import main


def test_benchmark_of_delivery_reports_rounds_and_median(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each round delivers a mail of its own; report and page have the promise beside the median."""
    assert main(size_mb=1, rounds=2, report=tmp_path) == 0
    output = re.fullmatch(
        r"  round 1 of 2: \d+\.\d\d s\n  round 2 of 2: \d+\.\d\d s\n"
        r"1 MB to 5 administrators: (\d+\.\d\d) s \(promised: 20\)\n",
        capsys.readouterr().out,
    )
    assert output
    assert f"| 1 MB | 5 | {output[1]} |" in (tmp_path / "delivery.md").read_text()
