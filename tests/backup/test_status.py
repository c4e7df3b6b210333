"""The status files and the size check."""

from __future__ import annotations

import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.backup.status import LAST_SIZE_FILE, LAST_SUCCESS_FILE, read_last_success, size_warning, update_status

if TYPE_CHECKING:
    from tests.fix_archives import MakeSidecar

MB = 1024 * 1024
SNAPSHOT_AT = datetime(2026, 11, 20, 2, 0, 4, tzinfo=timezone.utc)


def test_update_first_success_writes_exact_lines(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """One line each: the snapshot's time in UTC, and the whole MB, rounded down; for nobody else to read."""
    assert update_status(sidecar(archive_bytes=6 * MB - 1), tmp_path) is True
    assert (tmp_path / ".last_backup_success").read_bytes() == b"2026-11-20T02:00:04+00:00\n"
    assert (tmp_path / ".last_backup_size_mb").read_bytes() == b"5\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [LAST_SIZE_FILE, LAST_SUCCESS_FILE]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize(("size", "line"), [(0, "0\n"), (MB - 1, "0\n"), (MB, "1\n"), (100 * MB, "100\n")])
def test_update_size_rounded_down(tmp_path: Path, sidecar: MakeSidecar, size: int, line: str) -> None:
    """The size is whole MB, rounded down."""
    update_status(sidecar(archive_bytes=size), tmp_path)
    assert (tmp_path / LAST_SIZE_FILE).read_text() == line


def test_update_snapshot_in_another_zone_written_in_utc(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """The time is written in UTC, in whatever zone the manifest has it."""
    bangkok = SNAPSHOT_AT.astimezone(timezone(timedelta(hours=7)))
    update_status(sidecar(snapshot_at=bangkok), tmp_path)
    assert (tmp_path / LAST_SUCCESS_FILE).read_text() == "2026-11-20T02:00:04+00:00\n"


def test_update_older_run_changes_nothing(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """A run that is cleared after a later one succeeded does not set the status back."""
    update_status(sidecar(archive_bytes=9 * MB), tmp_path)
    older = sidecar(snapshot_at=SNAPSHOT_AT - timedelta(seconds=1), archive_bytes=2 * MB)
    assert update_status(older, tmp_path) is False
    assert read_last_success(tmp_path) == SNAPSHOT_AT
    assert (tmp_path / LAST_SIZE_FILE).read_text() == "9\n"


def test_update_same_run_again_is_the_same(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """Clearing update_status does no harm."""
    update_status(sidecar(), tmp_path)
    assert update_status(sidecar(), tmp_path) is True
    assert read_last_success(tmp_path) == SNAPSHOT_AT


def test_update_later_run_moves_on(tmp_path: Path, sidecar: MakeSidecar) -> None:
    """Every later success replaces the one before."""
    update_status(sidecar(), tmp_path)
    later = SNAPSHOT_AT + timedelta(days=1)
    assert update_status(sidecar(snapshot_at=later), tmp_path) is True
    assert read_last_success(tmp_path) == later


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"yesterday\n", b"\xff\xfe", b"2026-13-45T00:00:00+00:00\n", b"2026-11-19", b"a\nb\n"]
)
def test_read_unreadable_content_is_none(tmp_path: Path, content: bytes) -> None:
    """What is no aware time counts as no success."""
    (tmp_path / LAST_SUCCESS_FILE).write_bytes(content)
    assert read_last_success(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"yesterday\n", b"\xff", b"2999-01-01T00:00:00\n", b"2999-01-01\n"])
def test_update_unreadable_content_replaced(tmp_path: Path, sidecar: MakeSidecar, content: bytes) -> None:
    """A damaged status file, or one that a person wrote without a zone, never stops a backup."""
    (tmp_path / LAST_SUCCESS_FILE).write_bytes(content)
    assert update_status(sidecar(), tmp_path) is True
    assert read_last_success(tmp_path) == SNAPSHOT_AT


@pytest.mark.parametrize(
    "text", ["2026-11-20T02:00:04Z", "2026-11-20T02:00:04+00:00\n", "  2026-11-20T09:00:04+07:00  \n"]
)
def test_read_iso_time_is_aware(tmp_path: Path, text: str) -> None:
    """Every ISO form with a zone is read."""
    (tmp_path / LAST_SUCCESS_FILE).write_text(text)
    assert read_last_success(tmp_path) == SNAPSHOT_AT


def test_read_missing_file_is_none(tmp_path: Path) -> None:
    """Before the first success there is none."""
    assert read_last_success(tmp_path) is None


@pytest.mark.parametrize(
    ("size", "piece"),
    [
        (0, "BACKUP_MIN_SIZE_MB=1"),
        (MB - 1, "BACKUP_MIN_SIZE_MB=1"),
        (MB, None),
        (50 * MB, None),
        (100 * MB, None),
        (100 * MB + 1, "BACKUP_MAX_SIZE_MB=100"),
    ],
)
def test_size_warning_at_the_limits(size: int, piece: str | None) -> None:
    """Below the lower limit or above the upper one, compared in bytes; the limits themselves are good."""
    warning = size_warning(size, min_mb=1, max_mb=100)
    assert (warning is None) is (piece is None)
    if warning is not None and piece is not None:
        assert piece in warning
        assert warning.splitlines() == [warning]


def test_size_warning_no_lower_limit_never_too_small() -> None:
    """BACKUP_MIN_SIZE_MB=0 turns the lower limit off."""
    assert size_warning(0, min_mb=0, max_mb=100) is None
