"""The list of archives: what lies there, what is known against it, when it expires; and that a name is only a name."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from include.backup.archive_list import ArchiveList, find_archive
from include.backup.archive_name import ARCHIVE_NAME, delivery_path, sidecar_path
from include.backup.drill_record import DrillRecord, write_drill
from include.backup.errors import UnknownArchiveError
from include.backup.manifest import FileRecord, read_sidecar, readable_archives
from include.backup.retention import RetentionPolicy, plan_expiry
from tests.fix_archives import ENCRYPTION, NOW

if TYPE_CHECKING:
    from tests.fix_archives import MakeTable, Publish

UTC = ZoneInfo("UTC")
POLICY = RetentionPolicy(keep=timedelta(days=30), min_keep=3, max_age=timedelta(hours=25))


def drill(archive: Path, *, passed: bool) -> None:
    """Record a drill of the archive."""
    figures = {"seconds": 41.0, "tables": 1, "rows": 1, "server_version": "18.0", "error": "" if passed else "broken"}
    write_drill(archive, DrillRecord(drilled_at=NOW, passed=passed, **figures))


def test_newest_is_first_and_pages_follow_one_another(folder: Path, publish: Publish) -> None:
    """Pages hold every archive once; other files do not count."""
    made = [publish(hours_old=hours).name for hours in (3, 27, 51, 75)]
    (folder / "notes.txt").touch()
    archives = ArchiveList(folder)
    pages = [[entry.name for entry in archives.entries(offset, 3)] for offset in (0, 3, 6)]
    assert (len(archives), pages) == (4, [made[:3], made[3:], []])


def test_entry_has_the_figures_of_its_manifest(folder: Path, publish: Publish, table: MakeTable) -> None:
    """Rows, size, SHA-256 and warnings are those of the manifest."""
    tables = [table("a", "users.sql", ("id",), rows=7), table("b", "users.sql", ("id",), rows=5)]
    archive = publish(tables=tables, warnings=("odd",))
    (entry,) = ArchiveList(folder).entries()
    sidecar = read_sidecar(archive)
    assert entry.head
    assert (entry.head.rows, entry.head.tables, entry.problem) == (12, 2, "")
    assert entry.head.archive_sha256 == sidecar.archive_sha256
    assert (entry.head.run, entry.head.warnings) == (sidecar.run, ("odd",))
    assert entry.drill is None
    assert entry.delivery
    assert entry.delivery.recipients == {}


def test_encrypted_archive_is_listed_with_its_companions(folder: Path, publish: Publish) -> None:
    """And what would be readable in a plain one is not in clear."""
    files = [
        FileRecord(name=name, kind=kind, mode="0600", bytes=1, sha256="0" * 64)
        for name, kind in ((".env", "configuration"), ("nginx.conf", "configuration"), ("x.key", "rows"))
    ]
    encrypted = publish(files=files, encryption=ENCRYPTION)
    plain = publish(files=files, hours_old=30)
    drill(encrypted, passed=True)
    first, second = ArchiveList(folder).entries()
    assert (first.name, first.problem, first.drill is not None) == (encrypted.name, "", True)
    assert first.head
    assert second.head
    assert (second.name, first.head.in_clear, second.head.in_clear) == (plain.name, (), (".env",))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda archive: sidecar_path(archive).unlink(), "its manifest cannot be read: No such file or directory"),
        (lambda archive: sidecar_path(archive).write_text('{"archive": 1}'), "its manifest is damaged"),
        (lambda archive: sidecar_path(archive).write_bytes(b"\x00\xff"), "its manifest is damaged"),
        (lambda archive: archive.write_bytes(b"short"), "it has 5 bytes, 2,097,152 when it was verified"),
    ],
)
def test_problem_is_named_and_the_archive_stays_in_the_list(folder: Path, publish: Publish, harm, words) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """What cannot be used is not left out: somebody would look for it."""
    archive = publish()
    assert ArchiveList(folder).entries()[0].problem == ""
    harm(archive)
    (entry,) = ArchiveList(folder).entries()
    assert words in entry.problem


def test_manifest_of_another_archive_is_a_problem(folder: Path, publish: Publish) -> None:
    """Somebody has copied a manifest."""
    first, second = publish(), publish(hours_old=4)
    sidecar_path(first).write_bytes(sidecar_path(second).read_bytes())
    assert second.name in find_archive(folder, first.name).problem


def test_manifest_is_read_again_when_it_has_changed(folder: Path, publish: Publish) -> None:
    """The list keeps what it has read, but not for longer than it is true."""
    archive = publish(warnings=("one",))
    assert find_archive(folder, archive.name).head.warnings == ("one",)  # type: ignore[union-attr]
    publish(warnings=("one", "two"))
    assert find_archive(folder, archive.name).head.warnings == ("one", "two")  # type: ignore[union-attr]


def test_delivery_that_cannot_be_read_is_not_taken_for_nobody(folder: Path, publish: Publish) -> None:
    """None is not the same as an empty record."""
    archive = publish()
    delivery_path(archive).write_text("{")
    assert find_archive(folder, archive.name).delivery is None


def test_expiry_is_what_retention_will_do(folder: Path, publish: Publish) -> None:
    """At every later moment the archives past their time are those that the plan removes."""
    archives = [publish(hours_old=24 * days + 1) for days in range(6)]
    drill(archives[0], passed=False)
    drill(archives[4], passed=True)
    listed = ArchiveList(folder)
    expires = listed.expires_at(listed.entries(), POLICY)
    assert [name for name, moment in expires.items() if moment is None] == [archives[i].name for i in (0, 1, 2, 4)]
    sidecars = [sidecar for _, sidecar in readable_archives(folder)]
    patient = RetentionPolicy(POLICY.keep, POLICY.min_keep, max_age=timedelta(hours=9999))
    for days in (24, 25, 26, 27, 28, 40):
        then = NOW + timedelta(days=days)
        plan = plan_expiry(sidecars, patient, now=then, proven={archives[4].name})
        past = {name for name, moment in expires.items() if moment and moment < then}
        assert {sidecar.archive for sidecar in plan.expire} == past


def test_broken_archive_never_expires_and_does_not_count_as_kept(folder: Path, publish: Publish) -> None:
    """Of the newest three sound ones none is broken."""
    archives = [publish(hours_old=24 * days + 1) for days in range(5)]
    archives[0].write_bytes(b"")
    listed = ArchiveList(folder)
    expires = listed.expires_at(listed.entries(), POLICY)
    assert [expires[archive.name] is None for archive in archives] == [True, True, True, True, False]


def test_since_reads_only_the_archives_of_that_time(folder: Path, publish: Publish) -> None:
    """Their names say when they were made."""
    made = [publish(hours_old=hours).name for hours in (3, 27, 51)]
    found = ArchiveList(folder).since(NOW - timedelta(hours=30), UTC)
    assert [entry.name for entry in found] == made[:2]


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", ".link_key", ".last_backup_success", ".work", "../backups/x.tar.gz", "/etc/passwd",
        "critical_backup_20261120_020004.tar.gz\n", "critical_backup_20261120_020004.tar.gz/", "a" * 9000,
        "critical_backup_20261120_020004.manifest.json", "critical_backup_20261120_020004.tar.gz\0",
        "critical_backup_٢٠٢٦١١٢٠_020004.tar.gz", "critical_backup_99999999_999999.tar.gz",
    ],
)  # fmt: skip
def test_what_is_no_archive_is_refused_in_one_line(folder: Path, publish: Publish, name: str) -> None:
    """No name leads out of BACKUP_DIR, nor to its other files."""
    publish()
    (folder / ".last_backup_success").write_text("x")
    with pytest.raises(UnknownArchiveError) as refused:
        find_archive(folder, name)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_only_ordinary_files_are_archives(folder: Path, tmp_path: Path, kind: str) -> None:
    """A link with an archive's name leads who knows where."""
    name = "critical_backup_20261120_020004.tar.gz"
    assert ARCHIVE_NAME.fullmatch(name)
    if kind == "link":
        (tmp_path / "secret").write_text("x")
        (folder / name).symlink_to(tmp_path / "secret")
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        os.mkfifo(folder / name)
    assert ArchiveList(folder).entries() == []
    with pytest.raises(UnknownArchiveError):
        find_archive(folder, name)


def test_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """It is not an empty one."""
    with pytest.raises(FileNotFoundError):
        ArchiveList(tmp_path / "gone")
