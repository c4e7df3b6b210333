"""Alerts: what Airflow calls when a task has failed for good, or a run has."""

# ruff: noqa: PLC0415 - the core is imported late: whoever only parses a DAG does not need it

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from include.backup.backup_id import BACKUP_DAG, DRILL_DAG, RESTORE_DAG, Backup
from include.operators.links import run_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.backup.alerted import Failure
    from include.backup.notice import Notice
    from include.backup.settings import Settings

log = logging.getLogger(__name__)

WATCH_DAG = "backup_watch"
MAX_REASON_CHARACTERS = 2000
NO_REASON = "The process of the task ended without a word: it was killed, ran out of memory, or its worker was lost."

NEXT_STEPS = {
    BACKUP_DAG: (
        "Mend the cause, then clear the task with downstream in Airflow, or trigger the DAG.",
        "Until then the earlier archives are there, untouched.",
    ),
    DRILL_DAG: (
        "Do not count on this archive until a drill has passed; the newest that passed never expires.",
        "Mend the cause, then clear the task in Airflow, or trigger the DAG.",
    ),
    RESTORE_DAG: (
        "Nothing that existed was changed. The new database may be there, empty or incomplete: drop it.",
        "Mend the cause, then trigger the DAG again; or restore by hand, as BACKUP_INFO.txt says.",
    ),
    WATCH_DAG: (
        "Mend the cause. The watch looks again every hour and tells once when it works again, not each time it fails.",
        "Until then backups go on, but nobody looks whether they are missing, odd or late.",
    ),
}


def alert_failure(context: Context) -> None:
    """
    Tell every administrator why a task has failed for good, once for each try. An `on_failure_callback`; never raises.

    Airflow calls it in the worker. If the worker was lost, it calls it in the dag-processor, twice: for the missing
    heartbeat, and for what the executor then reports. If only the task's process was killed, alert_run_failure does.
    The dead-man's switch is told as well, and BACKUP_LOG_FILE of what no task could write there: that it was killed.
    """
    from include.backup.alerted import Failure

    ti = context["ti"]
    no_reason = None if context.get("exception") else NO_REASON
    failure = Failure(ti.dag_id, ti.run_id, ti.task_id, ti.try_number)
    _tell(context, failure, _task_notice, unrecorded=no_reason)


def alert_run_failure(context: Context) -> None:
    """
    Tell every administrator why a run has failed, unless a task of it has done so. The DAG's `on_failure_callback`.

    Airflow calls it in the dag-processor; never raises. For a task whose process was killed nobody else calls
    anything: its supervisor lives, and reports the state alone. A run that took too long has no failed task: what was
    running or waiting was skipped.
    """
    from include.backup.alerted import Failure

    if context.get("reason") != "task_failure":
        dag_run = context["dag_run"]
        _tell(context, Failure(dag_run.dag_id, dag_run.run_id), _run_notice, unrecorded=_why_ended(context))
    elif "ti" in context:
        alert_failure(context)


def told_in_airflow(context: Context) -> None:
    """Send nothing, nor let the run's alert: whoever has started this step sees it fail. An `on_failure_callback`."""
    from include.backup.alerted import Failure

    ti = context["ti"]
    _mark_told(Failure(ti.dag_id, ti.run_id, ti.task_id, ti.try_number))


def _tell(
    context: Context, failure: Failure, make_notice: Callable[[Context], Notice], *, unrecorded: str | None
) -> None:
    """Tell of a failure that was not told; `unrecorded` is what BACKUP_LOG_FILE does not have from the task itself."""
    from include.operators.announce import raise_alert
    from include.operators.error_log import record_error

    try:
        if _was_told(failure):
            log.info("%s of %s was told already", failure.task_id, failure.run_id)
            return
    except Exception:
        log.exception("whether this was told is not known")
    if unrecorded:
        record_error(unrecorded, context=context)

    def alert() -> None:
        raise_alert(failure.dag_id, make_notice(context), context=context)
        _mark_told(failure)

    for step in (partial(_ping_failure, failure.dag_id), alert):  # the mail server may take long
        try:
            step()
        except Exception as error:
            log.exception("the alert could not be sent")
            record_error(f"the alert could not be sent: {error}", context=context, error=error)


def _ping_failure(dag_id: str) -> None:
    from include.backup.heartbeat import ping

    url = _settings(dag_id).backup_heartbeat_url
    if url and dag_id == Backup.of_dag(dag_id).dag_id:
        ping(url.get_secret_value(), "fail")


def _settings(dag_id: str) -> Settings:
    from include.backup.fleet import usable_settings_of

    return usable_settings_of(Backup.of_dag(dag_id))


def _was_told(failure: Failure) -> bool:
    from include.backup.alerted import was_alerted

    return was_alerted(_settings(failure.dag_id).backup_dir, failure)


def _mark_told(failure: Failure) -> None:
    from include.backup.alerted import mark_alerted

    try:
        mark_alerted(_settings(failure.dag_id).backup_dir, failure)
    except OSError as error:
        log.warning("this may be told twice, for it could not be noted: %s", error)


def _task_notice(context: Context) -> Notice:
    from include.backup.notice import Notice

    ti = context["ti"]
    log_url = getattr(ti, "log_url", None)
    return Notice(
        state="failed",
        title=f"{ti.dag_id} FAILED in {ti.task_id}",
        text=str(context.get("exception") or NO_REASON)[:MAX_REASON_CHARACTERS],
        facts=(
            ("Run", ti.run_id),
            ("Try", f"{ti.try_number} of {max(ti.try_number, ti.max_tries + 1)}"),
            ("Log", log_url or "in Airflow"),
        ),
        next_steps=_next_steps(ti.dag_id),
        url=log_url,
    )


def _run_notice(context: Context) -> Notice:
    from include.backup.notice import Notice

    dag_run, reason = context["dag_run"], context.get("reason")
    return Notice(
        state="failed",
        title=f"{dag_run.dag_id} FAILED: {'timed out' if reason == 'timed_out' else reason}",
        text=_why_ended(context),
        facts=(("Run", dag_run.run_id),),
        next_steps=_next_steps(dag_run.dag_id),
        url=run_url(dag_run.dag_id, dag_run.run_id),
    )


def _next_steps(dag_id: str) -> tuple[str, ...]:
    backup_id = Backup.of_dag(dag_id).id
    return NEXT_STEPS.get(dag_id.removesuffix(f"_{backup_id}") if backup_id else dag_id, NEXT_STEPS[BACKUP_DAG])


def _why_ended(context: Context) -> str:
    timeout = context["dag"].dagrun_timeout
    if context.get("reason") != "timed_out" or not timeout:
        return f"Airflow ended the run: {context.get('reason')}."
    dag_id = context["dag_run"].dag_id
    names = "BACKUP_RUN_TIMEOUT_MINUTES"
    if Backup.of_dag(dag_id).is_checkpoints:
        names += " or BACKUP_CHECKPOINT_MAX_AGE_MINUTES"
    setting = "" if dag_id == WATCH_DAG else f" ({names})"
    return f"The run took longer than {timeout.total_seconds() / 60:.0f} minutes{setting} and was ended."
