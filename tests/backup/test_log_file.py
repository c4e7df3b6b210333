"""BACKUP_LOG_FILE: what stands in it, rotation by several processes, and files that cannot be written."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from include.backup import log_file
from include.backup.errors import BackupError
from include.backup.log_file import ErrorEntry, write_error

ROOT = Path(__file__).resolve().parents[2]
TIME = datetime(2026, 11, 20, 2, 0, 5, 123456, tzinfo=timezone.utc)
RUN: dict[str, str | int] = {"dag": "critical_backup", "task": "export_database", "run": "scheduled__x", "try": 2}

WRITER = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from include.backup import log_file
log_file.MAX_BYTES, log_file.KEPT_FILES = 20_000, 99
for number in range(200):
    entry = log_file.ErrorEntry(f"{sys.argv[2]}-{number}-" + "x" * 100, {}, None, datetime.now(timezone.utc))
    assert log_file.write_error(Path(sys.argv[1]), "json", entry)
"""


def fail() -> None:
    """Raise an error with a cause."""
    try:
        int("inner reason")
    except ValueError as error:
        raise BackupError("outer\nreason") from error


def failed() -> BaseException:
    """Return an error that was raised, with a cause."""
    with pytest.raises(BackupError) as raised:
        fail()
    return raised.value


def entry(error: BaseException | None = None, message: str = "what failed") -> ErrorEntry:
    """Return an entry of one moment."""
    return ErrorEntry(message, RUN, error, TIME)


def test_text_entry_has_time_run_task_message_and_stack(tmp_path: Path) -> None:
    """Only a new entry begins at the left, so that one can be told from the next."""
    path = tmp_path / "backup.log"
    assert write_error(path, "text", entry(failed(), "what failed\n2026-11-20 forged"))
    first, *rest = path.read_text().splitlines()
    assert first == (
        "2026-11-20T02:00:05.123+00:00 ERROR "
        "dag=critical_backup task=export_database run=scheduled__x try=2: what failed"
    )
    assert all(line.startswith("    ") for line in rest)
    for piece in ("Traceback", "'inner reason'", "BackupError: outer", "direct cause", "forged"):
        assert piece in "\n".join(rest)


def test_json_entry_is_one_line_with_every_field(tmp_path: Path) -> None:
    """As collectors of logs want it."""
    path = tmp_path / "backup.log"
    write_error(path, "json", entry(failed(), "what\nfailed"))
    (line,) = path.read_text().splitlines()
    seen = json.loads(line)
    assert "ValueError: invalid literal" in seen.pop("stack")
    assert seen == RUN | {"time": "2026-11-20T02:00:05.123+00:00", "level": "ERROR", "message": "what\nfailed"}


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_masked_in_message_and_stack(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that JSON would write differently, and one with a line break."""
    path = tmp_path / "backup.log"
    for secret in ('quo"te\\d', "two\nlines"):
        monkeypatch.setenv("POSTGRES_PASSWORD", secret)
        write_error(path, "json" if form == "json" else "text", entry(BackupError(f"of {secret}"), f"with {secret}"))
        text = path.read_text()
        assert not any(piece in text for piece in (secret, json.dumps(secret)[1:-1], "quo", "lines"))


def test_file_is_private_and_grows_by_appending(tmp_path: Path) -> None:
    """Errors may name hosts and people."""
    path = tmp_path / "backup.log"
    path.write_text("somebody's own line\n")
    path.chmod(0o640)
    write_error(path, "json", entry())
    assert path.read_text().startswith("somebody's own line\n{")
    assert path.stat().st_mode & 0o777 == 0o640
    write_error(tmp_path / "new.log", "json", entry())
    assert (tmp_path / "new.log").stat().st_mode & 0o777 == 0o600


def test_full_file_is_rotated_and_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many files of so many bytes, never more."""
    monkeypatch.setattr(log_file, "MAX_BYTES", 1000)
    monkeypatch.setattr(log_file, "KEPT_FILES", 2)
    path = tmp_path / "backup.log"
    for number in range(30):
        write_error(path, "text", entry(message=f"number {number}"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["backup.log", "backup.log.1", "backup.log.2"]
    assert all(file.stat().st_size <= 1000 for file in tmp_path.iterdir())
    assert "number 29" in path.read_text()
    assert "number 0\n" not in (tmp_path / "backup.log.2").read_text()


def test_entry_larger_than_a_file_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file is never rotated."""
    monkeypatch.setattr(log_file, "MAX_BYTES", 10)
    write_error(tmp_path / "backup.log", "json", entry())
    write_error(tmp_path / "backup.log", "json", entry())
    assert len((tmp_path / "backup.log").read_text().splitlines()) == 1
    assert len((tmp_path / "backup.log.1").read_text().splitlines()) == 1


def test_several_processes_lose_no_line_while_rotating(tmp_path: Path) -> None:
    """Tasks of one worker, and of several DAGs, write at the same time."""
    path = tmp_path / "backup.log"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(n)], cwd=ROOT) for n in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    files = list(tmp_path.iterdir())
    lines = [json.loads(line)["message"].rpartition("-")[0] for file in files for line in file.read_text().splitlines()]
    assert len(files) > 4
    assert sorted(lines) == sorted(f"{writer}-{number}" for writer in range(4) for number in range(200))


def unwritable(folder: Path) -> dict[str, Path]:
    """Return places where nothing can be written, by what is wrong."""
    (folder / "file").touch()
    os.mkfifo(folder / "pipe")
    return {
        "No such file or directory": folder / "gone" / "backup.log",
        "Is a directory": folder,
        "Not a directory": folder / "file" / "backup.log",
        "No such device or address": folder / "pipe",
        "No space left on device": Path("/dev/full"),
        "File name too long": folder / ("x" * 300),
    }


def test_file_that_cannot_be_written_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Never an exception, never a wait: a pipe without a reader, a full device, a folder that is missing."""
    for reason, path in unwritable(tmp_path).items():
        caplog.clear()
        assert write_error(path, "text", entry()) is False
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert f"BACKUP_LOG_FILE={path} cannot be written: {reason}" in record.getMessage()


def test_file_that_somebody_else_keeps_locked_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process must not stop the others."""
    monkeypatch.setattr(log_file, "LOCK_SECONDS", 0.2)
    path = tmp_path / "backup.log"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert write_error(path, "text", entry()) is False
    assert len(caplog.records) == 1
    assert write_error(path, "text", entry()) is True


def test_device_takes_entries_without_rotation(tmp_path: Path) -> None:
    """A container may send them to its own output."""
    assert write_error(Path("/dev/null"), "text", entry()) is True
