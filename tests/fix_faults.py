"""A place to break things in: a server of its own, runs as processes, and a look at what a fault has left behind."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from include.backup.age_keys import read_identities
from include.backup.archive_name import ARCHIVE_NAME
from include.backup.database import APPLICATION_NAME
from include.backup.manifest import read_sidecar
from include.backup.status import LAST_SUCCESS_FILE, read_last_success
from include.backup.verify_published import verify_published
from include.demo.embedded_postgres import EmbeddedPostgres
from include.operators.connection_variables import connection_variables
from tests.one_backup import STEPS, Ended, Order, run

PRELOADED = ["include.operators.steps", "tests.operators.test_task", "tests.one_backup"]
GONE_WITHIN_SECONDS = 10.0
# A cancellation that comes just before its query is lost: then the query waits for its lock as long as it may, 60 s.
LOST_CANCELLATION_SECONDS = 75.0
RUN_SECONDS = 180.0

TABLES = """
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE payments (id int PRIMARY KEY, user_id int REFERENCES users, note text, paid_at timestamptz NOT NULL);
CREATE TABLE sessions (id int PRIMARY KEY, token text);
INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 2000) n;
INSERT INTO payments SELECT n, 1 + n % 2000, md5(n::text) || md5((-n)::text), now() FROM generate_series(1, 12000) n;
"""
SCOPE = """
version: 1
tables: {users.sql: [users]}
windowed: {payments.csv: {table: payments, column: paid_at}}
exclude: [sessions]
configuration: [app.conf]
"""

_OURS = re.compile(rf"{ARCHIVE_NAME.pattern}|critical_backup_[0-9_]+\.(manifest\.json|copy\.json|decrypt\.txt)")
_forks = multiprocessing.get_context("forkserver")


@dataclass
class Run:
    """A run that has been started."""

    order: Order
    process: Any
    line: Any
    said: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The process that does the steps."""
        return int(self.process.pid)

    def wait_for(self, step: str) -> None:
        """Wait until a step begins; fail if the run ends before."""
        while step not in self.said:
            said = self.line.recv()
            assert isinstance(said, str), f"the run ended before {step}: {said}"
            self.said.append(said)

    def end(self) -> Ended | None:
        """Wait for the end; return how it ended, None if the process was killed."""
        ended = None
        deadline = time.monotonic() + RUN_SECONDS
        with contextlib.suppress(EOFError, OSError):
            while ended is None:
                assert self.line.poll(max(deadline - time.monotonic(), 0)), f"{self.order.run_id} hangs: {self.said}"
                said = self.line.recv()
                if isinstance(said, dict):
                    ended = Ended(**said)
                else:
                    self.said.append(said)
        self.process.join(RUN_SECONDS)
        self.line.close()
        return ended

    def kill(self, request: int) -> None:
        """Send the process a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, request)


@dataclass(frozen=True)
class Before:
    """
    What lay in BACKUP_DIR before a fault.

    Args:
        files: The content's SHA-256 by name, of what people count on.
        workspaces: Of runs that have not ended well.
    """

    files: dict[str, str]
    workspaces: frozenset[str]


@dataclass
class FaultSite:
    """
    One database and one BACKUP_DIR.

    Args:
        server: Its own, so that it may be stopped.
        database: Its name: what marks the product's processes and sessions.
        environment: Of the runs.
        key: The private key, where the site encrypts; the runs do not have it.
    """

    server: EmbeddedPostgres
    database: str
    folder: Path
    environment: dict[str, str]
    runs: int = 0
    key: Path | None = None

    @property
    def backup_dir(self) -> Path:
        """BACKUP_DIR."""
        return Path(self.environment["BACKUP_DIR"])

    @property
    def published(self) -> set[str]:
        """The names of the archives."""
        return {name for name in os.listdir(self.backup_dir) if ARCHIVE_NAME.fullmatch(name)}  # noqa: PTH208

    def sql(self, *statements: str) -> None:
        """Run statements as the superuser."""
        with psycopg.connect(self.server.conninfo(self.database), autocommit=True) as session:
            for statement in statements:
                session.execute(statement.encode())

    @contextlib.contextmanager
    def holding(self, statement: str) -> Iterator[None]:
        """Hold what a statement takes, in a transaction, while the block runs."""
        with psycopg.connect(self.server.conninfo(self.database)) as session:
            session.execute(statement.encode())
            yield
            session.rollback()

    def start(self, run_id: str | None = None, **changes: Any) -> Run:
        """Start a run, a new one if no id is given; keywords are those of its order."""
        self.runs += run_id is None
        here, there = _forks.Pipe(duplex=False)
        environment = self.environment | changes.pop("environment", {})
        order = Order(run_id or f"manual__{self.runs}", environment, self.folder / "run.log", **changes)
        process = _forks.Process(target=run, args=(order, there))
        process.start()
        there.close()
        return Run(order, process, here)

    def prepare(self, until: str) -> str:
        """Do the steps of a new run before one, and return its id."""
        self.runs += 1
        run_id = f"manual__{self.runs}"
        ended = self.back_up(run_id, steps=STEPS[: STEPS.index(until)])
        assert (ended.step, ended.error) == ("", "")
        return run_id

    def start_from(self, step: str, run_id: str | None = None, **changes: Any) -> Run:
        """Start the steps of a run from one on, as clearing it with everything downstream does."""
        return self.start(run_id or self.prepare(step), steps=STEPS[STEPS.index(step) :], **changes)

    def back_up(self, run_id: str | None = None, **changes: Any) -> Ended:
        """Do a run, or what is named of it, to its end."""
        ended = self.start(run_id, **changes).end()
        assert ended is not None, (self.folder / "run.log").read_text()[-2000:]
        return ended

    def before(self) -> Before:
        """Look at what must not change."""
        return Before({path.name: _sha256(path) for path in _precious(self.backup_dir)}, self.workspaces)

    @property
    def workspaces(self) -> frozenset[str]:
        """The names of the workspaces, and of whatever else lies beside them."""
        return frozenset(path.name for path in (self.backup_dir / ".work").glob("*"))

    def assert_unharmed(
        self, before: Before, *, workspaces: int = 1, server_seconds: float = GONE_WITHIN_SECONDS
    ) -> None:
        """
        Assert what must hold after every fault.

        Earlier archives, manifests and records are as they were; every archive is verified, and the status names one of
        them; of the product's processes, sessions, locks, snapshots, databases and temporary files none is left.

        Args:
            before: What was there.
            workspaces: So many runs that have not ended well since may keep theirs, for another try.
            server_seconds: How long a session may take to end.
        """
        self.assert_files(before)
        _within(GONE_WITHIN_SECONDS, self.processes, "processes")
        if self.server.server:
            _within(server_seconds, self.at_the_server, "at the server")
        left = self.workspaces - before.workspaces
        assert len(left) <= workspaces, left
        assert list((self.folder / "tmp").iterdir()) == []

    def assert_files(self, before: Before) -> None:
        """Assert what `assert_unharmed` does, of the files alone."""
        now = {path.name: _sha256(path) for path in _precious(self.backup_dir)}
        changed = {name for name, content in before.files.items() if now.get(name) != content}
        new = now.keys() - before.files.keys()
        moved = {name for name in changed if name.startswith(".last_backup_")}
        assert changed == moved, "earlier files have changed"
        for name in new & self.published:
            path = self.backup_dir / name
            assert verify_published(path, read_sidecar(path), read_identities(self.key)) is not None
        foreign = {name for name in new if not _OURS.fullmatch(name) and name[0] != "."}
        assert foreign == set()
        recorded = read_last_success(self.backup_dir)
        if recorded and (moved or LAST_SUCCESS_FILE in new):
            snapshots = {read_sidecar(self.backup_dir / name).snapshot_at for name in self.published}
            assert recorded in snapshots, "the status tells of an archive that is not there"

    def clear(self, step: str, run_id: str) -> Ended:
        """Clear a step of a run with everything downstream, and assert that this is enough."""
        before = self.before()
        ended = self.start_from(step, run_id).end()
        assert ended is not None
        assert (ended.step, ended.error) == ("", "")
        self.assert_unharmed(before, workspaces=0)
        assert not [name for name in self.workspaces if name.startswith(f"{run_id}-")]
        return ended

    def assert_next_succeeds(self, run_id: str | None = None, **changes: Any) -> str:
        """Run again, or clear a run, as nobody has mended anything by hand; return the new archive."""
        before, published = self.before(), self.published
        ended = self.back_up(run_id, **changes)
        assert (ended.step, ended.error) == ("", "")
        assert self.published - published == {ended.archive}
        self.assert_unharmed(before, workspaces=0)
        return ended.archive

    def processes(self, *names: str) -> dict[int, str]:
        """Return the living processes that work for this database, by their program's name."""
        marks = {f"PGDATABASE={self.database}".encode(), f"PGPASSWORD={self.environment['POSTGRES_PASSWORD']}".encode()}
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if marks & set((folder / "environ").read_bytes().split(b"\0")):
                    found[int(folder.name)] = (folder / "comm").read_text().strip()
        return {pid: name for pid, name in found.items() if not names or name in names}

    def at_the_server(self) -> list[tuple[Any, ...]]:
        """Return what the server still has of the product: sessions with their locks and snapshots, other databases."""
        with psycopg.connect(self.server.conninfo()) as session:
            left: list[tuple[Any, ...]] = session.execute(
                "SELECT a.pid, a.state, a.wait_event, a.backend_xmin::text, a.query, "
                "(SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid) FROM pg_stat_activity a "
                "WHERE a.application_name = %s OR a.usename = %s",
                [APPLICATION_NAME, self.environment["POSTGRES_USER"]],
            ).fetchall()
            left += session.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE 'critical\\_backup\\_%'"
            ).fetchall()
            left += session.execute("SELECT gid FROM pg_prepared_xacts").fetchall()
            left += session.execute("SELECT pid FROM pg_locks WHERE locktype = 'advisory'").fetchall()
        return left


