"""
Look whether a backup could be made and mailed, from the command line: before Airflow is set up, or when in doubt.

The settings are the environment variables that the DAG reads. Nothing is changed, and nothing is sent without --mail.
Exit status: 0 a backup can be made, 1 something is in the way, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import smtplib
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import psycopg

from include.backup.backup_id import Backup
from include.backup.catalog import read_catalog
from include.backup.database import Database, explain
from include.backup.errors import BackupError, DeliveryError, PrerequisiteError, SettingsError
from include.backup.fleet import settings_of
from include.backup.forecast import duration_text, forecast
from include.backup.mail import announced_limit, send
from include.backup.mail import explain as explain_mail
from include.backup.notice import Notice, notice_message
from include.backup.outgoing import outgoing
from include.backup.prerequisites import check_prerequisites
from include.backup.run import cut_off, utc_now
from include.backup.scope import load_scope
from include.backup.scope_audit import Audit
from include.backup.scope_command import source_of
from include.backup.scope_yaml import on_one_line
from include.backup.selection import select_rows
from include.backup.settings import BYTES_PER_MB, Settings, load_settings, load_usable_settings
from include.backup.templates import size_text

FINE, IN_THE_WAY = 0, 1
SMTPS_PORT = 465  # RFC 8314
MAIL_SECONDS = 30
PROPOSE = "python -m include.backup.scope propose > scope.yaml, then BACKUP_SCOPE_FILE=$PWD/scope.yaml"


class _Page:
    """What is said, a line each, and how much of it is in the way."""

    def __init__(self) -> None:
        self.errors = 0

    def fine(self, text: str) -> None:
        self._say("✓", text)

    def hint(self, text: str) -> None:
        self._say("·", text)

    def warn(self, text: str) -> None:
        self._say("!", text)

    def refuse(self, text: str) -> None:
        self.errors += 1
        self._say("✕", text)

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Say what is raised, and go on with the next thing."""
        try:
            yield
        except BackupError as error:
            self.refuse(str(error))

    @staticmethod
    def _say(mark: str, text: str) -> None:
        print(f"{mark} {on_one_line(text)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m include.backup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    check = parser.add_subparsers(dest="command", required=True).add_parser(
        "check", help="settings, folder, database, rights, scope, expected size and time, mail server"
    )
    check.add_argument("--mail", metavar="ADDRESS", help="also send a short mail to this address: your own")
    check.add_argument(
        "--backup", default="", metavar="ID", help="the scope of this one below 'backups:', held against POSTGRES_HOST"
    )
    asked = parser.parse_args(arguments)
    page = _Page()
    with page.refusals():
        settings = _settings(page, Backup(asked.backup))
        if settings:
            _check_source(page, settings)
            _check_mail(page, settings, asked.mail)
    if page.errors:
        things = "one thing is" if page.errors == 1 else f"{page.errors} things are"
        print(f"\nNo backup yet: {things} in the way (✕).")
        return IN_THE_WAY
    print("\nA backup can be made. Next: unpause the DAGs and trigger critical_backup.")
    return FINE


def _settings(page: _Page, backup: Backup) -> Settings | None:
    """Return the settings; what is wrong with them is said, and looked past where it can be."""
    try:
        settings = load_settings()
    except SettingsError as error:
        page.refuse(str(error))
        try:
            settings = load_usable_settings()
        except SettingsError:  # has been said
            return None
    else:
        page.fine(f"settings: {', '.join(settings.admin_emails)} will be told")
    return settings_of(backup, settings) if backup.id else settings


def _check_source(page: _Page, settings: Settings) -> None:
    def cut_off_for(months: int) -> datetime:
        return cut_off(now, months, settings.backup_timezone)

    now = utc_now()
    database: Database | None = None
    with page.refusals():
        database = source_of(settings)
    findings = check_prerequisites(settings, database, cut_off_for=cut_off_for)
    for text in findings.errors:
        page.refuse(text)
    for text in findings.warnings:
        page.warn(text)
    for text in findings.hints:
        page.hint(text)
    if database and findings.audit:
        with page.refusals():
            _look_at_rows(page, settings, database, findings.audit, cut_off_for)


