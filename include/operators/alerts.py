"""Alerts: what Airflow calls when a task has failed for good."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

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

    Airflow calls it in the worker, or in the dag-processor if the task's process was killed. The dead-man's switch is
    told as well, and BACKUP_LOG_FILE of what no task could write there: that it was killed, or that this alert failed.
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
    if url and context["ti"].dag_id == "critical_backup":
        ping(url.get_secret_value(), "fail")


def _mail_failure(context: Context) -> None:
    from include.backup.notice import Notice  # noqa: PLC0415
    from include.backup.settings import load_settings  # noqa: PLC0415
    from include.operators.mail import mail_notice  # noqa: PLC0415

    ti = context["ti"]
    notice = Notice(
        state="failed",
        title=f"{ti.dag_id} FAILED in {ti.task_id}",
        text=str(context.get("exception") or NO_REASON)[:MAX_REASON_CHARACTERS],
        facts=(
            ("Run", ti.run_id),
            ("Try", f"{ti.try_number} of {ti.max_tries + 1}"),
            ("Log", getattr(ti, "log_url", "") or "in Airflow"),
        ),
        next_steps=NEXT_STEPS.get(ti.dag_id, BACKUP_STEPS),
        url=getattr(ti, "log_url", None),
    )
    mail_notice(load_settings(), notice)
