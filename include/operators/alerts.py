"""Alerts: what Airflow calls when a task has failed for good, a run has taken too long, or a backup is late."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from include.operators.links import run_url

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.backup.notice import Notice
    from include.backup.settings import Settings

log = logging.getLogger(__name__)

BACKUP_DAG = "critical_backup"
MAX_REASON_CHARACTERS = 2000
NO_REASON = "The process of the task ended without a word: it was killed, ran out of memory, or its worker was lost."

NEXT_STEPS = {
    "restore_drill": (
        "Do not count on this archive until a drill has passed; the newest that passed never expires.",
        "Mend the cause, then clear the task in Airflow, or trigger restore_drill.",
    ),
    "restore_backup": (
        "Nothing that existed was changed. The new database may be there, empty or incomplete: drop it.",
        "Mend the cause, then trigger restore_backup again; or restore by hand, as BACKUP_INFO.txt says.",
    ),
}
BACKUP_STEPS = (
    "Earlier archives are untouched.",
    "Mend the cause, then clear the task with downstream in Airflow, or trigger the DAG.",
)


def alert_failure(context: Context) -> None:
    """
    Mail every administrator why a task has failed for good. An `on_failure_callback`; never raises.

    Airflow calls it in the worker, or in the dag-processor if the worker was lost; if only the task's process was
    killed, alert_run_failure does. The dead-man's switch is told as well, and BACKUP_LOG_FILE of what no task could
    write there: that it was killed, or that this alert failed.
    """
    # Whoever only parses the DAG does not need the core.
    from include.operators.error_log import record_error  # noqa: PLC0415

    if not context.get("exception"):
        record_error(NO_REASON, context=context)
    for tell in (_ping_failure, _mail_failure):  # the mail server may take long
        try:
            tell(context)
        except Exception as error:
            log.exception("the alert could not be sent")
            record_error(f"the alert could not be sent: {error}", context=context, error=error)


def _ping_failure(context: Context) -> None:
    from include.backup.heartbeat import ping  # noqa: PLC0415
    from include.backup.settings import load_settings  # noqa: PLC0415

    url = load_settings().backup_heartbeat_url
    if url and context["dag_run"].dag_id == BACKUP_DAG:
        ping(url.get_secret_value(), "fail")


def _mail_failure(context: Context) -> None:
    ti = context["ti"]
    _announce(
        ti.dag_id,
        title=f"{ti.dag_id} FAILED in {ti.task_id}",
        text=str(context.get("exception") or NO_REASON)[:MAX_REASON_CHARACTERS],
        facts=(
            ("Run", ti.run_id),
            ("Try", f"{ti.try_number} of {max(ti.try_number, ti.max_tries + 1)}"),
            ("Log", getattr(ti, "log_url", "") or "in Airflow"),
        ),
        next_steps=NEXT_STEPS.get(ti.dag_id, BACKUP_STEPS),
        url=getattr(ti, "log_url", None),
    )
    if "reason" not in context:  # a task's own alert; the run's callback comes after it, and asks
        _mark_alerted(ti.dag_id, ti.run_id)


def _mark_alerted(dag_id: str, run_id: str) -> None:
    from include.backup.incident import mark_alerted  # noqa: PLC0415
    from include.backup.settings import load_usable_settings  # noqa: PLC0415

    try:
        mark_alerted(load_usable_settings().backup_dir, dag_id, run_id)
    except OSError as error:
        log.warning("the run will be mailed as well, for this could not be noted: %s", error)


def told_in_airflow(context: Context) -> None:
    """Send nothing, nor let the run's alert: whoever has started this step sees it fail. An `on_failure_callback`."""
    _mark_alerted(context["ti"].dag_id, context["ti"].run_id)


def _task_has_told(context: Context) -> bool:
    from include.backup.incident import take_alerted  # noqa: PLC0415
    from include.backup.settings import load_usable_settings  # noqa: PLC0415

    ti = context["ti"]
    return take_alerted(load_usable_settings().backup_dir, ti.dag_id, ti.run_id)


def alert_run_failure(context: Context) -> None:
    """
    Mail every administrator why a run has failed, unless a task of it has done so. The DAG's `on_failure_callback`.

    Airflow calls it in the dag-processor; never raises. For a task whose process was killed nobody else calls
    anything: its supervisor lives, and reports the state alone. A run that took too long has no failed task: what was
    running or waiting was skipped.
    """
    reason = context.get("reason")
    if reason == "task_failure":
        try:
            told = "ti" not in context or _task_has_told(context)
        except Exception:
            log.exception("whether a task has told why it failed is not known")
            told = False
        if not told:
            alert_failure(context)
        return
    # Whoever only parses the DAG does not need the core.
    from include.operators.error_log import record_error  # noqa: PLC0415

    record_error(_why_ended(context), context=context)
    for tell in (_ping_failure, _mail_run_failure):
        try:
            tell(context)
        except Exception as error:
            log.exception("the alert could not be sent")
            record_error(f"the alert could not be sent: {error}", context=context, error=error)