def _precious(folder: Path) -> Iterator[Path]:
    """Yield the archives with all that belongs to them, foreign files, and the status files."""
    for path in folder.iterdir():
        if path.is_file() and (path.name[0] != "." or path.name.startswith(".last_backup_")):
            yield path


def _sha256(path: Path) -> str:
    facts = path.lstat()
    return _sha256_of(path, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@cache
def _sha256_of(path: Path, *_facts: int) -> str:
    """Read a file again only if the file system says that it was touched."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _within(seconds: float, look: Callable[[], Any], what: str) -> None:
    """Assert that nothing is left, at the latest after so long."""
    deadline = time.monotonic() + seconds
    while left := look():
        assert time.monotonic() < deadline, f"left {what}: {left}"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def fault_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that only these tests use: they stop it."""
    _forks.set_forkserver_preload(PRELOADED)
    with EmbeddedPostgres(tmp_path_factory.mktemp("fault_server"), version=18, durable=False) as server:
        yield server


MakeFaultSite = Callable[..., FaultSite]


@pytest.fixture(scope="session")
def make_fault_site(
    fault_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeFaultSite]:
    """Give a maker of sites: keywords are further settings, `tables` other SQL."""
    made: list[FaultSite] = []

    def make(*, tables: str = TABLES, database: str | None = None, folder: str = "site", **settings: str) -> FaultSite:
        tmp_path = tmp_path_factory.mktemp(folder)
        if not fault_server.server:
            fault_server.start()
        name, role = database or f"faults_{secrets.token_hex(4)}", f"reader_{secrets.token_hex(4)}"
        password = secrets.token_hex(12)
        conninfo = fault_server.create_database(name)
        with psycopg.connect(conninfo, autocommit=True) as session:
            session.execute(tables.encode())
            statement = "CREATE ROLE {} LOGIN PASSWORD {} IN ROLE pg_read_all_data"
            session.execute(sql.SQL(statement).format(sql.Identifier(role), sql.Literal(password)))
        for name_of_folder in ("backups", "config", "tmp"):
            (tmp_path / name_of_folder).mkdir(mode=0o700)
        (tmp_path / "config" / "app.conf").write_text("listen = 80\n" * 1000)
        (tmp_path / "scope.yaml").write_text(SCOPE)
        variables = {
            "POSTGRES_HOST": fault_server.host,
            "POSTGRES_PORT": str(fault_server.port),
            "POSTGRES_DB": name,
            "POSTGRES_USER": role,
            "POSTGRES_PASSWORD": password,
            "ADMIN_EMAILS": "admin@example.com",
            "BACKUP_DIR": str(tmp_path / "backups"),
            "BACKUP_CONFIG_DIR": str(tmp_path / "config"),
            "BACKUP_SCOPE_FILE": str(tmp_path / "scope.yaml"),
            "BACKUP_LOG_FILE": str(tmp_path / "backup.log"),
            "BACKUP_MIN_SIZE_MB": "0",
            "TMPDIR": str(tmp_path / "tmp"),
        } | settings
        site = FaultSite(fault_server, name, tmp_path, variables | connection_variables(variables))
        made.append(site)
        return site

    yield make
    if not fault_server.server:
        fault_server.start()
    with psycopg.connect(fault_server.conninfo(), autocommit=True) as session:
        for site in made:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(site.database)))


@pytest.fixture(scope="module")
def fault_site(make_fault_site: MakeFaultSite) -> FaultSite:
    """A site with a good archive in it; the tests of a file break it one after the other, and nobody mends it."""
    site = make_fault_site()
    assert site.back_up().error == ""
    return site


def routed(site: FaultSite, port: int) -> dict[str, str]:
    """Return the variables that lead a run to the site's database over another port."""
    variables = site.environment | {"POSTGRES_PORT": str(port)}
    return {**variables, **connection_variables(variables)}
