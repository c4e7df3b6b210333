"""Encrypted archives and Debian's own age: each reads what the other wrote, and the printed commands restore."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from include.backup.age_file import read_age_file
from include.backup.age_keys import read_identities
from include.backup.age_stream import opened
from include.backup.archive_name import decrypt_path
from include.backup.encryption import encrypt_archive, publish_encrypted
from include.backup.letter import Choice, Letter, build_message
from include.backup.verify import verify_archive
from include.demo.embedded_postgres import EmbeddedPostgres
from tests.fix_age import KeyPair, make_key_pair, needs_age
from tests.fix_pipeline import Pipeline, table_sha256

SIZES = (1, 65_536, 65_537, 1_000_000)

pytestmark = needs_age


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    """A pair of keys."""
    return make_key_pair(tmp_path, "keys.txt")


def age(*arguments: object) -> None:
    """Run Debian's age."""
    subprocess.run(["age", *map(str, arguments)], check=True, capture_output=True, text=True)


def ssh_pair(folder: Path, kind: str) -> tuple[str, Path]:
    """Make a pair of SSH keys; return the public one, and where the private one is."""
    path = folder / kind
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    return path.with_suffix(".pub").read_text().strip(), path


def encrypted_by_us(folder: Path, size: int, recipients: tuple[str, ...]) -> tuple[Path, bytes]:
    """Return an encrypted file and what is in it."""
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    plain = folder / "plain"
    plain.write_bytes(content)
    digest = subprocess.run(["sha256sum", plain], check=True, capture_output=True, text=True).stdout.split()[0]
    return encrypt_archive(plain, recipients, sha256=digest).path, content


@pytest.mark.parametrize("size", SIZES)
def test_age_opens_what_we_encrypted_with_each_kind_of_key(tmp_path: Path, pair: KeyPair, size: int) -> None:
    """Several recipients, and every one of them alone is enough."""
    other = make_key_pair(tmp_path, "other.txt")
    (ed25519, ed25519_file), (rsa, rsa_file) = ssh_pair(tmp_path, "ed25519"), ssh_pair(tmp_path, "rsa")
    encrypted, content = encrypted_by_us(tmp_path, size, (pair.public, other.public, ed25519, rsa))
    for key_file in (pair.file, other.file, ed25519_file, rsa_file):
        age("-d", "-i", key_file, "-o", tmp_path / "out", encrypted)
        assert (tmp_path / "out").read_bytes() == content


@pytest.mark.parametrize("size", SIZES)
def test_we_open_what_age_encrypted(tmp_path: Path, pair: KeyPair, size: int) -> None:
    """Its structure is understood without a key, too."""
    (tmp_path / "plain").write_bytes(content := os.urandom(size))
    archive = tmp_path / "critical_backup_20261120_020004.tar.gz.age"
    age("-r", pair.public, "-o", archive, tmp_path / "plain")
    assert read_age_file(archive).plain_bytes == size
    assert read_age_file(archive).keys == ("X25519",)
    with opened(archive, read_identities(pair.file)) as file:
        assert file.read() == content


def test_identity_file_of_age_keygen_is_read(tmp_path: Path) -> None:
    """As the program itself writes it, with its rights."""
    path = tmp_path / "keygen.txt"
    subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True)
    public = subprocess.run(["age-keygen", "-y", path], check=True, capture_output=True, text=True).stdout.strip()
    encrypted, content = encrypted_by_us(tmp_path, 1000, (public,))
    archive = encrypted.rename(tmp_path / "critical_backup_20261120_020004.tar.gz.age")
    with opened(archive, read_identities(path)) as file:
        assert file.read() == content


@pytest.fixture
def encrypted_backup(sample_pipeline: Pipeline, pair: KeyPair) -> Letter:
    """A real backup of the sample, encrypted and published, and the letter about it."""
    plain, sidecar = sample_pipeline.backup()
    manifest = sidecar.without_archive_facts()
    workspace = sample_pipeline.backup_dir / ".work" / "again"
    workspace.mkdir()
    unnamed = plain.rename(workspace / "archive.tar.gz.partial")
    for left in sample_pipeline.backup_dir.glob("critical_backup_*"):
        left.unlink()
    digest = verify_archive(unnamed, manifest).archive_sha256
    folder = sample_pipeline.backup_dir
    encrypted = publish_encrypted(unnamed, manifest, (pair.public,), sha256=digest, backup_dir=folder)
    zone = sidecar.snapshot_at.tzinfo
    assert zone is not None
    return Letter(folder / encrypted.archive, encrypted, Choice("attachment", ""), (), None, None, zone)


def commands(text: str) -> str:
    """Return the commands of a text, as somebody would paste them: its indented lines, without remarks behind them."""
    return "\n".join(line[4:].split("     ")[0] for line in text.splitlines() if line.startswith("    "))


def mail_text(letter: Letter) -> str:
    """Return what the mail says about decrypting and restoring."""
    sent = b"".join(build_message(letter, sender="a@example.com", recipients=("b@example.com",)).blocks())
    message = message_from_bytes(sent, policy=SMTP)
    assert isinstance(message, EmailMessage)
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content()).partition("DECRYPT (")[2].partition("CONTENTS")[0]


@pytest.mark.parametrize("source", ["the text beside", "the mail"])
def test_printed_commands_decrypt_and_restore(
    postgres: EmbeddedPostgres,
    sample_pipeline: Pipeline,
    encrypted_backup: Letter,
    pair: KeyPair,
    tmp_path: Path,
    source: str,
) -> None:
    """Pasted as they are, in a folder with the archive and the key; then restore.sh makes the same rows of it."""
    text = (
        decrypt_path(encrypted_backup.archive).read_text()
        if source == "the text beside"
        else mail_text(encrypted_backup)
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / encrypted_backup.archive.name).write_bytes(encrypted_backup.archive.read_bytes())
    (elsewhere / "KEY_FILE").symlink_to(pair.file)
    target = f"{sample_pipeline.database.name}_decrypted"
    database = sample_pipeline.database
    restore = f"./restore.sh postgresql://{database.user}@{database.host}:{database.port}/{target}"
    result = subprocess.run(
        ["sh", "-ex"],
        input=f"{commands(text)}\n{restore}\n",
        cwd=elsewhere,
        env={
            "PATH": f"{sample_pipeline.clients.psql.parent}:{os.environ['PATH']}",
            "PGPASSWORD": database.password,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "+ age -d -i KEY_FILE" in result.stderr
    restored = dataclasses.replace(database, name=target)
    for table in encrypted_backup.sidecar.tables:
        assert table_sha256(restored, table.copy_out_statement) == table.sha256
