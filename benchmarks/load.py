"""`python -m benchmarks.load`: what a backup takes from the users of the database, by pgbench with one and without."""

from __future__ import annotations

import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import psycopg

from benchmarks.backup import back_up
from benchmarks.errors import BenchmarkError
from benchmarks.program import run_benchmark
from benchmarks.programs import run_program
from benchmarks.report import write_page
from benchmarks.server import COPY
from benchmarks.source import prepare_source
from benchmarks.wishes import MB, command_line

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.server import BenchmarkServer
    from benchmarks.wishes import Wishes
    from include.demo.progress import Progress

USERS = f"{COPY}_pgbench"
SCALE = 20  # 300 MB: more than the server's buffers
CLIENTS = 4
SECONDS = 30

METHOD = f"""\
`pgbench` (its usual transaction, scale {SCALE}, {CLIENTS} clients, commits that wait for the disk) runs against a
database of the same server, so that it shares processors, buffers, log and disk with the backup: once alone, once
while one backup follows another, in turns, and the other way round in every other round. Ratios are formed within a
round, the median is of these. Everything is on one machine, the backup's own programs and pgbench too: with the backup
on another host than the server its compression would cost the users nothing.
"""


@dataclass(frozen=True)
class Served:
    """What the users got: transactions a second, milliseconds for each; and how many backups ran meanwhile."""

    tps: float
    latency_ms: float
    backups: int = 0


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the report; slow is not a failure."""
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"for each turn of pgbench ({SECONDS})")
    options = parser.parse_args(arguments)

    def measure(server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress) -> None:
        report(measure_load(server, work, wishes, progress, options.seconds), options.seconds, wishes)

    return run_benchmark(options, measure)


def report(rounds: list[tuple[Served, Served]], seconds: int, wishes: Wishes) -> None:
    """Write the report."""
    lines = [
        "| round | alone, tps | beside backups | of it | alone, ms | beside | backups |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for number, (alone, beside) in enumerate(rounds, 1):
        lines.append(
            f"| {number} | {alone.tps:,.0f} | {beside.tps:,.0f} | {beside.tps / alone.tps:.0%} | "
            f"{alone.latency_ms:.2f} | {beside.latency_ms:.2f} | {beside.backups} |"
        )
    left = median(beside.tps / alone.tps for alone, beside in rounds)
    said = (
        f"While backups run, the users keep **{left:.0%}** of their transactions ({len(rounds)} rounds of {seconds} s)."
    )
    size = f"The backups take {wishes.window_bytes // MB} MB of {wishes.size_bytes // MB} MB."
    sections = [said, "\n".join(lines), size, METHOD.rstrip()]
    page = write_page("load", "Load on the source: what the users notice", sections, wishes.report_folder)
    print(said, "\n".join(lines), f"report: {page}", sep="\n\n")


def measure_load(
    server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress, seconds: int
) -> list[tuple[Served, Served]]:
    """Return what the users got in each round: alone, and beside backups."""
    with progress.step(f"The source, {wishes.size_bytes // MB} MB, of which {wishes.window_bytes // MB} MB are taken"):
        prepare_source(server, wishes.size_bytes, wishes.window_bytes)
    with progress.step("The users' database"):
        prepare_users(server, work)
    rounds = []
    for number in range(1, wishes.rounds + 1):
        if number % 2:
            alone = serve(server, work, seconds)
            beside = serve_beside_backups(server, work, seconds)
        else:
            beside = serve_beside_backups(server, work, seconds)
            alone = serve(server, work, seconds)
        rounds.append((alone, beside))
        progress.say(
            f"  round {number} of {wishes.rounds}: {alone.tps:8.0f} tps alone, {beside.tps:8.0f} beside backups"
        )
    return rounds


def prepare_users(server: BenchmarkServer, work: Path) -> None:
    """Make the database that pgbench works on."""
    with psycopg.connect(server.conninfo(), autocommit=True) as session:
        session.execute(f"CREATE DATABASE {USERS}")
    program = ["pgbench", "--initialize", "--quiet", f"--scale={SCALE}", USERS]
    run_program(program, environment=server.client_environment, folder=work)


def serve(server: BenchmarkServer, work: Path, seconds: int) -> Served:
    """Let pgbench run."""
    program = ["pgbench", f"--client={CLIENTS}", f"--time={seconds}", USERS]
    _, lines = run_program(program, environment=server.client_environment, folder=work)
    output = "\n".join(line for _, line in lines)
    tps, latency = (re.search(rf"^{name} = ([\d.]+)", output, re.MULTILINE) for name in ("tps", "latency average"))
    if not tps or not latency:
        raise BenchmarkError(f"pgbench did not say how fast it was: {output[-300:]}")
    return Served(float(tps[1]), float(latency[1]))


def serve_beside_backups(server: BenchmarkServer, work: Path, seconds: int) -> Served:
    """Let pgbench run while one backup follows another; the last one ends after it."""
    folder = work / "backups"
    backups = 0
    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve, server, work, seconds)
        while not serving.done():
            folder.mkdir()
            back_up(server, folder)
            shutil.rmtree(folder)
            backups += 1
        served = serving.result()
    return Served(served.tps, served.latency_ms, backups)


if __name__ == "__main__":
    sys.exit(main())
