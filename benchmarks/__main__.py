"""`make bench`: build or find the source, back it up, let everybody restore it in turn, write the report."""

from __future__ import annotations

import os
import signal
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NoReturn

import psycopg

from benchmarks.backup import back_up
from benchmarks.contest import Competitor, Run, hold_contest
from benchmarks.errors import BenchmarkError
from benchmarks.figures import Figures, Sizes
from benchmarks.folder import BenchmarkFolder
from benchmarks.machine import busy_cores, machine
from benchmarks.report import write_report
from benchmarks.restore import ByPgRestore, ByScript, Ground, dump_directory
from benchmarks.server import BenchmarkServer
from benchmarks.source import prepare_source, table_bytes
from benchmarks.wishes import MB, Wishes
from include.backup.errors import BackupError
from include.demo.errors import DemoError
from include.demo.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

RESTORE_PROMISE = 1.5
EXIT_INTERRUPTED = 130


def main() -> int:
    """Run the benchmark and return the exit status; slow is not a failure."""
    for request in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(request, _interrupt)
    try:
        wishes = Wishes.from_environment(os.environ)
        folder = BenchmarkFolder(wishes.folder)
        with folder.hold(), BenchmarkServer(folder.postgres) as server:
            figures = measure_restore(server, folder.work, wishes, Progress())
        write_report(figures, wishes.report_folder)
    except (BenchmarkError, BackupError, DemoError, psycopg.Error, OSError) as error:
        print(f"bench: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    for ratio in figures.ratios.values():
        print(f"{ratio.competitor}: {ratio.median:.2f} times {ratio.peer} (promised: {RESTORE_PROMISE:g})")
    print(f"report: {wishes.report_folder / 'restore.md'}")
    return 0


def measure_restore(server: BenchmarkServer, work: Path, wishes: Wishes, progress: Progress) -> Figures:
    """Prepare source, archive and dump, then hold the contest. Raises BenchmarkError if a restore is not the same."""
    made_at, busy = datetime.now(timezone.utc), busy_cores()
    server.drop_scratch()
    with progress.step(f"The source, {wishes.size_bytes // MB} MB of tables"):
        prepare_source(server, wishes.size_bytes)
    (work / "backups").mkdir()
    with progress.step("An archive of it"):
        archive, sidecar, stages = back_up(server, work / "backups")
    ground = Ground(server, archive, sidecar, work / "dump", work)
    with progress.step("A directory dump of the same rows"):
        dump_directory(ground)
    competitors: list[Competitor] = [ByScript(ground, 1), ByScript(ground, 2), ByPgRestore(ground, 2)]

    def show(run: Run) -> None:
        progress.say(f"  round {run.round} of {wishes.rounds}: {run.competitor:<28}{run.seconds:8.1f} s")

    runs = hold_contest(competitors, rounds=wishes.rounds, show=show)
    tables_bytes, indexes_bytes = table_bytes(server)
    sizes = Sizes(
        tables_bytes=tables_bytes,
        indexes_bytes=indexes_bytes,
        archive_bytes=sidecar.archive_bytes,
        unpacked_bytes=sum(file.bytes for file in sidecar.files),
        dump_bytes=sum(file.stat().st_size for file in ground.dump.iterdir()),
        rows=sidecar.rows,
        tables=len(sidecar.tables),
    )
    return Figures(
        made_at=made_at,
        machine=machine(),
        settings=server.settings(),
        busy_cores_before=busy,
        sizes=sizes,
        backup_seconds={stage.name: stage.seconds for stage in stages},
        competitors=tuple(competitor.name for competitor in competitors),
        promise=RESTORE_PROMISE,
        runs=runs,
    )


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
