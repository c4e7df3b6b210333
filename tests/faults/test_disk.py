"""BACKUP_DIR is full, read-only, away, or another place than it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.backup.run import WORKSPACES
from tests.faults.test_server import assert_failed, slow_export
from tests.fix_disks import MakeDisk, fill, free, remount, take_inodes
from tests.fix_faults import FaultSite, MakeFaultSite

NOT_AGAIN = "AirflowFailException"


@pytest.fixture(scope="module")
def disk_site(make_fault_site: MakeFaultSite, make_disk: MakeDisk) -> FaultSite:
    """A site whose BACKUP_DIR is a small file system, with a good archive in it."""
    site = make_fault_site(BACKUP_DIR=str(make_disk()))
    assert site.back_up().error == ""
    return site


@pytest.mark.parametrize(
    ("step", "leave"),
    [
        ("export_database", 300_000),
        ("copy_configuration", 0),
        ("write_summary", 0),
        ("compress_archive", 300_000),
        ("verify_archive", 0),
        ("update_status", 0),
    ],
)
def test_full_disk_at_each_writing_step_fails_at_once_naming_the_file(
    disk_site: FaultSite, step: str, leave: int
) -> None:
    """No half of a file stays, and when there is room again, clearing is enough."""
    run_id = disk_site.prepare(step)
    fill(disk_site.backup_dir, leave=leave)
    before = disk_site.before()
    ended = disk_site.start_from(step, run_id).end()
    disk_site.assert_unharmed(before)
    left = [path.name for path in disk_site.backup_dir.rglob("*.partial")]
    assert left == (["archive.tar.gz.partial"] if step == "verify_archive" else [])
    free(disk_site.backup_dir)
    assert_failed(ended, step, NOT_AGAIN, "No space left on device: ", str(disk_site.backup_dir), "make room")
    disk_site.clear(step, run_id)


@pytest.mark.parametrize("step", ["export_database", "verify_archive"])
def test_no_inode_left_is_told_from_no_byte_left(disk_site: FaultSite, step: str) -> None:
    """Making room in bytes would not help."""
    run_id = disk_site.prepare(step)
    before = disk_site.before()
    take_inodes(disk_site.backup_dir)
    ended = disk_site.start_from(step, run_id).end()
    free(disk_site.backup_dir)
    assert_failed(ended, step, NOT_AGAIN, "No space left on device (no inode is free", str(disk_site.backup_dir))
    disk_site.assert_unharmed(before)
    disk_site.assert_next_succeeds(run_id)


@pytest.mark.parametrize("step", ["create_workspace", "verify_archive", "remove_workspace"])
def test_read_only_disk_fails_at_once(disk_site: FaultSite, step: str) -> None:
    """As a file system is after an error of its disk."""
    run_id = disk_site.prepare(step)
    before = disk_site.before()
    remount(disk_site.backup_dir, "ro")
    ended = disk_site.start_from(step, run_id).end()
    remount(disk_site.backup_dir, "rw")
    words = "not writable" if step == "create_workspace" else "Read-only file system"
    assert_failed(ended, step, NOT_AGAIN, words, str(disk_site.backup_dir))
    disk_site.assert_unharmed(before)
    disk_site.clear(step, run_id)


class Away:
    """BACKUP_DIR is put aside, and something else is in its place."""

    def __init__(self, site: FaultSite, instead: str) -> None:
        self._folder = site.backup_dir
        self._aside = site.folder / "aside"
        self._other = site.folder / "other"
        self._folder.rename(self._aside)
        if instead == "empty folder":
            self._folder.mkdir(mode=0o700)
        elif instead == "link":
            self._other.mkdir(exist_ok=True)
            self._folder.symlink_to(self._other)

    @property
    def written(self) -> list[Path]:
        """What somebody has put into the other place."""
        return list(self._folder.rglob("*")) if self._folder.exists() else []

    def back(self) -> None:
        """Put it back."""
        if self._folder.is_symlink():
            self._folder.unlink()
        elif self._folder.exists():
            self._folder.rmdir()
        self._aside.rename(self._folder)


@pytest.mark.parametrize(
    ("step", "instead"),
    [("export_database", "empty folder"), ("compress_archive", "nothing"), ("verify_archive", "link")],
)
def test_folder_that_goes_between_two_steps_is_missed_at_once(fault_site: FaultSite, step: str, instead: str) -> None:
    """An unmounted volume leaves an empty folder: nothing is written into it, and nothing said to be a backup."""
    before, run_id = fault_site.before(), fault_site.prepare(step)
    away = Away(fault_site, instead)
    ended = fault_site.start_from(step, run_id).end()
    written = away.written
    away.back()
    assert_failed(ended, step, NOT_AGAIN)
    assert written == []
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds(run_id)


def test_folder_that_goes_during_the_export_fails_it(fault_site: FaultSite) -> None:
    """What was open is written on, into the folder that was; no archive comes of it."""
    before, run_id = fault_site.before(), fault_site.prepare("export_database")
    with slow_export(fault_site, run_id) as end:
        away = Away(fault_site, "empty folder")
        ended = end()
    written = away.written
    away.back()
    assert ended.step == "export_database"
    assert str(fault_site.backup_dir) in ended.error
    assert written == []
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds(run_id)


def test_missing_folder_is_not_made(fault_site: FaultSite) -> None:
    """Decision 8: it would fill the system's disk."""
    before = fault_site.before()
    away = Away(fault_site, "nothing")
    ended = fault_site.back_up()
    assert not fault_site.backup_dir.exists()
    away.back()
    assert_failed(ended, "create_workspace", NOT_AGAIN, "is not a folder", "mount the volume")
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds()


def test_no_usable_folder_for_temporary_files_is_no_hindrance(fault_site: FaultSite) -> None:
    """TMPDIR may be read-only or away: what has to be kept for a moment is kept in the workspace."""
    fault_site.assert_next_succeeds(environment={"TMPDIR": "/proc/nowhere"}, no_temporary_folder=True)


def test_workspaces_behind_a_link_are_refused_and_nothing_there_is_removed(
    fault_site: FaultSite, tmp_path: Path
) -> None:
    """Old folders at the end of a link are somebody else's."""
    before = fault_site.before()
    work = fault_site.backup_dir / WORKSPACES
    (tmp_path / "precious").mkdir()
    work.rename(tmp_path / "aside")
    work.symlink_to(tmp_path)
    ended = fault_site.back_up()
    work.unlink()
    (tmp_path / "aside").rename(work)
    assert_failed(ended, "create_workspace", NOT_AGAIN, ".work is a link")
    assert (tmp_path / "precious").is_dir()
    fault_site.assert_unharmed(before)
    fault_site.assert_next_succeeds()
