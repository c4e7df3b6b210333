"""`python -m benchmarks.checkpoints`: what checkpoints cost the source and the disk, and what is really lost."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.backup import back_up
from benchmarks.load import CLIENTS, SCALE, Served, prepare_users, serve
from benchmarks.loss import WRITER_PAUSE_SECONDS, Loss, lose_everything, prepare_writers_database
from benchmarks.program import run_benchmark
from benchmarks.report import megabytes, write_page
from benchmarks.source import prepare_source
from benchmarks.wishes import MB, command_line

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.server import BenchmarkServer
    from benchmarks.wishes import Wishes
    from include.demo.progress import Progress

SECONDS, EVERY, KILLS = 120, 30, 10
USUAL_MINUTES = 10  # the schedule of docs/CHECKPOINTS.md
A_DAY = 24 * 60 // USUAL_MINUTES

METHOD = f"""\
`pgbench` (its usual transaction, scale {SCALE}, {CLIENTS} clients) runs against another database of the same server,
once alone and once beside checkpoints at the interval above, in turns. The cost of a run every {USUAL_MINUTES} minutes
is that share, spread over {USUAL_MINUTES} minutes instead: it is computed, not waited for.

For the loss, a writer commits a numbered row every {WRITER_PAUSE_SECONDS * 1000:.0f} ms while checkpoints follow one
another at the interval above. At a random moment writer, checkpoint and server get SIGKILL. Then the newest archive
that has a name is restored by its own `restore.sh`: it must hold all rows up to its last one, and lost is the time from
that one's commit to the kill. Export, archive and verification are the product's; Airflow's part, which makes a run
longer, is in [nightly](nightly.md).
"""


@dataclass(frozen=True)
class Cost:
    """One round: pgbench alone and beside checkpoints, the seconds of each checkpoint, and the bytes of the last."""

    alone: Served
    beside: Served
    runs: tuple[float, ...]
    archive_bytes: int

    @property
    def kept(self) -> float:
        """The share of transactions that the users keep."""
        return self.beside.tps / self.alone.tps


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the report; slow is not a failure."""
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"for each turn of pgbench ({SECONDS})")
    parser.add_argument("--every", type=float, default=EVERY, help=f"seconds from checkpoint to checkpoint ({EVERY})")
    parser.add_argument("--kills", type=int, default=KILLS, help=f"how often everything is killed ({KILLS})")
    options = parser.parse_args(arguments)

    def measure(server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress) -> None:
        with progress.step(
            f"The source, {wishes.size_bytes // MB} MB, of which {wishes.window_bytes // MB} MB are taken"
        ):
            prepare_source(server, wishes.size_bytes, wishes.window_bytes)
        costs = _measure_costs(server, work, wishes, progress, options)
        report(costs, _measure_losses(server, work, progress, options), options, wishes)

    return run_benchmark(options, measure, copies=1)


def _measure_costs(
    server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress, options: argparse.Namespace
) -> list[Cost]:
    with progress.step("The users' database"):
        prepare_users(server, work)
    costs = []
    for number in range(1, wishes.rounds + 1):
        alone = serve(server, work, options.seconds)
        costs.append(_beside(server, work, alone, options))
        progress.say(f"  round {number} of {wishes.rounds}: the users keep {costs[-1].kept:.1%}")
    return costs


def _beside(server: BenchmarkServer, work: Path, alone: Served, options: argparse.Namespace) -> Cost:
    """Let pgbench run beside a checkpoint each interval; one that is under way at its end is not waited for by it."""
    folder = work / "beside"
    folder.mkdir()
    runs: list[float] = []
    archive_bytes = 0
    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve, server, work, options.seconds)
        while not serving.done():
            began = time.monotonic()
            _, sidecar, _ = back_up(server, folder)
            archive_bytes = sidecar.archive_bytes
            runs.append(time.monotonic() - began)
            while not serving.done() and time.monotonic() - began < options.every:
                time.sleep(0.05)
        served = serving.result()
    shutil.rmtree(folder)
    return Cost(alone, served, tuple(runs), archive_bytes)


def _measure_losses(server: BenchmarkServer, work: Path, progress: Progress, options: argparse.Namespace) -> list[Loss]:
    with progress.step("The writer's database"):
        prepare_writers_database(server)
    choice = random.Random(options.kills)  # noqa: S311 - a moment is no secret
    losses = []
    for number in range(1, options.kills + 1):
        losses.append(lose_everything(server, work, options.every, choice))
        progress.say(f"  kill {number} of {options.kills}: {losses[-1].seconds:.1f} s lost, {losses[-1].rows} rows")
    return losses


def report(costs: list[Cost], losses: list[Loss], options: argparse.Namespace, wishes: Wishes) -> None:
    """Write the report."""
    kept, run = median(cost.kept for cost in costs), median(seconds for cost in costs for seconds in cost.runs)
    spread = (1 - kept) * options.every / (60 * USUAL_MINUTES)
    archive_bytes = costs[-1].archive_bytes
    lost = [loss.seconds for loss in losses]
    usual, most, bound = median(lost), max(lost), options.every + run
    users = f"Beside a checkpoint every {options.every:g} s the users keep **{kept:.1%}** of their transactions."
    disk = f"{A_DAY} of a day, which are kept, take **{megabytes(A_DAY * archive_bytes)}**."
    kill = f"Killed {len(lost)} times at random: lost are **{usual:.1f} s**, the median, and at most **{most:.1f} s**"
    said = (
        f"- {users} Every {USUAL_MINUTES} minutes that is **{1 - spread:.2%}**.\n"
        f"- An archive has {megabytes(archive_bytes)}: {disk}\n"
        f"- {kill}; interval and run time are {bound:.1f} s together."
    )
    table = [
        "| round | alone, tps | beside checkpoints | of it | checkpoints | seconds of one |",
        "|--:|--:|--:|--:|--:|--:|",
        *(
            f"| {number} | {cost.alone.tps:,.0f} | {cost.beside.tps:,.0f} | {cost.kept:.1%} | {len(cost.runs)} "
            f"| {median(cost.runs):.2f} |"
            for number, cost in enumerate(costs, 1)
        ),
    ]
    kills = ["| kill | seconds lost | rows lost |", "|--:|--:|--:|"]
    kills += [f"| {number} | {loss.seconds:.1f} | {loss.rows:,} |" for number, loss in enumerate(losses, 1)]
    size = f"The checkpoints take {wishes.window_bytes // MB} MB of {wishes.size_bytes // MB} MB."
    sections = [said, "\n".join(table), "\n".join(kills), size, METHOD.rstrip()]
    page = write_page("checkpoints", "Checkpoints: what they cost, and what is lost", sections, wishes.report_folder)
    print(said, f"report: {page}", sep="\n\n")


if __name__ == "__main__":
    sys.exit(main())
