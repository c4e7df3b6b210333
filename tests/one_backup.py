"""The steps of one run in a process of its own, as the DAG's tasks do them: to be killed, starved and cut off."""

# ruff: noqa: PLC0415 - Airflow is imported where the environment is set: in the process that forks the runs

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from include.backup.run import Kind

STEPS = (
    "create_workspace",
    "check_prerequisites",
    "export_database",
    "copy_configuration",
    "write_summary",
    "compress_archive",
    "verify_archive",
    "check_size",
    "update_status",
    "expire_old_backups",
    "remove_workspace",
)
TURN_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Order:
    """
    What a run does.

    Args:
        run_id: Its own, or that of a run that failed and is cleared.
        environment: The settings and the connection.
        steps: In this order, until the first that fails.
        lock_wait_milliseconds: How long an export waits for a lock, instead of a minute.
        wall_clock: If not None, the steps believe that it is this moment; it goes on from there.
        server_clock_too: Whether the server's clock says the same: whoever compares the two sees both as they are.
        kind: What has started the run.
        slot: Of a run that has one, aware.
        output: Where its log goes.
        no_temporary_folder: Whether Python finds no folder for temporary files, as where none can be written to.
    """

    run_id: str
    environment: Mapping[str, str]
    output: Path
    steps: tuple[str, ...] = STEPS
    lock_wait_milliseconds: int = 1500
    wall_clock: datetime | None = None
    server_clock_too: bool = False
    kind: Kind = "manual"
    slot: datetime | None = None
    no_temporary_folder: bool = False


@dataclass
class Ended:
    """How a run ended: the step that failed, with what Airflow would be told; empty if none did."""

    step: str = ""
    kind: str = ""
    error: str = ""
    cause: str = ""
    archive: str = ""


@dataclass
class TaskInstance:
    """What the steps ask of Airflow's."""

    xcoms: dict[str, object] = field(default_factory=dict)
    task_id: str = ""
    dag_id: str = "critical_backup"
    run_id: str = ""
    try_number: int = 1
    max_tries: int = 3

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> object:
        """Return what a step has left."""
        return self.xcoms.get(f"{task_ids} {key}")

    def xcom_push(self, key: str, value: object) -> None:
        """Leave something for a later step."""
        self.xcoms[f"{self.task_id} {key}"] = value


def run(order: Order, line: Connection) -> None:
    """Do the steps, say each one's name on the line when it begins, and at the end how it ended."""
    with order.output.open("ab", 0) as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
    os.environ.update(order.environment)
    tempfile.tempdir = None  # it is remembered from before the fork
    if order.no_temporary_folder:
        tempfile._candidate_tempdir_list = lambda: [os.environ["TMPDIR"]]  # type: ignore[attr-defined]
    _wait_less(order)
    with _clock(order.wall_clock, but_not="include.backup.prerequisites" if order.server_clock_too else ""):
        ended = _run_steps(order, line.send)
    line.send(asdict(ended))
    line.close()
    sys.exit(1 if ended.step else 0)


def _run_steps(order: Order, say: Callable[[str], None]) -> Ended:
    from airflow.sdk.api.datamodels._generated import DagRunType

    from include.operators.task import BackupTask, errors_for_airflow
    from tests.operators.test_task import STARTED, make_context

    steps = import_module("include.operators.steps")
    kind, began = DagRunType(order.kind), order.slot or STARTED
    context: Any = make_context(kind, logical_date=order.slot, run_after=began, deliver_mail=False)
    context["dag_run"].run_id = order.run_id
    context["ti"] = ti = TaskInstance(run_id=order.run_id)
    for step in order.steps:
        ti.task_id = step
        task = BackupTask(context)
        signal.signal(signal.SIGTERM, lambda *_, task=task: task.cancel and task.cancel())  # Airflow's own: on_kill
        say(step)
        try:
            with errors_for_airflow(context):
                ti.xcoms[f"{step} return_value"] = getattr(steps, step)(task)
        except Exception as error:  # noqa: BLE001 - the test compares it
            cause = type(error.__cause__).__name__ if error.__cause__ else ""
            return Ended(step, type(error).__name__, str(error), cause)
    return Ended(archive=str(ti.xcoms.get("verify_archive return_value", "")))


def _wait_less(order: Order) -> None:
    database: Any = import_module("include.backup.database")
    export: Any = import_module("include.backup.export")
    files: Any = import_module("include.backup.export_files")
    database._OPTIONS = database._OPTIONS.replace("lock_timeout=60s", f"lock_timeout={order.lock_wait_milliseconds}")
    files.LOCK_WAIT_MILLISECONDS = order.lock_wait_milliseconds
    export.TURN_POLL_SECONDS = TURN_POLL_SECONDS


@contextlib.contextmanager
def _clock(moment: datetime | None, *, but_not: str) -> Any:
    """Let every module of the core see another time of day: the operating system's belongs to everybody here."""
    if moment is None:
        yield
        return
    difference = moment - datetime.now(moment.tzinfo)

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + difference

    class ShiftedSeconds:
        monotonic = time.monotonic
        sleep = time.sleep

        @staticmethod
        def time() -> float:
            return time.time() + difference.total_seconds()

    for name, module in tuple(sys.modules.items()):
        if name.startswith("include.") and name != but_not:
            if getattr(module, "datetime", None) is datetime:
                module.datetime = Shifted  # type: ignore[attr-defined]
            if getattr(module, "time", None) is time:
                module.time = ShiftedSeconds  # type: ignore[attr-defined]
    yield
