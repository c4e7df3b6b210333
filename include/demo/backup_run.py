"""One backup by hand in a running Airflow: trigger it, watch it, tell how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.backup.drill_record import DrillRecord, read_drill
from include.backup.manifest import Sidecar, readable_archives
from include.demo.airflow_api import AirflowApi, TaskState
from include.demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from include.demo.folder import DemoFolder
    from include.demo.progress import Progress

__all__ = ["DAG_ID", "make_backup", "wait_for_drill"]

DAG_ID = "critical_backup"
DRILL_DAG_ID = "restore_drill"
RESTORE_DAG_ID = "restore_backup"
WATCH_DAG_ID = "backup_watch"
POLL_SECONDS = 0.5
DRILL_SECONDS = 90
ERROR_LINES = 6


@dataclass(frozen=True)
class FinishedBackup:
    """What one run produced."""

    archive: Path
    sidecar: Sidecar
    mails: Sequence[Path]
    tasks: Sequence[TaskState]
    seconds: float


def make_backup(
    api: AirflowApi, folder: DemoFolder, progress: Progress, *, check: Callable[[], None] = lambda: None
) -> FinishedBackup:
    """
    Trigger a run, show its tasks until it ends, and return what it produced.

    Args:
        api: The running Airflow.
        folder: Where the archive and the mail arrive.
        progress: Shows the tasks.
        check: Called again and again; raises DemoError if waiting is in vain.

    Raises:
        DemoError: If the run failed: the task and the last lines of its log.
    """
    for dag_id in (DAG_ID, DRILL_DAG_ID, RESTORE_DAG_ID, WATCH_DAG_ID):
        api.unpause(dag_id)
    begin = time.monotonic()
    mails_before = set(folder.mailbox.glob("*.eml"))
    run_id = api.trigger(DAG_ID, note="by hand, from the demo")
    with progress.tasks() as show:
        for tasks in watch(api, run_id):
            show(tasks)
            check()
    if failed := [task for task in tasks if task.state == "failed"]:
        raise DemoError(failure(api, run_id, failed[0]))
    if api.run_state(DAG_ID, run_id) != "success":
        raise DemoError(f"the run {run_id} ended without success; see {api.address}/dags/{DAG_ID}/runs/{run_id}")
    archive, sidecar = archive_of(folder, run_id)
    mails = sorted(set(folder.mailbox.glob("*.eml")) - mails_before)
    return FinishedBackup(archive, sidecar, mails, tasks, time.monotonic() - begin)


def wait_for_drill(api: AirflowApi, archive: Path, *, check: Callable[[], None] = lambda: None) -> DrillRecord | None:
    """
    Return what the drill of the archive showed; None if none has ended in time.

    Args:
        api: The running Airflow.
        archive: A new one, whose drill begins by itself.
        check: Called again and again; raises DemoError if waiting is in vain.
    """
    deadline = time.monotonic() + DRILL_SECONDS
    while read_drill(archive) is None or api.unfinished_runs(DRILL_DAG_ID):
        if time.monotonic() > deadline:
            break
        check()
        time.sleep(POLL_SECONDS)
    return read_drill(archive)


def watch(api: AirflowApi, run_id: str) -> Iterator[list[TaskState]]:
    """Yield the run's tasks in the DAG's order, again and again, for the last time when the run has ended."""
    order = {name: place for place, name in enumerate(api.task_order(DAG_ID))}
    while True:
        ended = api.run_state(DAG_ID, run_id) in {"success", "failed"}
        yield sorted(api.tasks(DAG_ID, run_id), key=lambda task: order.get(task.name, len(order)))
        if ended:
            return
        time.sleep(POLL_SECONDS)


def failure(api: AirflowApi, run_id: str, task: TaskState) -> str:
    """Say which task failed and why, with the end of what its log says."""
    lines = api.errors(DAG_ID, run_id, task) or ["its log holds no error line"]
    reason = "\n".join(f"  {line}" for line in lines[-ERROR_LINES:])
    return f"the backup failed in {task.name} (try {task.attempt}):\n{reason}"


def archive_of(folder: DemoFolder, run_id: str) -> tuple[Path, Sidecar]:
    """Return the archive that this run made, found by the run's name in its manifest."""
    for archive, sidecar in readable_archives(folder.backups):
        if sidecar.run.run_id == run_id:
            return archive, sidecar
    raise DemoError(f"the run {run_id} ended well, but {folder.backups} holds no archive that names it")
