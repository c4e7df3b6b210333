"""What the administrators hear of a scheduled run that is late: the callback of its Deadline Alert."""

# ruff: noqa: PLC0415 - the core is imported late: whoever only parses a DAG does not need it

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from include.operators.links import run_url

log = logging.getLogger(__name__)


def alert_late(context: dict[str, Any]) -> None:
    """
    Tell every administrator that a scheduled run is late; never raises.

    Airflow also calls it for a run that has failed before it was due: who was told of that is not told again.

    Args:
        context: Only `dag_run`, as the REST API shows it, and `deadline` with its `deadline_time`.
    """
    from include.backup.notice import Notice
    from include.operators.announce import raise_alert

    try:
        run = context["dag_run"]
        due = _clock(context["deadline"]["deadline_time"], run["dag_id"])
        slot = _clock(run["logical_date"], run["dag_id"])
        if run["state"] == "failed" and _was_told(run):
            log.info("the run has failed, which was told; that it is late as well is not")
            return
        raise_alert(
            run["dag_id"],
            Notice(
                state="warning",
                title=f"{run['dag_id']} is LATE: not finished by {due}",
                text=f"The run of {slot} is {run['state']}. Earlier archives are untouched.",
                facts=(("Run", run["dag_run_id"]), ("State", str(run["state"])), ("Due", due)),
                next_steps=(
                    "Open the run: a task that waits says in its log for what (a lock, the server, another run).",
                    "A task that has not begun waits for a worker, or for a slot of its pool, which may not exist.",
                    "It may still finish; you get its mail then. If it hangs, clear the running task.",
                ),
                url=run_url(run["dag_id"], run["dag_run_id"]),
            ),
        )
    except Exception:
        log.exception("the alert could not be sent")


def _was_told(run: dict[str, Any]) -> bool:
    from include.backup.alerted import run_was_alerted
    from include.backup.backup_id import Backup
    from include.backup.fleet import usable_settings_of

    return run_was_alerted(
        usable_settings_of(Backup.of_dag(run["dag_id"])).backup_dir, run["dag_id"], run["dag_run_id"]
    )


def _clock(moment: datetime | str, dag_id: str) -> str:
    """Return a time as people read it, in the backup's BACKUP_TIMEZONE."""
    from include.backup.backup_id import Backup
    from include.backup.fleet import usable_settings_of
    from include.backup.templates import time_text

    aware = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return time_text(aware, ZoneInfo(usable_settings_of(Backup.of_dag(dag_id)).backup_timezone))
