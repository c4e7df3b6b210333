"""The steps of the nightly DAG, one operator each. The work is done in include.backup."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.sdk import BaseOperator

from include.backup.archive import PARTIAL_ARCHIVE, compress_archive, publish
from include.backup.catalog import Catalog
from include.backup.clients import find_clients
from include.backup.configuration import ConfigurationResult, copy_configuration
from include.backup.delivery import Letter, build_message, choose_delivery, send
from include.backup.errors import BackupError, MissingStepError
from include.backup.export import Export, ExportResult
from include.backup.manifest import load_step, save_step
from include.backup.prerequisites import CheckResult, check_folder, check_prerequisites
from include.backup.retention import RetentionPolicy, expire_archives
from include.backup.run import remove_workspace, utc_now
from include.backup.scope import load_scope
from include.backup.selection import Selection, require_tables, select_rows
from include.backup.status import size_warning, update_status
from include.backup.summary import Steps, SummaryResult, write_summary
from include.backup.templates import size_text
from include.backup.verify import verify_archive
from include.operators.connections import mail_server, require_mail_connection, source_database
from include.operators.step import Step, errors_for_airflow

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class BackupOperator(BaseOperator):
    """A step: `run_step` does it and returns the XCom, a few hundred bytes at most."""

    def execute(self, context: Context) -> Any:
        """Run the step; errors that no retry mends fail the task at once."""
        with errors_for_airflow():
            return self.run_step(Step(context))

    @abstractmethod
    def run_step(self, step: Step) -> Any:
        """Do the work."""


class CreateWorkspace(BackupOperator):
    """Spec step 1: the run's own directory below BACKUP_DIR."""

    def run_step(self, step: Step) -> str:
        wrong = check_folder(step.backup_dir)
        if wrong:
            raise BackupError(wrong[0])
        return step.create_workspace().name


class CheckPrerequisites(BackupOperator):
    """Everything that can be known before work starts, in one message."""

    def run_step(self, step: Step) -> int:
        workspace = step.workspace
        findings = check_prerequisites(step.settings, source_database(), cut_off_for=step.cut_off)
        try:
            if step.delivers_mail:
                require_mail_connection()
        except BackupError as error:
            findings.note(error)
        for hint in findings.hints:
            log.info("hint: %s", hint)
        for warning in findings.warnings:
            log.warning("%s", warning)
        findings.raise_errors()
        save_step(workspace, self.task_id, CheckResult(warnings=tuple(findings.warnings)))
        return len(findings.warnings)


