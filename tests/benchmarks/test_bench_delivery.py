"""The benchmark of delivery measures what it says."""

from __future__ import annotations

import re

import pytest

from benchmarks.delivery import main


def test_benchmark_of_delivery_reports_rounds_and_median(capsys: pytest.CaptureFixture[str]) -> None:
    """Each round delivers a mail of its own, and the report has the promise beside the median."""
    assert main(size_mb=1, rounds=2) == 0
    assert re.fullmatch(
        r"  round 1 of 2: \d+\.\d\d s\n  round 2 of 2: \d+\.\d\d s\n"
        r"1 MB to 5 administrators: \d+\.\d\d s \(promised: 20\)\n",
        capsys.readouterr().out,
    )
