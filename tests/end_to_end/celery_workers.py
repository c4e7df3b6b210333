"""A real Airflow with the CeleryExecutor: its broker, and workers that stand for machines of their own."""

from __future__ import annotations

import shlex
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from celery import Celery

from include.demo.airflow_processes import AIRFLOW
from include.demo.child_process import ChildProcess, bound_to_parent, start_child
from include.demo.ports import HOST
from tests.end_to_end.running_airflow import RunningAirflow, start_airflow
from tests.fix_documents import shell_block
from tests.fix_redis import RedisServer

QUEUE = "default"  # Airflow's own: nothing of the package asks for another
READY_SECONDS = 90
STOP_SECONDS = 8.0


@dataclass(frozen=True)
class CeleryWorker:
    """One worker with one slot; `home` holds everything that it has for itself."""

    name: str
    home: Path
    process: ChildProcess

    def tasks(self, dag_id: str, run_id: str) -> set[str]:
        """Return the tasks of a run of which a try ran here: their logs lie here and nowhere else."""
        logs = (self.home / "logs").glob(f"dag_id={dag_id}/run_id={run_id}/task_id=*/attempt=*.log")
        return {log.parent.name.removeprefix("task_id=") for log in logs}

    def kill(self) -> None:
        """Kill it with everything that it has started, as a machine that loses its power."""
        self.process.request_stop(signal.SIGKILL)
        self.process.wait_or_kill(0)


@dataclass(frozen=True)
class CeleryAirflow:
    """Airflow with two workers, of which the test says who takes the next task."""

    airflow: RunningAirflow
    control: Celery
    first: CeleryWorker
    second: CeleryWorker

    def give_to(self, worker: CeleryWorker) -> None:
        """Let this worker alone take tasks from now on; a task that another one runs goes on."""
        for other in (self.first, self.second):
            if other is not worker and other.process.is_running():
                self._tell("cancel_consumer", other)
        self._tell("add_consumer", worker)

    def _tell(self, order: str, worker: CeleryWorker) -> None:
        answers = self.control.control.broadcast(
            order, {"queue": QUEUE}, destination=[worker.name], reply=True, timeout=20, limit=1
        )
        assert answers, f"{worker.name} does not answer; see {worker.process.log}"


@contextmanager
def start_celery_airflow(path: Path, environment: Mapping[str, str], redis: RedisServer) -> Iterator[CeleryAirflow]:
    """Start everything, with two workers that have only BACKUP_DIR in common; stop everything at the end."""
    celery = {"AIRFLOW__CORE__EXECUTOR": "CeleryExecutor", "AIRFLOW__CELERY__BROKER_URL": redis.url}
    with ExitStack() as stack:
        airflow = stack.enter_context(start_airflow(path, environment, celery))
        control = stack.enter_context(Celery(broker=redis.url))
        workers = [start_worker(airflow, name) for name in ("worker1", "worker2")]
        stack.callback(stop, workers)
        for worker in workers:
            airflow.wait_for(lambda name=worker.name: is_ready(control, name), worker.name, seconds=READY_SECONDS)  # type: ignore[misc]
        yield CeleryAirflow(airflow, control, *workers)


def start_worker(airflow: RunningAirflow, name: str) -> CeleryWorker:
    """Start a worker whose folders, configuration files and log are its own, and BACKUP_DIR has a path of its own."""
    folder = airflow.folder
    home = folder.path / name
    for part in ("airflow", "logs", "tmp", "user"):
        (home / part).mkdir(parents=True)
    shutil.copytree(folder.configuration, home / "config")
    (home / "backups").symlink_to(folder.backups)
    environment = {
        **airflow.servers.airflow.environment,
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "BACKUP_CONFIG_DIR": str(home / "config"),
        "BACKUP_DIR": str(home / "backups"),
        "BACKUP_LOG_FILE": str(home / "backup.log"),
        "HOME": str(home / "user"),
        "TMPDIR": str(home / "tmp"),
    }
    node = f"{name}@{HOST}"
    typed = shell_block("docs/MORE_MACHINES.md", "airflow celery worker").replace("worker1@%h", node)
    program, *words = shlex.split(typed)
    assert program == "airflow"
    command = [*bound_to_parent(signal.SIGTERM), *AIRFLOW, *words, "--concurrency", "1", "--skip-serve-logs"]
    return CeleryWorker(
        node, home, start_child(name, command, environment=environment, log=folder.logs / f"{name}.log")
    )


def is_ready(control: Celery, name: str) -> bool:
    """Return whether the worker answers."""
    return bool(control.control.ping([name], timeout=5))


def stop(workers: list[CeleryWorker]) -> None:
    """End the workers and all that they have started."""
    for worker in workers:
        worker.process.request_stop(signal.SIGTERM)
    for worker in workers:
        worker.process.wait_or_kill(STOP_SECONDS)
