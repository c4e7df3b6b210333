"""
# critical_backup

Every night the critical part of the database and its configuration files become **one verified archive**
in BACKUP_DIR, and every administrator gets it, or a link to it, by mail.

| you want to | do |
|---|---|
| make a backup now | **Trigger** (▶); say why in `reason`, and turn `deliver_mail` off if nobody shall get a mail |
| know why a run failed | open its red task, tab *Logs*; the last line says what was seen, what was expected, what to do |
| try again after mending the cause | **Clear** the red task with *downstream*; alone, it would not change the run's state, which is that of the last task |
| make a new archive for an old run | **Clear** `create_workspace` with *downstream*: a new archive, no old one is touched |
| make up for missed nights | **Trigger → Backfill**, or `airflow backfill create --dag-id critical_backup --from-date 2026-11-17 --to-date 2026-11-20 --max-active-runs 1`; a date means 00:00, so the last night needs the day after it |
| send the mail to who lacks it | **Clear** `email_attachment` (or `email_link`): who has it is not mailed again |
| send it to everybody again | remove the archive's `.delivery.json` in BACKUP_DIR, then clear the mail task; in a run started with `send_again`, clearing is enough |
| make a second copy that failed (only where BACKUP_COPY_URL is set) | mend the cause its log names, then **Clear** `copy_archive` with *downstream*; what is there already is compared, not written again |
| stop backups for a while | pause the DAG |
| restore | unpack the archive and follow its BACKUP_INFO.txt; psql and tar are enough. One that ends in `.age`: decrypt it first, as the `.decrypt.txt` beside it says |

A backfilled run cannot bring back the past: it takes what the database holds now, with that day's cut-off.
Connections are tried 3 times again with growing pauses; what waiting cannot mend fails at once.
A workspace in `BACKUP_DIR/.work` belongs to an unfinished run; left-overs go after a day.
What is taken stands in `include/scope.yaml`; settings are environment variables (specs/011-automated-backup/spec.md).
Each backup that scope.yaml has below `backups:` is a DAG of its own, `critical_backup_<id>`, with its archives in
`BACKUP_DIR/<id>` (docs/FLEET.md). With BACKUP_CHECKPOINT_SCHEDULE the DAG critical_backup_checkpoints, of a backup with an
id `critical_backup_<id>_checkpoints`, makes complete archives in between, without mail (docs/CHECKPOINTS.md); a slot that
comes while another run exports is left out: its run ends *skipped*, which is no failure.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.sdk import DAG, CronTriggerTimetable, Param, TriggerRule, chain
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert
from airflow.sdk.definitions.param import ParamsDict

from include.backup.health import remedy_for
from include.backup.settings import Settings
from include.operators.alerts import alert_failure, alert_run_failure
from include.operators.backup import BackupOperator, branch_to_delivery, verified
from include.operators.deadline import BackupDue
from include.operators.each_backup import each_backup
from include.operators.late import alert_late

CHECKPOINTS_MANUAL = """
# critical_backup

Complete verified archives between the nightly ones, **without mail**, in `BACKUP_DIR/{folder}`, kept for
BACKUP_CHECKPOINT_KEEP_HOURS={keep_hours} (docs/CHECKPOINTS.md).

| you want to | do |
|---|---|
| know why a run made no archive (its tasks are *skipped*) | open the log of the first of them: another run exported, or its slot came too late. That is no failure; the next slot makes the next checkpoint |
| know why a run failed | open its red task, tab *Logs*; the last line says what was seen, what was expected, what to do. The next slot tries by itself |
| make one now | **Trigger** (▶): it waits for an export that is under way |
| stop them for a while | pause the DAG; when the newest is older than {max_age_minutes} minutes, `backup_watch` says so |
| have no more | take BACKUP_CHECKPOINT_SCHEDULE away; the archives stay until you remove them |
| restore | **Trigger** `restore_backup`, or do it by hand: unpack the archive and follow its BACKUP_INFO.txt |

What is taken is what `{parent}` takes. The two never export at once.
"""


def _manual(settings: Settings) -> str:
    """Return the manual with the names of this backup's DAGs."""
    backup = settings.backup
    if not backup.is_checkpoints:
        return remedy_for(backup.id, __doc__)
    return remedy_for(backup.id, CHECKPOINTS_MANUAL).format(
        folder=backup.id,
        keep_hours=settings.backup_checkpoint_keep_hours,
        max_age_minutes=settings.backup_checkpoint_max_age_minutes,
        parent=backup.parent.dag_id,
    )


