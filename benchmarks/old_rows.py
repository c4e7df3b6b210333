"""`python -m benchmarks.old_rows`: what rows outside the window cost, with an index on its column and without one."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from benchmarks.backup import back_up
from benchmarks.contest import hold_contest
from benchmarks.errors import BenchmarkError
from benchmarks.figures import Figures, Promise
from benchmarks.machine import busy_cores, machine, versions
from benchmarks.more_rows import CREDIT_BRIN, EXPECTED_BYTES, Stretch, grow
from benchmarks.program import run_benchmark
from benchmarks.report import Story, megabytes, table, verdicts, write_report
from benchmarks.server import COPY, SOURCE
from benchmarks.source import OLDEST, WINDOW_BEGINS, prepare_source, table_bytes
from benchmarks.wishes import MB, command_line

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contest import Run
    from benchmarks.programs import Stage
    from benchmarks.server import BenchmarkServer
    from benchmarks.wishes import Wishes
    from include.demo.progress import Progress

PROMISE = 1.1
COPIES = 3
FIRST_NEW_ROW = 1_000_000_000  # above the numbers of the source's own
BRIN = ("DROP INDEX credit_transactions_created_at", CREDIT_BRIN)
NO_INDEX = ("DROP INDEX credit_transactions_created_at", "DROP INDEX point_transactions_created_at")

TITLE = "Old rows: what those outside the window cost"
METHOD = """\
Three databases have the same rows in the window: one with old rows, and two with twice as many of these. The column
of the window has a BRIN index (a few kilobytes) in both large tables of two of them; in the third it has none, so that
every row is read, to be left out. Export, archive and verification of each are timed, in turn, after a restart of the
server with the pages in the system's cache: rows that have to come from a disk cost more. Promised: twice the old rows
take less than 10 % more time, where there is an index. The slower third one is what that index saves.
"""


def main(arguments: list[str] | None = None) -> int:
    """Hold the contest and write the report; slow is not a failure."""
    return run_benchmark(command_line(__doc__).parse_args(arguments), report, copies=COPIES)


def report(server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress) -> None:
    """Measure and write the report."""
    figures = measure_old_rows(server, work, wishes, progress)
    sizes = (
        f"Tables: {megabytes(figures.sizes['once_bytes'])} with the old rows once, "
        f"{megabytes(figures.sizes['twice_bytes'])} with them twice; {figures.sizes['rows']:,} rows are taken of each."
    )
    page = write_report(figures, Story("old_rows", TITLE, METHOD, sizes), wishes.report_folder)
    print(table(figures), "\n".join(verdicts(figures)), f"report: {page}", sep="\n\n")


@dataclass(frozen=True)
class ByProduct:
    """One archive of one of the databases."""

    name: str
    database: str
    server: BenchmarkServer
    folder: Path
    rows: int

    def run(self) -> tuple[Stage, ...]:
        """Make it. Raises BenchmarkError if it has other rows than those of the window."""
        self.server.start_afresh()
        self.folder.mkdir()
        _, sidecar, stages = back_up(self.server, self.folder, self.database)
        shutil.rmtree(self.folder)
        if sidecar.rows != self.rows:
            raise BenchmarkError(f"{sidecar.rows} rows in the archive of {self.database}, expected {self.rows}")
        return stages


def measure_old_rows(server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress) -> Figures:
    """Prepare the three databases, then hold the contest."""
    made_at, busy = datetime.now(timezone.utc), busy_cores()
    with progress.step(f"The source, {wishes.size_bytes // MB} MB, of which {wishes.window_bytes // MB} MB are taken"):
        prepare_source(server, wishes.size_bytes, wishes.window_bytes)
    once, twice, bare = (f"{COPY}_{name}" for name in ("once", "twice", "bare"))
    old = int((wishes.size_bytes - wishes.window_bytes) / EXPECTED_BYTES)
    with progress.step("One database with its old rows, two with twice as many"):
        _make(server, once, SOURCE, BRIN)
        _make(server, twice, once, ())
        grow(server.conninfo(twice), [Stretch(OLDEST, WINDOW_BEGINS, FIRST_NEW_ROW, old)], brin=True)
        _make(server, bare, twice, NO_INDEX)
    (work / "first").mkdir()
    _, sidecar, _ = back_up(server, work / "first")
    competitors = [
        ByProduct(name, database, server, work / "run", sidecar.rows)
        for name, database in {"twice, no index": bare, "old rows twice": twice, "old rows once": once}.items()
    ]

    def show(run: Run) -> None:
        progress.say(f"  round {run.round} of {wishes.rounds}: {run.competitor:<28}{run.seconds:8.2f} s")

    runs = hold_contest(competitors, rounds=wishes.rounds, show=show)
    return Figures(
        made_at=made_at,
        machine=machine(),
        settings=server.settings(),
        versions=versions(),
        busy_cores_before=busy,
        sizes={
            "once_bytes": table_bytes(server, once)[0],
            "twice_bytes": table_bytes(server, twice)[0],
            "rows": sidecar.rows,
        },
        competitors=tuple(competitor.name for competitor in competitors),
        promises=(Promise("old rows twice", "old rows once", PROMISE),),
        runs=runs,
    )


def _make(server: BenchmarkServer, name: str, template: str, statements: tuple[str, ...]) -> None:
    with psycopg.connect(server.conninfo(), autocommit=True) as session:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        session.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
    with psycopg.connect(server.conninfo(name), autocommit=True) as session:
        for statement in statements:
            session.execute(statement)


if __name__ == "__main__":
    sys.exit(main())
