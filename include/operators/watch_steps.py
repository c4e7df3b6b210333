"""The step of backup_watch: look, tell what is new, remember what was told. What is wrong is decided in the core."""

from __future__ import annotations

import dataclasses
import logging
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowRuntimeError

from include.backup.incident import BACKUP_DAG, WATCH_DAG
from include.backup.observe import observe
from include.backup.run import utc_now
from include.backup.settings import Settings, load_usable_settings
from include.backup.unsent import Channel, read_unsent, settle
from include.backup.watch import Lasting, plan_alerts, read_memory
from include.backup.watch_notices import dag_cannot_run
from include.operators.announce import announce, tell, tell_it_is_over
from include.operators.dag_import import import_error
from include.operators.links import dag_url
from include.operators.task import BackupTask

if TYPE_CHECKING:
    from airflow.sdk.execution_time.comms import DagResult

log = logging.getLogger(__name__)

MEMORY_KEY = "watch"

# In the order in which they are looked for.
DAG_PROBLEMS = IMPORT, MISSING, PAUSED, UNPLANNED = "import", "missing", "paused", "unplanned"
CAN_BE_IMPORTED = f"{BACKUP_DAG} can be imported again"
IS_KNOWN = f"{BACKUP_DAG} is known to Airflow again"
IS_UNPAUSED = f"{BACKUP_DAG} is not paused any more"
IS_SCHEDULED = f"{BACKUP_DAG} is being scheduled again"


def watch_backups(task: BackupTask) -> int:
    """
    Look at the backups, announce what is new; return how many alerts.

    Raises:
        SettingsError: If ADMIN_EMAILS is wrong.
        TemporaryError, DeliveryError, PrerequisiteError: If a mail could not be sent; another look sends it.
    """
    # Wrong settings are what keeps critical_backup from being imported: somebody has to say so.
    settings = load_usable_settings()
    now = utc_now()
    errors = _send_kept_alerts(settings, now=now)
    store = task.context["asset_state_store"]
    memory = read_memory(store.get(MEMORY_KEY), now=now)
    url = dag_url(BACKUP_DAG)
    seen = observe(settings, first_look_at=memory.first_look_at, now=now, url=url, known=memory.archives)
    problem = _dag_problem(task, settings, now=now, url=url)
    if problem:  # it hides whether those looked for after it are over
        hidden = DAG_PROBLEMS[DAG_PROBLEMS.index(problem.key) :]
        seen = dataclasses.replace(seen, lasting=(problem, *seen.lasting), unknown=seen.unknown.union(hidden))
    alerts, memory = plan_alerts(seen, memory, now=now)
    for alert in alerts:
        log.warning("%s: %s", alert.notice.title, "; ".join(alert.notice.text.splitlines()))
        outcome = tell(settings, alert.notice)
        errors |= outcome.errors
        if outcome.is_lost:
            break  # not remembered: the next look tells it
        store.set(MEMORY_KEY, alert.memory.model_dump(mode="json"))
    else:
        store.set(MEMORY_KEY, memory.model_dump(mode="json"))
    log.info("open incidents: %s", ", ".join(i.title for i in memory.incidents.values()) or "none")
    if error := errors.get("mail"):
        raise error
    tell_it_is_over(settings, WATCH_DAG, "The watch has looked, and told what there was to tell.", url=url)
    return len(alerts)


def _send_kept_alerts(settings: Settings, *, now: datetime) -> dict[Channel, Exception]:
    """Send what could not be sent when it happened; what still cannot waits for the next look. Return the errors."""
    errors: dict[Channel, Exception] = {}
    for path, unsent in read_unsent(settings.backup_dir, now=now):
        # What has just failed is not tried once more for each alert: a mail server that hangs takes its time.
        tried = [channel for channel in unsent.channels if channel not in errors]
        failed = announce(settings, unsent.notice, channels=tried)
        errors |= failed
        lacking = tuple(channel for channel in unsent.channels if channel in errors)
        rest = dataclasses.replace(unsent, channels=lacking)
        if rest.is_given_up(now):
            log.warning("given up: %s did not reach Slack", unsent.notice.title)
            rest = dataclasses.replace(rest, channels=())
        settle(path, rest)
        if not lacking:
            log.warning("sent late: %s", unsent.notice.title)
    return errors


def _dag_problem(task: BackupTask, settings: Settings, *, now: datetime, url: str | None) -> Lasting | None:
    """Return why critical_backup cannot run, if so: as a worker imports it, and as Airflow knows it."""
    dag_file = Path(task.context["dag"].fileloc).with_name(f"{BACKUP_DAG}.py")
    cannot = partial(dag_cannot_run, url=url)
    error = import_error(dag_file, BACKUP_DAG)
    if error:
        advice = "Mend what it says: a setting, the file, or what is installed. Airflow reads the file again by itself."
        return Lasting(IMPORT, cannot(f"{BACKUP_DAG} cannot be imported", error, advice), CAN_BE_IMPORTED)
    known = _known_dag(task)
    if known is None:
        seen = f"Airflow does not know the DAG, though {dag_file.name} can be imported here."
        advice = "Is the dag-processor running, with the same DAG folder, settings and packages?"
        return Lasting(MISSING, cannot(f"{BACKUP_DAG} is missing from Airflow", seen, advice), IS_KNOWN)
    if known.is_paused:
        advice = f"Unpause it in Airflow, or with: airflow dags unpause {BACKUP_DAG}"
        return Lasting(PAUSED, cannot(f"{BACKUP_DAG} is paused", "No backup is made while it is.", advice), IS_UNPAUSED)
    # A DAG that only the dag-processor cannot import is still known, but nobody plans its runs any more.
    late = now - timedelta(minutes=settings.backup_run_timeout_minutes, hours=1)
    if known.next_dagrun and known.next_dagrun < late:
        seen = f"Its run of {known.next_dagrun.isoformat()} has not been started."
        advice = "Look at Airflow's import errors, and at the logs of its scheduler and dag-processor."
        return Lasting(UNPLANNED, cannot(f"{BACKUP_DAG} is not being scheduled", seen, advice), IS_SCHEDULED)
    return None


def _known_dag(task: BackupTask) -> DagResult | None:
    """Return what Airflow knows of the DAG, by the task's own access to it; None if it does not know it."""
    try:
        return task.context["ti"].get_dag(BACKUP_DAG)
    except AirflowRuntimeError as error:
        if (error.error.detail or {}).get("status_code") != HTTPStatus.NOT_FOUND:
            raise
        return None
