"""
# restore_backup

Restores an archive into a **new** database, by the archive's own `restore.sh`, and compares every table with the
manifest. It never touches the database that is backed up, nor any other that has rows in it.

1. **Trigger** (▶) and fill in the form; type the new database's name twice.
2. `check_restore` reads the whole archive and looks at the target. Nothing is changed yet.
3. Somebody approves: open the task `approve_restore`, tab *Required Action*, read what is going to happen, **Approve**.
4. `restore_archive` restores; every administrator gets a mail with rows, seconds and the next steps.

| you want | fill in |
|---|---|
| everything, beside the old database | a new database's name; then look at it, and switch the application to it |
| only some tables | their names in `tables`, one a line. In a new database they go where they belong, without keys; in one that is there already into a schema of their own (`restored_YYYYMMDD_HHMMSS`) |
| another server | `connection`: an Airflow connection (Admin → Connections) whose role may create databases |

The role behind the connection needs CREATEDB, unless the database is there already, empty. A restore that failed
may leave the new database empty or incomplete: drop it, and trigger again. Without Airflow: unpack the archive and
follow its BACKUP_INFO.txt.

A backup with an id has a DAG of its own for this, `restore_backup_<id>`.

An archive that ends in `.age` is encrypted. Here it is restored only where BACKUP_AGE_IDENTITY_FILE names a private key
that opens it; it is decrypted while it is unpacked. By hand, where the private key is:
`age -d -i KEY_FILE -o X.tar.gz X.tar.gz.age`, then as above; `X.decrypt.txt` beside the archive has the exact command.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, chain

from include.backup.archive_name import archive_names
from include.backup.names import restored_name
from include.backup.settings import Settings
from include.operators.alerts import alert_failure, alert_run_failure, told_in_airflow
from include.operators.backup import RestoreOperator
from include.operators.connection_variables import DRILL_CONNECTION, DRILL_VARIABLE
from include.operators.each_backup import each_backup


def make_dag(settings: Settings) -> DAG:
    """Make the DAG that restores archives of a backup."""
    archives = archive_names(settings.backup_dir)
    # A choice of what is there; a name to type where this machine does not see BACKUP_DIR.
    choice: dict[str, Any] = {"default": archives[0], "enum": archives} if archives else {}

    with DAG(
        dag_id=settings.backup.restore_dag_id,
        description="Restores an archive into a new database, after somebody has approved",
        schedule=None,
        catchup=False,
        on_failure_callback=alert_run_failure,
        tags=["backup"],
        doc_md=__doc__,
        params={
            "archive": Param(
                type="string",
                title="Archive",
                description="The newest stands first; the name is the time of its rows. One that ends in .age is encrypted: "
                "it needs BACKUP_AGE_IDENTITY_FILE here, or a restore by hand (see above)",
                **choice,
            ),
            "connection": Param(
                DRILL_CONNECTION if DRILL_VARIABLE in os.environ else settings.backup_connection,
                type="string",
                minLength=1,
                title="Airflow connection of the target server",
                description="Its role needs CREATEDB",
            ),
            "database": Param(
                restored_name(settings.backup.parent.id or settings.postgres_db),
                type="string",
                minLength=1,
                maxLength=63,
                title="New database",
                description="Is made; an empty one may be there. Never the one that is backed up",
            ),
            "tables": Param(
                [],
                type=["array", "null"],
                items={"type": "string"},
                title="Only these tables",
                description="One a line, as in the mail; empty: everything",
            ),
            "confirm": Param(
                type="string", minLength=1, title="Confirm", description="Type the new database's name once more"
            ),
        },
        default_args={"retries": 0},
    ) as dag:
        chain(
            RestoreOperator(
                task_id="check_restore",
                on_failure_callback=told_in_airflow,
                doc_md="Reads the whole archive, looks at the target, changes nothing. Everything that would be refused "
                "is refused here.",
            ),
            ApprovalOperator(
                task_id="approve_restore",
                subject="Restore {{ params.archive }} into {{ params.database }}?",
                body="{{ ti.xcom_pull(task_ids='check_restore') }}",
                defaults=ApprovalOperator.REJECT,
                response_timeout=timedelta(days=1),
                doc_md="Waits for a person: tab *Required Action*. Rejected, or unanswered for a day, nothing happens.",
            ),
            RestoreOperator(
                task_id="restore_archive",
                on_failure_callback=alert_failure,
                doc_md="Restores with the archive's own restore.sh, then compares the SHA-256 of every table.",
            ),
            RestoreOperator(
                task_id="mail_restored",
                retries=3,
                on_failure_callback=alert_failure,
                retry_delay=timedelta(seconds=settings.backup_retry_delay_seconds),
                doc_md="Mails every administrator what came back, and the next steps.",
            ),
        )
    return dag


for settings in each_backup():
    make_dag(settings)
