"""The whole: `make demo ONCE=1` sets everything up, makes one real backup and leaves nothing running."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections import Counter
from email import policy
from email.parser import BytesHeaderParser
from pathlib import Path

import psycopg
import pytest

from include.backup.clients import find_clients
from include.backup.manifest import read_sidecar
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_documents import shell_block
from tests.fix_pipeline import database_of, restore_by_hand

REPOSITORY = Path(__file__).resolve().parents[2]
MAKE = shutil.which("make") or "make"
TIMEOUT_SECONDS = 300


@pytest.fixture(scope="module")
def demo_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo that runs in this module only."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(demo_dir: Path) -> subprocess.CompletedProcess[str]:
    """What `make demo ONCE=1` printed, and its exit status."""
    unset = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")  # when the tests themselves run under make
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    program, target, *_ = shell_block("README.md", "make demo").splitlines()[0].split()
    assert (program, target) == ("make", "demo")
    return subprocess.run(
        [MAKE, target, "ONCE=1", f"DEMO_DIR={demo_dir}"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def test_demo_ends_well(demo: subprocess.CompletedProcess[str]) -> None:
    """Exit status 0, nothing on the error output."""
    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout


def test_demo_shows_every_step_and_what_was_made(demo: subprocess.CompletedProcess[str], demo_dir: Path) -> None:
    """The tasks with their states, then archive, size, rows, mail."""
    for part in (
        "export_database",
        "verify_archive",
        "remove_workspace",
        "rows in",
        str(demo_dir / "backups"),
        "Proven",
    ):
        assert part in demo.stdout


def test_demo_makes_one_readable_archive(demo: subprocess.CompletedProcess[str], demo_dir: Path) -> None:
    """An ordinary .tar.gz with the manifest in it and beside it."""
    (archive,) = demo_dir.glob("backups/critical_backup_*.tar.gz")
    assert archive.with_name(archive.name.replace(".tar.gz", ".manifest.json")).exists()
    assert 2 * 2**20 < archive.stat().st_size < 10 * 2**20
    with tarfile.open(archive) as members:
        assert {"MANIFEST.json", "BACKUP_INFO.txt"} <= {Path(name).name for name in members.getnames()}


def test_demo_mails_both_administrators(demo: subprocess.CompletedProcess[str], demo_dir: Path) -> None:
    """The mail server took one message for both."""
    (mail,) = demo_dir.glob("mailbox/*.eml")
    headers = BytesHeaderParser(policy=policy.default).parsebytes(mail.read_bytes())
    assert headers["X-Envelope-To"] == "admin1@example.com, admin2@example.com"


def test_demo_leaves_no_process(demo: subprocess.CompletedProcess[str], demo_dir: Path) -> None:
    """Nothing that runs mentions its folder, in its command or its environment."""
    assert processes_that_mention(str(demo_dir)) == []


def test_demo_archive_restores_by_its_own_instructions(
    demo: subprocess.CompletedProcess[str], demo_dir: Path, tmp_path: Path
) -> None:
    """With psql and tar alone, into a new database; every row is that of the source."""
    (archive,) = demo_dir.glob("backups/critical_backup_*.tar.gz")
    sidecar = read_sidecar(archive)
    with EmbeddedPostgres(demo_dir / "postgres") as server:
        database = database_of(server.conninfo("smart_ai_hub"))
        result = restore_by_hand(archive, tmp_path / "restored", database, find_clients(18))
        assert result.returncode == 0, result.stderr
        source, restored = server.conninfo("smart_ai_hub"), server.conninfo("smart_ai_hub_restored")
        for table in sidecar.tables:
            came_back = rows(restored, table.name)
            assert sum(came_back.values()) == table.rows > 0
            if table.window is None:
                assert came_back == rows(source, table.name)
            else:
                since = f"WHERE {table.window.column} >= '{table.window.since}' OR {table.window.column} IS NULL"
                recent = rows(source, table.name, since)
                assert recent <= came_back
                assert came_back <= rows(source, table.name)
                assert sum(came_back.values()) == sum(recent.values()) + table.rows_by_reference


def rows(conninfo: str, table: str, condition: str = "") -> Counter[str]:
    """Return a table's rows as text, each with how often it is there."""
    with psycopg.connect(conninfo) as session:
        return Counter(row for (row,) in session.execute(f"SELECT t::text FROM {table} t {condition}".encode()))


def processes_that_mention(text: str) -> list[str]:
    """Return the commands of living processes with this text in their command line or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:  # it has ended, or is somebody else's
            continue
        if process.name != str(os.getpid()) and text.encode() in command + environment:
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found
