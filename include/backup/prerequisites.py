"""Everything that can be known before work starts, reported together and not one by one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg

from include.backup.age_keys import belong_together, read_identities
from include.backup.catalog import Session, read_catalog
from include.backup.clients import find_clients
from include.backup.configuration import find_configuration
from include.backup.database import Database, explain
from include.backup.errors import BackupError, PrerequisiteError, ScopeError, TemporaryError
from include.backup.locks import name_holders
from include.backup.manifest import Record
from include.backup.not_carried import connection_limit_errors
from include.backup.rights import folder_errors
from include.backup.scope import Scope, load_scope
from include.backup.scope_audit import Audit, Windows, audit_scope
from include.backup.settings import BYTES_PER_MB, Settings

# What tables take on the server shrinks at least threefold, and parts become the archive without being on the disk
# twice; the encrypted archive is there beside the plain one. With something to spare, since it is an estimate.
DISK_SHARE_OF_ROWS = 1 / 2
DISK_SHARE_OF_ROWS_ENCRYPTED = 5 / 6
CLOCKS_DIFFER = timedelta(minutes=5)
CLOCK_IS_WRONG = timedelta(days=1)


class CheckResult(Record):
    """What check_prerequisites leaves for the steps after it."""

    warnings: tuple[str, ...]


@dataclass
class Findings:
    """Errors stop the run, warnings go into mail and manifest, hints into the log; the audit, if there was one."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    may_pass: bool = True
    audit: Audit | None = None

    def raise_errors(self) -> None:
        """
        Raise all errors as one message.

        Raises:
            TemporaryError: If each of them may pass by waiting.
            PrerequisiteError: If at least one does not.
        """
        if self.errors:
            kind = TemporaryError if self.may_pass else PrerequisiteError
            many = f"{len(self.errors)} things are in the way: " if len(self.errors) > 1 else ""
            raise kind(many + "; ".join(self.errors))

    def note(self, error: BackupError) -> None:
        """Keep an error for the common message."""
        self.errors.append(str(error))
        self.may_pass = self.may_pass and isinstance(error, TemporaryError)

    def refuse(self, *errors: str) -> None:
        """Keep errors that no waiting mends."""
        self.errors += errors
        self.may_pass = self.may_pass and not errors


def check_prerequisites(
    settings: Settings, database: Database | None, *, cut_off_for: Callable[[int], datetime]
) -> Findings:
    """
    Look at the folder, the scope, the configuration files, the server and the clients. Change nothing.

    Args:
        settings: Folders, limits and the scope file.
        database: None if it is not known which; then everything else is looked at.
        cut_off_for: Gives the cut-off for a number of months.
    """
    findings = Findings()
    findings.refuse(*check_folder(settings.backup_dir, settings.backup_group), *check_encryption(settings))
    findings.warnings += check_identity(settings)
    scope = None
    try:
        scope = load_scope(settings.scope_file, settings.backup)
        configuration = find_configuration(scope, settings.backup_config_dir)
        findings.warnings += configuration.warnings
        findings.refuse(*configuration.errors)
    except ScopeError as error:
        findings.note(error)
    if database:
        _check_database(findings, settings, database, scope, cut_off_for)
    return findings


def _check_database(
    findings: Findings,
    settings: Settings,
    database: Database,
    scope: Scope | None,
    cut_off_for: Callable[[int], datetime],
) -> None:
    try:
        with database.connect() as session:
            session.execute("SET lock_timeout = '3s'")  # whoever comes later would wait for a check
            _check_clock(findings, session)
            findings.refuse(*connection_limit_errors(session, role=database.user, parallel=settings.backup_parallel))
            catalog = read_catalog(session)
            if scope:
                windows = Windows(cut_off_for, settings.backup_window_months)
                audit = findings.audit = audit_scope(session, catalog, scope, windows, role=database.user)
                findings.refuse(*audit.errors)
                findings.warnings += audit.warnings
                findings.hints += audit.hints
                if not audit.errors:
                    encrypted = bool(settings.backup_age_recipients)
                    _check_disk(findings, settings.backup_dir, audit.row_bytes, encrypted=encrypted)
        find_clients(catalog.server.major)
    except BackupError as error:
        findings.note(error)
    except psycopg.Error as error:
        findings.note(name_holders(explain(error, f"checking {database}"), database))


def _check_clock(findings: Findings, session: Session) -> None:
    """A clock that is wrong names archives wrongly, moves the window, and lets archives expire."""
    row = session.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None  # noqa: S101 - it always answers
    here = datetime.now(timezone.utc)
    difference = abs(here - row[0])
    text = f"the clock here says {here:%Y-%m-%d %H:%M} UTC, the database server's {row[0]:%Y-%m-%d %H:%M} UTC"
    if difference > CLOCK_IS_WRONG:
        findings.refuse(
            f"{text}; expected the same: an archive would have a wrong name and window; set the wrong one right"
        )
    elif difference > CLOCKS_DIFFER:
        findings.warnings.append(f"{text}; set the wrong one right")


def check_folder(backup_dir: Path, group: str | None) -> list[str]:
    """Return what is wrong with BACKUP_DIR, if anything; `group` is BACKUP_GROUP."""
    if not backup_dir.is_dir():
        return [f"BACKUP_DIR={backup_dir} is not a folder; mount the volume or create it, it is never made silently"]
    if not os.access(backup_dir, os.W_OK | os.X_OK):
        return [f"BACKUP_DIR={backup_dir} is not writable for the user that runs Airflow; change its owner or mode"]
    return list(folder_errors(backup_dir, group))


def check_encryption(settings: Settings) -> list[str]:
    """Return what is wrong if archives have to be encrypted and cannot be."""
    if settings.backup_require_encryption and not settings.backup_age_recipients:
        wrong = "BACKUP_REQUIRE_ENCRYPTION is on and BACKUP_AGE_RECIPIENTS is not set; expected the public keys (age1… "
        return [f"{wrong}of age-keygen) of those who may read the backups"]
    return []


def check_identity(settings: Settings) -> list[str]:
    """Return why drills will not be able to decrypt what is encrypted now, if they are meant to: a warning."""
    if not settings.backup_age_identity_file or not settings.backup_age_recipients:
        return []
    try:
        identities = read_identities(settings.backup_age_identity_file)
    except PrerequisiteError as error:
        return [f"drills cannot decrypt: {error}"]
    if belong_together(identities, settings.backup_age_recipients):
        return []
    why = "no private key in BACKUP_AGE_IDENTITY_FILE belongs to a public key in BACKUP_AGE_RECIPIENTS"
    return [f"drills cannot decrypt: {why}; expected the new key after a rotation"]


def _check_disk(findings: Findings, backup_dir: Path, row_bytes: int, *, encrypted: bool = False) -> None:
    needed = int(row_bytes * (DISK_SHARE_OF_ROWS_ENCRYPTED if encrypted else DISK_SHARE_OF_ROWS))
    if not backup_dir.is_dir():
        return
    free = shutil.disk_usage(backup_dir).free
    if free < needed:
        findings.refuse(
            f"BACKUP_DIR={backup_dir} has {free / BYTES_PER_MB:,.0f} MB free; this backup is expected to need "
            f"{needed / BYTES_PER_MB:,.0f} MB: make room or lower BACKUP_RETENTION_DAYS"
        )
