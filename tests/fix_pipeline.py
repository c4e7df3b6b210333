"""The steps of a backup in the order of the spec, without Airflow: what the DAG does, for tests of the core."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from include.backup.archive import compress_archive, publish
from include.backup.catalog import Catalog
from include.backup.clients import Clients, find_clients
from include.backup.configuration import copy_configuration
from include.backup.database import Database
from include.backup.export import Export
from include.backup.manifest import Sidecar
from include.backup.run import BackupRun, create_workspace, cut_off, utc_now
from include.backup.scope import Scope, load_scope
from include.backup.selection import Selection, require_tables, select_rows
from include.backup.settings import PACKAGED_SCOPE_FILE
from include.backup.summary import SummaryInput, write_summary
from include.backup.verify import verify_archive
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.sample import load_sample, write_sample_configuration


@dataclass
class Pipeline:
    """One database and the folders of its backups."""

    database: Database
    backup_dir: Path
    config_dir: Path
    scope: Scope
    months: int = 3
    client_major: int | None = None
    runs: list[BackupRun] = field(default_factory=list)

    @property
    def clients(self) -> Clients:
        """The client programs for the server."""
        with self.database.connect() as session:
            return find_clients(self.client_major or session.info.server_version // 10000)

    def export(self, folder: Path) -> Export:
        """Return an export that has not begun."""
        folder.mkdir(parents=True, exist_ok=True)
        return Export(self.database, self.clients, folder, parallel=2)

    def plan(self, catalog: Catalog) -> tuple[Selection, ...]:
        """Return what is taken now."""
        return self.plan_for(utc_now(), catalog)

    def plan_for(self, stands_for: datetime, catalog: Catalog) -> tuple[Selection, ...]:
        """Return what is taken for a run of that time."""
        require_tables(catalog, self.scope)
        return select_rows(
            catalog,
            self.scope,
            cut_off_for=lambda months: cut_off(stands_for, months, "UTC"),
            default_months=self.months,
        )

    def backup(self, run: BackupRun | None = None) -> tuple[Path, Sidecar]:
        """Make an archive, verified and under its final name."""
        run = run or BackupRun(f"manual__{len(self.runs)}", "manual", utc_now())
        self.runs.append(run)
        workspace = create_workspace(run, self.backup_dir)
        folders = [workspace / name for name in ("summary", "export", "configuration")]
        for folder in folders:
            folder.mkdir()

        export = self.export(folders[1]).run(
            partial(self.plan_for, run.stands_for), cut_off=cut_off(run.stands_for, self.months, "UTC")
        )
        configuration = copy_configuration(self.scope, self.config_dir, folders[2])
        steps = SummaryInput(export, configuration, ())
        summary = write_summary(run, steps, folders[0], timezone_name="UTC", configuration_dir=self.config_dir)
        parts = [summary.parts, export.parts, configuration.parts]
        unverified = compress_archive(workspace, list(zip(folders, parts, strict=True)), modified_at=export.snapshot_at)
        verified = verify_archive(unverified, summary.manifest)
        sidecar = publish(unverified, summary.manifest, sha256=verified.archive_sha256, backup_dir=self.backup_dir)
        return self.backup_dir / sidecar.archive, sidecar


def database_of(conninfo: str) -> Database:
    """Return the database of a libpq connection string."""
    values = conninfo_to_dict(conninfo)
    return Database(
        host=str(values["host"]),
        port=int(str(values["port"])),
        name=str(values["dbname"]),
        user=str(values["user"]),
        password=str(values["password"]),
    )


def source_variables(database: Database) -> dict[str, str]:
    """Return the settings that name a database, and its login."""
    return {
        "POSTGRES_HOST": database.host,
        "POSTGRES_PORT": str(database.port),
        "POSTGRES_DB": database.name,
        "POSTGRES_USER": database.user,
        "POSTGRES_PASSWORD": database.password,
    }


def pasted_commands(info: str) -> str:
    """Return the commands of BACKUP_INFO.txt's restore instructions, as somebody would paste them."""
    instructions = info.partition("RESTORE")[2].partition("6. Configuration")[0]
    return "\n".join(line[4:] for line in instructions.splitlines() if line.startswith("    "))


def restore_by_hand(
    archive: Path, folder: Path, target: Database, clients: Clients
) -> subprocess.CompletedProcess[str]:
    """Unpack the archive's instructions, then do exactly what they say."""
    folder.mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", folder, "BACKUP_INFO.txt"], check=True)
    commands = pasted_commands((folder / "BACKUP_INFO.txt").read_text())
    (folder / archive.name).symlink_to(archive)
    environment = target.environment | {
        "PATH": f"{clients.psql.parent}:{os.environ['PATH']}",
        "PGOPTIONS": "",
    }
    del environment["PGDATABASE"]
    return subprocess.run(
        ["sh", "-e"], input=commands, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def table_sha256(database: Database, copy_statement: str) -> str:
    """Return the SHA-256 of a table's COPY output, in the session that exports use."""
    digest = hashlib.sha256()
    with database.connect() as session, session.cursor().copy(copy_statement) as copy:
        for block in copy:
            digest.update(block)
    return digest.hexdigest()


@pytest.fixture
def make_pipeline(tmp_path: Path) -> Callable[[str, str | None], Pipeline]:
    """Give a pipeline for a database (its conninfo) and a scope in YAML (None: the packaged one)."""

    def make(conninfo: str, scope: str | None = None) -> Pipeline:
        for name in ("backups", "config"):
            (tmp_path / name).mkdir(mode=0o700, exist_ok=True)
        scope_file = tmp_path / "scope.yaml"
        if scope:
            scope_file.write_text(scope)
        return Pipeline(
            database=database_of(conninfo),
            backup_dir=tmp_path / "backups",
            config_dir=tmp_path / "config",
            scope=load_scope(scope_file if scope else PACKAGED_SCOPE_FILE),
        )

    return make


@pytest.fixture
def new_database(request: pytest.FixtureRequest) -> Callable[[EmbeddedPostgres], str]:
    """Give a fresh, empty database on a server, named after the test."""
    count = 0

    def new(server: EmbeddedPostgres) -> str:
        nonlocal count
        count += 1
        digest = abs(hash(request.node.nodeid)) % 10**8
        return server.create_database(f"t{digest}_{count}")

    return new


@pytest.fixture
def sample_pipeline(
    postgres: EmbeddedPostgres,
    make_pipeline: Callable[[str, str | None], Pipeline],
    new_database: Callable[[EmbeddedPostgres], str],
) -> Pipeline:
    """A pipeline for a small sample database, with its configuration files."""
    conninfo = new_database(postgres)
    load_sample(conninfo, scale=0.05)
    pipeline = make_pipeline(conninfo, None)
    write_sample_configuration(pipeline.config_dir)
    return pipeline


def run_sql(conninfo: str, *statements: str) -> None:
    """Run statements, each in its own transaction."""
    with psycopg.connect(conninfo, autocommit=True) as session:
        for statement in statements:
            session.execute(statement)