def _look_at_rows(
    page: _Page, settings: Settings, database: Database, audit: Audit, cut_off_for: Callable[[int], datetime]
) -> None:
    try:
        with database.connect() as session:
            catalog = read_catalog(session)
            page.fine(f"database: {database}, PostgreSQL {catalog.server.version}, {len(catalog.tables)} tables")
            scope = load_scope(settings.scope_file, settings.backup)
            if not any(table in catalog.tables for table in scope.taken):
                page.hint(f"the scope is of another database; begin with a proposal: {PROPOSE}")
                return
            kinds = [table.kind for table in audit.tables]
            taken = f"{kinds.count('whole')} tables whole, {kinds.count('windowed')} by their window"
            text = f"scope: {taken}, {kinds.count('left out')} left out, {kinds.count('unknown')} unknown"
            (page.warn if "unknown" in kinds else page.fine)(f"{text}; {settings.scope_file}")
            if audit.errors:
                return
            months = settings.backup_window_months
            selections = select_rows(catalog, scope, cut_off_for=cut_off_for, default_months=months)
            estimates = {table.name: table.estimate for table in audit.tables if table.estimate}
            seen = forecast(session, selections, estimates, parallel=settings.backup_parallel)
    except psycopg.Error as error:
        raise explain(error, f"reading {database}") from None
    is_attached = seen.archive_bytes < settings.backup_attachment_max_mb * BYTES_PER_MB
    way = "attached" if is_attached else "as a link"
    page.fine(
        f"expected: {seen.rows:,} rows, {size_text(seen.text_bytes)} as text; an archive of about "
        f"{size_text(seen.archive_bytes)}, mailed {way}; made and verified in about {duration_text(seen.seconds)}"
    )
    if not (is_attached or settings.backup_copy_url):
        page.warn(
            "with a link instead of an attachment the only archive is on this host; BACKUP_COPY_URL makes a second copy"
        )


def _check_mail(page: _Page, settings: Settings, address: str | None) -> None:
    """Log in as the mail task does with SMTP_HOST and the others: TLS, verified; send a mail if an address is given."""
    if not settings.smtp_host:
        raise PrerequisiteError(
            "SMTP_HOST is not set; expected the mail server, or look at it with Airflow's own connection smtp_default"
        )
    server = f"{settings.smtp_host}:{settings.smtp_port}"
    try:
        with _mail_client(settings) as client:
            limit = announced_limit(client)
            takes = f"takes mails of up to {size_text(limit)}" if limit else "names no limit"
            page.fine(f"mail: {server} takes the login over TLS, and {takes}")
            if not address:
                page.hint("nothing was sent; --mail ADDRESS sends a short mail to yourself")
                return
            sender = settings.smtp_from or settings.admin_emails[0]
            mail = outgoing(notice_message(_greeting(server), page_url=None, sender=sender, recipients=[address]))
            answer = send(client, mail, sender=sender, recipients=[address])[address]
            if not answer.is_accepted:
                raise DeliveryError(f"{server} refused {address}: {answer.words}")
            page.fine(f"mail: sent to {address}; look whether it is in your inbox and not in the spam folder")
    except (smtplib.SMTPException, OSError) as error:
        raise explain_mail(error) from None


@contextmanager
def _mail_client(settings: Settings) -> Iterator[smtplib.SMTP]:
    host, port, context = settings.smtp_host or "", settings.smtp_port, ssl.create_default_context()
    client: smtplib.SMTP
    if port == SMTPS_PORT:
        client = smtplib.SMTP_SSL(host, port, timeout=MAIL_SECONDS, context=context)
    else:
        client = smtplib.SMTP(host, port, timeout=MAIL_SECONDS)
    try:
        if port != SMTPS_PORT:
            client.starttls(context=context)
        if settings.smtp_user:
            client.login(settings.smtp_user, settings.smtp_pass.get_secret_value() if settings.smtp_pass else "")
        yield client
        client.quit()
    finally:
        client.close()


def _greeting(server: str) -> Notice:
    return Notice(
        state="ok",
        title="Backups can reach you",
        text="Somebody has tried whether the mails of the backups arrive here. They do.",
        facts=(("Sent by", server),),
        next_steps=("Nothing: the first backup comes by itself.",),
        url=None,
    )
