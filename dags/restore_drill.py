"""
# restore_drill

A backup is worth what it restores. After every verified backup this DAG restores the newest archive into a scratch
database, by the archive's own `restore.sh`, compares rows and SHA-256 of every table with the manifest, and drops
the database again. The time it takes is the recovery time you can count on (table `seconds` in `*.drill.json`).

| you want to | do |
|---|---|
| drill now, or another archive | **Trigger** (▶) and name it in `archive`; empty means the newest |
| drill less often | `BACKUP_DRILL=weekly`, `monthly` or `off` (default `always`) |
| drill on another server | create the Airflow connection `backup_drill`; its role needs CREATEDB |

Without that connection the drill runs on the source server, if the backup's role may create databases there;
otherwise it is skipped, and says so. A scratch database is called `critical_backup_drill_…`; one that a killed
drill left is dropped by the next. The newest archive that passed is never expired.
An encrypted archive (`.age`) is drilled only where BACKUP_AGE_IDENTITY_FILE names a private key that opens it; without
it the drill is skipped, and the archive is **not proven** by a restore, only verified before it was encrypted.
A backup with an id has a drill of its own, `restore_drill_<id>`; on one server they take turns.
Of checkpoints one is drilled weekly, or as seldom as BACKUP_DRILL says: this DAG looks
between 05:00 and 06:00, at the same minute each day, whether that is due.
A drill that fails is mailed to every administrator, with its reason.
"""

from __future__ import annotations

from datetime import timedelta
from zlib import crc32

from airflow.sdk import DAG, Asset, CronTriggerTimetable, Param

from include.backup.settings import Settings
from include.operators.alerts import alert_failure, alert_run_failure
from include.operators.backup import RestoreOperator, verified
from include.operators.each_backup import each_backup


def make_dag(settings: Settings) -> DAG:
    """Make the DAG that drills a backup."""
    with DAG(
        dag_id=settings.backup.drill_dag_id,
        description="Proves the newest archive by restoring it into a scratch database",
        schedule=_schedule(settings),
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(minutes=settings.backup_run_timeout_minutes),
        on_failure_callback=alert_run_failure,
        tags=["backup"],
        doc_md=__doc__,
        params={"archive": Param("", type="string", title="Which archive (empty: the newest)")},
        default_args={
            "retries": 3,
            "retry_delay": timedelta(seconds=settings.backup_retry_delay_seconds),
            "retry_exponential_backoff": 2,
            "on_failure_callback": alert_failure,
        },
    ) as dag:
        RestoreOperator(
            task_id="drill_archive",
            doc_md="Restores into a scratch database, compares every table, drops the database, records the result "
            "beside the archive.",
        )
    return dag


def _schedule(settings: Settings) -> CronTriggerTimetable | list[Asset] | None:
    """Return when the drill looks whether one is due: after each backup, but daily where there are many in a day."""
    if settings.backup_drill == "off":
        return None
    if settings.backup.is_checkpoints:
        minute = crc32(settings.backup.id.encode()) % 60  # those of many databases do not all begin together
        return CronTriggerTimetable(f"{minute} 5 * * *", timezone=settings.backup_timezone)
    return [verified(settings.backup)]


for settings in each_backup():
    make_dag(settings)
