"""`make bench`, small: the whole program runs, and its figures are what it measured; never how fast."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import psycopg
import pytest

from benchmarks.backup import back_up
from benchmarks.contest import Run, ratio_of, turn_order
from benchmarks.errors import BenchmarkError
from benchmarks.folder import BenchmarkFolder
from benchmarks.programs import Stage
from benchmarks.restorers import Ground
from benchmarks.server import SOURCE, BenchmarkServer
from benchmarks.source import prepare_source
from benchmarks.wishes import MB
from include.demo.embedded_postgres import EmbeddedPostgres

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "benchmarks.restore"]
COMPETITORS = ["restore.sh --jobs 1", "restore.sh --jobs 2", "pg_restore -j2"]
SIZE_MB = 5
WINDOW_MB = 3


@dataclass
class Bench:
    """A benchmark that has run, and where."""

    folder: Path
    report: Path
    output: str

    @property
    def figures(self) -> dict[str, Any]:
        """The JSON file."""
        figures: dict[str, Any] = json.loads((self.report / "restore.json").read_text())
        return figures


def environment(folder: Path, **wishes: str) -> dict[str, str]:
    places = {"BENCH_DIR": str(folder / "bench"), "BENCH_REPORT_DIR": str(folder / "report")}
    return (
        {"PATH": os.environ["PATH"], "SIZE": f"{SIZE_MB}MB", "WINDOW": f"{WINDOW_MB}MB", "ROUNDS": "1"}
        | places
        | wishes
    )


def processes_below(folder: Path) -> list[str]:
    """The living processes that have the folder in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One small run of the whole program."""
    folder = tmp_path_factory.mktemp("bench")
    done = subprocess.run(COMMAND, cwd=REPOSITORY, env=environment(folder), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return Bench(folder / "bench", folder / "report", done.stdout)


@pytest.fixture
def server(bench: Bench) -> Iterator[BenchmarkServer]:
    """The server that the small run has left, with its source."""
    with BenchmarkServer(BenchmarkFolder(bench.folder).postgres) as server:
        yield server


def test_small_run_lets_everybody_run_in_each_round(bench: Bench) -> None:
    """Each competitor has one run a round, whose stages together are its seconds."""
    runs = bench.figures["runs"]
    assert sorted(run["competitor"] for run in runs) == sorted(COMPETITORS)
    assert sorted(run["turn"] for run in runs) == [1, 2, 3]
    for run in runs:
        assert run["seconds"] == pytest.approx(sum(stage["seconds"] for stage in run["stages"]), abs=0.02)
        assert run["seconds"] > 0


def test_ratios_are_those_of_the_measured_seconds(bench: Bench) -> None:
    """The ratios in the JSON file follow from the seconds in it."""
    figures = bench.figures
    seconds = {run["competitor"]: run["seconds"] for run in figures["runs"]}
    assert [ratio["competitor"] for ratio in figures["ratios"]] == COMPETITORS[:2]
    assert [promise["competitor"] for promise in figures["promises"]] == COMPETITORS[:2]
    for ratio in figures["ratios"]:
        expected = seconds[ratio["competitor"]] / seconds[ratio["peer"]]
        assert ratio["median"] == pytest.approx(expected, rel=0.02)
    for promise in figures["promises"]:
        assert promise["kept"] == (seconds[promise["competitor"]] <= promise["at_most"] * seconds[promise["peer"]])


def test_figures_say_what_was_measured_and_on_what(bench: Bench) -> None:
    """Sizes, machine and the durable settings of the server are recorded."""
    figures = bench.figures
    assert figures["sizes"]["tables_bytes"] == pytest.approx(SIZE_MB * MB, rel=0.25)
    assert 0 < figures["sizes"]["archive_bytes"] < figures["sizes"]["unpacked_bytes"]
    assert figures["sizes"]["dump_bytes"] > 0
    assert figures["settings"]["fsync"] == figures["settings"]["synchronous_commit"] == "on"
    assert {"processor", "cores", "kernel", "python"} <= figures["machine"].keys()


def test_report_and_chart_show_the_figures(bench: Bench) -> None:
    """The table has each competitor's seconds, few rounds are called too few, and the chart names everybody."""
    report = (bench.report / "restore.md").read_text()
    drawing = ET.parse(bench.report / "restore.svg")  # noqa: S314 - just written by this program
    texts = [text.text or "" for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    for run in bench.figures["runs"]:
        row = next(line for line in report.splitlines() if line.startswith(f"| `{run['competitor']}`"))
        assert float(row.split("|")[2]) == pytest.approx(run["seconds"], abs=0.006)
        assert run["competitor"] in texts
    assert "Only 1 of at least 5 rounds" in report


def databases_below(folder: Path) -> set[str]:
    """The databases in a benchmark's folder, seen by a server that drops none."""
    query = "SELECT datname FROM pg_database WHERE NOT datistemplate"
    with EmbeddedPostgres(BenchmarkFolder(folder).postgres) as server, psycopg.connect(server.conninfo()) as session:
        return {str(name) for (name,) in session.execute(query)}


def test_run_leaves_only_the_source(bench: Bench) -> None:
    """No work files, no restored databases and no processes remain; the source is kept."""
    assert processes_below(bench.folder) == []
    assert not (bench.folder / "work").exists()
    assert databases_below(bench.folder) == {"postgres", SOURCE}


def test_source_is_built_again_only_for_another_size(server: BenchmarkServer) -> None:
    """A second run of the same size finds the source; another size replaces it."""
    assert not prepare_source(server, SIZE_MB * MB, WINDOW_MB * MB)
    assert prepare_source(server, 2 * MB, 1 * MB)
    assert prepare_source(server, SIZE_MB * MB, WINDOW_MB * MB)


def test_database_with_other_rows_gives_no_figure(server: BenchmarkServer, tmp_path: Path) -> None:
    """The source has rows from before the window, so it is not taken for a restored archive."""
    archive, sidecar, stages = back_up(server, tmp_path)
    assert [stage.name for stage in stages] == ["export", "archive", "verify"]
    with pytest.raises(BenchmarkError, match=r"bench_source has other rows.*credit_transactions \d+ \(expected \d+\)"):
        Ground(server, archive, sidecar, tmp_path, tmp_path).require_same(SOURCE)


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"SIZE": "1TB"}, "SIZE=1TB is no size"),
        ({"SIZE": "-5MB"}, "SIZE=-5MB is no size"),
        ({"SIZE": "1MB"}, "expected at least 2MB"),
        ({"ROUNDS": "0"}, "ROUNDS=0 is no number of rounds"),
        ({"ROUNDS": "many"}, "ROUNDS=many is no number of rounds"),
        ({"SIZE": "900000GB"}, "too little disk"),
        ({"BENCH_DIR": "/dev/null/bench"}, "cannot write to /dev/null/bench"),
    ],
)
def test_bad_wish_is_one_line_before_work_starts(tmp_path: Path, wishes: dict[str, str], reason: str) -> None:
    """What cannot be done is said in one line, and nothing is made."""
    wanted = environment(tmp_path, **wishes)
    done = subprocess.run(COMMAND, cwd=REPOSITORY, env=wanted, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert reason in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_second_benchmark_in_one_folder_is_refused(tmp_path: Path) -> None:
    """Two at once would disturb each other's figures and files."""
    folder = BenchmarkFolder(tmp_path)
    with folder.hold(), pytest.raises(BenchmarkError, match="a benchmark is at work"), folder.hold():
        pass


def test_terminated_run_ends_what_it_started(tmp_path: Path) -> None:
    """SIGTERM in the middle: no process, no work files, no restored database, no report."""
    with subprocess.Popen(
        COMMAND, cwd=REPOSITORY, env=environment(tmp_path, ROUNDS="50"), stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        next(line for line in run.stdout if "round 1 of 50" in line)
        run.send_signal(signal.SIGTERM)
        run.stdout.read()
    assert run.returncode == 130
    assert processes_below(tmp_path) == []
    assert not (tmp_path / "bench" / "work").exists()
    assert not (tmp_path / "report").exists()
    assert databases_below(tmp_path / "bench") == {"postgres", SOURCE}


def test_turns_are_mirrored_in_each_pair_of_rounds() -> None:
    """Everybody has the same place on average, and the pairs differ."""
    orders = [turn_order(3, number) for number in range(1, 21)]
    assert all(sorted(order) == [0, 1, 2] for order in orders)
    assert all(first == second[::-1] for first, second in zip(orders[::2], orders[1::2], strict=True))
    assert len({tuple(order) for order in orders}) > 2


def test_ratio_is_formed_within_rounds() -> None:
    """A round that is slow for both counts as any other: the median of ratios is not the ratio of medians."""
    seconds = {"ours": [2.0, 30.0, 5.0], "peer": [1.0, 10.0, 10.0]}
    runs = [
        Run(name, number, 1, (Stage("all", one / 2), Stage("rest", one / 2)))
        for name, taken in seconds.items()
        for number, one in enumerate(taken, 1)
    ]
    ratio = ratio_of(runs, "ours", "peer")
    assert ratio.rounds == (2.0, 3.0, 0.5)
    assert ratio.median == 2.0 != statistics.median(seconds["ours"]) / statistics.median(seconds["peer"])
