"""The embedded server: it starts, stops, is used again, and copes with what a killed process left behind."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from include.demo.embedded_postgres import EmbeddedPostgres, embedded_binaries
from include.demo.errors import DemoError
from include.demo.ports import HOST

REPOSITORY = Path(__file__).resolve().parents[2]


def test_each_server_answers_with_its_version(postgres: EmbeddedPostgres) -> None:
    """Both embedded versions, and the system's, start and take connections with a password."""
    program = subprocess.run([postgres.binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    with psycopg.connect(postgres.conninfo()) as connection:
        assert str(connection.info.server_version // 10000) in program.stdout
        assert connection.info.encoding == "utf-8"


def test_wrong_password_is_refused(postgres_18: EmbeddedPostgres) -> None:
    """The server is on a port that every user of the machine can reach, so it asks for the password."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_18.conninfo(), password="wrong")


def test_password_file_is_private(postgres_18: EmbeddedPostgres) -> None:
    """Nobody else may read the password."""
    assert stat.S_IMODE(postgres_18.password_file.stat().st_mode) == 0o600


def test_create_database_returns_how_to_connect(postgres_18: EmbeddedPostgres) -> None:
    """The connection string leads to the new database."""
    with psycopg.connect(postgres_18.create_database("new one")) as connection:
        assert connection.info.dbname == "new one"


def test_folder_used_again_keeps_its_data_on_another_port(tmp_path: Path) -> None:
    """A second start finds the databases of the first, wherever it listens."""
    with EmbeddedPostgres(tmp_path, durable=False) as first:
        first.create_database("kept")
    with EmbeddedPostgres(tmp_path, durable=False) as second, psycopg.connect(second.conninfo("kept")):
        assert second.port != first.port


def test_closed_parent_folder_is_no_obstacle(tmp_path: Path) -> None:
    """The server runs below a folder that only its owner may enter, as root too (/root is such a folder)."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedPostgres(closed / "postgres", durable=False) as server:
        psycopg.connect(server.conninfo()).close()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_taken_port_is_one_error_with_the_log(tmp_path: Path) -> None:
    """A server that cannot start says why."""
    with socket.create_server((HOST, 0)) as taken:
        server = EmbeddedPostgres(tmp_path, port=taken.getsockname()[1], durable=False)
        with pytest.raises(DemoError, match=r"could not bind|Address already in use"):
            server.start()


def test_server_ends_with_its_killed_parent(tmp_path: Path) -> None:
    """A parent that is killed cannot stop its server: the kernel does."""
    script = (
        "import os, sys, pathlib; from include.demo.embedded_postgres import EmbeddedPostgres\n"
        "EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False).start()\n"
        "os.kill(os.getpid(), 9)"
    )
    parent = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=REPOSITORY, check=False)
    assert parent.returncode == -signal.SIGKILL
    wait_until_gone(tmp_path / "data" / "postmaster.pid")


def test_left_over_server_is_stopped_by_the_next_start(tmp_path: Path) -> None:
    """Whatever left a server running in the folder, the next start takes the folder over."""
    first = EmbeddedPostgres(tmp_path, durable=False)
    first.start()
    assert first.server
    with EmbeddedPostgres(tmp_path, durable=False) as second:
        assert first.server.process.wait(10) == 0
        psycopg.connect(second.conninfo()).close()


def test_pid_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A number in postmaster.pid that belongs to somebody else by now is not signalled."""
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        pass
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        (server.data / "postmaster.pid").write_text(f"{other.pid}\n{server.data}\n")
        server.stop_left_over()
        assert other.poll() is None
        other.kill()


def test_unknown_version_says_what_there_is() -> None:
    """Only 16 and 18 are embedded."""
    with pytest.raises(DemoError, match=r"no embedded PostgreSQL 17: .* brings 16 and 18"):
        embedded_binaries(17)


def wait_until_gone(file: Path) -> None:
    """Return when a file has gone; fail if it stays."""
    deadline = time.monotonic() + 10
    while file.exists():
        assert time.monotonic() < deadline, f"{file} is still there"
        time.sleep(0.05)
