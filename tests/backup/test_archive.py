"""Parts become an archive, and a verified archive gets its name."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.backup.archive import ARCHIVE_IN_WORK, PARTIAL_ARCHIVE, compress_archive, publish
from include.backup.archive_name import ARCHIVE_NAME, archive_name, sidecar_path
from include.backup.errors import BackupError, VerificationError
from include.backup.gzip_part import GzipPart, PartRecord, Section, part_path
from include.backup.manifest import Manifest, Sidecar

if TYPE_CHECKING:
    from tests.backup.conftest import ArchiveBuilder, BuiltArchive
    from tests.fix_archives import MakeSidecar

SHA256 = "ab" * 32
SNAPSHOT_AT = datetime(2026, 11, 20, 2, 0, 4, tzinfo=timezone.utc)


def run(program: str, *arguments: str | Path) -> str:
    path = shutil.which(program)
    assert path is not None
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=True).stdout


def members_of(path: Path) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as tar:
        return {member.name: (member, (tar.extractfile(member) or io.BytesIO()).read()) for member in tar}


def write_part(folder: Path, name: str, content: bytes, mode: int = 0o600) -> PartRecord:
    with GzipPart(folder, name, mode=mode) as part:
        part.write(content)
    return part.record("rows")


@pytest.fixture
def backup_dir(tmp_path: Path) -> Path:
    """Return an empty BACKUP_DIR."""
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder


def test_archive_system_tools_accept_it(built: BuiltArchive, tmp_path: Path) -> None:
    """The tar and gzip of every machine read it without a word, and unpack what went in."""
    run("gzip", "-t", built.path)
    assert run("tar", "-tzf", built.path).splitlines() == [part.name for part in built.parts]
    out = tmp_path / "out"
    out.mkdir()
    run("tar", "-xzf", built.path, "-C", out)
    unpacked = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert unpacked == built.contents
    assert stat.S_IMODE((out / "ssl" / "key.pem").stat().st_mode) == 0o400


def test_archive_members_in_order_with_modes_and_time(built: BuiltArchive) -> None:
    """Plain files only, in the order given, with their modes, the snapshot's time, and owner root."""
    members = members_of(built.path)
    assert list(members) == [part.name for part in built.parts]
    assert list(members)[:2] == ["BACKUP_INFO.txt", "MANIFEST.json"]
    for part in built.parts:
        member, content = members[part.name]
        assert member.isreg()
        assert content == built.contents[part.name]
        assert member.mode == int(part.mode, 8)
        assert member.mtime == built.manifest.snapshot_at.timestamp()
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "root", "root")


def test_archive_same_parts_same_bytes(builder: ArchiveBuilder) -> None:
    """Compressing again after a failure gives the same archive."""
    assert builder.build().path.read_bytes() == builder.build().path.read_bytes()


def test_archive_partial_has_no_archive_name(built: BuiltArchive) -> None:
    """Before it is verified it has a name that nothing takes for an archive's, and is nobody else's to read."""
    assert built.path.name == PARTIAL_ARCHIVE
    assert not ARCHIVE_NAME.fullmatch(built.path.name)
    assert stat.S_IMODE(built.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", [PARTIAL_ARCHIVE, ARCHIVE_IN_WORK])
def test_archive_left_over_replaced(tmp_path: Path, name: str) -> None:
    """What a killed try of other parts left under the same name is overwritten whole."""
    (tmp_path / name).write_bytes(b"left over" * 100_000)
    part = write_part(tmp_path, "a.sql", b"content")
    path = compress_archive(tmp_path, [(tmp_path, [part])], modified_at=SNAPSHOT_AT)
    assert {name: content for name, (_, content) in members_of(path).items()} == {"a.sql": b"content"}
    assert not (tmp_path / ARCHIVE_IN_WORK).exists()


def test_archive_made_again_of_parts_that_are_in_it(built: BuiltArchive) -> None:
    """A try that was killed before Airflow heard of its success, or a task cleared without need."""
    whole = built.path.read_bytes()
    assert all(part_path(built.path.parent, part.name).stat().st_size == 0 for part in built.parts)
    parts = [(built.path.parent, built.parts)]
    again = compress_archive(built.path.parent, parts, modified_at=built.manifest.snapshot_at)
    assert again.read_bytes() == whole


def test_archive_of_parts_that_are_in_a_published_one_refused(built: BuiltArchive) -> None:
    """They are not there any more; nothing is made of what is left."""
    built.path.unlink()
    with pytest.raises(BackupError, match=r"in an archive already; clear export_database with everything downstream"):
        compress_archive(built.path.parent, [(built.path.parent, built.parts)], modified_at=built.manifest.snapshot_at)
    assert not built.path.exists()


def test_archive_parts_moved_for_other_neighbours_refused(tmp_path: Path) -> None:
    """A summary of another size, written after the parts were moved, has no place in that archive."""
    summary, rows = (write_part(tmp_path, name, b"x" * 1000) for name in ("a.txt", "b.sql"))
    compress_archive(tmp_path, [(tmp_path, [summary, rows])], modified_at=SNAPSHOT_AT)
    other = write_part(tmp_path, "a.txt", bytes(range(256)))
    with pytest.raises(BackupError, match=r"b\.sql.*clear export_database with everything downstream"):
        compress_archive(tmp_path, [(tmp_path, [other, rows])], modified_at=SNAPSHOT_AT)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024, 100_000])
