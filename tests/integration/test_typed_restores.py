"""The restores that the documents tell a reader to type, typed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from include.backup.archive_name import sidecar_path
from include.backup.manifest import Sidecar
from include.demo.embedded_postgres import EmbeddedPostgres
from include.demo.sample import load_sample
from tests.fix_age import AGE, needs_age
from tests.fix_documents import shell_block, type_in
from tests.fix_pipeline import Pipeline

# What stands in the documents.
NAME, TARGET = "critical_backup_20261120_020004", "postgresql://postgres@localhost/smart_ai_hub_restored"


@pytest.fixture
def backup(
    postgres_16: EmbeddedPostgres,
    make_pipeline: Callable[[str, str | None], Pipeline],
    new_database: Callable[[EmbeddedPostgres], str],
    tmp_path: Path,
) -> tuple[Path, Sidecar]:
    """A backup of the sample with its manifest, in a folder of its own."""
    conninfo = new_database(postgres_16)
    load_sample(conninfo, scale=0.05)
    archive, sidecar = make_pipeline(conninfo, None).backup()
    folder = tmp_path / "received"
    folder.mkdir()
    for file in (archive, sidecar_path(archive)):
        shutil.copy(file, folder)
    return folder / archive.name, sidecar


@pytest.mark.parametrize(
    "block",
    [shell_block("README.md", "tar -xzf"), shell_block("docs/BACKUP_SYSTEM.md", "tar -xzf")],
    ids=["README", "BACKUP_SYSTEM"],
)
def test_restore_brings_every_row_back(block: str, backup: tuple[Path, Sidecar], tmp_path: Path) -> None:
    """Into a server that has never seen them."""
    archive, sidecar = backup
    with EmbeddedPostgres(tmp_path / "server", version=18, durable=False) as server:
        own = {
            NAME: archive.name.removesuffix(".tar.gz"),
            TARGET: f"postgresql://postgres@{server.host}:{server.port}/smart_ai_hub_restored",
        }
        path = f"{server.binaries}:/usr/bin:/bin"
        done = type_in(block, archive.parent, {"PATH": path, "PGPASSWORD": server.password}, own)
        assert done.returncode == 0, done.stdout + done.stderr
        if "sha256sum" in block:
            assert done.stdout.startswith(sidecar.archive_sha256)
        with psycopg.connect(server.conninfo("smart_ai_hub_restored")) as session:
            for table in sidecar.tables:
                assert session.execute(f"SELECT count(*) FROM {table.qualified.sql}").fetchone() == (table.rows,)


@needs_age
def test_encrypted_archive_is_decrypted_and_unpacked(backup: tuple[Path, Sidecar]) -> None:
    """With the pair of keys that the same page makes."""
    archive, sidecar = backup
    made = type_in(shell_block("docs/ENCRYPTION.md", "age-keygen"), archive.parent, {})
    assert made.returncode == 0, made.stderr
    public = (made.stdout + made.stderr).split()[-1]
    subprocess.run([str(AGE), "-r", public, "-o", f"{archive}.age", archive], check=True)
    archive.unlink()
    own = {NAME: archive.name.removesuffix(".tar.gz"), "KEY_FILE": "backup-key.txt"}
    done = type_in(shell_block("docs/ENCRYPTION.md", "age -d"), archive.parent, {}, own)
    assert done.returncode == 0, done.stderr
    assert "restore.sh" in done.stdout
    assert archive.stat().st_size == sidecar.archive_bytes
    assert (archive.parent / "restore" / "MANIFEST.json").exists()


def test_second_copy_is_held_against_its_manifest(backup: tuple[Path, Sidecar]) -> None:
    """Both lines show the same figure."""
    archive, sidecar = backup
    own = {NAME: archive.name.removesuffix(".tar.gz")}
    done = type_in(shell_block("docs/SECOND_COPY.md", "grep archive_sha256"), archive.parent, {}, own)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(sidecar.archive_sha256) == 2
