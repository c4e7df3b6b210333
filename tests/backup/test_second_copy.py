"""The second copy in a folder: whole and proven, or not there."""

from __future__ import annotations

import hashlib
import resource
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from include.backup.archive_name import copy_path, decrypt_path, sidecar_path
from include.backup.copy_folder import FolderPlace
from include.backup.copy_place import place_errors
from include.backup.copy_record import read_copy, write_copy
from include.backup.errors import BackupError, TemporaryError, VerificationError
from include.backup.second_copy import PROBE, check_place, copy_archive
from tests.fix_archives import SNAPSHOT_AT
from tests.fix_copies import content_of, make_archive


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    """An empty folder."""
    (tmp_path / "second").mkdir()
    return FolderPlace(tmp_path / "second")


@dataclass(frozen=True)
class AlteringFolder(FolderPlace):
    """A folder in which something else changes what has just been written."""

    def write(self, name: str, blocks: Iterable[bytes]) -> None:
        super().write(name, blocks)
        path = self.folder / name
        path.write_bytes(path.read_bytes()[:-1] + b"?")


@dataclass(frozen=True)
class WatchedFolder(FolderPlace):
    """A folder that knows in which order it was written to."""

    written: list[str] = field(default_factory=list)

    def write(self, name: str, blocks: Iterable[bytes]) -> None:
        self.written.append(name)
        super().write(name, blocks)


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Let the kernel refuse to make any file of this process larger, in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_copy_is_the_archive_and_its_manifest_and_nothing_else(tmp_path: Path, place: FolderPlace) -> None:
    """Byte for byte, readable for nobody else, and the record says what was proven."""
    archive, sidecar = make_archive(tmp_path / "backups")
    record = copy_archive(archive, sidecar, place)
    manifest = sidecar_path(archive)
    assert {path.name: path.read_bytes() for path in place.folder.iterdir()} == {
        archive.name: archive.read_bytes(),
        manifest.name: manifest.read_bytes(),
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.folder.iterdir()} == {0o600}
    assert (record.url, record.bytes) == (f"file://{place.folder}/{archive.name}", archive.stat().st_size)
    assert record.sha256 == hashlib.sha256((place.folder / archive.name).read_bytes()).hexdigest()


def test_copy_writes_the_manifest_last_and_nothing_twice(tmp_path: Path) -> None:
    """An archive without a manifest is unfinished; what is there already is only compared."""
    (tmp_path / "second").mkdir()
    place = WatchedFolder(tmp_path / "second")
    archive, sidecar = make_archive(tmp_path / "backups")
    first = copy_archive(archive, sidecar, place)
    assert place.written == [archive.name, sidecar_path(archive).name]
    again = copy_archive(archive, sidecar, place)
    assert len(place.written) == 2
    assert (again.url, again.sha256) == (first.url, first.sha256)


def test_copy_of_an_encrypted_archive_brings_along_how_it_is_decrypted(tmp_path: Path) -> None:
    """Whoever has lost the host finds the command beside the copy; the manifest is last here, too."""
    (tmp_path / "second").mkdir()
    place = WatchedFolder(tmp_path / "second")
    archive, sidecar = make_archive(tmp_path / "backups", encrypted=True)
    record = copy_archive(archive, sidecar, place)
    assert archive.name.endswith(".tar.gz.age")
    expected = [archive, decrypt_path(archive), sidecar_path(archive)]
    assert place.written == [path.name for path in expected]
    assert [content_of(place, path.name) for path in expected] == [path.read_bytes() for path in expected]
    assert (record.url, record.sha256) == (f"{place.url}/{archive.name}", sidecar.archive_sha256)


def test_copy_that_was_interrupted_before_its_manifest_is_completed(tmp_path: Path, place: FolderPlace) -> None:
    """The next try writes what is missing, and replaces what a killed one left half done."""
    archive, sidecar = make_archive(tmp_path / "backups")
    shutil.copy(archive, place.folder)
    (place.folder / f".{sidecar_path(archive).name}.partial").write_text("half")
    copy_archive(archive, sidecar, place)
    assert sorted(place.names()) == sorted((archive.name, sidecar_path(archive).name))
    assert content_of(place, sidecar_path(archive).name) == sidecar_path(archive).read_bytes()


