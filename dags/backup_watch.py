"""
# backup_watch

Looks at the backups every hour, every 10 minutes where there are checkpoints, and mails every administrator when
something is wrong: **once for an incident, once a day while it lasts, and once when it is over**. It makes, changes and
removes nothing.

| it says | when | do |
|---|---|---|
| No backup for … hours, no checkpoint for … minutes | the last success is older than BACKUP_MAX_AGE_HOURS (BACKUP_CHECKPOINT_MAX_AGE_MINUTES), on the wall clock of BACKUP_TIMEZONE; without any, since the watch looked first; of checkpoints not on the day on which it was told that they fail | open critical_backup, mend its red task, clear it |
| No archive for …, … nights without an archive | no scheduled or backfilled archive stands for a slot of BACKUP_SCHEDULE, since the oldest archive, in the last 30 days; each night is named once | paste the command of the mail |
| Archives are gone before their time | an archive that an earlier look saw is not there, or not as its manifest says, and retention cannot have removed it; each is named once | is the right volume mounted? see who may write there |
| Odd size | outside BACKUP_MIN_SIZE_MB…BACKUP_MAX_SIZE_MB, or far from the last 14 archives with the same tables (from 5 on), or from the last one, as a whole or for a table; once for each archive | look at the tables it names |
| BACKUP_DIR cannot be read | the folder is missing, or not for this user | mount it, mend its rights |
| critical_backup cannot be imported, is missing, is paused, is not being scheduled | its file is tried here as a worker imports it, and Airflow is asked what it knows of it | mend what it says; unpause |

What was told is remembered in Airflow (asset `backup_watch_memory`, *state store*); delete it there to be told again.
Whatever mail or Slack did not take is sent by the next look; while it cannot mail, or cannot look, this DAG is red,
which is told once, and once when it is over. **Keep this DAG unpaused**; to be told that Airflow itself is
dead, somebody outside has to watch.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable

from include.backup.fleet import known_fleet
from include.operators.alerts import alert_failure, alert_run_failure
from include.operators.backup import WATCH_MEMORY, WatchOperator

# No setting is read here: a wrong one must not take the watch away together with critical_backup. Whether there are
# checkpoints, whose age has a limit in minutes, is known without.
EVERY = "*/10 * * * *" if any(backup.is_checkpoints for backup in known_fleet().backups) else "0 * * * *"

with DAG(
    dag_id="backup_watch",
    description="Says when backups are missing, late, odd, or cannot run",
    schedule=CronTriggerTimetable(EVERY, timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=30),
    on_failure_callback=alert_run_failure,
    tags=["backup"],
    doc_md=__doc__,
    default_args={
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": 2,
        "on_failure_callback": alert_failure,
    },
) as dag:
    WatchOperator(
        task_id="watch_backups",
        inlets=[WATCH_MEMORY],
        doc_md="Looks at BACKUP_DIR and at critical_backup, mails what is new, remembers what was told.",
    )
