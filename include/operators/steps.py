"""The steps of critical_backup, one function for each task id. The work is done in include.backup."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

from include.backup import archive as archives
from include.backup import (
    configuration,
    delivery,
    encryption,
    heartbeat,
    history,
    letter,
    prerequisites,
    retention,
    run,
    status,
    summary,
    verify,
)
from include.backup.age_keys import identities_for
from include.backup.anomaly import OddSizes, odd_sizes
from include.backup.archive_name import archive_name, forms
from include.backup.catalog import Catalog
from include.backup.clients import find_clients
from include.backup.configuration import ConfigurationResult
from include.backup.copy_record import read_copy
from include.backup.errors import BackupError, MissingStepError
from include.backup.export import Export, ExportResult
from include.backup.manifest import load_step, readable_archives, save_step
from include.backup.masking import mask
from include.backup.prerequisites import CheckResult
from include.backup.scope import load_scope
from include.backup.selection import Selection, require_tables, select_rows
from include.backup.settings import BYTES_PER_MB
from include.backup.summary import SummaryInput, SummaryResult
from include.backup.templates import size_text
from include.backup.verify_published import verify_published
from include.operators import copy_steps
from include.operators.announce import tell_it_is_over
from include.operators.connections import require_mail_connection, source_database
from include.operators.delivery import deliver_archive
from include.operators.leave_out import leave_out_if_overtaken, left_out_while_another_exports
from include.operators.links import status_page_url
from include.operators.mail import mail_server_limit
from include.operators.task import BackupTask

log = logging.getLogger(__name__)

DELIVERY_REASON = "reason"  # key of an XCom of choose_delivery

ResultT = TypeVar("ResultT")


def create_workspace(task: BackupTask) -> str:
    """Step 1: make the run's own directory below BACKUP_DIR; return its name."""
    run.make_backup_folder(task.backup_dir, task.settings.backup)
    wrong = prerequisites.check_folder(task.backup_dir, task.settings.backup_group)
    if wrong:
        raise BackupError("; ".join(wrong))
    leave_out_if_overtaken(task)
    _heartbeat(task, "start")
    return run.create_workspace(task.run, task.backup_dir).name


def _heartbeat(task: BackupTask, event: heartbeat.Event) -> None:
    url = task.settings.backup_heartbeat_url
    heartbeat.ping(url.get_secret_value() if url else None, event)


def check_prerequisites(task: BackupTask) -> int:
    """Before step 2: look at everything that can be known before work starts; return the number of warnings."""
    workspace = task.workspace
    database, no_database = _or_error(partial(source_database, task.settings.backup_connection))
    findings = prerequisites.check_prerequisites(task.settings, database, cut_off_for=task.cut_off)
    _, no_mail = _or_error(require_mail_connection) if task.delivers_mail else (None, None)
    for missing in filter(None, (no_database, no_mail)):
        findings.note(missing)
    findings.warnings += copy_steps.copy_warnings(task.settings)
    for hint in findings.hints:
        log.info("hint: %s", hint)
    for warning in findings.warnings:
        log.warning("%s", warning)
    findings.raise_errors()
    save_step(workspace, "check_prerequisites", CheckResult(warnings=tuple(map(mask, findings.warnings))))
    return len(findings.warnings)


def _or_error(look_up: Callable[[], ResultT]) -> tuple[ResultT | None, BackupError | None]:
    """Return what the function returns, or the error, so that it can be reported with others."""
    try:
        return look_up(), None
    except BackupError as error:
        return None, error


