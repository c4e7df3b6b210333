"""
Hold scope.yaml against the live database, or write a first one.

The database is that of POSTGRES_HOST, POSTGRES_PORT, POSTGRES_DB, POSTGRES_USER and POSTGRES_PASSWORD, the scope
file that of BACKUP_SCOPE_FILE or the packaged one. Nothing is changed. Exit status: 0 nothing is wrong, 1 something
is, 2 wrong usage or no connection. `backups` asks no database, but for the settings: ADMIN_EMAILS and the others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo

import psycopg
import yaml

from include.backup.backup_id import Backup
from include.backup.catalog import Catalog, Session, read_catalog
from include.backup.database import Database, explain
from include.backup.errors import BackupError, ScopeError, SettingsError
from include.backup.fleet import read_fleet, settings_of
from include.backup.run import cut_off, utc_now
from include.backup.scope import Scope, load_scope
from include.backup.scope_audit import Windows, audit_scope, estimate_rows
from include.backup.scope_check import check_scope
from include.backup.scope_proposal import propose_all, propose_missing
from include.backup.scope_report import audit_text
from include.backup.scope_yaml import on_one_line, yaml_text
from include.backup.selection import Selection
from include.backup.settings import SourceSettings, load_settings, load_source_settings
from include.backup.table_choice import Facts, read_habits

FINE, WRONG, UNUSABLE = 0, 1, 2


class Asked(NamedTuple):
    """What a command works with: the settings, the database, and which backup's scope."""

    settings: SourceSettings
    database: Database
    backup: Backup


Command = Callable[[Asked, Session, Catalog], int]

_HEAD = """\
# A first scope for the database {database}, proposed from what it held on {day:%Y-%m-%d}. Read the reasons, change
# what does not fit, name the configuration files, then: python -m include.backup.scope audit
version: 1
"""
_TAIL = """\
# Files and folders below BACKUP_CONFIG_DIR, for example: [.env.production, {path: ssl, patterns: ["*.pem"]}]
configuration: []
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the two commands and return the exit status."""
    command, backup_id = _parse(arguments)
    try:
        if command == "backups":
            return _backups()
        settings = load_source_settings()
        return _run(_COMMANDS[command], Asked(settings, source_of(settings), Backup(backup_id)))
    except ScopeError as error:
        return _fail(error, WRONG)
    except BackupError as error:
        return _fail(error, UNUSABLE)


def _run(command: Command, asked: Asked) -> int:
    try:
        with asked.database.connect() as session:
            catalog = read_catalog(session)
            if not catalog.tables:
                raise ScopeError(f"{asked.database} has no tables: there is nothing to back up; check POSTGRES_DB")
            return command(asked, session, catalog)
    except psycopg.Error as error:
        raise explain(error, f"reading {asked.database}") from None


def _parse(arguments: Sequence[str] | None) -> tuple[str, str]:
    parser = argparse.ArgumentParser(
        prog="python -m include.backup.scope",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    audit = commands.add_parser(
        "audit", help="what is taken, windowed, left out, unknown, and which foreign keys leave"
    )
    audit.add_argument("--backup", default="", metavar="ID", help="the scope of this one below 'backups:'")
    commands.add_parser("backups", help="which backups the scope file names, and what is wrong with their settings")
    commands.add_parser("propose", help="a first scope.yaml for this database, to standard output")
    parsed = parser.parse_args(arguments)
    return str(parsed.command), str(getattr(parsed, "backup", ""))


def _fail(error: BackupError, status: int) -> int:
    print(f"scope: {on_one_line(str(error))}", file=sys.stderr)
    return status


def source_of(settings: SourceSettings) -> Database:
    """Return the database of POSTGRES_HOST and the others. Raises SettingsError if it is not said who logs in."""
    if not settings.postgres_user:
        raise SettingsError("POSTGRES_USER is not set; expected the role that makes the backups")
    return Database(
        host=settings.postgres_host,
        port=settings.postgres_port,
        name=settings.postgres_db,
        user=settings.postgres_user,
        password=settings.postgres_password.get_secret_value() if settings.postgres_password else "",
    )


def _backups() -> int:
    environment = load_settings()
    fleet = read_fleet(environment.scope_file)
    errors = list(fleet.errors)
    for backup in fleet.backups:
        try:
            settings = settings_of(backup, environment)
            load_scope(settings.scope_file, backup)
        except (SettingsError, ScopeError) as error:
            errors.append(str(error))
        else:
            when = f"{settings.backup_schedule} {settings.backup_timezone}"
            print(f"{backup.dag_id}: {settings.backup_connection}, {when}, {settings.backup_dir}")
    for text in errors:
        print(f"scope: {on_one_line(text)}", file=sys.stderr)
    return WRONG if errors else FINE


def _audit(asked: Asked, session: Session, catalog: Catalog) -> int:
    settings, database = asked.settings, asked.database
    scope = load_scope(settings.scope_file, asked.backup)
    windows = Windows(
        lambda months: cut_off(utc_now(), months, settings.backup_timezone), settings.backup_window_months
    )
    audit = audit_scope(session, catalog, scope, windows, role=database.user)
    print(f"{database}, PostgreSQL {catalog.server.version}, scope file {settings.scope_file}\n")
    print(audit_text(audit), end="")
    facts = Facts(catalog, {table.name: table.estimate for table in audit.tables}, read_habits(session))
    missing = propose_missing(facts, scope, audit.leaving)
    if missing:
        files = (*scope.tables, *scope.windowed, *(item.path for item in scope.configuration))
        print("\nProposal: put each of these lines below the key of the same name in the scope file\n")
        print(yaml_text(missing, files, group="more_tables"), end="")
    return WRONG if audit.errors else FINE


def _propose(asked: Asked, session: Session, catalog: Catalog) -> int:
    settings, database = asked.settings, asked.database
    estimates = {name: estimate_rows(session, Selection(table, "")) for name, table in catalog.tables.items()}
    today = utc_now().astimezone(ZoneInfo(settings.backup_timezone))
    head = _HEAD.format(database=on_one_line(database.name), day=today)
    choices = propose_all(Facts(catalog, estimates, read_habits(session)))
    text = f"{head}\n{yaml_text(choices)}\n{_TAIL}"
    print(text, end="")
    # What is printed is what is checked; only rights can be missing, and those no scope mends.
    found = check_scope(catalog, Scope.model_validate(yaml.safe_load(text)), role=database.user)
    for error in found.errors:
        print(f"scope: {on_one_line(error)}", file=sys.stderr)
    return WRONG if found.errors else FINE


_COMMANDS: dict[str, Command] = {"audit": _audit, "propose": _propose}
