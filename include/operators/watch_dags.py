"""Why the DAG of a backup cannot run: as a worker imports it, and as Airflow knows it."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from airflow.sdk.exceptions import AirflowRuntimeError

from include.backup.backup_id import Backup
from include.backup.errors import SettingsError
from include.backup.fleet import settings_of
from include.backup.watch import Lasting
from include.backup.watch_notices import dag_cannot_run
from include.operators.links import dag_url
from include.operators.task import BackupTask

if TYPE_CHECKING:
    from airflow.sdk.execution_time.comms import DagResult

# In the order in which they are looked for.
DAG_PROBLEMS = IMPORT, MISSING, PAUSED, UNPLANNED = "import", "missing", "paused", "unplanned"


class BackupDag(NamedTuple):
    """Whose DAG it is, the file that makes it, and how long a run of it may take."""

    backup: Backup
    file: Path
    run_timeout_minutes: int


def dag_problem(task: BackupTask, dag: BackupDag, imported: frozenset[str] | str, *, now: datetime) -> Lasting | None:
    """
    Return why the DAG cannot run, if so.

    Args:
        task: By whose access Airflow is asked.
        dag: Which.
        imported: The ids of the DAGs that the file gives, or why it cannot be imported.
        now: Aware.
    """
    dag_id = dag.backup.dag_id
    cannot = partial(dag_cannot_run, dag_id, url=dag_url(dag_id))
    error = _import_error(dag, imported)
    if error:
        advice = "Mend what it says: a setting, the file, or what is installed. Airflow reads the file again by itself."
        return Lasting(IMPORT, cannot(f"{dag_id} cannot be imported", error, advice), f"{dag_id} can be imported again")
    known = _known_dag(task, dag_id)
    if known is None:
        seen = f"Airflow does not know the DAG, though {dag.file.name} can be imported here."
        advice = "Is the dag-processor running, with the same DAG folder, settings and packages?"
        title = f"{dag_id} is missing from Airflow"
        return Lasting(MISSING, cannot(title, seen, advice), f"{dag_id} is known to Airflow again")
    if known.is_paused:
        advice = f"Unpause it in Airflow, or with: airflow dags unpause {dag_id}"
        notice = cannot(f"{dag_id} is paused", "No backup is made while it is.", advice)
        return Lasting(PAUSED, notice, f"{dag_id} is not paused any more")
    # A DAG that only the dag-processor cannot import is still known, but nobody plans its runs any more.
    late = now - timedelta(minutes=dag.run_timeout_minutes, hours=1)
    if known.next_dagrun and known.next_dagrun < late:
        seen = f"Its run of {known.next_dagrun.isoformat()} has not been started."
        advice = "Look at Airflow's import errors, and at the logs of its scheduler and dag-processor."
        notice = cannot(f"{dag_id} is not being scheduled", seen, advice)
        return Lasting(UNPLANNED, notice, f"{dag_id} is being scheduled again")
    return None


def _import_error(dag: BackupDag, imported: frozenset[str] | str) -> str | None:
    if isinstance(imported, str):
        return imported
    if dag.backup.dag_id in imported:
        return None
    try:
        settings_of(dag.backup)
    except SettingsError as error:  # which is why the file passes it over
        return str(error)
    return f"{dag.file} has no DAG {dag.backup.dag_id}"


def _known_dag(task: BackupTask, dag_id: str) -> DagResult | None:
    """Return what Airflow knows of the DAG, by the task's own access to it; None if it does not know it."""
    try:
        return task.context["ti"].get_dag(dag_id)
    except AirflowRuntimeError as error:
        if (error.error.detail or {}).get("status_code") != HTTPStatus.NOT_FOUND:
            raise
        return None
