"""
The power fails: what was not synced is gone.

BACKUP_DIR is an ext4 in a file. What the file system has not written to that file yet is what a power cut takes away,
so a copy of the file, mounted (its journal is replayed), is the disk after the cut.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from include.backup.status import read_last_success
from tests.fix_disks import MB, mounted
from tests.fix_faults import FaultSite, MakeFaultSite

# The file system may keep data back for long after the names of its files: the worst that ext4 can be told.
WORST = "noatime,data=writeback,noauto_da_alloc,commit=300"
CUT_AT = ("compress_archive", "verify_archive", "check_size", "update_status", "expire_old_backups")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file that the disk of the site is."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("a file system in a file takes root and mkfs.ext4")
    folder = tmp_path_factory.mktemp("power")
    image = folder / "disk"
    with image.open("wb") as file:
        file.truncate(48 * MB)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    with mounted("-o", f"loop,{WORST}", str(image), at=folder / "mounted"):
        yield image


@contextmanager
def after_a_cut(site: FaultSite, disk: Path) -> Iterator[FaultSite]:
    """Give the site as it would be if the power had failed now."""
    cut = disk.with_name("cut")
    shutil.copyfile(disk, cut)
    with mounted("-o", "loop", str(cut), at=disk.with_name("after")) as folder:
        yield dataclasses.replace(site, environment=site.environment | {"BACKUP_DIR": str(folder / "backups")})


def test_power_cut_at_any_moment_leaves_only_verified_archives(make_fault_site: MakeFaultSite, disk: Path) -> None:
    """Whatever was said to be done is on the disk: the archive once it is verified, the status once it is updated."""
    folder = disk.with_name("mounted") / "backups"
    folder.mkdir(mode=0o700)
    site = make_fault_site(BACKUP_DIR=str(folder))
    assert site.back_up().error == ""
    os.sync()
    before = site.before()
    for pause in (0.0, 0.004, 0.02):
        run = site.start()
        for step in CUT_AT:
            run.wait_for(step)
            time.sleep(pause)
            run.kill(signal.SIGSTOP)
            with after_a_cut(site, disk) as seen:
                seen.assert_files(before)
                if step in CUT_AT[2:]:
                    assert len(seen.published) > len(before.files.keys() & site.published), "a verified archive is gone"
            run.kill(signal.SIGCONT)
        ended = run.end()
        assert ended is not None
        with after_a_cut(site, disk) as seen:
            seen.assert_files(before)
            assert seen.published == site.published
            assert read_last_success(seen.backup_dir) == read_last_success(site.backup_dir)
        before = site.before()
