"""The steps of restore_drill and restore_backup, one function for each task id. The work is done in include.backup."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk.exceptions import AirflowSkipException

from include.backup.age_keys import Identity, belong_together, identities_for, read_identities
from include.backup.archive_name import stem
from include.backup.clients import find_clients
from include.backup.database import Database
from include.backup.drill import drill
from include.backup.drill_record import is_due, last_passed
from include.backup.errors import BackupError, PrerequisiteError, RestoreError
from include.backup.manifest import read_sidecar, readable_archives
from include.backup.notice import Notice
from include.backup.restore import Restore
from include.backup.restore_target import check_target, may_create_databases
from include.backup.rights import PRIVATE_FOLDER
from include.backup.run import WORKSPACES, utc_now
from include.backup.templates import render
from include.operators.connections import drill_database, source_database, target_database
from include.operators.mail import mail_notice
from include.operators.task import BackupTask


def drill_archive(task: BackupTask) -> float:
    """Prove the newest archive, or the one that was asked for, by restoring it; return the seconds it took."""
    settings = task.settings
    archive = _chosen_archive(task)
    server = drill_database(settings.backup_connection)
    if not may_create_databases(server):
        raise AirflowSkipException(
            f"role {server.user} may not create databases on {server.host}:{server.port}: create the Airflow "
            "connection backup_drill for a server where it may, or GRANT it CREATEDB"
        )
    last = last_passed(settings.backup_dir)
    if not task.is_manual and not is_due(settings.backup_drill, last, now=utc_now()):
        raise AirflowSkipException(f"BACKUP_DRILL={settings.backup_drill}: the last drill passed on {last:%Y-%m-%d}")
    identities = _identities(task, archive)

    def can_be_cancelled(cancel: Callable[[], None]) -> None:
        task.cancel = cancel

    return drill(archive, server, folder=_workspaces(task), identities=identities, on_start=can_be_cancelled).seconds


def _identities(task: BackupTask, archive: Path) -> Sequence[Identity]:
    """
    Return the keys that open the archive; none for one that is not encrypted. No key at all skips the drill.

    A key that does not fit fails the task before the drill: it says nothing about the archive, so nothing is recorded.
    """
    encryption = read_sidecar(archive).encryption
    if not encryption:
        return ()
    identities = read_identities(task.settings.backup_age_identity_file)
    if not identities:
        raise AirflowSkipException(
            f"{archive.name} is encrypted and BACKUP_AGE_IDENTITY_FILE is not set: it is not proven by a restore, "
            "only verified before it was encrypted. Set it where drills run, or restore where the private key is"
        )
    if not belong_together(identities, encryption.recipients):
        raise PrerequisiteError(
            f"no key in BACKUP_AGE_IDENTITY_FILE opens {archive.name}, which is encrypted for "
            f"{', '.join(encryption.recipients)}; put the private key of one of them into the file"
        )
    return identities


def _chosen_archive(task: BackupTask) -> Path:
    archives_there = dict(readable_archives(task.backup_dir))
    wanted = str(task.params.get("archive") or "")
    if wanted:
        found = task.backup_dir / wanted
        if found not in archives_there:
            raise BackupError(f"{wanted} is no archive in {task.backup_dir}; expected a name such as it has there")
        return found
    if not archives_there:
        raise BackupError(f"there is no archive in {task.backup_dir}; run {task.settings.backup.dag_id} first")
    return max(archives_there, key=lambda archive: archives_there[archive].snapshot_at)


def _workspaces(task: BackupTask) -> Path:
    folder = task.backup_dir / WORKSPACES
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    return folder


def check_restore(task: BackupTask) -> str:
    """Do all that can be done before anything is changed; return what a person is asked to approve, in Markdown."""
    order = _order(task)
    with _restore(task, order) as restore:
        sidecar = restore.check(tables=order.tables, schema=order.schema)
    values = {"sidecar": sidecar, "order": order, "zone": ZoneInfo(task.settings.backup_timezone)}
    return render("restore_question.md.j2", values)


def restore_archive(task: BackupTask) -> dict[str, Any]:
    """Restore into the new database, and compare every table; return what came back."""
    order = _order(task)
    with _restore(task, order) as restore:
        done = restore.run(tables=order.tables, schema=order.schema)
    return {"seconds": round(done.seconds, 1), "tables": done.tables, "rows": done.rows, "schema": done.schema}


def mail_restored(task: BackupTask) -> dict[str, str]:
    """Mail every administrator what was restored; return who was refused, with the server's words."""
    order = _order_as_given(task)
    done = task.context["ti"].xcom_pull(task_ids="restore_archive")
    where = f"{order.target}, schema {done['schema']}" if done["schema"] else str(order.target)
    notice = Notice(
        state="ok",
        title=f"Restored into {order.target.name}: {done['rows']:,} rows, all compared",
        text=f"{done['rows']:,} rows of {done['tables']} tables are back; every table has the SHA-256 of the manifest.",
        facts=(("Archive", order.archive.name), ("Into", where), ("Took", f"{done['seconds']} s")),
        next_steps=(
            f"Look at {order.target.name}; the database that is backed up was not touched.",
            "Point the application at it, or rename it in the old one's place; then restart the services.",
            "Configuration files are in the archive; BACKUP_INFO.txt says where each belongs.",
        ),
        url=task.run_url,
    )
    return mail_notice(task.settings, replace(notice, title=task.settings.backup.named(notice.title)))


@dataclass(frozen=True)
class RestoreOrder:
    """What somebody has asked for in the form of restore_backup."""

    archive: Path
    target: Database
    tables: tuple[str, ...]

    @property
    def schema(self) -> str:
        """Where single tables go in a database that is there already."""
        return stem(self.archive.name).replace("critical_backup", "restored")


def _order_as_given(task: BackupTask) -> RestoreOrder:
    params = task.params
    target = target_database(str(params["connection"]).strip(), str(params["database"]))
    return RestoreOrder(_chosen_archive(task), target, tuple(filter(None, map(str.strip, params["tables"] or ()))))


def _order(task: BackupTask) -> RestoreOrder:
    """Return what was asked for, if it may be done."""
    if task.params["confirm"] != task.params["database"]:
        raise RestoreError(
            f"the confirmation says {task.params['confirm']!r}, the database is {task.params['database']!r}: "
            "type the new database's name in both fields"
        )
    order = _order_as_given(task)
    try:
        source = source_database(task.settings.backup_connection)
    except PrerequisiteError:  # a site that only restores need not know the source
        source = None
    check_target(order.target, source)
    return order


@contextmanager
def _restore(task: BackupTask, order: RestoreOrder) -> Iterator[Restore]:
    """Give the restore, which can be cancelled, with a folder to unpack in."""
    with order.target.connect_for_maintenance() as session:
        clients = find_clients(session.info.server_version // 10000)
    with tempfile.TemporaryDirectory(dir=_workspaces(task), prefix="restore-") as folder:
        identities = identities_for(order.archive.name, task.settings.backup_age_identity_file)
        restore = Restore(order.archive, order.target, clients, Path(folder), identities=identities)
        task.cancel = restore.cancel
        yield restore