def make_dag(settings: Settings) -> DAG:
    """Make the DAG of a backup; that of checkpoints mails nothing and is never late."""
    mails = not settings.backup.is_checkpoints
    with DAG(
        dag_id=settings.backup.dag_id,
        description="Nightly verified backup of the critical tables, mailed to the administrators"
        if mails
        else f"Verified backups between those of {settings.backup.parent.dag_id}, without mail",
        # A DAG that is new begins with the next slot; Airflow's default, also False, makes up for one of hours ago.
        schedule=CronTriggerTimetable(
            settings.backup_schedule, timezone=settings.backup_timezone, run_immediately=timedelta(0)
        ),
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(minutes=settings.backup_run_timeout_minutes),
        on_failure_callback=alert_run_failure,
        deadline=DeadlineAlert(
            name=f"{settings.backup.dag_id} is late",
            reference=BackupDue(),
            interval=timedelta(minutes=settings.backup_deadline_minutes),
            callback=SyncCallback(alert_late),
        )
        if mails
        else None,
        tags=["backup"],
        doc_md=_manual(settings),
        default_args={
            "retries": 3 if mails else 1,  # the next checkpoint comes soon
            "retry_delay": timedelta(seconds=settings.backup_retry_delay_seconds),
            "retry_exponential_backoff": 2,  # the multiplier: 1, 2, 4 minutes, and up to as much again of jitter
            "weight_rule": "upstream",  # where slots are short, runs that are furthest end first (docs/GROWTH.md)
            "on_failure_callback": alert_failure,
        },
    ) as dag:
        update_status = BackupOperator(
            task_id="update_status",
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
            doc_md="Spec step 10: `.last_backup_success` and `.last_backup_size_mb`, never backwards in time.",
        )
        check_size = BackupOperator(
            task_id="check_size", doc_md="Spec step 8: an odd size is a warning; the archive stays."
        )
        verify_archive = BackupOperator(
            task_id="verify_archive",
            retries=0,
            outlets=[verified(settings.backup)],
            doc_md="Spec step 7: every byte is read again and held against the manifest; only then the archive "
            "gets its final name, and with BACKUP_AGE_RECIPIENTS it is encrypted before. Cleared alone after success, it "
            "verifies the archive on the disk again; an encrypted one by SHA-256 and structure where no key is.",
        )
        chain(
            BackupOperator(
                task_id="create_workspace",
                doc_md="Spec step 1: the run's own directory in BACKUP_DIR/.work. Clear it with everything downstream "
                "to make a new archive.",
            ),
            BackupOperator(
                task_id="check_prerequisites",
                doc_md="Before step 2: scope against the catalog, privileges, versions, free disk, configuration "
                "files; everything wrong in one message. Warnings go into mail and manifest.",
            ),
            BackupOperator(
                task_id="export_database",
                pool=settings.backup_pool,
                doc_md="Spec steps 2 and 3: schema, whole tables and the recent rows of transaction tables, all from "
                "one snapshot, compressed as they stream.",
            ),
            BackupOperator(task_id="copy_configuration", doc_md="Spec step 4: the files below BACKUP_CONFIG_DIR."),
            BackupOperator(
                task_id="write_summary", doc_md="Spec step 5: MANIFEST.json, BACKUP_INFO.txt and restore.sql."
            ),
            BackupOperator(
                task_id="compress_archive",
                retries=0,
                doc_md="Spec step 6: one .tar.gz, not yet under its final name.",
            ),
            verify_archive,
            check_size,
        )
        if mails:
            _deliver(check_size, update_status)
        else:
            check_size >> update_status
        chain(
            update_status,
            BackupOperator(
                task_id="expire_old_backups",
                doc_md="Spec step 11: archives older than BACKUP_RETENTION_DAYS go, never the newest "
                "BACKUP_RETENTION_MIN_KEEP, nor the newest of a week or month with BACKUP_RETENTION_WEEKS or "
                "BACKUP_RETENTION_MONTHS. Checkpoints go after BACKUP_CHECKPOINT_KEEP_HOURS.",
            ),
            BackupOperator(
                task_id="remove_workspace",
                doc_md="Spec step 12: the run's directory, and left-overs older than a day.",
            ),
        )
        if settings.backup_copy_url:
            # Beside the mail: neither waits for the other, and the run succeeds only with both.
            copy_archive = BackupOperator(
                task_id="copy_archive",
                doc_md="After spec step 7: archive and manifest go to BACKUP_COPY_URL, are read back whole and compared; "
                "nothing there is overwritten.",
            )
            chain(verify_archive, copy_archive, update_status)
    # Only now: each task would take a deep copy of them, which was a third of the time of parsing.
    dag.params = ParamsDict(
        {
            "reason": Param("", type="string", maxLength=200, title="Why this run is started by hand"),
            **(_mail_params() if mails else {}),
        }
    )
    return dag


def _mail_params() -> dict[str, Param]:
    return {
        "deliver_mail": Param(default=True, type="boolean", title="Mail the archive to the administrators"),
        "send_again": Param(
            default=False, type="boolean", title="Clearing the mail also mails those who have it already"
        ),
    }


def _deliver(before: BackupOperator, after: BackupOperator) -> None:
    """Mail the archive between these two tasks of the present DAG, or pass that by."""
    choose_delivery = BranchPythonOperator(
        task_id="choose_delivery",
        python_callable=branch_to_delivery,
        doc_md="Spec step 9: attach below BACKUP_ATTACHMENT_MAX_MB and what the mail server takes, otherwise send a "
        "link.",
    )
    email_attachment = BackupOperator(
        task_id="email_attachment",
        doc_md="Spec step 9: the archive as an attachment, to every administrator.",
    )
    email_link = BackupOperator(
        task_id="email_link",
        doc_md="Spec step 9: a link to the archive, because it is too large to attach.",
    )
    chain(before, choose_delivery, [email_attachment, email_link], after)
    choose_delivery >> after


for settings in each_backup():
    make_dag(settings)
