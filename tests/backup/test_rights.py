"""Who may read BACKUP_DIR and what is written there, as the operating system sees it."""

from __future__ import annotations

import grp
import os
import resource
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from include.backup.archive import publish
from include.backup.delivery_record import DeliveryRecord, write_delivery
from include.backup.prerequisites import check_folder
from include.backup.rights import folder_errors, private_process
from include.backup.run import BackupRun, create_workspace, utc_now
from include.backup.status import update_status
from tests.backup.conftest import BuiltArchive
from tests.fix_archives import Publish

NOBODY = 65534
OTHER_GROUP = 54321


@pytest.fixture
def folder(folder: Path) -> Iterator[Path]:
    """An empty BACKUP_DIR under a umask that gives away everything."""
    before = os.umask(0)
    yield folder
    os.umask(before)


def own_group() -> int:
    """Return a group, other than the first one where there is a choice, that this process may give files to."""
    return OTHER_GROUP if os.geteuid() == 0 else (os.getgroups() or [os.getegid()])[-1]


def share(folder: Path, mode: int = 0o2750) -> int:
    """Give the folder to the group, as the message says."""
    group = own_group()
    os.chown(folder, -1, group)
    folder.chmod(mode)
    return group


def as_ordinary_user(look: Callable[[], list[str]]) -> list[str]:
    """Return what the function returns to a user who is in no further group: root may do everything."""
    if os.geteuid() != 0:
        return look()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writer, "\n".join(look()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as file:
        return file.read().splitlines()


def modes(folder: Path) -> dict[str, int]:
    """Return the modes of what is in the folder."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.is_file()}


def put_everything(folder: Path, built: BuiltArchive) -> None:
    """Publish an archive with all that is written beside it."""
    sidecar = publish(built.path, built.manifest, sha256="5f" * 32, backup_dir=folder)
    update_status(sidecar, folder)
    write_delivery(folder / sidecar.archive, DeliveryRecord())


@pytest.mark.parametrize("mode", [0o700, 0o500, 0o750, 0o770])
def test_folder_closed_to_everybody_passes(folder: Path, mode: int) -> None:
    """What the group may is the owner's own business as long as the files are closed to it."""
    folder.chmod(mode)
    assert list(folder_errors(folder, None)) == []


@pytest.mark.parametrize(("mode", "may"), [(0o755, "read"), (0o701, "read"), (0o704, "read"), (0o702, "change")])
def test_folder_open_to_everybody_refused_with_the_command(folder: Path, mode: int, may: str) -> None:
    """The command in the message mends it."""
    folder.chmod(mode)
    (error,) = check_folder(folder, None)
    assert f"everybody on this machine may {may} BACKUP_DIR={folder} (mode 0{mode:o})" in error
    subprocess.run(["sh", "-c", error.rpartition(": ")[2]], check=True)
    assert check_folder(folder, None) == []


def test_files_of_other_names_may_be_open_to_everybody(folder: Path) -> None:
    """Somebody's notes beside the archives stop no backup."""
    (folder / "critical_backup_notes.txt").touch()
    (folder / "critical_backup_notes.txt").chmod(0o644)
    assert list(folder_errors(folder, None)) == []


def test_archives_open_to_everybody_refused_with_the_command(folder: Path, publish: Publish) -> None:
    """Each kind of file counts; they are named, and the command mends all of them."""
    for hours in range(3):
        publish(hours_old=hours)
    assert list(folder_errors(folder, None)) == []
    for path in folder.glob("critical_backup_*"):
        path.chmod(0o644)
    (error,) = folder_errors(folder, None)
    first = min(name for name in modes(folder) if not name.startswith("."))
    assert error.startswith(f"everybody on this machine may read {first}, critical_backup_")
    assert "and 3 more: chmod" in error
    subprocess.run(["sh", "-c", error.rpartition(": ")[2]], check=True)
    assert list(folder_errors(folder, None)) == []


def test_without_a_group_everything_is_private(folder: Path, built: BuiltArchive) -> None:
    """Whatever the umask."""
    put_everything(folder, built)
    assert set(modes(folder).values()) == {0o600}


def test_with_a_group_everything_published_is_for_it_and_the_workspace_is_not(
    folder: Path, built: BuiltArchive
) -> None:
    """0640 and the group's, also the archive, which was made where the group counts for nothing."""
    group = share(folder)
    assert list(folder_errors(folder, str(group))) == []
    put_everything(folder, built)
    assert len(modes(folder)) == 5
    assert set(modes(folder).values()) == {0o640}
    assert {path.stat().st_gid for path in folder.iterdir()} == {group}
    workspace = create_workspace(BackupRun("manual__1", "manual", utc_now()), folder)
    assert {stat.S_IMODE(path.stat().st_mode) & 0o777 for path in (workspace, workspace.parent)} == {0o700}


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o2700, 0o2740])
def test_folder_that_the_group_cannot_read_refused_with_the_command(folder: Path, mode: int) -> None:
    """The command in the message mends it, whether the group or the mode is wrong."""
    folder.chmod(mode)
    group = own_group()
    (error,) = folder_errors(folder, str(group))
    assert f"BACKUP_GROUP={group} may not read BACKUP_DIR" in error
    subprocess.run(["sh", "-c", error.rpartition(": ")[2]], check=True)
    assert list(folder_errors(folder, str(group))) == []


def test_shared_folder_without_the_setting_refused(folder: Path) -> None:
    """Archives would be for a group that nobody has named; either way out that the message names is one."""
    group = share(folder)
    (error,) = folder_errors(folder, None)
    assert f"set BACKUP_GROUP={group}, or chmod g-rwxs" in error
    assert list(folder_errors(folder, str(group))) == []
    subprocess.run(["sh", "-c", error.rpartition(", or ")[2]], check=True)
    assert list(folder_errors(folder, None)) == []


def test_group_by_name_is_the_same_as_by_number(folder: Path) -> None:
    """The name is looked up on this machine."""
    folder.chmod(0o2750)
    assert list(folder_errors(folder, grp.getgrgid(folder.stat().st_gid).gr_name)) == []


@pytest.mark.parametrize("group", ["no such group", "-1", "1.5", "٣", "99999999999"])
def test_unknown_group_refused_in_one_line(folder: Path, group: str) -> None:
    """The line names the value and what is expected."""
    (error,) = folder_errors(folder, group)
    assert error.startswith(f"BACKUP_GROUP={group}: there is no such group")


def test_group_of_others_refused_in_one_line() -> None:
    """Only a member may give files to a group."""
    with tempfile.TemporaryDirectory() as place:
        if os.geteuid() == 0:
            os.chown(place, NOBODY, NOBODY)
        (error,) = as_ordinary_user(lambda: list(folder_errors(Path(place), "4242")))
    assert error.startswith("BACKUP_GROUP=4242: the user that runs Airflow is not in this group")


def test_private_process_leaves_nothing_for_others(tmp_path: Path) -> None:
    """It and its children make private files, and leave no core dump; afterwards all is as before."""
    before = os.umask(0o022), resource.getrlimit(resource.RLIMIT_CORE)
    program = "import os, resource; open('made', 'w'); print(resource.getrlimit(resource.RLIMIT_CORE)[0]); os.abort()"
    with private_process():
        child = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=False)
    assert (child.stdout, child.returncode) == (b"0\n", -6)
    assert modes(tmp_path) == {"made": 0o600}
    assert (os.umask(before[0]), resource.getrlimit(resource.RLIMIT_CORE)) == (0o022, before[1])
