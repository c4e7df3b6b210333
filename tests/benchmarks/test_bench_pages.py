"""The benchmarks that run alone, small: each program runs, and its page says what it has measured."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.disk import HighWater
from benchmarks.errors import BenchmarkError
from benchmarks.loss import WRITER_PAUSE_SECONDS
from benchmarks.memory import in_a_task
from benchmarks.wishes import MB

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = ["--size", "8MB", "--window", "4MB", "--rounds", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder, and so one source, for all programs."""
    return tmp_path_factory.mktemp("bench")


def page_of(folder: Path, program: str, *arguments: str) -> str:
    """Run a program to its end; return the page that it has written."""
    places = {"BENCH_DIR": str(folder / "bench"), "BENCH_REPORT_DIR": str(folder / "report")}
    command = [sys.executable, "-m", f"benchmarks.{program}", *SMALL, *arguments]
    environment = {"PATH": os.environ["PATH"], **places}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (folder / "bench" / "work").exists()
    page = (folder / "report" / f"{program}.md").read_text()
    assert f"Written by `python -m benchmarks.{program}` on " in page
    assert "- processor: " in page
    return page


def rows_of(page: str) -> dict[str, list[str]]:
    """The rows of the page's first table, by their first cells, the head left out."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    return {first.strip("`"): rest for first, *rest in cells[2:]}


def test_disk_peak_of_each_step_holds_the_archive(folder: Path) -> None:
    """From the archive on, no step can need less than the archive."""
    page = page_of(folder, "disk")
    peaks = {step: float(cells[1]) for step, cells in rows_of(page).items()}
    assert peaks.keys() == {"export", "archive", "verify"}
    assert peaks["archive"] >= 1
    assert peaks["verify"] >= 1


def test_high_water_is_what_was_there_at_once(tmp_path: Path) -> None:
    """A file that is gone at the end counts, one that came later does not count twice."""
    with HighWater(tmp_path) as water:
        for name in ("first", "second"):
            (tmp_path / name).write_bytes(secrets.token_bytes(4 * MB))
            before = water.looks
            while water.looks < before + 2:
                pass
            (tmp_path / name).unlink()
    assert 4 * MB <= water.peak_bytes < 6 * MB


def test_memory_of_every_step_is_held_against_an_idle_task(folder: Path) -> None:
    """Two rows for each step; only the export has programs beside it."""
    page = page_of(folder, "memory")
    cells = re.findall(r"^\| (\w+) \| \d+ \| (\d+) \| -?\d+ \| (\d+) \| 150 \|$", page, re.MULTILINE)
    assert [step for step, _, _ in cells] == [step for step in ("archive", "export", "mail", "verify") for _ in "12"]
    assert all(int(idle) > 20 for _, idle, _ in cells)
    assert {step for step, _, program in cells if int(program)} == {"export"}


def test_memory_peak_is_that_of_the_step() -> None:
    """64 MB that a step holds are seen, and what it returns comes back."""
    idle, peak, _, result = in_a_task(secrets.token_bytes, 64 * MB)
    assert len(result) == 64 * MB
    assert 64 * MB <= peak - idle < 150 * MB


def test_failed_step_gives_no_figure(tmp_path: Path) -> None:
    """The step's own error is the benchmark's."""
    with pytest.raises(BenchmarkError, match=r"rmdir failed: FileNotFoundError: .*missing"):
        in_a_task(os.rmdir, tmp_path / "missing")


def test_old_rows_are_compared_with_and_without_an_index(folder: Path) -> None:
    """Three databases with the same rows in the window; those before it are there twice in two of them."""
    page = page_of(folder, "old_rows")
    assert rows_of(page).keys() == {"twice, no index", "old rows twice", "old rows once"}
    once, twice = (float(size) for size in re.findall(r"([\d.]+) MB with the(?:m| old rows)", page))
    assert twice - once == pytest.approx(4, rel=0.3)


def test_load_says_what_the_users_got_beside_backups(folder: Path) -> None:
    """Transactions with and without, and at least one backup meanwhile."""
    page = page_of(folder, "load", "--seconds", "2")
    (cells,) = rows_of(page).values()
    alone, beside, *_, backups = (float(cell.replace(",", "").rstrip("%")) for cell in cells)
    assert alone > 0
    assert beside > 0
    assert backups >= 1


def test_checkpoints_say_what_they_cost_and_what_a_kill_loses(folder: Path) -> None:
    """Transactions beside them, the disk of a day, and one loss for each kill, from an archive that was restored."""
    page = page_of(folder, "checkpoints", "--seconds", "2", "--every", "1", "--kills", "2")
    (round_,) = (row for row in page.splitlines() if re.fullmatch(r"\|( [\d.,%]+ \|){6}", row))
    _, alone, beside, share, checkpoints, seconds = re.findall(r"[\d.]+", round_.replace(",", ""))
    assert float(share) == pytest.approx(100 * float(beside) / float(alone), abs=0.1)
    assert int(checkpoints) >= 1
    assert float(seconds) > 0
    losses = re.findall(r"^\| \d \| ([\d.]+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(losses) == 2
    for lost, rows in losses:
        assert 0 <= float(lost) < 60
        assert int(rows) <= float(lost) / WRITER_PAUSE_SECONDS + 1
    size, day = re.search(
        r"An archive has ([\d.]+) MB: 144 of a day, which are kept, take \*\*([\d.,]+) MB", page
    ).groups()  # type: ignore[union-attr]
    assert float(day.replace(",", "")) == pytest.approx(144 * float(size), rel=0.05)


@pytest.mark.parametrize("program", ["dag_parsing", "delivery", "health", "status_page", "workers"])
@pytest.mark.parametrize(("option", "status"), [("--help", 0), ("--rounds=1", 2)])
def test_program_without_options_starts_nothing_when_it_is_asked_or_told_one(
    program: str, option: str, status: int, tmp_path: Path
) -> None:
    """It would take minutes, and write its page over the one that is there."""
    command = [sys.executable, "-m", f"benchmarks.{program}", option]
    environment = {**os.environ, "BENCH_REPORT_DIR": str(tmp_path)}
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == status
    assert f"{program}.py" in ended.stdout + ended.stderr
    assert list(tmp_path.iterdir()) == []