class ExportDatabase(BackupOperator):
    """Spec steps 2 and 3: all rows, from one snapshot."""

    _export: Export | None = None

    def run_step(self, step: Step) -> int:
        settings = step.settings
        folder = step.workspace / "export"
        folder.mkdir(mode=0o700, exist_ok=True)
        scope = load_scope(settings.scope_file)
        database = source_database()
        with database.connect() as session:
            clients = find_clients(session.info.server_version // 10000)
        self._export = Export(database, clients, folder, parallel=settings.backup_parallel)

        def plan(catalog: Catalog) -> tuple[Selection, ...]:
            require_tables(catalog, scope)
            return select_rows(catalog, scope, cut_off_for=step.cut_off, default_months=settings.backup_window_months)

        result = self._export.run(plan, cut_off=step.cut_off(settings.backup_window_months))
        save_step(step.workspace, self.task_id, result)
        return sum(table.rows for table in result.tables)

    def on_kill(self) -> None:
        """End psql and pg_dump, and with them their queries."""
        if self._export:
            self._export.cancel()


class CopyConfiguration(BackupOperator):
    """Spec step 4: configuration files."""

    def run_step(self, step: Step) -> int:
        workspace = step.workspace
        folder = workspace / "configuration"
        folder.mkdir(mode=0o700, exist_ok=True)
        scope = load_scope(step.settings.scope_file)
        result = copy_configuration(scope, step.settings.backup_config_dir, folder)
        save_step(workspace, self.task_id, result)
        return len(result.parts)


class WriteSummary(BackupOperator):
    """Spec step 5: MANIFEST.json, BACKUP_INFO.txt and restore.sql."""

    def run_step(self, step: Step) -> str:
        workspace = step.workspace
        steps = Steps(
            export=load_step(workspace, "export_database", ExportResult),
            configuration=load_step(workspace, "copy_configuration", ConfigurationResult),
            warnings=load_step(workspace, "check_prerequisites", CheckResult).warnings,
            left_out=load_scope(step.settings.scope_file).exclude,
        )
        folder = workspace / "summary"
        folder.mkdir(mode=0o700, exist_ok=True)
        result = write_summary(step.run, steps, folder, timezone_name=step.settings.backup_timezone)
        save_step(workspace, self.task_id, result)
        return result.manifest.archive


class CompressArchive(BackupOperator):
    """Spec step 6: the parts become one .tar.gz, under a name that is not an archive's."""

    def run_step(self, step: Step) -> int:
        workspace = step.workspace
        export = load_step(workspace, "export_database", ExportResult)
        configuration = load_step(workspace, "copy_configuration", ConfigurationResult)
        summary = load_step(workspace, "write_summary", SummaryResult)
        partial = compress_archive(
            workspace,
            [
                (workspace / "summary", summary.parts),
                (workspace / "export", export.parts),
                (workspace / "configuration", configuration.parts),
            ],
            modified_at=export.snapshot_at,
        )
        return partial.stat().st_size


class VerifyArchive(BackupOperator):
    """Spec step 7: only what is proven sound gets an archive's name."""

    def run_step(self, step: Step) -> str:
        partial = step.run.workspace(step.backup_dir) / PARTIAL_ARCHIVE
        if not partial.exists():
            return self._verify_published(step)
        manifest = load_step(step.workspace, "write_summary", SummaryResult).manifest
        verified = verify_archive(partial, manifest)
        sidecar = publish(partial, manifest, sha256=verified.archive_sha256, backup_dir=step.backup_dir)
        log.info(
            "%s is verified: %s, %s of rows and files read again, %d rows",
            sidecar.archive,
            size_text(verified.archive_bytes),
            size_text(verified.uncompressed_bytes),
            verified.rows,
        )
        return sidecar.archive

    def _verify_published(self, step: Step) -> str:
        """The archive has its name already: the task was cleared, or killed just after the rename."""
        workspace = step.run.workspace(step.backup_dir)
        if (workspace / "write_summary.json").exists():
            expected = load_step(workspace, "write_summary", SummaryResult).manifest.archive
            if not (step.backup_dir / expected).exists():
                raise MissingStepError(f"{workspace} holds no compressed archive: clear compress_archive as well")
        archive, sidecar = step.published_archive()
        verified = verify_archive(archive, sidecar.without_archive_facts())
        if verified.archive_sha256 != sidecar.archive_sha256:
            raise BackupError(f"{archive} has changed since it was verified first; do not restore from it")
        log.info("%s is verified again: %d rows", archive.name, verified.rows)
        return archive.name


class CheckSize(BackupOperator):
    """Spec step 8: an odd size is a warning; the archive stays and the run goes on."""

    def run_step(self, step: Step) -> str | None:
        settings = step.settings
        _, sidecar = step.archive
        warning = size_warning(
            sidecar.archive_bytes, min_mb=settings.backup_min_size_mb, max_mb=settings.backup_max_size_mb
        )
        if warning:
            log.warning("%s", warning)
        else:
            log.info("%s has %s, within the limits", sidecar.archive, size_text(sidecar.archive_bytes))
        return warning


def choose_delivery_task(**context: Any) -> str:
    """Spec step 9: return the id of the task that goes on: attachment, link, or no mail at all."""
    with errors_for_airflow():
        step = Step(context)  # type: ignore[arg-type]
        if not step.delivers_mail:
            log.info("no mail: deliver_mail is off for this run")
            return "update_status"
        _, sidecar = step.archive
        choice = choose_delivery(sidecar.archive_bytes, attachment_max_mb=step.settings.backup_attachment_max_mb)
        log.info("%s: %s", choice.kind, choice.reason)
        return f"email_{choice.kind}"


class EmailBackup(BackupOperator):
    """Spec step 9: the mail to every administrator, over the connection `smtp_default`."""

    def run_step(self, step: Step) -> dict[str, str]:
        settings = step.settings
        archive, sidecar = step.archive
        size_finding = step.context["ti"].xcom_pull(task_ids="check_size")
        letter = Letter(
            archive=archive,
            sidecar=sidecar,
            choice=choose_delivery(sidecar.archive_bytes, attachment_max_mb=settings.backup_attachment_max_mb),
            warnings=(str(size_finding),) if size_finding else (),
            link_base_url=settings.backup_link_base_url,
            run_url=step.run_url,
            zone=ZoneInfo(settings.backup_timezone),
        )
        with mail_server() as (client, from_email):
            sender = from_email or settings.smtp_from or settings.admin_emails[0]
            message = build_message(letter, sender=sender, recipients=settings.admin_emails)
            refused = send(client, message, sender=sender, recipients=settings.admin_emails)
        for recipient, words in refused.items():
            log.warning("%s did not get the mail: %s", recipient, words)
        return refused


class UpdateStatus(BackupOperator):
    """Spec step 10: the status files."""

    def run_step(self, step: Step) -> bool:
        return update_status(step.archive[1], step.backup_dir)


class ExpireOldBackups(BackupOperator):
    """Spec step 11: retention."""

    def run_step(self, step: Step) -> int:
        settings = step.settings
        policy = RetentionPolicy(
            keep_days=settings.backup_retention_days,
            min_keep=settings.backup_retention_min_keep,
            max_age_hours=settings.backup_max_age_hours,
        )
        plan = expire_archives(step.backup_dir, policy, now=utc_now())
        log.info("%d archives kept, %d expired: %s", len(plan.keep), len(plan.expire), plan.reason)
        for sidecar in plan.expire:
            log.info("expired %s", sidecar.archive)
        return len(plan.expire)


class RemoveWorkspace(BackupOperator):
    """Spec step 12: the leaf; if anything failed it does not run, and the workspace stays for another try."""

    def run_step(self, step: Step) -> int:
        removed = remove_workspace(step.run, step.backup_dir)
        for path in removed:
            log.info("removed %s", path)
        return len(removed)