def _mail_run_failure(context: Context) -> None:
    dag_run, reason = context["dag_run"], context.get("reason")
    _announce(
        dag_run.dag_id,
        title=f"{dag_run.dag_id} FAILED: {'timed out' if reason == 'timed_out' else reason}",
        text=_why_ended(context),
        facts=(("Run", dag_run.run_id),),
        next_steps=NEXT_STEPS.get(dag_run.dag_id, BACKUP_STEPS),
        url=run_url(dag_run.dag_id, dag_run.run_id),
    )


def _why_ended(context: Context) -> str:
    timeout = context["dag"].dagrun_timeout
    if context.get("reason") != "timed_out" or not timeout:
        return f"Airflow ended the run: {context.get('reason')}."
    minutes = timeout.total_seconds() / 60
    return f"The run took longer than {minutes:.0f} minutes (BACKUP_RUN_TIMEOUT_MINUTES) and was ended."


def alert_late(context: dict[str, Any]) -> None:
    """
    Mail every administrator that a scheduled run is late: the callback of the Deadline Alert; never raises.

    Args:
        context: Only `dag_run`, as the REST API shows it, and `deadline` with its `deadline_time`.
    """
    try:
        run, due = context["dag_run"], context["deadline"]["deadline_time"]
        _announce(
            run["dag_id"],
            state="late",
            title=f"{run['dag_id']} is LATE: not finished by {_clock(due)}",
            text=f"The run of {_clock(run['logical_date'])} is {run['state']}. Earlier archives are untouched.",
            facts=(("Run", run["dag_run_id"]), ("State", str(run["state"])), ("Due", _clock(due))),
            next_steps=(
                "Open the run: a task that waits says in its log for what (a lock, the server, another run).",
                "It may still finish; you get its mail then. If it hangs, clear the running task.",
            ),
            url=run_url(run["dag_id"], run["dag_run_id"]),
        )
    except Exception:
        log.exception("the alert could not be sent")


def _clock(moment: datetime | str) -> str:
    """Return a time as people read it, in BACKUP_TIMEZONE."""
    from include.backup.settings import load_settings  # noqa: PLC0415
    from include.backup.templates import time_text  # noqa: PLC0415

    aware = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return time_text(aware, ZoneInfo(load_settings().backup_timezone))


def _announce(
    dag_id: str,
    *,
    title: str,
    text: str,
    facts: tuple[tuple[str, str], ...],
    next_steps: tuple[str, ...],
    url: str | None,
    state: Literal["failed", "late"] = "failed",
) -> None:
    # Whoever only parses the DAG does not need the core.
    from include.backup.incident import open_incident  # noqa: PLC0415
    from include.backup.notice import Notice  # noqa: PLC0415
    from include.backup.run import utc_now  # noqa: PLC0415
    from include.backup.settings import load_usable_settings  # noqa: PLC0415
    from include.backup.unsent import keep_unsent  # noqa: PLC0415

    settings = load_usable_settings()  # a wrong one may be the reason
    if dag_id == BACKUP_DAG:
        try:
            open_incident(settings.backup_dir, title, now=utc_now())
        except OSError as error:
            log.warning("the incident could not be recorded, so nobody will be told when it is over: %s", error)
    notice = Notice(state=state, title=title, text=text, facts=facts, next_steps=next_steps, url=url)
    try:
        announce(settings, notice)
    except Exception:
        keep_unsent(settings.backup_dir, notice, now=utc_now())
        raise


def announce(settings: Settings, notice: Notice) -> None:
    """
    Tell every administrator by mail, and Slack where it is configured; one that fails does not stop the other.

    Raises:
        PrerequisiteError, TemporaryError, DeliveryError: If the mail could not be sent, as `mail_notice`.
    """
    from include.backup.slack import post_to_slack  # noqa: PLC0415
    from include.operators.mail import mail_notice  # noqa: PLC0415

    try:
        if settings.backup_slack_webhook_url:
            post_to_slack(notice, settings.backup_slack_webhook_url.get_secret_value())
    except Exception:
        log.exception("the alert did not reach Slack")
    mail_notice(settings, notice)
