"""`python -m benchmarks.nightly`: whole runs under LocalExecutor, what Airflow adds to each task, and the drill."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.backup import Steps, timed
from benchmarks.errors import BenchmarkError
from benchmarks.more_rows import Stretch, grow, rows_for
from benchmarks.program import run_in_folder
from benchmarks.report import megabytes, write_page
from benchmarks.wishes import MB, command_line
from include.backup.clients import find_clients
from include.backup.database import Database
from include.demo import servers as demo
from include.demo.backup_run import DAG_ID, make_backup, wait_for_drill
from include.demo.databases import READER, SAMPLE_DATABASE
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.folder import DemoFolder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.folder import BenchmarkFolder
    from benchmarks.programs import Stage
    from benchmarks.wishes import Wishes
    from include.backup.manifest import Sidecar
    from include.demo.airflow_api import AirflowApi
    from include.demo.progress import Progress

WINDOW = timedelta(days=85)  # inside three months, whichever
SPAN = timedelta(days=700)

METHOD = """\
The demo's servers: Airflow with LocalExecutor and its metadata in PostgreSQL, the sample database grown to the wished
size, a mail server on the loopback interface. Each run is triggered by hand and goes through all tasks of
critical_backup; then the drill restores the archive. Seconds of runs and tasks are Airflow's own records. Beside them
the same database is exported, archived and verified by the same steps without Airflow: the rest of a run, divided by
its tasks, is what a task costs (starting a process, loading Airflow and the package, its state, the scheduler's turn;
the small steps themselves, mail and status, are in it too).
"""


@dataclass(frozen=True)
class Night:
    """Seconds of a run, of its tasks that ran, and of the drill after it; None if none has ended."""

    seconds: float
    tasks: Mapping[str, float]
    drill_seconds: float | None
    sidecar: Sidecar


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the report; slow is not a failure."""
    return run_in_folder(command_line(__doc__).parse_args(arguments), report)


def report(folder: BenchmarkFolder, wishes: Wishes, progress: Progress) -> None:
    """Measure and write the report."""
    nights, stages = measure_nights(folder.work, wishes, progress)
    core = sum(stage.seconds for stage in stages)
    whole = median(night.seconds for night in nights)
    count = len(nights[0].tasks)
    drills = [night.drill_seconds for night in nights if night.drill_seconds is not None]
    last = nights[-1].sidecar
    spread = f"{min(night.seconds for night in nights):.1f} to {max(night.seconds for night in nights):.1f}"
    made = f"for an archive of {megabytes(last.archive_bytes)}, {last.rows:,} rows"
    adds = f"with {count} tasks, Airflow adds **{(whole - core) / count:.1f} s to each**"
    said = [
        f"A run takes **{whole:.1f} s** (median of {len(nights)}; {spread}), {made}.",
        f"Export, archive and verification take {core:.1f} s of that without Airflow: {adds}.",
        f"The drill takes {median(drills):.1f} s." if drills else "No drill ended in time.",
    ]
    lines = ["| task | median s | the same without Airflow, s |", "|---|--:|--:|"]
    steps = dict(zip(("export_database", "compress_archive", "verify_archive"), stages, strict=True))
    for task in nights[0].tasks:
        seconds = median(night.tasks[task] for night in nights)
        lines.append(f"| {task} | {seconds:.1f} | {f'{steps[task].seconds:.1f}' if task in steps else ''} |")
    sections = ["\n".join(f"- {line}" for line in said), "\n".join(lines), METHOD.rstrip()]
    page = write_page("nightly", "A whole run, and what Airflow adds", sections, wishes.report_folder)
    print(*sections[:2], f"report: {page}", sep="\n\n")


def measure_nights(work: Path, wishes: Wishes, progress: Progress) -> tuple[list[Night], tuple[Stage, ...]]:
    """Return the nights, and the stages of a backup of the same database without Airflow."""
    folder = DemoFolder(work / "demo")
    foreign = ("SIZE", "WINDOW", "ROUNDS", "BENCH_", "BACKUP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    chosen = demo.Wishes.from_environment(kept)
    with folder.hold(), ExitStack() as stack:
        servers = demo.start_servers(stack, folder, progress, chosen)
        postgres = EmbeddedPostgres(folder.postgres, port=chosen.postgres_port)  # the one that start_servers started
        with progress.step(f"The database, {wishes.size_bytes // MB} MB, {wishes.window_bytes // MB} MB in the window"):
            now = datetime.now(timezone.utc)
            old, new = (rows_for(size) for size in (wishes.size_bytes - wishes.window_bytes, wishes.window_bytes))
            before = Stretch(now - SPAN, now - SPAN + timedelta(days=600), 1, old)
            grow(postgres.conninfo(SAMPLE_DATABASE), [before, Stretch(now - WINDOW, now, 1 + old, new)])
        nights = []
        for _ in range(wishes.rounds):
            made = make_backup(servers.api, folder, progress, check=servers.airflow.check)
            drill = wait_for_drill(servers.api, made.archive, check=servers.airflow.check)
            tasks = {
                task.name: task.seconds for task in made.tasks if task.seconds is not None and task.state == "success"
            }
            seconds = run_seconds(servers.api, made.sidecar.run.run_id)
            nights.append(Night(seconds, tasks, drill.seconds if drill else None, made.sidecar))
        stages = without_airflow(postgres, folder, work / "without", now)
        return nights, stages


def run_seconds(api: AirflowApi, run_id: str) -> float:
    """Return how long a run took, from when it was queued to its end."""
    runs = api.request("GET", f"/api/v2/dags/{DAG_ID}/dagRuns?limit=100").json()["dag_runs"]
    for run in runs:
        if run["dag_run_id"] == run_id:
            begin, end = (datetime.fromisoformat(run[key].replace("Z", "+00:00")) for key in ("queued_at", "end_date"))
            return (end - begin).total_seconds()
    raise BenchmarkError(f"Airflow does not know the run {run_id}")


def without_airflow(postgres: EmbeddedPostgres, folder: DemoFolder, backups: Path, now: datetime) -> tuple[Stage, ...]:
    """Back the same database up without Airflow; return the seconds of export, archive and verification."""
    backups.mkdir()
    password = folder.secrets().reader_password
    database = Database(host=postgres.host, port=postgres.port, name=SAMPLE_DATABASE, user=READER, password=password)
    steps = Steps(database, find_clients(18, [postgres.binaries]), backups, now - timedelta(days=92))
    stages: list[Stage] = []
    with timed(stages, "export"):
        exported = steps.export()
    with timed(stages, "archive"):
        archived = steps.archive(exported)
    with timed(stages, "verify"):
        steps.verify(*archived)
    return tuple(stages)


if __name__ == "__main__":
    sys.exit(main())