def test_archive_any_size_padded_to_blocks(tmp_path: Path, size: int) -> None:
    """Sizes at and around a tar block, the empty file too, give a sound archive of whole blocks."""
    part = write_part(tmp_path, "a.sql", bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    path = compress_archive(tmp_path, [(tmp_path, [part])], modified_at=SNAPSHOT_AT)
    run("tar", "-tzf", path)
    assert len(members_of(path)["a.sql"][1]) == size
    assert len(gzip.decompress(path.read_bytes())) == 512 + -(-size // 512) * 512 + 1024


@pytest.mark.parametrize(
    "name", ["ssl/key.pem", "ก" * 60 + ".conf", "folder/" * 20 + "file", "with space and 'quotes'"]
)
def test_archive_any_name_kept(tmp_path: Path, name: str) -> None:
    """Names that are deep, long or not English come back as they were."""
    part = write_part(tmp_path, name, b"content")
    path = compress_archive(tmp_path, [(tmp_path, [part])], modified_at=SNAPSHOT_AT)
    assert {name: content for name, (_, content) in members_of(path).items()} == {name: b"content"}


@pytest.mark.parametrize("change", [b"", b"longer than it was before"])
def test_archive_part_changed_refused(tmp_path: Path, change: bytes) -> None:
    """A part that is not as it was recorded stops the step and names the task to clear."""
    part = write_part(tmp_path, "a.sql", b"content")
    part_path(tmp_path, "a.sql").write_bytes(change)
    with pytest.raises(BackupError, match=r"a\.sql.*clear export_database with everything downstream"):
        compress_archive(tmp_path, [(tmp_path, [part])], modified_at=SNAPSHOT_AT)


def test_part_sections_counted_and_hashed_apart(tmp_path: Path) -> None:
    """The part has the size and SHA-256 of everything, a section those of its own bytes."""
    with GzipPart(tmp_path, "a.sql") as part:
        part.write(b"COPY a;\n")
        part.begin_section()
        part.write(b"1\n")
        part.write(b"2\n")
        first = part.end_section()
        part.write(b"\\.\n")
        part.begin_section()
        second = part.end_section()
    whole = b"COPY a;\n1\n2\n\\.\n"
    record = part.record("rows")
    compressed = part_path(tmp_path, "a.sql").read_bytes()
    assert first == Section(8, 4, hashlib.sha256(b"1\n2\n").hexdigest())
    assert second == Section(15, 0, hashlib.sha256(b"").hexdigest())
    assert (record.bytes, record.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert record.compressed_bytes == len(compressed)
    assert gzip.decompress(compressed) == whole


def test_part_section_from_the_beginning_is_hashed_with_the_part(tmp_path: Path) -> None:
    """A CSV is a section as a whole; what comes behind a section is not in it."""
    with GzipPart(tmp_path, "a.csv") as part:
        part.begin_section()
        empty = part.end_section()
        part.begin_section()
        part.write(b"id\n1\n")
        rows = part.end_section()
        part.write(b"more")
    assert empty == Section(0, 0, hashlib.sha256(b"").hexdigest())
    assert rows == Section(0, 5, hashlib.sha256(b"id\n1\n").hexdigest())
    assert part.record("rows").sha256 == hashlib.sha256(b"id\n1\nmore").hexdigest()


@pytest.mark.parametrize("mode", [0o000, 0o004, 0o040, 0o044, 0o400, 0o600, 0o644, 0o777])
def test_part_any_mode_recorded_in_four_digits(tmp_path: Path, mode: int) -> None:
    """Every mode that a configuration file can have is recorded, also one without rights for its owner."""
    assert write_part(tmp_path, "a", b"", mode).mode == f"{mode:04o}"


def test_part_on_disk_private(tmp_path: Path) -> None:
    """The compressed part is nobody else's to read, whatever mode the file has."""
    write_part(tmp_path, "a", b"", 0o644)
    assert stat.S_IMODE(part_path(tmp_path, "a").stat().st_mode) == 0o600


def test_part_names_with_slashes_are_distinct(tmp_path: Path) -> None:
    """Parts of files in folders lie side by side and never outside."""
    names = ["a/b", "a_b", "a", "../a", "/a"]
    paths = {part_path(tmp_path, name) for name in names}
    assert len(paths) == len(names)
    assert {path.parent for path in paths} == {tmp_path}


def test_publish_gives_name_and_sidecar(built: BuiltArchive, backup_dir: Path) -> None:
    """Archive and sidecar lie beside each other, both 0600, the partial is gone, nothing else is left."""
    content = built.path.read_bytes()
    sidecar = publish(built.path, built.manifest, sha256=SHA256, backup_dir=backup_dir)
    archive = backup_dir / "critical_backup_20261120_020004.tar.gz"
    assert archive.read_bytes() == content
    assert not built.path.exists()
    assert sorted(backup_dir.iterdir()) == sorted([archive, sidecar_path(archive)])
    assert {stat.S_IMODE(path.stat().st_mode) for path in backup_dir.iterdir()} == {0o600}
    assert Sidecar.model_validate_json(sidecar_path(archive).read_bytes()) == sidecar
    assert sidecar.without_archive_facts() == built.manifest
    assert (sidecar.archive_bytes, sidecar.archive_sha256) == (len(content), SHA256)


def test_publish_name_taken_never_overwritten(built: BuiltArchive, backup_dir: Path) -> None:
    """An archive that exists stays as it is, its sidecar too, and the new one keeps its partial name."""
    archive = backup_dir / built.manifest.archive
    archive.write_bytes(b"the older one")
    sidecar_path(archive).write_bytes(b"its manifest")
    with pytest.raises(VerificationError) as caught:
        publish(built.path, built.manifest, sha256=SHA256, backup_dir=backup_dir)
    message = str(caught.value)
    assert message.splitlines() == [message]
    assert str(archive) in message
    assert "clear" in message
    assert archive.read_bytes() == b"the older one"
    assert sidecar_path(archive).read_bytes() == b"its manifest"
    assert built.path.exists()


def test_publish_name_taken_by_dangling_link_refused(built: BuiltArchive, backup_dir: Path) -> None:
    """A link to an archive on a volume that is not mounted is a taken name too."""
    archive = backup_dir / built.manifest.archive
    archive.symlink_to("/volume/that/is/not/mounted")
    with pytest.raises(VerificationError):
        publish(built.path, built.manifest, sha256=SHA256, backup_dir=backup_dir)
    assert archive.is_symlink()


def test_publish_left_over_sidecar_replaced(built: BuiltArchive, backup_dir: Path) -> None:
    """A sidecar alone, left by a kill between the two, is nothing: the next try replaces it."""
    sidecar_path(backup_dir / built.manifest.archive).write_bytes(b"left over")
    sidecar = publish(built.path, built.manifest, sha256=SHA256, backup_dir=backup_dir)
    path = sidecar_path(backup_dir / built.manifest.archive)
    assert Sidecar.model_validate_json(path.read_bytes()) == sidecar


@pytest.fixture(scope="module")
def all_renames() -> list[str]:
    """Return a list to which this process adds the target of each rename from now on."""
    targets: list[str] = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename":
            targets.append(os.fsdecode(os.fspath(arguments[1])))  # type: ignore[call-overload]

    sys.addaudithook(hook)
    return targets


@pytest.fixture
def renames(all_renames: list[str]) -> Iterator[list[str]]:
    """Return the targets of the test's own renames, in order."""
    all_renames.clear()
    yield all_renames
    all_renames.clear()


def test_publish_sidecar_comes_before_archive(built: BuiltArchive, backup_dir: Path, renames: list[str]) -> None:
    """A kill between the two leaves a manifest without an archive, never an archive without a manifest."""
    publish(built.path, built.manifest, sha256=SHA256, backup_dir=backup_dir)
    archive = backup_dir / built.manifest.archive
    assert renames == [str(sidecar_path(archive)), str(archive)]


def test_publish_sidecar_fails_no_archive(built: BuiltArchive, backup_dir: Path) -> None:
    """Where the sidecar cannot be written, no archive appears."""
    sidecar_path(backup_dir / built.manifest.archive).mkdir()
    with pytest.raises(OSError, match="directory"):
        publish(built.path, built.manifest, sha256=SHA256, backup_dir=backup_dir)
    assert not (backup_dir / built.manifest.archive).exists()
    assert built.path.exists()


def test_archive_name_carries_snapshot_time() -> None:
    """The name is made of the snapshot's local time, and is one that the manifest takes."""
    name = archive_name(SNAPSHOT_AT.astimezone(timezone(timedelta(hours=7))))
    assert name == "critical_backup_20261120_090004.tar.gz"
    assert ARCHIVE_NAME.fullmatch(name)
    assert sidecar_path(Path("/b") / name) == Path("/b/critical_backup_20261120_090004.manifest.json")


@pytest.mark.parametrize(
    "name",
    [
        "../critical_backup_20261120_020004.tar.gz",
        "critical_backup_20261120_020004.tar.gz/x",
        "critical_backup_20261120_020004.tar.gz\n",
        "xcritical_backup_20261120_020004.tar.gz",
        "critical_backup_20261120_02000\N{THAI DIGIT FOUR}.tar.gz",
        "critical_backup_20261120_020004xtar.gz",
    ],
)
def test_manifest_other_archive_name_refused(sidecar: MakeSidecar, name: str) -> None:
    """A manifest takes no name but an archive's: publish joins it to BACKUP_DIR."""
    values = sidecar().without_archive_facts().model_dump(by_alias=True)
    with pytest.raises(ValueError, match="archive"):
        Manifest(**(values | {"archive": name}))
