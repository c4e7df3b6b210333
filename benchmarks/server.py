"""The server of all competitors: durable as a user's would be, and as good as new before each run."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from include.backup.clients import Clients, find_clients
from include.backup.database import Database
from include.demo.embedded_postgres import SUPERUSER, EmbeddedPostgres

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["COPY", "SOURCE", "BenchmarkServer"]

VERSION = 18
SOURCE = "bench_source"
COPY = "bench_copy"  # of just the rows that are backed up
SCRATCH_PREFIX = "bench_scratch_"
RECORDED_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "max_wal_size",
    "checkpoint_timeout",
    "shared_buffers",
    "maintenance_work_mem",
    "work_mem",
    "max_parallel_maintenance_workers",
    "max_worker_processes",
    "autovacuum",
    "io_method",
)


class BenchmarkServer(EmbeddedPostgres):
    """An embedded server with the source, and with scratch databases that come and go."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, VERSION)

    def start(self) -> None:
        """Start, with commits that wait for the disk: the embedded server's own setting is a demo's."""
        super().start()
        with psycopg.connect(self.conninfo(), autocommit=True) as session:
            session.execute("ALTER ROLE ALL SET synchronous_commit = 'on'")

    def start_afresh(self) -> None:
        """Drop the scratch databases and start again: nobody finds the pages or the log of another in memory."""
        self.stop()  # its shutdown writes a checkpoint
        self.start()

    def drop_scratch(self, prefix: str = SCRATCH_PREFIX) -> None:
        """Drop what competitors, or a killed run, have restored: the databases whose names begin so."""
        with psycopg.connect(self.conninfo(), autocommit=True) as session:
            names = session.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix])
            for (name,) in names.fetchall():
                session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def stop(self) -> None:
        """Stop; the scratch databases go first, so that an interrupted run leaves none."""
        if self.server:
            with contextlib.suppress(psycopg.OperationalError):  # a server that has died: the next run drops them
                self.drop_scratch()
        super().stop()

    def __enter__(self) -> Self:
        """Start; what a killed run has left goes first."""
        super().__enter__()
        self.drop_scratch()
        self.drop_scratch(COPY)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; of all databases the source stays."""
        if self.server:
            with contextlib.suppress(psycopg.OperationalError):
                self.drop_scratch(COPY)
        super().__exit__(kind, error, trace)

    def database(self, name: str = SOURCE) -> Database:
        """Return how to reach a database; one whose name is the source's is there."""
        return Database(host=self.host, port=self.port, name=name, user=SUPERUSER, password=self.password)

    def scratch(self, name: str) -> Database:
        """Return how to reach a database that `start_afresh` drops."""
        return self.database(SCRATCH_PREFIX + name)

    @property
    def clients(self) -> Clients:
        """The server's own psql and pg_dump."""
        return find_clients(VERSION, [self.binaries])

    @property
    def client_environment(self) -> dict[str, str]:
        """What measured programs see: the server's clients first on PATH, and how to log in."""
        return {
            "PATH": f"{self.binaries}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "LC_ALL": "C",
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": self.password,
            "PGPASSFILE": os.devnull,
        }

    def settings(self) -> dict[str, str]:
        """Return the settings that bear on the figures, as a session sees them."""
        with psycopg.connect(self.conninfo()) as session:
            rows = session.execute(
                "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s) ORDER BY name",
                [list(RECORDED_SETTINGS)],
            )
            return {str(name): str(value) for name, value in rows}
