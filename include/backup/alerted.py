"""Which failures were told: Airflow may report one several times, from several processes, and it is one alert."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from include.backup.durable import write_atomically

ALERTED_FILE = ".alerted_failures_of_{dag_id}"
MAX_FAILURES = 50


class Failure(NamedTuple):
    """One try of one task that failed for good; clearing the task begins another try. A run as a whole has no task."""

    dag_id: str
    run_id: str
    task_id: str = "-"
    try_number: int = 0


def mark_alerted(backup_dir: Path, failure: Failure) -> None:
    """
    Remember that somebody was told of a failure.

    Raises:
        OSError: If it cannot be written.
    """
    lines = [*_lines(backup_dir, failure.dag_id), _line(failure)][-MAX_FAILURES:]
    content = "".join(f"{line}\n" for line in lines).encode()
    write_atomically(backup_dir / ALERTED_FILE.format(dag_id=failure.dag_id), content)


def was_alerted(backup_dir: Path, failure: Failure) -> bool:
    """Return whether somebody was told of a failure."""
    return _line(failure) in _lines(backup_dir, failure.dag_id)


def run_was_alerted(backup_dir: Path, dag_id: str, run_id: str) -> bool:
    """Return whether somebody was told of any failure of a run."""
    return any(line.startswith(f"{run_id} ") for line in _lines(backup_dir, dag_id))


def _line(failure: Failure) -> str:
    return f"{failure.run_id} {failure.task_id} {failure.try_number}"  # no id has a space in it


def _lines(backup_dir: Path, dag_id: str) -> list[str]:
    try:
        return (backup_dir / ALERTED_FILE.format(dag_id=dag_id)).read_text(errors="replace").split("\n")[:-1]
    except OSError:
        return []
