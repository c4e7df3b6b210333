"""`python -m benchmarks.restore`: the archive's own restore.sh against pg_restore, from files to a ready database."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from benchmarks.backup import back_up
from benchmarks.contest import hold_contest
from benchmarks.figures import Figures, Promise
from benchmarks.machine import busy_cores, machine, versions
from benchmarks.program import run_benchmark
from benchmarks.programs import run_program
from benchmarks.report import Story, megabytes, verdicts, write_report
from benchmarks.restorers import ByPgRestore, ByScript, Ground, restored_copy
from benchmarks.source import prepare_source, table_bytes
from benchmarks.wishes import MB, command_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.contest import Competitor, Run
    from benchmarks.server import BenchmarkServer
    from benchmarks.wishes import Wishes
    from include.demo.progress import Progress

RESTORE_PROMISE = 1.5

METHOD = """\
Everybody starts with files on disk and ends with a new database that has the same rows, every index and key, and
planner statistics (`ANALYZE` on both sides). restore.sh is timed from the `.tar.gz` on, so unpacking counts; it also
checks every file's SHA-256 and counts every table's rows, which pg_restore does not, and that counts as well.
pg_restore reads a directory dump (`pg_dump -Fd -j2`, its usual compression) of a database that this archive was
restored into: the same tables and, where only a window was taken, the same rows. Making the database counts for both.

Competitors take turns in an order that is shuffled for each pair of rounds and turned round within it. Before each
run the databases of the others are dropped and the server is started again; the files are in the system's page cache
for everybody. After each run the rows of every table, indexes and constraints are counted, outside the time taken.
Ratios are formed within a round; the median is of these ratios.
"""


def main(arguments: list[str] | None = None) -> int:
    """Hold the contest and write the report; slow is not a failure."""
    return run_benchmark(command_line(__doc__).parse_args(arguments), report)


def report(server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress) -> None:
    """Measure and write the report."""
    figures = measure_restore(server, work, wishes, progress)
    title = "Restoring: from the file on disk to a database ready for use"
    written = write_report(figures, Story("restore", title, METHOD, _sizes(figures.sizes)), wishes.report_folder)
    print("\n".join([*verdicts(figures), f"report: {written}"]))


def measure_restore(server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress) -> Figures:
    """Prepare source, archive and dump, then hold the contest. Raises BenchmarkError if a restore is not the same."""
    made_at, busy = datetime.now(timezone.utc), busy_cores()
    with progress.step(f"The source, {wishes.size_bytes // MB} MB, of which {wishes.window_bytes // MB} MB are taken"):
        prepare_source(server, wishes.size_bytes, wishes.window_bytes)
    (work / "backups").mkdir()
    with progress.step("An archive of it"):
        archive, sidecar, _ = back_up(server, work / "backups")
    ground = Ground(server, archive, sidecar, work / "dump", work)
    with progress.step("A directory dump of the same rows"):
        copy = restored_copy(server, archive, sidecar, work)
        dump: list[str | Path] = ["pg_dump", "-Fd", "-j2", "--no-owner", "--no-privileges", "-f", ground.dump, copy]
        run_program(dump, environment=server.client_environment, folder=work)
    competitors: list[Competitor] = [ByScript(ground, 1), ByScript(ground, 2), ByPgRestore(ground, 2)]
    *own, peer = (competitor.name for competitor in competitors)

    def show(run: Run) -> None:
        progress.say(f"  round {run.round} of {wishes.rounds}: {run.competitor:<28}{run.seconds:8.1f} s")

    runs = hold_contest(competitors, rounds=wishes.rounds, show=show)
    tables_bytes, indexes_bytes = table_bytes(server)
    return Figures(
        made_at=made_at,
        machine=machine(),
        settings=server.settings(),
        versions=versions(),
        busy_cores_before=busy,
        sizes={
            "tables_bytes": tables_bytes,
            "indexes_bytes": indexes_bytes,
            "archive_bytes": sidecar.archive_bytes,
            "unpacked_bytes": sum(file.bytes for file in sidecar.files),
            "dump_bytes": sum(file.stat().st_size for file in ground.dump.iterdir()),
            "rows": sidecar.rows,
            "tables": len(sidecar.tables),
        },
        competitors=(*own, peer),
        promises=tuple(Promise(name, peer, RESTORE_PROMISE) for name in own),
        runs=runs,
    )


def _sizes(sizes: Mapping[str, int]) -> str:
    return (
        f"The archive has {megabytes(sizes['archive_bytes'])} ({megabytes(sizes['unpacked_bytes'])} unpacked, "
        f"{sizes['rows']:,} rows of {sizes['tables']} tables), taken from {megabytes(sizes['tables_bytes'])} of tables "
        f"and {megabytes(sizes['indexes_bytes'])} of indexes; the directory dump has {megabytes(sizes['dump_bytes'])}."
    )


if __name__ == "__main__":
    sys.exit(main())
