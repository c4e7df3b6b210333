"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.backup.durable import sync_file, sync_folder, write_atomically


@pytest.fixture(params=[0o000, 0o022, 0o077])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run under several umasks."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.parametrize("content", [b"", b"one line\n", b"\0\xff" * 1_000_000])
def test_write_new_file_has_content(tmp_path: Path, content: bytes) -> None:
    """The file has the content, and nothing else is left in the folder."""
    write_atomically(tmp_path / "status", content)
    assert (tmp_path / "status").read_bytes() == content
    assert list(tmp_path.iterdir()) == [tmp_path / "status"]


def test_write_existing_file_replaced(tmp_path: Path) -> None:
    """A longer content is replaced whole; whoever has the old one open keeps reading it."""
    path = tmp_path / "status"
    write_atomically(path, b"a much longer old content")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"a much longer old content"
    assert path.read_bytes() == b"new"


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_write_mode_exact(tmp_path: Path, mode: int) -> None:
    """The mode is the one asked for, whatever the umask and the mode before."""
    path = tmp_path / "status"
    path.write_bytes(b"")
    path.chmod(0o666)
    write_atomically(path, b"x", mode=mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_write_default_mode_private(tmp_path: Path) -> None:
    """Without a mode nobody else may read it."""
    write_atomically(tmp_path / "status", b"x")
    assert stat.S_IMODE((tmp_path / "status").stat().st_mode) == 0o600


def test_write_left_over_partial_no_hindrance(tmp_path: Path) -> None:
    """What a killed try left does not get into the file."""
    (tmp_path / ".status.partial").write_bytes(b"left over from before" * 100)
    write_atomically(tmp_path / "status", b"new")
    assert (tmp_path / "status").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [tmp_path / "status"]


def test_write_fails_nothing_left(tmp_path: Path) -> None:
    """Where the file cannot be replaced there is an error, what was there stays, and no half of it is left."""
    (tmp_path / "status").mkdir()
    (tmp_path / "status" / "inside").touch()
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "status", b"x")
    assert list(tmp_path.iterdir()) == [tmp_path / "status"]
    assert (tmp_path / "status" / "inside").exists()


def test_write_folder_missing_is_an_error(tmp_path: Path) -> None:
    """No folder is made silently."""
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "status", b"x")
    assert list(tmp_path.iterdir()) == []


def test_sync_existing_no_error_missing_error(tmp_path: Path) -> None:
    """Files and folders can be synced; what is not there is an error, not a silence."""
    (tmp_path / "file").touch(mode=0o400)
    sync_file(tmp_path / "file")
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_file(tmp_path / "missing")
