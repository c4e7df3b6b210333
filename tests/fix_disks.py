"""Small real file systems to fill, freeze and cut the power of; they need root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

MB = 1 << 20


@contextmanager
def mounted(*options: str, at: Path) -> Iterator[Path]:
    """Mount while the block runs; skip the test where that is not allowed."""
    at.mkdir(exist_ok=True)
    answer = subprocess.run(["mount", *options, str(at)], capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip(f"nothing can be mounted here (root is needed): {answer.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def remount(folder: Path, option: str) -> None:
    """Make a mounted file system `ro` or `rw`."""
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


def fill(folder: Path, *, leave: int = 0) -> None:
    """Take all bytes of a file system but so many."""
    with (folder / "ballast").open("wb", 0) as file:
        with contextlib.suppress(OSError):
            while file.write(b"\0" * 4096):
                pass
        file.truncate(max(file.tell() - leave, 0))


def take_inodes(folder: Path) -> None:
    """Take all inodes of a file system."""
    (folder / "many").mkdir()
    with contextlib.suppress(OSError):
        for number in range(10**6):
            (folder / "many" / str(number)).touch()


def free(folder: Path) -> None:
    """Give back what the two took."""
    (folder / "ballast").unlink(missing_ok=True)
    shutil.rmtree(folder / "many", ignore_errors=True)


MakeDisk = Callable[..., Path]


@pytest.fixture(scope="module")
def make_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeDisk]:
    """Give a maker of file systems in memory, of so many bytes and inodes."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    with ExitStack() as stack:

        def make(*, size: int = 48 * MB, inodes: int = 200) -> Path:
            options = f"size={size},nr_inodes={inodes},mode=0700"
            folder = tmp_path_factory.mktemp("disk")
            return stack.enter_context(mounted("-t", "tmpfs", "-o", options, "tmpfs", at=folder / "backups"))

        yield make