def export_database(task: BackupTask) -> int:
    """Steps 2 and 3: export all rows, from one snapshot; return how many."""
    settings = task.settings
    folder = task.folder("export")
    scope = load_scope(settings.scope_file, settings.backup)
    database = source_database(settings.backup_connection)
    with database.connect() as session:
        clients = find_clients(session.info.server_version // 10000)

    def is_taken(moment: datetime) -> bool:
        name = archive_name(moment.astimezone(ZoneInfo(settings.backup_timezone)))
        return any(map(os.path.lexists, forms(task.backup_dir / name)))

    export = Export(
        database,
        clients,
        folder,
        parallel=settings.backup_parallel,
        bytes_per_second=settings.backup_max_mb_per_second * BYTES_PER_MB,
        waits=not task.may_be_left_out,
        is_taken=is_taken,
    )
    task.cancel = export.cancel

    def plan(catalog: Catalog) -> tuple[Selection, ...]:
        require_tables(catalog, scope)
        return select_rows(catalog, scope, cut_off_for=task.cut_off, default_months=settings.backup_window_months)

    with left_out_while_another_exports(task):
        result = export.run(plan, cut_off=task.cut_off(settings.backup_window_months))
    save_step(task.workspace, "export_database", result)
    return sum(table.rows for table in result.tables)


def copy_configuration(task: BackupTask) -> int:
    """Step 4: copy the configuration files; return how many."""
    folder = task.folder("configuration")
    scope = load_scope(task.settings.scope_file, task.settings.backup)
    result = configuration.copy_configuration(scope, task.settings.backup_config_dir, folder)
    for warning in result.warnings:
        log.warning("%s", warning)
    save_step(task.workspace, "copy_configuration", result)
    return len(result.parts)


def write_summary(task: BackupTask) -> str:
    """Step 5: write manifest, BACKUP_INFO.txt and the restore scripts; return the archive's name to be."""
    workspace = task.workspace
    result = summary.write_summary(
        task.run,
        SummaryInput(
            export=load_step(workspace, "export_database", ExportResult),
            configuration=load_step(workspace, "copy_configuration", ConfigurationResult),
            warnings=load_step(workspace, "check_prerequisites", CheckResult).warnings,
        ),
        task.folder("summary"),
        timezone_name=task.settings.backup_timezone,
        configuration_dir=task.settings.backup_config_dir,
    )
    save_step(workspace, "write_summary", result)
    return result.manifest.archive


def compress_archive(task: BackupTask) -> int:
    """Step 6: make one .tar.gz of the parts, under a name that is not an archive's; return its bytes."""
    workspace = task.workspace
    export = load_step(workspace, "export_database", ExportResult)
    files = load_step(workspace, "copy_configuration", ConfigurationResult)
    texts = load_step(workspace, "write_summary", SummaryResult)
    if not {part.file_record for part in (*export.parts, *files.parts)} <= set(texts.manifest.files):
        raise MissingStepError("write_summary is older than what it describes: clear write_summary as well")
    partial_archive = archives.compress_archive(
        workspace,
        [
            (workspace / "summary", texts.parts),
            (workspace / "export", export.parts),
            (workspace / "configuration", files.parts),
        ],
        modified_at=export.snapshot_at,
    )
    return partial_archive.stat().st_size


def verify_archive(task: BackupTask) -> str:
    """Step 7: only what is proven sound gets an archive's name; return it."""
    partial_archive = task.run.workspace(task.backup_dir) / archives.PARTIAL_ARCHIVE
    if not partial_archive.exists():
        return _verify_published(task)
    manifest = load_step(task.workspace, "write_summary", SummaryResult).manifest
    if encryption.is_published(manifest, task.backup_dir):
        partial_archive.unlink()  # the task was killed after the rename, before this
        return _verify_published(task)
    verified = verify.verify_archive(partial_archive, manifest)
    log.info(
        "%s is verified: %s, %s of rows and files read again, %d rows",
        manifest.archive,
        size_text(verified.archive_bytes),
        size_text(verified.uncompressed_bytes),
        verified.rows,
    )
    refused = prerequisites.check_encryption(task.settings)  # the settings may be others by now
    if refused:
        raise BackupError(refused[0])
    sha256, backup_dir = verified.archive_sha256, task.backup_dir
    if keys := task.settings.backup_age_recipients:
        sidecar = encryption.publish_encrypted(partial_archive, manifest, keys, sha256=sha256, backup_dir=backup_dir)
        log.info("%s is encrypted for %s, and read again", sidecar.archive, ", ".join(keys))
    else:
        sidecar = archives.publish(partial_archive, manifest, sha256=sha256, backup_dir=backup_dir)
    return sidecar.archive


def _verify_published(task: BackupTask) -> str:
    """The archive has its name already: the task was cleared, or killed just after the rename."""
    workspace = task.run.workspace(task.backup_dir)
    if (workspace / "write_summary.json").exists():
        expected = load_step(workspace, "write_summary", SummaryResult).manifest.archive
        if not any(path.exists() for path in forms(task.backup_dir / expected)):
            raise MissingStepError(f"{workspace} holds no compressed archive: clear compress_archive as well")
    archive, sidecar = task.published_archive()
    rows = verify_published(archive, sidecar, identities_for(archive.name, task.settings.backup_age_identity_file))
    if rows is None:
        log.info("%s has its SHA-256 and all encrypted chunks; BACKUP_AGE_IDENTITY_FILE is not set", archive.name)
    else:
        log.info("%s is verified again: %d rows", archive.name, rows)
    return archive.name


def copy_archive(task: BackupTask) -> str:
    """After step 7, where BACKUP_COPY_URL is set: a second copy, read back and compared; return its address."""
    return copy_steps.make_copy(task.settings, *task.archive).url


def _odd_sizes(task: BackupTask) -> OddSizes:
    settings = task.settings
    archives_there = [sidecar for _, sidecar in readable_archives(task.backup_dir)]
    return odd_sizes(
        task.archive[1], archives_there, min_mb=settings.backup_min_size_mb, max_mb=settings.backup_max_size_mb
    )


def check_size(task: BackupTask) -> int:
    """Step 8: an odd size is a warning; the archive stays and the run goes on. Return the number of warnings."""
    warnings = _odd_sizes(task).lines
    for warning in warnings:
        log.warning("%s", warning)
    if not warnings:
        log.info("%s: within the limits, and like the archives before", size_text(task.archive[1].archive_bytes))
    return len(warnings)


def choose_delivery(task: BackupTask) -> str:
    """Step 9: return the id of the task that goes on."""
    if not task.delivers_mail:
        log.info("no mail: deliver_mail is off for this run")
        return "update_status"
    choice = delivery.choose_delivery(
        task.archive[1].archive_bytes,
        attachment_max_mb=task.settings.backup_attachment_max_mb,
        server_max_bytes=mail_server_limit(),
    )
    log.info("%s: %s", choice.kind, choice.reason)
    task.context["ti"].xcom_push(DELIVERY_REASON, choice.reason)
    return f"email_{choice.kind}"


def _email(kind: Literal["attachment", "link"], task: BackupTask) -> dict[str, str]:
    """Step 9: mail each administrator who lacks the mail; return who still does, with the server's words."""
    settings = task.settings
    archive, sidecar = task.archive
    zone = ZoneInfo(settings.backup_timezone)
    odd = _odd_sizes(task)
    mail = letter.Letter(
        archive=archive,
        sidecar=sidecar,
        choice=_choice(kind, task),
        warnings=odd.lines,
        link_base_url=settings.backup_link_base_url,
        run_url=task.run_url,
        page_url=status_page_url(settings),
        zone=zone,
        history=history.read_history(sidecar, task.backup_dir, zone, told=odd.tables),
        copy=read_copy(archive),
        copy_awaited=settings.backup_copy_url is not None,
        link_days=settings.backup_link_days,
        backup=settings.backup,
    )
    return deliver_archive(task, mail)


def _choice(kind: Literal["attachment", "link"], task: BackupTask) -> letter.Choice:
    """Return what choose_delivery has decided, with its reason."""
    reason = task.context["ti"].xcom_pull(task_ids="choose_delivery", key=DELIVERY_REASON)
    return letter.Choice(kind, str(reason or "choose_delivery decided so"))


email_attachment = partial(_email, "attachment")
email_link = partial(_email, "link")


def update_status(task: BackupTask) -> bool:
    """Step 10: write the status files; return whether this archive is the newest success."""
    is_newest = status.update_status(task.archive[1], task.backup_dir)
    if is_newest:  # an old run that was cleared says nothing about last night
        _heartbeat(task, "success")
        _end_incident(task)
    return is_newest


def _end_incident(task: BackupTask) -> None:
    """Tell once that an incident is over; what goes wrong with that never fails a backup."""
    try:
        tell_it_is_over(
            task.settings, task.settings.backup.dag_id, f"{task.archive[0].name} is verified.", url=task.run_url
        )
    except (BackupError, OSError) as error:
        log.warning("it could not be told that the incident is over, the next success tells it: %s", error)


def expire_old_backups(task: BackupTask) -> int:
    """Step 11: remove what has expired, here and of the second copies; return how many archives here."""
    settings = task.settings
    plan = retention.expire_archives(task.backup_dir, retention.RetentionPolicy.of(settings), now=run.utc_now())
    log.info("%d archives kept, %d expired: %s", len(plan.keep), len(plan.expire), plan.reason)
    for sidecar in plan.expire:
        log.info("expired %s", sidecar.archive)
    copy_steps.expire_old_copies(settings, now=run.utc_now())
    return len(plan.expire)


def remove_workspace(task: BackupTask) -> int:
    """Step 12, the leaf: if anything failed it does not run, and the workspace stays for another try."""
    removed = run.remove_workspace(task.run, task.backup_dir)
    for path in removed:
        log.info("removed %s", path)
    return len(removed)