@pytest.mark.parametrize("which", [Path, decrypt_path, sidecar_path], ids=["archive", "decrypt text", "manifest"])
def test_other_content_under_that_name_is_an_error_and_stays(
    tmp_path: Path, place: FolderPlace, which: Callable[[Path], Path]
) -> None:
    """It may be all that is left of another system's backups."""
    archive, sidecar = make_archive(tmp_path / "backups", encrypted=True)
    other = place.folder / which(archive).name
    other.write_bytes(b"of another system")
    with pytest.raises(BackupError, match="is there with other content, and nothing is overwritten") as caught:
        copy_archive(archive, sidecar, place)
    assert other.name in str(caught.value)
    assert other.read_bytes() == b"of another system"


def test_archive_that_changed_since_verification_is_not_copied(tmp_path: Path, place: FolderPlace) -> None:
    """The copy would be as worthless, and look as good."""
    archive, sidecar = make_archive(tmp_path / "backups")
    archive.write_bytes(archive.read_bytes()[::-1])
    with pytest.raises(VerificationError, match="has changed since it was verified: it is not copied"):
        copy_archive(archive, sidecar, place)
    assert place.names() == []


def test_copy_altered_after_writing_is_found_by_reading_it_back(tmp_path: Path) -> None:
    """It stays without a manifest, so nobody takes it for a copy."""
    (tmp_path / "second").mkdir()
    place = AlteringFolder(tmp_path / "second")
    archive, sidecar = make_archive(tmp_path / "backups")
    with pytest.raises(VerificationError, match="was altered between writing and reading it back"):
        copy_archive(archive, sidecar, place)
    assert place.names() == [archive.name]


def test_place_without_room_says_so_and_keeps_no_half(tmp_path: Path, place: FolderPlace) -> None:
    """No other try helps until somebody makes room."""
    archive, sidecar = make_archive(tmp_path / "backups", size=3_000_000)
    with files_at_most(2_000_000), pytest.raises(BackupError, match="make room there") as caught:
        copy_archive(archive, sidecar, place)
    assert not isinstance(caught.value, TemporaryError)
    assert f"cannot write {place.url}/{archive.name}" in str(caught.value)
    assert place.names() == []


def test_full_disk_is_final_and_asks_for_room() -> None:
    """/dev/full gives a real ENOSPC."""
    with (
        pytest.raises(BackupError, match=r"No space left on device; make room there, or lower BACKUP_COPY_RETENTION"),
        place_errors("cannot write"),
        open("/dev/full", "wb", buffering=0) as device,  # noqa: PTH123
    ):
        device.write(b"x")


def test_folder_that_is_not_there_is_named_and_never_made(tmp_path: Path) -> None:
    """A volume that is not mounted must not fill the disk below it."""
    place = FolderPlace(tmp_path / "not_mounted")
    archive, sidecar = make_archive(tmp_path / "backups")
    with pytest.raises(BackupError, match="mount the volume") as caught:
        copy_archive(archive, sidecar, place)
    assert str(place.folder) in str(caught.value)
    assert not place.folder.exists()


def test_two_archives_copied_at_once_are_both_whole(tmp_path: Path, place: FolderPlace) -> None:
    """Two runs do not wait for one another."""
    made = [make_archive(tmp_path / "backups", taken=SNAPSHOT_AT + timedelta(days=day)) for day in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: copy_archive(pair[0], pair[1], place), made))
    for archive, _ in made:
        assert content_of(place, archive.name) == archive.read_bytes()
    assert len(place.names()) == 16


def test_check_leaves_nothing_behind(place: FolderPlace) -> None:
    """What was written to see that it can be is removed."""
    check_place(place)
    assert place.names() == []


def test_check_finds_what_reads_differently(tmp_path: Path) -> None:
    """A place that takes everything and gives back something else is no place for a copy."""
    with pytest.raises(BackupError, match=rf"{PROBE} was written and reads differently"):
        check_place(AlteringFolder(tmp_path))


def test_record_comes_back_and_a_broken_one_is_none(tmp_path: Path, place: FolderPlace) -> None:
    """Whoever lists archives is not stopped by a record."""
    archive, sidecar = make_archive(tmp_path / "backups")
    assert read_copy(archive) is None
    record = copy_archive(archive, sidecar, place)
    write_copy(archive, record)
    assert read_copy(archive) == record
    copy_path(archive).write_text("{")
    assert read_copy(archive) is None
