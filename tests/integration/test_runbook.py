"""docs/DISASTER_RECOVERY.md followed to the letter: from an archive in a mailbox to users who are back."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from include.backup.manifest import Sidecar
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.sample import load_sample, write_sample_configuration
from tests.fix_age import AGE, make_key_pair, needs_age
from tests.fix_documents import shell_block, shell_blocks
from tests.fix_pipeline import Pipeline

IF_IT_FAILED = shell_block("docs/DISASTER_RECOVERY.md", "DROP DATABASE")
SHEET, *STEPS = (block for block in shell_blocks("docs/DISASTER_RECOVERY.md") if block != IF_IT_FAILED)
PASSWORD = "of the 'application'"


@pytest.fixture
def lost(
    postgres_16: EmbeddedPostgres,
    make_pipeline: Callable[[str, str | None], Pipeline],
    new_database: Callable[[EmbeddedPostgres], str],
) -> tuple[Pipeline, Path, Sidecar]:
    """A backup of the sample and its configuration, whose server will not be asked again."""
    conninfo = new_database(postgres_16)
    load_sample(conninfo, scale=0.05)
    pipeline = make_pipeline(conninfo, None)
    write_sample_configuration(pipeline.config_dir)
    archive, sidecar = pipeline.backup()
    return pipeline, archive, sidecar


def filled_in(server: EmbeddedPostgres, archive: Path, sha256: str, folder: Path) -> dict[str, str]:
    """Return the sheet's variables, as somebody has noted them who uses a mailbox and a new server."""
    return {
        "ARCHIVE": archive.name,
        "ARCHIVE_SHA256": sha256,
        "INBOX": os.fspath(archive.parent),
        "RECOVERY": os.fspath(folder / "recovery"),
        "KEY_FILE": os.fspath(folder / "key.txt"),
        "DB_HOST": server.host,
        "DB_PORT": str(server.port),
        "DB_ADMIN": "postgres",
        "DB_ADMIN_PASSWORD": server.password,
        "DB_NAME": "smart_ai_hub",
        "APP_ROLE": "hub",
        "APP_PASSWORD": PASSWORD,
        "APP_DB_HOST": "new-server",
        "PROJECT": os.fspath(folder / "smart-ai-hub"),
        "CHECK_TABLE": "users",
        "START": "grep -x POSTGRES_HOST=new-server .env.production > started",
        "CHECK": 'test -s started && psql -X -d "$TARGET" -c "SELECT count(*) FROM users"',
    }


def follow(sheet: dict[str, str], server: EmbeddedPostgres, folder: Path) -> subprocess.CompletedProcess[str]:
    """Type every command of the page into one shell, and stop at the first that fails."""
    assert set(sheet) == set(re.findall(r"\b([A-Z][A-Z0-9_]+)=", SHEET))
    environment = {"PATH": f"{server.binaries}:{os.environ['PATH']}", "HOME": os.fspath(folder), **sheet}
    return subprocess.run(
        ["sh", "-e"], input="".join(STEPS), env=environment, cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("encrypted", [False, pytest.param(True, marks=needs_age)], ids=["plain", "encrypted"])
def test_runbook_brings_users_back(encrypted: bool, lost: tuple[Pipeline, Path, Sidecar], tmp_path: Path) -> None:
    """Every row and configuration file is there, the application's role owns all and may make no databases."""
    pipeline, archive, sidecar = lost
    sha256 = sidecar.archive_sha256
    if encrypted:
        pair = make_key_pair(tmp_path, "key.txt")
        sealed = archive.with_name(archive.name + ".age")
        subprocess.run([str(AGE), "-r", pair.public, "-o", sealed, archive], check=True)
        archive, sha256 = sealed, subprocess.check_output(["sha256sum", sealed], text=True).split()[0]
    with EmbeddedPostgres(tmp_path / "new server", version=18, durable=False) as server:
        sheet = filled_in(server, archive, sha256, tmp_path)
        done = follow(sheet, server, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{archive.name}: OK" in done.stdout
        assert "rows compared: every table has as many as in the backup" in done.stdout + done.stderr
        with psycopg.connect(
            host=server.host, port=server.port, dbname="smart_ai_hub", user="hub", password=PASSWORD
        ) as session:
            for table in sidecar.tables:
                assert session.execute(f"SELECT count(*) FROM {table.qualified.sql}").fetchone() == (table.rows,)
            role = "SELECT rolcreatedb, rolsuper FROM pg_roles WHERE rolname = 'hub'"
            assert session.execute(role).fetchone() == (False, False)
            others = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tableowner <> 'hub'"
            assert session.execute(others).fetchone() == (0,)
            session.execute("DELETE FROM users WHERE false")
        again = {**sheet, "PATH": f"{server.binaries}:{os.environ['PATH']}", "PGPASSWORD": PASSWORD}
        dropped = subprocess.run(
            ["sh", "-e"], input=IF_IT_FAILED, env=again, capture_output=True, text=True, check=False
        )
        assert dropped.returncode == 0, dropped.stderr
        with psycopg.connect(server.conninfo()) as session:
            assert session.execute("SELECT count(*) FROM pg_database WHERE datname = 'smart_ai_hub'").fetchone() == (0,)
    project = Path(sheet["PROJECT"])
    before = pipeline.config_dir
    kept = [path.relative_to(before) for path in before.rglob("*") if path.is_file()]
    assert len(kept) > 3
    for name in kept:
        text = (before / name).read_text()
        if name.name == ".env.production":
            text = re.sub("^POSTGRES_HOST=.*$", "POSTGRES_HOST=new-server", text, flags=re.MULTILINE)
        assert (project / name).read_text() == text
    assert PASSWORD not in done.stdout + done.stderr
    assert server.password not in done.stdout + done.stderr


def test_runbook_stops_at_a_damaged_archive(lost: tuple[Pipeline, Path, Sidecar], tmp_path: Path) -> None:
    """Step 3 says so, and nothing has been made anywhere."""
    _, archive, sidecar = lost
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with EmbeddedPostgres(tmp_path / "new server", version=18, durable=False) as server:
        done = follow(filled_in(server, archive, sidecar.archive_sha256, tmp_path), server, tmp_path)
        assert done.returncode != 0
        assert f"{archive.name}: FAILED" in done.stdout
        with psycopg.connect(server.conninfo()) as session:
            assert session.execute("SELECT count(*) FROM pg_roles WHERE rolname = 'hub'").fetchone() == (0,)
    assert not (tmp_path / "smart-ai-hub").exists()
    assert not (tmp_path / "recovery" / "restore").exists()
