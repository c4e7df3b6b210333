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

    Airflow calls it in the worker, or in the dag-processor if the task's process was killed.
    """
    try:
        _mail_failure(context)
    except Exception:
        log.exception("the alert could not be sent")


def _mail_failure(context: Context) -> None:
    # Whoever only parses the DAG does not need the core.
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
