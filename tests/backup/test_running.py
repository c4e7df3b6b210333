"""The run in progress: how far it is, and about when it ends."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from include.backup.progress import PROGRESS_FILE, ExportProgress, Progress, TableProgress, read_progress
from include.backup.run import BackupRun
from include.backup.run_outcome import RunOutcome
from include.backup.running import RunningRun, look_at_run

NOW = datetime(2026, 11, 20, 2, 5, tzinfo=timezone.utc)
MB = 1 << 20


def run(task: str | None = "export_database") -> RunOutcome:
    """Return a run that began five minutes ago."""
    began = NOW - timedelta(minutes=5)
    return RunOutcome("scheduled__1", "scheduled", began, "running", started_at=began, running_task=task)


def ended(minutes: float, state: str = "success") -> RunOutcome:
    """Return an earlier run that took so long."""
    began = NOW - timedelta(days=1)
    values = {"run_id": "0", "kind": "scheduled", "stands_for": began, "state": state}
    return RunOutcome(**values, started_at=began, ended_at=began + timedelta(minutes=minutes))  # type: ignore[arg-type]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return the run's workspace, in which 100 MB were exported in 50 seconds."""
    folder = BackupRun("scheduled__1", "scheduled", NOW).workspace(tmp_path)
    folder.mkdir(parents=True)
    seen = ExportProgress(
        started_at=NOW - timedelta(seconds=50), at=NOW, files=9, files_done=2, bytes=100 * MB,
        tables=(TableProgress(table="public.usage_logs", rows=1_200_000, bytes=80 * MB),),
    )  # fmt: skip
    (folder / PROGRESS_FILE).write_text(seen.model_dump_json())
    return folder


def look(folder: Path, outcome: RunOutcome, *earlier: RunOutcome, expected: int | None = None) -> RunningRun:
    """Look at the run."""
    return look_at_run(outcome, folder, earlier=earlier, expected_bytes=expected, now=NOW)


def test_export_shows_table_rows_speed_and_end(tmp_path: Path, workspace: Path) -> None:
    """300 MB more at 2 MB/s take 150 seconds."""
    seen = look(tmp_path, run(), expected=400 * MB)
    assert seen.progress
    assert (seen.progress.tables[0].rows, seen.progress.bytes_per_second) == (1_200_000, 2 * MB)
    assert (seen.share, seen.ends_at) == (0.25, NOW + timedelta(seconds=150))


def test_run_takes_about_as_long_as_those_before(tmp_path: Path) -> None:
    """The median counts, failures do not; one that takes longer ends soon, not in the past."""
    assert look(tmp_path, run(), ended(7), ended(8), ended(50), ended(1, "failed")).ends_at == NOW + timedelta(
        minutes=3
    )
    assert look(tmp_path, run(), ended(2)).ends_at == NOW
    assert look(tmp_path, run()).ends_at is None


def test_slow_export_moves_the_end(tmp_path: Path, workspace: Path) -> None:
    """The rows that are left count for more than the earlier runs."""
    assert look(tmp_path, run(), ended(6), expected=400 * MB).ends_at == NOW + timedelta(seconds=150)


def test_progress_of_an_export_that_is_over_is_not_shown(tmp_path: Path, workspace: Path) -> None:
    """The file stays in the workspace until the run's end."""
    assert look(tmp_path, run("compress_archive"), expected=400 * MB).progress is None


def test_more_rows_than_before_are_no_more_than_all(tmp_path: Path, workspace: Path) -> None:
    """The share stays at one."""
    assert look(tmp_path, run(), expected=50 * MB).share == 1.0


def test_progress_is_written_while_the_export_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever looks sees a whole file, and nothing is left beside it."""
    progress = Progress(tmp_path)
    with caplog.at_level(logging.INFO), progress.reported(2):
        assert read_progress(tmp_path) is None
        with progress.file("users.sql"):
            progress.add("users.sql", "public.users", b"1\n2\n")
            progress.add("users.sql", "public.users", b"3\n")
            until = time.monotonic() + 10
            while not (seen := read_progress(tmp_path)) and time.monotonic() < until:
                time.sleep(0.05)
    assert seen
    assert (seen.files, seen.files_done, seen.bytes) == (2, 0, 6)
    assert seen.tables == (TableProgress(table="public.users", rows=3, bytes=6),)
    assert [path.name for path in tmp_path.iterdir()] == [PROGRESS_FILE]
    assert "exported 1 of 2 files, 0.0 MB of rows" in caplog.text


def test_progress_that_cannot_be_written_fails_no_export(tmp_path: Path) -> None:
    """The folder is gone: the export itself will say so."""
    progress = Progress(tmp_path / "gone")
    with progress.reported(1):
        progress.add("a.sql", "a", b"1\n")
        progress._write(progress._seen())
    assert read_progress(tmp_path / "gone") is None
