"""Archives are encrypted after they are verified: only the encrypted one gets a name, and it is read again."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrage import encrypt, x25519

from include.backup import encryption
from include.backup.age_stream import opened
from include.backup.archive import publish
from include.backup.archive_name import encrypted_name
from include.backup.encryption import encrypt_archive, is_published, publish_encrypted
from include.backup.errors import PrerequisiteError, VerificationError
from include.backup.manifest import read_sidecar
from include.backup.verify import verify_archive
from include.backup.verify_published import verify_published

if TYPE_CHECKING:
    from tests.backup.conftest import BuiltArchive

ADA, BOB, EVE = (x25519.Identity.generate() for _ in range(3))
KEYS = tuple(str(identity.to_public()) for identity in (ADA, BOB))
NAME = "critical_backup_20261120_020004.tar.gz"
MB = 1024 * 1024


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plain_file(folder: Path, size: int = 3 * MB) -> Path:
    """Return a file to be encrypted; it is as large as it is asked for and takes no room."""
    path = folder / "archive.tar.gz.partial"
    with path.open("wb") as file:
        file.truncate(size)
    return path


def published(built: BuiltArchive, folder: Path) -> Path:
    """Encrypt and publish an archive; return where it lies."""
    digest = verify_archive(built.path, built.manifest).archive_sha256
    return folder / publish_encrypted(built.path, built.manifest, KEYS, sha256=digest, backup_dir=folder).archive


@pytest.fixture
def backup_dir(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups"


@pytest.mark.parametrize("identity", [ADA, BOB])
def test_each_of_the_keys_opens_the_archive(built: BuiltArchive, backup_dir: Path, identity: Any) -> None:
    """The plain bytes come out as they went in; the record says for whom, how many, and which."""
    content = built.path.read_bytes()
    archive = published(built, backup_dir)
    with opened(archive, [EVE, identity]) as file:
        assert file.read() == content
    record = read_sidecar(archive).encryption
    assert record is not None
    assert (record.format, record.recipients, record.plain_bytes) == ("age", KEYS, len(content))
    assert record.plain_sha256 == hashlib.sha256(content).hexdigest()


def test_only_the_encrypted_archive_has_a_name(built: BuiltArchive, backup_dir: Path) -> None:
    """Beside it its manifest and how it is decrypted; the plain one is gone, and nothing is for others to read."""
    archive = published(built, backup_dir)
    stem = NAME.removesuffix(".tar.gz")
    assert {path.name for path in backup_dir.iterdir()} == {
        f"{NAME}.age",
        f"{stem}.manifest.json",
        f"{stem}.decrypt.txt",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in backup_dir.iterdir()} == {0o600}
    assert list(built.path.parent.glob("archive*")) == []
    sidecar = read_sidecar(archive)
    assert (sidecar.archive, sidecar.archive_bytes) == (archive.name, archive.stat().st_size)
    assert sidecar.archive_sha256 == sha256(archive)
    assert sidecar.without_archive_facts() == built.manifest
    assert is_published(built.manifest, backup_dir)


def test_text_beside_has_the_command_the_keys_and_both_checksums(built: BuiltArchive, backup_dir: Path) -> None:
    """Whoever finds the file in ten years needs nothing else."""
    archive = published(built, backup_dir)
    text = (backup_dir / "critical_backup_20261120_020004.decrypt.txt").read_text()
    sidecar = read_sidecar(archive)
    assert sidecar.encryption is not None
    for part in (*KEYS, f"    age -d -i KEY_FILE -o {NAME} {NAME}.age\n", sidecar.archive_sha256):
        assert part in text
    assert sidecar.encryption.plain_sha256 in text


def test_what_lies_beside_holds_no_content_of_the_archive(built: BuiltArchive, backup_dir: Path) -> None:
    """Manifest and text are in clear: names, figures and checksums, nothing of the rows or the files."""
    published(built, backup_dir)
    beside = b"".join(path.read_bytes() for path in backup_dir.iterdir() if path.suffix != ".age")
    for content in (b"Ada", b"two\\n", b"said ", b"KEY KEY", b"CREATE TABLE"):
        assert any(content.replace(b"\\n", b"\n") in part for part in built.contents.values())
        assert content not in beside


def test_archive_that_changed_after_it_was_verified_is_not_encrypted(tmp_path: Path) -> None:
    """What is encrypted is held against what was verified; nothing encrypted is left."""
    plain = plain_file(tmp_path)
    verified = sha256(plain)
    with plain.open("r+b") as file:
        file.seek(MB)
        file.write(b"x")
    with pytest.raises(VerificationError, match=f"SHA-256 of what was encrypted: got .*, expected {verified}"):
        encrypt_archive(plain, KEYS, sha256=verified)
    assert list(tmp_path.iterdir()) == [plain]


def test_disk_that_keeps_other_bytes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is read from the disk again, and held against what was written."""
    plain = plain_file(tmp_path)

    def lose_a_bit(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[-MB] ^= 1
        path.write_bytes(content)

    monkeypatch.setattr(encryption, "sync_file", lose_a_bit)
    with pytest.raises(VerificationError, match="SHA-256 on the disk"):
        encrypt_archive(plain, KEYS, sha256=sha256(plain))
    assert list(tmp_path.iterdir()) == [plain]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process become larger: a disk that is full, for whoever writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_stays_an_error_of_the_system_and_leaves_nothing(tmp_path: Path) -> None:
    """Its number decides whether Airflow tries again; no thread and no half file is left."""
    plain = plain_file(tmp_path)
    digest, threads = sha256(plain), threading.active_count()
    with largest_file(MB), pytest.raises(OSError, match="File too large"):
        encrypt_archive(plain, KEYS, sha256=digest)
    assert list(tmp_path.iterdir()) == [plain]
    assert threading.active_count() == threads


class TimeUp(BaseException):
    """What Airflow raises from a signal handler is no Exception either."""


def test_time_out_stays_what_it_is_and_leaves_nothing(tmp_path: Path) -> None:
    """It is raised in this thread while the library is at work in another, which ends."""
    plain = plain_file(tmp_path, 2000 * MB)

    def time_up(*_: object) -> None:
        raise TimeUp

    before, threads = signal.signal(signal.SIGALRM, time_up), threading.active_count()
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(TimeUp):
            encrypt_archive(plain, KEYS, sha256="0" * 64)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert list(tmp_path.iterdir()) == [plain]
    assert threading.active_count() == threads


@pytest.mark.parametrize("encrypted_before", [True, False])
def test_archive_of_that_time_is_never_overwritten_in_whichever_form(
    built: BuiltArchive, backup_dir: Path, *, encrypted_before: bool
) -> None:
    """They would share a manifest; and the workspace keeps the plain one for another try."""
    existing = backup_dir / (encrypted_name(NAME) if encrypted_before else NAME)
    existing.write_bytes(b"somebody's only copy")
    with pytest.raises(VerificationError, match=f"{existing} exists already"):
        published(built, backup_dir)
    with pytest.raises(VerificationError, match=f"{existing} exists already"):
        publish(built.path, built.manifest, sha256="0" * 64, backup_dir=backup_dir)
    assert [path.name for path in backup_dir.iterdir()] == [existing.name]
    assert [path.name for path in built.path.parent.glob("archive*")] == [built.path.name]


def test_archive_of_another_run_is_not_taken_for_published(built: BuiltArchive, backup_dir: Path) -> None:
    """Only the same manifest is the same archive."""
    assert not is_published(built.manifest, backup_dir)
    published(built, backup_dir)
    assert is_published(built.manifest, backup_dir)
    assert not is_published(built.manifest.model_copy(update={"warnings": ("another",)}), backup_dir)
    (backup_dir / f"{NAME}.age").unlink()
    assert not is_published(built.manifest, backup_dir)


def test_wrong_key_and_no_key_are_told_apart(built: BuiltArchive, backup_dir: Path) -> None:
    """Each says what to do, in one line."""
    archive = published(built, backup_dir)
    with pytest.raises(PrerequisiteError, match="no key in BACKUP_AGE_IDENTITY_FILE opens") as wrong:
        verify_published(archive, read_sidecar(archive), [EVE])
    with pytest.raises(PrerequisiteError, match=f"age -d -i KEY_FILE -o {NAME} {NAME}.age") as missing:
        verify_archive(archive, built.manifest)
    assert "\n" not in f"{wrong.value}{missing.value}"


def test_published_archive_is_verified_whole_with_a_key_and_by_its_checksum_without(
    built: BuiltArchive, backup_dir: Path
) -> None:
    """The rows are those of the manifest; None says that nobody looked inside."""
    archive = published(built, backup_dir)
    sidecar = read_sidecar(archive)
    assert verify_published(archive, sidecar, [BOB]) == built.manifest.rows > 0
    assert verify_published(archive, sidecar, []) is None


def test_published_plain_archive_is_verified_whole(built: BuiltArchive, backup_dir: Path) -> None:
    """With or without keys; and its own SHA-256 counts as well."""
    digest = verify_archive(built.path, built.manifest).archive_sha256
    sidecar = publish(built.path, built.manifest, sha256=digest, backup_dir=backup_dir)
    assert verify_published(backup_dir / NAME, sidecar, [ADA]) == built.manifest.rows
    other = sidecar.model_copy(update={"archive_sha256": "0" * 64})
    with pytest.raises(VerificationError, match="has changed since it was verified first"):
        verify_published(backup_dir / NAME, other, [])


@pytest.mark.parametrize("identities", [[], [ADA]])
@pytest.mark.parametrize("place", [0, 30, 150, -1, -5000])
def test_changed_byte_is_noticed_with_and_without_a_key(
    built: BuiltArchive, backup_dir: Path, identities: list[Any], place: int
) -> None:
    """In the header, in the middle and at the end."""
    archive = published(built, backup_dir)
    content = bytearray(archive.read_bytes())
    content[max(place, -len(content))] ^= 1
    archive.write_bytes(content)
    with pytest.raises(VerificationError, match=r"do not restore from it|is not an age file|age header"):
        verify_published(archive, read_sidecar(archive), identities)


PLAIN_BYTES = bytes(range(256)) * 800
ENCRYPTED_BYTES = encrypt(PLAIN_BYTES, [ADA.to_public()])


def read_all(archive: Path, seen: list[bytes]) -> None:
    with opened(archive, [ADA]) as file:
        while block := file.read(1000):
            seen.append(block)


@given(place=st.integers(0, len(ENCRYPTED_BYTES) - 1), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_anywhere_never_gives_other_bytes(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int, *, cut: bool
) -> None:
    """age authenticates every chunk: a flipped bit or a missing end is an error, wherever it is."""
    archive = tmp_path_factory.getbasetemp() / "critical_backup_20261120_020004.tar.gz.age"
    content = bytearray(ENCRYPTED_BYTES)
    content[place] ^= 1 << bit
    archive.write_bytes(content[:place] if cut else content)
    seen: list[bytes] = []
    with pytest.raises((VerificationError, PrerequisiteError)):
        read_all(archive, seen)
    assert PLAIN_BYTES.startswith(b"".join(seen))


def test_reading_may_stop_anywhere(tmp_path: Path) -> None:
    """The thread of the library ends with the reader."""
    archive = tmp_path / f"{NAME}.age"
    archive.write_bytes(encrypt(bytes(20 * MB), [ADA.to_public()]))
    threads = threading.active_count()
    with opened(archive, [ADA]) as file:
        assert file.read(10) == bytes(10)
    with pytest.raises(KeyError), opened(archive, [ADA]):
        raise KeyError
    assert threading.active_count() == threads


MEASURE = """
import hashlib, re, sys
from pathlib import Path
from pyrage import x25519
from include.backup.age_stream import opened
from include.backup.encryption import encrypt_archive

def peak_kb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

plain, sha256 = Path(sys.argv[1]), sys.argv[2]
identity = x25519.Identity.generate()
before = peak_kb()
encrypted = encrypt_archive(plain, [str(identity.to_public())], sha256=sha256).path
archive = encrypted.rename(plain.with_name("critical_backup_20261120_020004.tar.gz.age"))
digest = hashlib.sha256()
with opened(archive, [identity]) as file:
    while block := file.read(1 << 20):
        digest.update(block)
assert digest.hexdigest() == sha256
print(peak_kb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its own peak memory")
def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    """Peak memory of a process that encrypts and decrypts 256 MB, against that before."""
    plain = plain_file(tmp_path, 256 * MB)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.run(
        [sys.executable, "-c", MEASURE, str(plain), sha256(plain)], env=environment, check=True, capture_output=True
    )
    assert 0 < int(child.stdout) < 24 * 1024, f"{child.stdout.decode()} KB more than before"
