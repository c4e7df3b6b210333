"""The step of backup_watch: look, tell what is new, remember what was told. What is wrong is decided in the core."""

from __future__ import annotations

import dataclasses
import logging
from datetime import datetime
from pathlib import Path

from include.backup import watch_notices
from include.backup.backup_id import UNNAMED, Backup
from include.backup.fleet import Fleet, read_fleet, usable_settings_of
from include.backup.fleet_limits import write_limits
from include.backup.incident import WATCH_DAG
from include.backup.observe import FOLDER, STALE, observe
from include.backup.run import utc_now
from include.backup.settings import Settings, load_usable_settings
from include.backup.unsent import Channel, read_unsent, settle
from include.backup.watch import Lasting, Memory, Observation, plan_alerts, read_memory
from include.operators.announce import announce, tell, tell_it_is_over
from include.operators.dag_import import imported_dags
from include.operators.error_log import record_error
from include.operators.links import dag_url
from include.operators.task import BackupTask
from include.operators.watch_dags import DAG_PROBLEMS, BackupDag, dag_problem

log = logging.getLogger(__name__)

MEMORY_KEY = "watch"  # of a backup with an id: watch_<id>
SCOPE = "scope"


@dataclasses.dataclass(frozen=True)
class Looking:
    """
    One look.

    Args:
        task: Of the watch.
        settings: Of the environment.
        now: Aware.
        fleet: The backups.
        imported: The ids of the DAGs that their file gives, or why it gives none.
    """

    task: BackupTask
    settings: Settings
    now: datetime
    fleet: Fleet
    imported: frozenset[str] | str


def watch_backups(task: BackupTask) -> int:
    """
    Look at every backup, announce what is new; return how many alerts. One that cannot be looked at stops no other.

    Raises:
        SettingsError: If ADMIN_EMAILS is wrong.
        TemporaryError, DeliveryError, PrerequisiteError: If a mail could not be sent; another look sends it.
    """
    # Wrong settings are what keeps critical_backup from being imported: somebody has to say so.
    settings = load_usable_settings()
    fleet = read_fleet(settings.scope_file)
    _leave_limits(fleet, settings)
    looking = Looking(task, settings, utc_now(), fleet, imported_dags(_dag_file(task)))
    alerts, errors = 0, []
    # What concerns all is told with the backup that has no id, also where there is no such backup.
    for backup in dict.fromkeys((UNNAMED, *fleet.backups)):
        try:
            alerts += _watch(looking, backup)
        except Exception as error:
            log.exception("the watch of %s failed", backup.dag_id)
            errors.append(error)
    for other in errors[1:]:  # the first fails the task, which records it
        record_error(str(other), context=task.context, error=other)
    if errors:
        raise errors[0]
    done = "The watch has looked, and told what there was to tell."
    tell_it_is_over(settings, WATCH_DAG, done, url=dag_url(UNNAMED.dag_id))
    return alerts


def _leave_limits(fleet: Fleet, settings: Settings) -> None:
    try:
        write_limits(fleet, settings)
    except OSError as error:  # BACKUP_DIR is looked at below
        log.warning("the health check does not get the limits of each backup: %s", error)


def _dag_file(task: BackupTask) -> Path:
    return Path(task.context["dag"].fileloc).with_name(f"{UNNAMED.dag_id}.py")


def _watch(looking: Looking, backup: Backup) -> int:
    """Look at one backup, announce what is new; return how many alerts."""
    settings, now = usable_settings_of(backup, looking.settings), looking.now
    errors = _send_kept_alerts(settings, now=now)
    store = looking.task.context["asset_state_store"]
    key = f"{MEMORY_KEY}_{backup.id}" if backup.id else MEMORY_KEY
    memory = read_memory(store.get(key), now=now)
    alerts, memory = plan_alerts(_see(looking, settings, memory), memory, now=now)
    for alert in alerts:
        log.warning("%s: %s", alert.notice.title, "; ".join(alert.notice.text.splitlines()))
        outcome = tell(settings, alert.notice)
        errors |= outcome.errors
        if outcome.is_lost:
            break  # not remembered: the next look tells it
        store.set(key, alert.memory.model_dump(mode="json"))
    else:
        store.set(key, memory.model_dump(mode="json"))
    titles = ", ".join(incident.title for incident in memory.incidents.values())
    log.info("%s: open incidents: %s", backup.dag_id, titles or "none")
    if error := errors.get("mail"):
        raise error
    return len(alerts)


def _see(looking: Looking, settings: Settings, memory: Memory) -> Observation:
    """Return what is wrong with one backup: its folder, its DAG, and with the one that has no id the scope file."""
    backup, now, url = settings.backup, looking.now, dag_url(settings.backup.dag_id)
    if backup in looking.fleet.backups:
        seen = observe(settings, first_look_at=memory.first_look_at, now=now, url=url, known=memory.archives)
    else:
        seen = Observation(unknown=frozenset({STALE, FOLDER}), complete=False)
    lasting, unknown = seen.lasting, seen.unknown
    if looking.fleet.errors and not backup.id:
        notice = watch_notices.scope_wrong(looking.fleet.errors)
        lasting = (Lasting(SCOPE, notice, "The scope file is right again"), *lasting)
    if isinstance(looking.imported, str) and backup.id:
        unknown = unknown.union(DAG_PROBLEMS)  # told once, not for each
    elif isinstance(looking.imported, str) or backup in looking.fleet.backups:
        dag = BackupDag(backup, _dag_file(looking.task), settings.backup_run_timeout_minutes)
        problem = dag_problem(looking.task, dag, looking.imported, now=now)
        if problem:  # it hides whether those looked for after it are over
            unknown = unknown.union(DAG_PROBLEMS[DAG_PROBLEMS.index(problem.key) :])
            lasting = (problem, *lasting)
    return dataclasses.replace(seen, lasting=lasting, unknown=unknown)


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
