"""Files that become one file without being on the disk twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from include.backup.piecewise import MIN_STEP_BYTES, Piece, move_together
from tests.fix_disks import mounted

MB = 1 << 20
REPOSITORY = Path(__file__).resolve().parents[2]


def make_pieces(folder: Path, sizes: list[int]) -> tuple[list[Piece], bytes]:
    """Return pieces of these sizes, every third one of bytes alone, and what they are together."""
    chance = random.Random(7)  # noqa: S311 - the same in every run
    pieces, whole = [], b""
    for number, size in enumerate(sizes):
        content = chance.randbytes(size)
        whole += content
        if number % 3 == 2:
            pieces.append(Piece(size, content=content))
        else:
            path = folder / f"{number}.gz"
            path.write_bytes(content)
            pieces.append(Piece(size, path=path))
    return pieces, whole


@pytest.mark.parametrize(
    "sizes",
    [[0], [1], [0, 0, 0, 1], [100, 0, 20, 5], [MB, MB, 1, MB + 1, 3 * MB - 1, 512], [30 * MB, 5, 7, 12 * MB]],
    ids=str,
)
def test_pieces_are_in_order_and_their_files_used_up(tmp_path: Path, sizes: list[int]) -> None:
    """Whatever their sizes: files of no byte, of one step, of many."""
    pieces, whole = make_pieces(tmp_path, sizes)
    move_together(pieces, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == whole
    assert {piece.path.stat().st_size for piece in pieces if piece.path} <= {0}


def test_moving_takes_little_more_room_than_the_files_did(tmp_path: Path) -> None:
    """A twentieth: seen on the disk while it is at work, many times."""
    pieces, whole = make_pieces(tmp_path, [40 * MB, 20 * MB, 100, 60 * MB])
    files = [tmp_path / "target", *(piece.path for piece in pieces if piece.path)]
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(sum(512 * file.stat().st_blocks for file in files if file.exists()))

    looking = threading.Thread(target=look)
    looking.start()
    move_together(pieces, tmp_path / "target")
    done.set()
    looking.join()
    assert len(seen) > 10
    assert max(seen) <= 1.1 * len(whole)


def test_killed_at_any_moment_another_call_goes_on(tmp_path: Path) -> None:
    """Again and again, until one is quick enough; not a byte is lost."""
    sizes = [9 * MB, 3 * MB, 1000, 5 * MB, 1, 10, 11 * MB]
    chance, killed = random.Random(3), 0  # noqa: S311
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        pieces, whole = make_pieces(folder, sizes)
        code = "from pathlib import Path; from include.backup.piecewise import Piece, move_together; import sys; "
        code += f"move_together({pieces!r}, Path(sys.argv[1]))".replace("PosixPath(", "Path(")
        while True:
            child = subprocess.Popen([sys.executable, "-c", code, str(folder / "target")], cwd=REPOSITORY)
            before = left_of(pieces)
            while child.poll() is None and left_of(pieces) == before:
                time.sleep(0.0005)
            time.sleep(chance.random() / 100)
            child.send_signal(signal.SIGKILL)
            if child.wait() == 0:
                break
            killed += 1
        assert (folder / "target").read_bytes() == whole
    assert killed > 5


def left_of(pieces: list[Piece]) -> int:
    """Return how much is still to be moved, in bytes."""
    return sum(piece.path.stat().st_size for piece in pieces if piece.path)


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The target's name stands in the error; the pieces are whole."""
    pieces, _ = make_pieces(tmp_path, [MIN_STEP_BYTES])
    (tmp_path / "target").mkdir()
    with pytest.raises(IsADirectoryError, match="target"):
        move_together(pieces, tmp_path / "target")
    assert (tmp_path / "0.gz").stat().st_size == MIN_STEP_BYTES


def test_file_system_that_cannot_reserve_room_takes_them_as_well(tmp_path: Path) -> None:
    """As ext2, or NFS before 4.2: the C library then reserves by reading and writing."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext2"):
        pytest.skip("a file system in a file takes root and mkfs.ext2")
    with (tmp_path / "disk").open("wb") as file:
        file.truncate(32 * MB)
    subprocess.run(["mkfs.ext2", "-q", "-F", str(tmp_path / "disk")], check=True)
    with mounted("-o", "loop", str(tmp_path / "disk"), at=tmp_path / "mounted") as folder:
        pieces, whole = make_pieces(folder, [5 * MB, 100, 3])
        move_together(pieces, folder / "target")
        assert (folder / "target").read_bytes() == whole
