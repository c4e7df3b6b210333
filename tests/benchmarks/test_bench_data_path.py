"""The contest of the data path, small: everybody takes the same rows, and the report is what was measured."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks.backup import back_up
from benchmarks.contest import Competitor
from benchmarks.errors import BenchmarkError
from benchmarks.exporters import ByCopy, ByPgDump, ByPlainWay, ByProduct, Field, selections_of
from benchmarks.folder import BenchmarkFolder
from benchmarks.restorers import restored_copy
from benchmarks.server import COPY, SOURCE, BenchmarkServer
from benchmarks.source import WINDOW_BEGINS, table_bytes
from benchmarks.wishes import MB

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE_MB, WINDOW_MB = 8, 4
COMPETITORS = [
    "Critical Backup",
    "the plain way",
    "pg_dump -Fd -j2",
    "pg_dump -Fc",
    "bare COPY, 2 connections",
    "bare COPY, 1 connection",
]


def run_contest(folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program on the small source."""
    command = [sys.executable, "-m", program, "--size", f"{SIZE_MB}MB", "--window", f"{WINDOW_MB}MB"]
    places = {"BENCH_DIR": str(folder / "bench"), "BENCH_REPORT_DIR": str(folder / "report")}
    return subprocess.run(
        [*command, *arguments],
        cwd=REPOSITORY, env={"PATH": os.environ["PATH"], **places}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `make bench` has run once, with everybody."""
    folder = tmp_path_factory.mktemp("data_path")
    done = run_contest(folder, "benchmarks", "--rounds", "1")
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def figures(folder: Path) -> dict[str, Any]:
    """The JSON file."""
    figures: dict[str, Any] = json.loads((folder / "report" / "data_path.json").read_text())
    return figures


@pytest.fixture
def server(folder: Path) -> Iterator[BenchmarkServer]:
    """The server that the contest has left, with its source."""
    with BenchmarkServer(BenchmarkFolder(folder / "bench").postgres) as server:
        yield server


@pytest.fixture
def field(server: BenchmarkServer, tmp_path: Path) -> Field:
    """All that the competitors share, made anew."""
    archive, sidecar, _ = back_up(server, tmp_path)
    rows_database = restored_copy(server, archive, sidecar, tmp_path)
    return Field(server, rows_database, sidecar, selections_of(server), tmp_path / "run")


def test_both_contests_have_run(folder: Path) -> None:
    """The one command writes both reports, and leaves no work files."""
    reports = {"data_path.json", "data_path.md", "data_path.svg", "restore.json", "restore.md", "restore.svg"}
    assert {file.name for file in (folder / "report").iterdir()} == reports
    assert not (folder / "bench" / "work").exists()


def test_everybody_runs_and_the_product_counts_its_verification(figures: dict[str, Any]) -> None:
    """One run each, of stages that are all counted."""
    stages = {run["competitor"]: [stage["name"] for stage in run["stages"]] for run in figures["runs"]}
    assert sorted(stages) == sorted(COMPETITORS)
    assert stages["Critical Backup"] == ["export", "archive", "verify"]
    assert stages["the plain way"] == ["pg_dump per table", r"psql \copy", "tar -czf", "gzip -t"]
    for run in figures["runs"]:
        assert run["seconds"] == pytest.approx(sum(stage["seconds"] for stage in run["stages"]), abs=0.02)


def test_promises_follow_from_the_measured_seconds(figures: dict[str, Any]) -> None:
    """Each promised pair, and whether its ratio is within the promise."""
    seconds = {run["competitor"]: run["seconds"] for run in figures["runs"]}
    peers = {promise["peer"]: promise for promise in figures["promises"]}
    assert sorted(peers) == ["bare COPY, 1 connection", "pg_dump -Fd -j2", "the plain way"]
    for peer, promise in peers.items():
        ratio = seconds["Critical Backup"] / seconds[peer]
        assert promise["median"] == pytest.approx(ratio, rel=0.02)
        assert promise["kept"] == (promise["median"] <= promise["at_most"])


def test_report_has_sizes_versions_and_rounds(folder: Path, figures: dict[str, Any]) -> None:
    """What was written by whom, beside gzip -6 of the same tar; programs, machine, and how many rounds."""
    sizes = figures["sizes"]
    assert 0 < sizes["archive_by_gzip_bytes"] < sizes["unpacked_bytes"]
    for name in COMPETITORS[:4]:
        assert sizes[f"written {name}"] > sizes["unpacked_bytes"] / 20
    report = (folder / "report" / "data_path.md").read_text()
    assert "1 rounds" in report
    for program in ("tar", "gzip", "isal", "server_version", "processor"):
        assert program in report
    (verify,) = (s for run in figures["runs"] for s in run["stages"] if s["name"] == "verify")
    speed = sizes["unpacked_bytes"] / MB / verify["processor_seconds"]
    seen = re.search(r"s of the cores: (\d+) MB of rows for each second .* is (kept|\*\*not kept\*\*)", report)
    assert seen is not None
    assert int(seen[1]) == pytest.approx(speed, rel=0.02, abs=1)
    assert (seen[2] == "kept") == (speed >= 300)
    drawing = (folder / "report" / "data_path.svg").read_text()
    assert all(name in drawing for name in COMPETITORS)
    assert drawing.count('<rect class="own"') == 1


def test_source_has_rows_before_the_window_and_in_it(server: BenchmarkServer) -> None:
    """The size is about what was asked, and about half of it is taken."""
    tables_bytes, _ = table_bytes(server)
    assert tables_bytes == pytest.approx(SIZE_MB * MB, rel=0.25)
    query = "SELECT count(*) FILTER (WHERE created_at >= %s)::float / count(*) FROM credit_transactions"
    with psycopg.connect(server.conninfo(SOURCE)) as session:
        (share,) = session.execute(query, [WINDOW_BEGINS]).fetchone() or (0.0,)
    assert 0.25 < share < 0.75


def test_copy_of_the_rows_has_exactly_those_of_the_archive(field: Field) -> None:
    """What pg_dump dumps is what the product takes, row for row."""
    with psycopg.connect(field.server.conninfo(COPY)) as session:
        for table in field.manifest.tables:
            query = f"SELECT count(*) FROM {table.qualified.sql}"
            assert session.execute(query).fetchone() == (table.rows,), table.name


@pytest.mark.parametrize("connections", [1, 2])
def test_bare_copy_reads_every_row_once(field: Field, connections: int) -> None:
    """The statements that its connections run are those of all tables, each once."""
    shares = ByCopy(field, connections)._shares()
    statements = [statement for share in shares for statement in share]
    assert len(shares) == connections
    assert sorted(statements) == sorted(selection.copy_statement for selection in field.selections)


def test_every_competitor_can_run_again_and_leaves_nothing(field: Field) -> None:
    """A second run of each finds an empty folder."""
    everybody: list[Competitor] = [
        ByProduct(field), ByPlainWay(field), ByPgDump(field, ("-Fd", "-j2")), ByPgDump(field, ("-Fc",)),
    ]  # fmt: skip
    for competitor in (*everybody, *everybody):
        assert competitor.run()
        assert not field.folder.exists()


def test_archive_with_other_rows_gives_no_figure(field: Field) -> None:
    """What differs from the first archive is an error, not a time."""
    *tables, _ = field.manifest.tables
    other = replace(field, manifest=field.manifest.model_copy(update={"tables": tuple(tables)}))
    with pytest.raises(BenchmarkError, match=r"\d+ rows in the archive, expected \d+"):
        ByProduct(other).run()


def test_only_some_competitors_write_no_report(folder: Path, figures: dict[str, Any]) -> None:
    """With --only their table is shown, and the report of all stays."""
    before = (folder / "report" / "data_path.md").read_bytes()
    done = run_contest(folder, "benchmarks.data_path", "--rounds", "2", "--only", "product,copy1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "`Critical Backup` takes **" in done.stdout
    assert "the plain way" not in done.stdout
    assert (folder / "report" / "data_path.md").read_bytes() == before
    assert figures["rounds"] == 1


def test_unknown_competitor_is_refused(folder: Path) -> None:
    """The names that there are stand in the error."""
    done = run_contest(folder, "benchmarks.data_path", "--only", "product,rsync")
    assert done.returncode == 2
    assert "--only rsync: expected some of product,plain,fd,fc,copy2,copy1" in done.stderr
