"""The benchmark of a whole run: a real Airflow, once, on a small database."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = {"export_database", "compress_archive", "verify_archive"}


def test_whole_run_says_what_airflow_adds(tmp_path: Path) -> None:
    """Every task that ran has its seconds, the heavy ones also those without Airflow; the drill has its own."""
    places = {"BENCH_DIR": str(tmp_path / "bench"), "BENCH_REPORT_DIR": str(tmp_path / "report")}
    wishes = ["--size", "8MB", "--window", "4MB", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.nightly", *wishes],
        cwd=REPOSITORY, env={"PATH": os.environ["PATH"], **places}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "bench" / "work").exists()
    page = (tmp_path / "report" / "nightly.md").read_text()
    tasks = dict(re.findall(r"^\| (\w+) \| [\d.]+ \| ([\d.]*) \|$", page, re.MULTILINE))
    assert len(tasks) == 13
    assert {name for name, without in tasks.items() if without} == STEPS
    assert re.search(r"with 13 tasks, Airflow adds \*\*\d+\.\d s to each\*\*", page)
    assert re.search(r"The drill takes \d+\.\d s\.", page)
